"""Export of spans over OTLP."""

from typing import Any

from opentelemetry import trace

from spawn import __version__
from spawn.entrypoints.settings import Settings


def configure_tracing(settings: Settings) -> trace.Tracer | None:
    """Export spans to the configured collector; return None if there is none."""
    if not settings.otlp_endpoint:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import DEFAULT_ON

    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.name": "spawn",
                "service.version": __version__,
                "deployment.environment.name": settings.environment,
            }
        ),
        # `RequestTracer` has drawn the requests that it opens a span for.
        sampler=DEFAULT_ON,
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
    return trace.get_tracer("spawn", __version__)


def flush_tracing() -> None:
    """Export the recorded spans, as far as the collector accepts them within seconds."""
    provider: Any = trace.get_tracer_provider()
    shutdown = getattr(provider, "shutdown", None)
    if shutdown is not None:
        shutdown()
