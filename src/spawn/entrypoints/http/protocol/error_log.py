"""Errors behind 5xx responses in the log, each once, with its cause and an id."""

import secrets
from typing import Final

from loguru import logger

from spawn.application.traffic.token_buckets import TokenBuckets
from spawn.domain.errors import SpawnError, describe_cause

INTERNAL_CODE: Final = "internal"
REJECTION_LINES_S: Final = 1.0
"""Lines per second that say the same of requests for which there was no room."""

_MAX_REJECTIONS: Final = 64
_rejection_lines: Final = TokenBuckets("log lines", REJECTION_LINES_S, max_clients=_MAX_REJECTIONS)


def log_server_error(
    code: str, detail: str, *, method: str, path: str, error: Exception
) -> str | None:
    """Log an error behind a 5xx response.

    Errors without a cause that say the same are logged `REJECTION_LINES_S` times a second: a client
    that is rejected must not fill the log, whose lines cost more than the rejections. The access
    log has each request.

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
        if _rejection_lines.take(f"{code} {detail}") >= 0:
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
