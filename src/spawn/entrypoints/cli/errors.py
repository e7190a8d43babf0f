"""Exit codes and errors of the command line.

0 success; 1 rejected or failed; 2 wrong usage or settings; 3 the service cannot be reached, or its
file or address is in use; 4 the store failed while it was served and only a restart helps; 130
interrupted. Every failure is one line on stderr, but `serve --check-config --json` reports a fault
of the settings as its result.
"""

from typing import Final

from spawn.adapters.local.listening_sockets import AddressError
from spawn.domain.errors import SpawnError, StorageBusy, describe_cause
from spawn.entrypoints.settings import SettingsError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130


class CommandError(Exception):
    """A failed command: one sentence, and its exit code."""

    def __init__(self, detail: str, code: int = EXIT_FAILED) -> None:
        super().__init__(detail)
        self.code = code


EXPECTED_ERRORS: Final = (
    SettingsError,
    AddressError,
    CommandError,
    SpawnError,
    OSError,
    KeyboardInterrupt,
)
"""Errors reported as one sentence; any other is a bug and shows its traceback."""


def describe_error(error: BaseException) -> tuple[str, int]:
    """Return an expected error as one sentence, and its exit code."""
    match error:
        case SettingsError():
            return str(error), EXIT_USAGE
        case CommandError():
            return str(error), error.code
        case AddressError() | StorageBusy():
            return str(error), EXIT_UNREACHABLE
        case SpawnError():
            cause = error.__cause__
            # The operator reads this sentence and may have no other log.
            reason = f" (cause: {describe_cause(cause)})" if cause is not None else ""
            return error.detail + reason, EXIT_FAILED
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            return f"{name}{error.strerror or error}", EXIT_FAILED
    return "interrupted", EXIT_INTERRUPTED
