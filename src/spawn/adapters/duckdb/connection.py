"""DuckDB engine of one file: opening, cursors, reader threads and error translation."""

import asyncio
import errno
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from spawn.adapters.duckdb.failure_log import FailureLog
from spawn.adapters.duckdb.served_files import ServedFiles
from spawn.adapters.embedded.reader_turns import ReaderTurns
from spawn.adapters.embedded.synced_folders import sync_folder
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.encryption.engine_extension import (
    NETWORK_FILE_SYSTEMS,
    PACKAGE,
    find_engine_extension,
    loadable_extension,
)
from spawn.domain.errors import (
    DeadlineExceeded,
    InternalError,
    KeyMismatch,
    SpawnError,
    StorageBusy,
    StorageDamaged,
    StorageFull,
    StorageIncompatible,
    Unavailable,
)
from spawn.ports.client_presence import waiting_for_client
from spawn.ports.runtime import current_client

T = TypeVar("T")
Cursor = duckdb.DuckDBPyConnection

_NO_SPACE = ("No space left", "Disk quota exceeded", "File too large", "Out of disk", "ENOSPC")
_DAMAGE = ("orrupt", "checksum", "not a valid DuckDB database", "Failed to load metadata")
_WRONG_TAG = "Computed AES tag differs"
"""Sign of a changed block of an encrypted file, in an error about the input of a statement."""

_LOST_SYNC = "fsync failed"
_SYSTEM_ERRORS = (duckdb.OperationalError, duckdb.InternalError, duckdb.FatalException)
"""Errors whose text is the system's or the engine's, never a value that a user wrote."""

_SYSTEM_REASONS = tuple(
    os.strerror(number)
    for number in (
        errno.EACCES,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EPERM,
        errno.EROFS,
    )
)
"""Reasons of the system for which an intact file cannot be opened."""

PROGRAM_ERRORS = (
    duckdb.ProgrammingError,
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
)
"""Errors about a statement and the tables it names, not about the engine or the disk."""

_MAX_WAITING = 256
_RETRY_PAUSE_S = 0.02
_ATTACHED = "store"
"""Name of an encrypted database, which the engine can only attach."""

_KEY_PROBLEMS = {
    "Wrong encryption key": (
        "{file} is encrypted with another key: name the file of its key in"
        " SPAWN_ENCRYPTION_KEY_FILE."
    ),
    "without a key": (
        "{file} is encrypted and no key is given: name the file of its key in"
        " SPAWN_ENCRYPTION_KEY_FILE."
    ),
    "is not encrypted": (
        "SPAWN_ENCRYPTION_KEY_FILE is set and {file} is not encrypted: unset it, or take a backup"
        " without the key and restore that with it (docs/backup.md)."
    ),
}
"""Errors about keys by what the engine says."""


