"""Logs as JSON lines with trace and request ids."""

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import msgspec
from loguru import logger

from spawn.domain.text import REDACTED, redact
from spawn.entrypoints.request_context import current_request

if TYPE_CHECKING:
    from loguru import Message

_SECRET_KEY: Final = re.compile(
    r"authorization|cookie|password|passwd|secret|token|api_?key|credential", re.IGNORECASE
)
_encoder: Final = msgspec.json.Encoder(enc_hook=str)
_handler_ids: list[int] = []


def configure_logging(level: str) -> None:
    """Send all logs of this process, the server's included, to stderr as JSON lines."""
    set_log_level(level)
    logging.basicConfig(handlers=[_LoguruHandler()], level=logging.WARNING, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def set_log_level(level: str) -> None:
    """Log from this level on, effective at once."""
    if _handler_ids:
        logger.remove(_handler_ids.pop())
    else:
        logger.remove()
    _handler_ids.append(
        # Neither values of variables nor frames beyond the raise: logs are no place for data.
        logger.add(_write, level=level, format="{message}", backtrace=False, diagnose=False)
    )


def _write(message: "Message") -> None:
    sys.stderr.write(_encoder.encode(log_line(message.record)).decode() + "\n")


def log_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log record as a JSON line, with secrets redacted and request ids added."""
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(),
        "level": record["level"].name,
        "message": redact(record["message"]),
        "logger": record["name"],
        "kind": "log",
    }
    context = current_request.get()
    if context is not None:
        line["request_id"] = context.request_id
        line["trace_id"] = context.trace_id
        line["span_id"] = context.span_id
    for key, value in record["extra"].items():
        line.setdefault(key, REDACTED if _SECRET_KEY.search(key) else _redact_value(value))
    exception = record["exception"]
    if exception is not None:
        line["exception"] = redact(_format_traceback(exception))
    return line


def _redact_value(value: object) -> object:
    return redact(value) if isinstance(value, str) else value


def _format_traceback(exception: Any) -> str:
    import traceback

    return "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))


class _LoguruHandler(logging.Handler):
    """Handler that forwards records of the standard library's loggers to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).log(record.levelname, "{}", record.getMessage())
