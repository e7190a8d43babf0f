"""Logs as JSON lines with trace and request ids, spans over OTLP when asked for."""

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import msgspec
from loguru import logger
from opentelemetry import trace

from spawn import __version__
from spawn.entrypoints.http.middleware.request_spans import Tracing
from spawn.entrypoints.request_context import current
from spawn.entrypoints.settings import Settings

if TYPE_CHECKING:
    from loguru import Message

LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SAMPLED: Final = 0.1
"""Share of requests whose spans are recorded, where the caller has not decided."""

HIDDEN: Final = "***"
_SECRET_KEY: Final = re.compile(
    r"authorization|cookie|password|passwd|secret|token|api_?key|credential", re.IGNORECASE
)
_URL_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_TEXT: Final = re.compile(
    r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|((?:password|secret|token|api_?key)=)[^\s&]+"
)
_encoder: Final = msgspec.json.Encoder(enc_hook=str)
_handler_ids: list[int] = []


def configure_logging(level: str) -> None:
    """Send this process's logs, the server's own included, to stderr as JSON lines."""
    set_log_level(level)
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def set_log_level(level: str) -> None:
    """Log from this level on, from now on."""
    if _handler_ids:
        logger.remove(_handler_ids.pop())
    else:
        logger.remove()
    _handler_ids.append(
        # Neither values of variables nor frames beyond the raise: logs are no place for data.
        logger.add(_write, level=level, format="{message}", backtrace=False, diagnose=False)
    )


def _write(message: "Message") -> None:
    sys.stderr.write(_encoder.encode(line_of(message.record)).decode() + "\n")


def line_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A log record as the line it becomes, secrets redacted, ids of the request added."""
    line: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(),
        "level": record["level"].name,
        "message": redacted(record["message"]),
        "logger": record["name"],
        "kind": "log",
    }
    context = current.get()
    if context is not None:
        line["request_id"] = context.request_id
        line["trace_id"] = context.trace_id
        line["span_id"] = context.span_id
    for key, value in record["extra"].items():
        line.setdefault(key, HIDDEN if _SECRET_KEY.search(key) else _plain(value))
    failure = record["exception"]
    if failure is not None:
        line["exception"] = redacted(_traceback(failure))
    return line


def redacted(text: str) -> str:
    """The text without what looks like a credential."""
    text = _URL_CREDENTIALS.sub(f"{HIDDEN}@", text)
    return _SECRET_TEXT.sub(lambda match: f"{match[2] or (match[1] or '') + ' '}{HIDDEN}", text)


def _plain(value: object) -> object:
    return redacted(value) if isinstance(value, str) else value


def _traceback(failure: Any) -> str:
    import traceback

    return "".join(traceback.format_exception(failure.type, failure.value, failure.traceback))


class _ToLoguru(logging.Handler):
    """Hands records of the standard library's loggers on."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).log(record.levelname, "{}", record.getMessage())


def configure_tracing(settings: Settings) -> Tracing | None:
    """Export spans to the collector that the settings name; None if they name none."""
    if not settings.otlp_endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": "spawn",
                "service.version": __version__,
                "deployment.environment.name": settings.environment,
            }
        ),
        sampler=ParentBased(TraceIdRatioBased(SAMPLED)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{settings.otlp_endpoint}/v1/traces", timeout=5)
    # Bounded, and exported from the processor's own thread: a slow collector costs spans, not time.
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter, max_queue_size=2048, schedule_delay_millis=1000, max_export_batch_size=256
        )
    )
    trace.set_tracer_provider(provider)
    return Tracing(trace.get_tracer("spawn", __version__))


def flush_tracing() -> None:
    """Export what is recorded, as far as the collector takes it within seconds."""
    provider: Any = trace.get_tracer_provider()
    shutdown = getattr(provider, "shutdown", None)
    if shutdown is not None:
        shutdown()
