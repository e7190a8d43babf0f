"""Logs with trace and request ids: as JSON lines, or as text for a terminal."""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from loguru import logger

from spawn.domain.dates import format_log_time
from spawn.domain.text import REDACTED, escape_unprintable, redact
from spawn.entrypoints.request_context import current_request

if TYPE_CHECKING:
    from loguru import Message

_SECRET_KEY: Final = re.compile(
    r"authorization|cookie|password|passwd|secret|token|api_?key|credential", re.IGNORECASE
)
_encoder: Final = msgspec.json.Encoder(enc_hook=str)
_handler_ids: list[int] = []
_is_text = [False]
_STDERR: Final = 2
_NOT_IN_TEXT: Final = frozenset(
    {"time", "level", "message", "logger", "kind", "exception", "trace_id", "span_id"}
)
"""Members of a line that its text begins or ends with, or that nobody reads on a terminal."""


def is_text_format(log_format: str, descriptor: int) -> bool:
    """Whether lines for a file descriptor are text; `auto` is text on a terminal only."""
    return log_format == "text" or (log_format == "auto" and os.isatty(descriptor))


def configure_logging(level: str, log_format: str = "json") -> None:
    """Send all logs of this process, the server's included, to stderr."""
    _is_text[0] = is_text_format(log_format, _STDERR)
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
    line = log_line(message.record)
    text = format_text_line(line) if _is_text[0] else _encoder.encode(line).decode()
    sys.stderr.write(text + "\n")


def format_text_line(line: Mapping[str, Any]) -> str:
    """Return a line for a person: time, level, message, the other members, a traceback below."""
    others = (f"{key}={line[key]}" for key in line if key not in _NOT_IN_TEXT)
    parts = (line["time"], f"{line['level']:<8}", line["message"], *others)
    text = escape_unprintable(" ".join(parts))
    if "exception" not in line:
        return text
    traceback_lines = line["exception"].rstrip().split("\n")
    return "\n".join((text, *(f"  {escape_unprintable(one)}" for one in traceback_lines)))


def log_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log record as a JSON line, with secrets redacted and request ids added."""
    line: dict[str, Any] = {
        "time": format_log_time(record["time"]),
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
