"""Errors behind 5xx responses in the log, each once, with its cause and an id."""

import secrets
from typing import Final

from loguru import logger

from spawn.domain.errors import SpawnError

INTERNAL_CODE: Final = "internal"
_MAX_CAUSE_CHARACTERS: Final = 500


def log_server_error(
    code: str, detail: str, *, method: str, path: str, error: Exception
) -> str | None:
    """Log an error behind a 5xx response.

    Returns:
        The id of the log line with the cause; None if the error has no cause but itself, as of a
        full queue.
    """
    request_log = logger.bind(code=code, method=method, path=path)
    if isinstance(error, SpawnError) and error.error_id is not None:
        # The adapter logged the cause, once for all requests that it failed.
        request_log.bind(error_id=error.error_id).warning(
            "a request could not be served: {}", detail
        )
        return error.error_id
    if code != INTERNAL_CODE and error.__cause__ is None:
        request_log.warning("a request could not be served: {}", detail)
        return None
    error_id = secrets.token_hex(8)
    request_log = request_log.bind(error_id=error_id)
    if code == INTERNAL_CODE:
        request_log.opt(exception=error).error("a request failed unexpectedly")
    else:
        cause = error.__cause__
        text = f"{type(cause).__name__}: {cause}"[:_MAX_CAUSE_CHARACTERS]
        request_log.bind(cause=text).warning("a request could not be served: {}", detail)
    return error_id
