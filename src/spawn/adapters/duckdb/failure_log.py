"""Failures of the store in the service's log, each once, with its operation, cause and id."""

import secrets
import threading
import time
from collections import OrderedDict
from typing import Final, NamedTuple

from loguru import logger

from spawn.domain.errors import SpawnError, describe_cause

REPEAT_S: Final = 1.0
"""Time within which the same failure again belongs to the line that was logged for it."""

_MAX_CAUSES: Final = 64


class _LoggedFailure(NamedTuple):
    error_id: str
    logged_at_s: float


class FailureLog:
    """Log of the failures of one store.

    One broken engine fails every request in flight with the same cause: they share one line, and
    the id of that line.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: OrderedDict[tuple[str, str], _LoggedFailure] = OrderedDict()

    def record_failure(self, operation: str, cause: BaseException, error: SpawnError) -> SpawnError:
        """Log a failure with its cause, and return its error with the id of the log line.

        Args:
            operation: a verb and its object, as in "commit a group of changes".
            cause: the exception of the engine or the system, whose text stays in the log.
            error: the error that the caller gets.
        """
        cause_text = describe_cause(cause)
        error.error_id, is_new = self._assign_id((operation, cause_text))
        if error is not cause:
            error.__cause__ = cause
        if is_new:
            logger.bind(operation=operation, cause=cause_text, error_id=error.error_id).opt(
                exception=cause
            ).error("the store failed to {}: {}", operation, error.detail)
        return error

    def _assign_id(self, key: tuple[str, str]) -> tuple[str, bool]:
        """Return the id of the failure's log line, and whether it is to be written."""
        with self._lock:
            line, now_s = self._logged.get(key), time.monotonic()
            if line is not None and now_s - line.logged_at_s < REPEAT_S:
                return line.error_id, False
            line = self._logged[key] = _LoggedFailure(secrets.token_hex(8), now_s)
            self._logged.move_to_end(key)
            while len(self._logged) > _MAX_CAUSES:
                self._logged.popitem(last=False)
            return line.error_id, True
