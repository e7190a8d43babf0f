"""Names of the database and its log, and the files that the engine has open under them.

The engine goes on writing to a file whose name was removed or given to another one, and every
change that it confirms there is lost with the process. It begins another log only after a
checkpoint. The store leaves no checkpoint to it, so any other disappearance is somebody else's.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_HEADER_BYTES = 3 * 4096
"""The engine's headers, of which each of its checkpoints writes one."""


class FileLost(Exception):
    """The database or its log does not have its name any more, or another program wrote to it."""


class _FileState(NamedTuple):
    device: int
    inode: int
    size: int

    def is_of_same_file(self, other: "_FileState") -> bool:
        return self[:2] == other[:2]


class ServedFiles:
    """The files as the engine opened them."""

    def __init__(self, database: Path) -> None:
        # Texts and `os.stat`, because a Path costs tenfold and each commit looks at both files.
        self._database = str(database)
        self._log = f"{database}.wal"
        # It stays open as long as the engine: to close any descriptor of a file takes the locks
        # away that the process has on it, and an open file keeps its inode.
        self._descriptor = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
        self._database_state = _state_of(os.fstat(self._descriptor))
        self._header = self._read_header()
        self._log_state = self._read_state(self._log)
        # The engine cuts a torn end off the log that it found, but at its first write only.
        self._may_shrink = self._log_state is not None
        self._is_log_named = False

    @property
    def checked_log_bytes(self) -> int:
        """Size of the log at the last check; 0 if there was none."""
        return 0 if self._log_state is None else self._log_state.size

    def log_bytes(self) -> int:
        """Return the size of the log; 0 if there is none."""
        state = self._read_state(self._log)
        return 0 if state is None else state.size

    def database_bytes(self) -> int:
        """Return the size of the database; 0 if it is not there any more."""
        state = self._read_state(self._database)
        return 0 if state is None else state.size

    def sync(self) -> None:
        """Make durable what the engine has read of its file and its log.

        Raises:
            OSError: the disk did not confirm it.
        """
        os.fsync(self._descriptor)
        with suppress(FileNotFoundError):
            descriptor = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def check(self) -> None:
        """Check that both names are still those of the engine's files.

        Raises:
            FileLost: one of them is not.
        """
        self._log_state = self._find_log()

    def confirm_commit(self) -> bool:
        """Check after a commit that the log has it; return whether the log has a new name.

        The name of a new log is to be synced. See `note_log_name`.

        Raises:
            FileLost: the log is gone, or is a file that the commit has not extended.
        """
        before, state = self._log_state, self._find_log()
        if state is None or (not self._may_shrink and before and state.size <= before.size):
            raise FileLost(self._log)
        self._log_state, self._may_shrink = state, False
        return not self._is_log_named

    def are_lost(self) -> bool:
        """Whether a check would fail; from another thread, also during a checkpoint."""
        try:
            self._find_log()
        except FileLost:
            return True
        return False

    def note_log_name(self) -> None:
        """Note that the name of the present log is durable."""
        self._is_log_named = True

    def note_checkpoint(self) -> None:
        """Note that the engine has written the log into the file and removed it."""
        self._header = self._read_header()
        self._log_state, self._may_shrink, self._is_log_named = None, False, False

    def _find_log(self) -> _FileState | None:
        """Return the state of the log; None if the engine has not begun one.

        Raises:
            FileLost: the database or a log that was begun is not there any more.
        """
        database, before = self._read_state(self._database), self._log_state
        if database is None or not database.is_of_same_file(self._database_state):
            raise FileLost(self._database)
        state = self._read_state(self._log)
        if before is not None and (
            state is None
            or not state.is_of_same_file(before)
            or (state.size < before.size and not self._may_shrink)
        ):
            raise FileLost(self._log)
        return state

    def is_database_intact(self) -> bool:
        """Whether the database has its name, and no other engine wrote to it."""
        state = self._read_state(self._database)
        return (
            state is not None
            and state.is_of_same_file(self._database_state)
            and self._read_header() == self._header
        )

    def close(self) -> None:
        """Close the descriptor, after the engine; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_header(self) -> bytes:
        return os.pread(self._descriptor, _HEADER_BYTES, 0)

    def _read_state(self, name: str) -> _FileState | None:
        try:
            return _state_of(os.stat(name))  # noqa: PTH116 -- see __init__
        except FileNotFoundError:
            return None


def _state_of(status: os.stat_result) -> _FileState:
    return _FileState(status.st_dev, status.st_ino, status.st_size)
