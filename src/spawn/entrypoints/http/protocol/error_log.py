"""Errors behind 5xx responses in the log, each once, with its cause and an id."""

import secrets
from typing import Final

from loguru import logger

from spawn.domain.errors import SpawnError, describe_cause

INTERNAL_CODE: Final = "internal"


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
        request_log.bind(cause=describe_cause(error.__cause__ or error)).warning(
            "a request could not be served: {}", detail
        )
    return error_id