def translate_error(error: duckdb.Error, file: str) -> SpawnError:
    """Translate an engine failure to a port error; the engine's text stays here."""
    text = str(error) if isinstance(error, _SYSTEM_ERRORS) else ""
    if isinstance(error, duckdb.InterruptException):
        return DeadlineExceeded(
            "The query exceeded its time limit and was stopped: narrow it or retry."
        )
    if any(sign in text for sign in _NO_SPACE):
        return StorageFull("The disk is full and nothing was written: free disk space, then retry.")
    is_changed = isinstance(error, duckdb.InvalidInputException) and _WRONG_TAG in str(error)
    if is_changed or any(sign in text for sign in _DAMAGE):
        return damaged_error(file)
    if isinstance(error, duckdb.OutOfMemoryException):
        return Unavailable(
            "The storage engine ran out of memory for this request: narrow it or retry."
        )
    if isinstance(error, PROGRAM_ERRORS):
        # The same statement fails again, so that a client that retries would retry for ever.
        return InternalError(
            "The service failed on a statement of its own: report the error id to the operator."
        )
    return Unavailable(
        "The storage engine failed to run the statement: retry, and check the disk and the log."
    )


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether a statement needed more memory than the engine may take."""
    return isinstance(failure.__cause__, duckdb.OutOfMemoryException)


def is_fatal(failure: duckdb.Error) -> bool:
    """Whether the database accepts no further statement until it is reopened."""
    return isinstance(failure, duckdb.FatalException)


def is_sync_failure(failure: BaseException) -> bool:
    """Whether the disk did not confirm a write, so that no later read of it can be trusted."""
    return isinstance(failure, duckdb.FatalException) and _LOST_SYNC in str(failure)


def read_memory_bytes(cursor: Cursor) -> int:
    """Return the bytes of memory that the engine uses, its buffers above all."""
    row = cursor.execute("select sum(memory_usage_bytes) from duckdb_memory()").fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


def damaged_error(file: str) -> StorageDamaged:
    """Build the error about a file that must not be served."""
    return StorageDamaged(
        f"The database {file} is damaged: move it and its .wal and .mark files away together and"
        " restore all three from the last backup."
    )


def _opening_error(failure: duckdb.Error, file: str) -> SpawnError:
    """Build the error about a file that cannot be opened.

    It is damaged unless the engine names another reason: its texts about damage are many.
    """
    text = str(failure)
    for sign, problem in _KEY_PROBLEMS.items():
        if sign in text:
            return KeyMismatch(problem.format(file=file))
    if "Could not set lock" in text:
        return StorageBusy(
            f"Another process has {file} open: stop it, or talk to it over HTTP (set SPAWN_URL)."
        )
    if any(sign in text for sign in _NO_SPACE):
        return StorageFull(f"The disk is full and {file} cannot be opened: free disk space.")
    if _LOST_SYNC in text:
        return Unavailable(
            f"The disk did not confirm a write to {file}: check the disk and the system's log, then"
            " start again."
        )
    for reason in _SYSTEM_REASONS:
        if text.endswith(reason):
            return Unavailable(
                f"The file {file} cannot be opened: {reason}. Check its owner and permissions,"
                " and the disk."
            )
    return damaged_error(file)


class FolderNotSynced(Exception):
    """The disk did not confirm which files the folder of the database has."""


class _NoPandas:
    """Import finder that reports at once that pandas is absent.

    The engine's client looks for pandas twice per parameter. Where pandas is not installed, each
    look-up searches the whole path again, which takes a multiple of the query.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)

    @classmethod
    def install(cls) -> None:
        """Install the finder before the others, once, unless pandas can be found."""
        if cls not in sys.meta_path and importlib.util.find_spec("pandas") is None:
            sys.meta_path.insert(0, cls)


def quote_path(path: Path) -> str:
    """Return a path as a constant of a statement, which takes no parameter there."""
    return "'" + str(path).replace("'", "''") + "'"


def load_engine_extension(connection: Cursor) -> None:
    """Load what the engine needs to write encrypted files.

    Raises:
        StorageIncompatible: it is not installed.
    """
    extension = find_engine_extension(duckdb.__version__)
    if extension is None:
        raise StorageIncompatible(
            f"Encryption needs the package {PACKAGE.replace('_', '-')}=={duckdb.__version__}: run"
            " `make extras` in a clone; the container image includes it."
        )
    with loadable_extension(extension) as file:
        connection.execute(f"load {quote_path(file)}")
    connection.execute(f"set disabled_filesystems = '{NETWORK_FILE_SYSTEMS}'")


def attach_encrypted(
    connection: Cursor, path: Path, key: EncryptionKey, *, is_read_only: bool = False
) -> None:
    """Attach an encrypted database, created if it is absent, and make it the current one."""
    options = f"encryption_key '{key.engine_key(b'engine')}', encryption_cipher 'GCM'"
    mode = ", read_only" if is_read_only else ""
    connection.execute(f"attach {quote_path(path)} as {_ATTACHED} ({options}{mode})")
    connection.execute(f"use {_ATTACHED}")


