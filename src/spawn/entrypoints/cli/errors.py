"""Exit codes and errors of the command line.

0 success; 1 rejected or failed; 2 wrong usage or settings; 3 the service cannot be reached, or its
file or address is in use; 4 the store failed while it was served and only a restart helps; 130
interrupted. Every failure is one line on stderr, with `--json` a problem (RFC 9457) with its exit
code, but `serve --check-config --json` reports a fault of the settings as its result.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from spawn.adapters.local.listening_sockets import AddressError
from spawn.domain.errors import FieldError, InvalidInput, SpawnError, StorageBusy, describe_cause
from spawn.domain.text import redact_keys
from spawn.entrypoints.settings import SettingsError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INTERRUPTED: Final = 130
USAGE_CODE: Final = "wrong_usage"
USAGE_TITLE: Final = "The command or a setting is wrong"
_PROBLEMS: Final = {
    EXIT_FAILED: ("command_failed", "The command failed"),
    EXIT_USAGE: (USAGE_CODE, USAGE_TITLE),
    EXIT_UNREACHABLE: ("unreachable", "The service cannot be reached, or its file is in use"),
    EXIT_INTERRUPTED: ("interrupted", "The command was interrupted"),
}
"""Code and title of a problem by its exit code, for errors that have none of their own."""


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
    """Return an expected error as one sentence without credentials, and its exit code."""
    sentence, exit_code = _describe(error)
    return redact_keys(sentence), exit_code


def _describe(error: BaseException) -> tuple[str, int]:
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


def describe_problem(error: BaseException) -> str:
    """Return an expected error as a problem, which ends a command with `--json`."""
    sentence, exit_code = describe_error(error)
    code, title = _PROBLEMS.get(exit_code, _PROBLEMS[EXIT_FAILED])
    if isinstance(error, SpawnError):
        code, title = error.code, error.title
    errors = error.errors if isinstance(error, InvalidInput) else ()
    return format_problem(code, title, " ".join(sentence.split()), exit_code, errors)


def format_problem(
    code: str, title: str, detail: str, exit_code: int, errors: Sequence[FieldError] = ()
) -> str:
    """Return a problem (RFC 9457) of the type `about:blank` as a line of JSON."""
    members = {"title": title, "detail": detail, "code": code, "exit_code": exit_code}
    return msgspec.json.encode(members | ({"errors": errors} if errors else {})).decode() + "\n"
