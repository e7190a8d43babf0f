"""The engine with failures injected at its boundary: `duckdb.connect` and `execute`."""

import re
import threading
from typing import Any

import duckdb
import pytest


class FailingEngine:
    """Connections of the real engine whose statements fail on demand.

    A statement fails while its text contains one of `failures`; one of `late_failures` fails once,
    after the statement has run. After a fatal failure every statement fails until the database is
    connected to again, as in the engine itself.
    """

    def __init__(self) -> None:
        self.failures: dict[str, duckdb.Error] = {}
        self.late_failures: dict[str, duckdb.Error] = {}
        self.statements: list[str] = []
        self.connect_failure: duckdb.Error | None = None
        self.connections = 0
        self.is_invalidated = False
        self._lock = threading.Lock()
        self._connect = duckdb.connect

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(duckdb, "connect", self.connect)

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        if self.connect_failure is not None:
            raise self.connect_failure
        if args and str(args[0]).endswith(".new"):  # an empty database, which then gets its name
            return self._connect(*args, **kwargs)
        self.connections += 1
        self.is_invalidated = False
        return _Connection(self, self._connect(*args, **kwargs))

    def check(self, statement: str) -> None:
        with self._lock:
            if self.is_invalidated:
                raise duckdb.FatalException(
                    "FATAL Error: Failed: database has been invalidated because of a previous fatal"
                    " error. The database must be restarted prior to being used again."
                )
            self.statements.append(statement)
            for part, failure in self.failures.items():
                if _names(statement, part):
                    self.is_invalidated = isinstance(failure, duckdb.FatalException)
                    raise failure

    def check_late(self, statement: str) -> None:
        with self._lock:
            for part in list(self.late_failures):
                if _names(statement, part):
                    failure = self.late_failures.pop(part)
                    self.is_invalidated = isinstance(failure, duckdb.FatalException)
                    raise failure


def _names(statement: str, part: str) -> bool:
    """Return whether a statement has these words: `commit` is no part of `commitment`."""
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", statement) is not None


class _Connection:
    def __init__(self, engine: FailingEngine, connection: Any) -> None:
        self._engine = engine
        self._connection = connection

    def execute(self, statement: str, *args: Any) -> Any:
        self._engine.check(statement)
        result = self._connection.execute(statement, *args)
        self._engine.check_late(statement)
        return result

    def cursor(self) -> "_Connection":
        return _Connection(self._engine, self._connection.cursor())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