class Engine:
    """Open database of one file; every thread uses a cursor of its own.

    With a `key` the file, its log and the temporary files are encrypted.
    """

    def __init__(
        self,
        path: Path,
        memory_limit: str,
        log_limit_bytes: int,
        key: EncryptionKey | None = None,
    ) -> None:
        self.path = path
        self.key = key
        self.failures = FailureLog()
        self._memory_limit = memory_limit
        self._log_limit_bytes = log_limit_bytes
        self._lock = threading.Lock()
        self._cursors: list[Cursor] = []
        self._failed_sync = path.with_name(f"{path.name}.unsynced")
        _NoPandas.install()
        if not path.exists():
            self._create_database()
        self.generation = 0
        self._connection = self._connect()

    def _create_database(self) -> None:
        """Create an empty database under another name first, so that no part of one has its name.

        The engine rejects a file whose headers a power loss left out.
        """
        new_path = self.path.with_name(f"{self.path.name}.new")
        try:
            new_path.unlink(missing_ok=True)
            self._connect_to(new_path).close()
            new_path.rename(self.path)
            sync_folder(self.path.parent)
        except OSError as failure:
            raise Unavailable(
                f"The disk did not confirm the new database {self.path.name}: check the disk and"
                " the system's log, then start again."
            ) from failure

    def _connect(self) -> Cursor:
        connection = self._connect_to(self.path)
        self.files = ServedFiles(self.path)
        return connection

    def _connect_to(self, path: Path) -> Cursor:
        try:
            connection = duckdb.connect(
                ":memory:" if self.key else str(path),
                config={
                    "threads": 1,
                    "memory_limit": self._memory_limit,
                    "temp_directory": f"{self.path}.tmp",
                    "temp_file_encryption": self.key is not None,
                    "checkpoint_threshold": f"{self._log_limit_bytes}B",
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                    "python_enable_replacements": False,
                    "late_materialization_max_rows": 0,
                },
            )
            # Columns that leave the engine carry the name of the zone.
            connection.execute("set global timezone = 'UTC'")
            # The end of a process that has lost its files must not write to those of another one.
            connection.execute("pragma disable_checkpoint_on_shutdown")
            try:
                if self.key is not None:
                    load_engine_extension(connection)
                    attach_encrypted(connection, path, self.key)
                connection.execute("set lock_configuration = true")
            except BaseException:
                connection.close()  # the file stays locked as long as the error is referred to
                raise
        except duckdb.Error as failure:
            raise _opening_error(failure, self.path.name) from failure
        return connection

    def cursor(self) -> Cursor:
        """Return a cursor for the calling thread, closed with the engine."""
        with self._lock:
            cursor = self._connection.cursor()
            if self.key is not None:
                cursor.execute(f"use {_ATTACHED}")
            self._cursors.append(cursor)
            return cursor

    def reopen(self) -> None:
        """Close and reopen the file, after a failure the engine cannot recover from.

        Raises:
            StorageDamaged, StorageBusy: as at the start.
        """
        with self._lock:
            self._close()
            self._connection = self._connect()
            self.generation += 1

    def free_bytes(self) -> int:
        """Return the bytes that an unprivileged process may write beside the file.

        They are 0 where the folder is not there any more.
        """
        try:
            disk = os.statvfs(self.path.parent)
        except FileNotFoundError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def sync_files(self) -> None:
        """Make durable what the engine has read of its file and its log.

        A process that was killed before its sync has left it in the memory of the system.

        Raises:
            OSError: the disk did not confirm it.
        """
        self.files.sync()

    def confirm_commit(self) -> None:
        """Check that the log has the last commit, and make the name of a new log durable.

        The engine syncs the log, not its folder, and begins another log after each checkpoint.

        Raises:
            FileLost: the log is not the file of its name any more.
            FolderNotSynced: the disk did not confirm the name.
        """
        if self.files.confirm_commit():
            self._sync_folder()
            self.files.note_log_name()

    def checkpoint(self, cursor: Cursor) -> None:
        """Write the log into the file, and make it durable that the log is gone.

        The engine recognises a log that it wrote into the file at its last checkpoint. It would
        apply one of the checkpoint before again.

        Raises:
            FolderNotSynced: the disk did not confirm it.
        """
        cursor.execute("checkpoint")
        self.files.note_checkpoint()
        self._sync_folder()

    def checkpoint_without_queries(self, cursor: Cursor, timeout_s: float) -> None:
        """Interrupt the queries of every other cursor until a checkpoint succeeds.

        The engine rejects a checkpoint while another transaction writes, and also while one reads
        rows that a later transaction has updated. Its `force checkpoint` waits without a limit.

        Raises:
            duckdb.TransactionException: other transactions went on for `timeout_s`.
            FolderNotSynced: see `checkpoint`.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._interrupt_others(cursor)
            try:
                self.checkpoint(cursor)
            except duckdb.TransactionException:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(_RETRY_PAUSE_S)
            else:
                return

    def _interrupt_others(self, cursor: Cursor) -> None:
        with self._lock:
            for other in self._cursors:
                if other is not cursor:
                    other.interrupt()

    def _sync_folder(self) -> None:
        try:
            sync_folder(self.path.parent)
        except OSError as failure:
            raise FolderNotSynced(str(failure)) from failure

    def note_failed_sync(self) -> None:
        """Note beside the file that the system may show pages that the disk does not have.

        Like these pages, the note lasts until the machine restarts, so it needs no sync.
        """
        with suppress(OSError):
            self._failed_sync.touch(mode=0o600)

    def has_failed_sync(self) -> bool:
        """Whether a sync of the file or its log failed since its last checkpoint."""
        return self._failed_sync.exists()

    def forget_failed_sync(self) -> None:
        """Remove the note, once everything has been written anew."""
        self._failed_sync.unlink(missing_ok=True)

    def close(self) -> None:
        """Close every cursor and the database; idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()
        self._connection.close()
        self.files.close()


class _RunningQuery:
    """Query in progress, which another thread may interrupt only while it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Cursor | None = None
        self._expired = False

    def begin(self, cursor: Cursor) -> None:
        with self._lock:
            if self._expired:
                raise DeadlineExceeded("The query waited longer than its time limit: retry later.")
            self._cursor = cursor

    def end(self) -> None:
        with self._lock:
            self._cursor = None

    def expire(self) -> None:
        with self._lock:
            self._expired = True
            if self._cursor is not None:
                self._cursor.interrupt()


def _end_transaction(cursor: Cursor) -> None:
    """End the transaction of a result that was not read to its end.

    It would stay open until the next query of the thread, and keep the writer from a checkpoint.
    """
    with suppress(duckdb.Error):
        if cursor.fetchone() is not None:
            cursor.execute("select null").fetchall()


class ReaderThreads:
    """Threads that run queries off the event loop, each within a time limit.

    One client uses `count` threads at most; another one finds a thread beside them.
    `operation` names their work in the log of failures; `on_fatal` is called, from any of them,
    when the database accepts no further statement.
    """

    def __init__(
        self,
        engine: Engine,
        count: int,
        timeout_s: float,
        *,
        operation: str,
        on_fatal: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._on_fatal = on_fatal
        self._timeout_s = timeout_s
        self._operation = operation
        self.turns = ReaderTurns(count, _MAX_WAITING)
        self._pool = ThreadPoolExecutor(self.turns.threads, thread_name_prefix="spawn-reader")
        self._local = threading.local()

    async def run(self, query: Callable[[Cursor], T]) -> T:
        """Run the query on a reader thread and return its result.

        Raises:
            Overloaded: too many queries wait already.
            CancelledError: the client disconnected while the query waited.
            DeadlineExceeded: it did not finish in time and was stopped.
            SpawnError: the translated failure of the engine.
        """
        loop, running_query = asyncio.get_running_loop(), _RunningQuery()
        client = current_client.get()
        timer = loop.call_later(self._timeout_s, running_query.expire)
        try:
            with waiting_for_client():
                await self.turns.take(client)
            try:
                return await loop.run_in_executor(self._pool, self._execute, running_query, query)
            except asyncio.CancelledError:
                running_query.expire()
                raise
            finally:
                self.turns.release(client)
        finally:
            timer.cancel()

    def _execute(self, running_query: _RunningQuery, query: Callable[[Cursor], T]) -> T:
        try:
            running_query.begin(cursor := self._cursor())
            try:
                return query(cursor)
            finally:
                running_query.end()
                _end_transaction(cursor)
        except duckdb.Error as failure:
            error = translate_error(failure, self._engine.path.name)
            if isinstance(error, DeadlineExceeded):
                raise error from failure
            if is_fatal(failure):
                self._on_fatal()
            raise self._engine.failures.record_failure(self._operation, failure, error) from failure

    def _cursor(self) -> Cursor:
        if getattr(self._local, "generation", None) != self._engine.generation:
            self._local.generation = self._engine.generation
            self._local.cursor = self._engine.cursor()
        cursor: Cursor = self._local.cursor
        return cursor

    def close(self) -> None:
        """Wait for running queries and stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
