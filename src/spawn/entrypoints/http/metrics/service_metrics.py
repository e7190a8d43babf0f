"""Metrics of the service itself, gathered when scraped, in the Prometheus text format."""

from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spawn import __version__
from spawn.application.dependencies import Services
from spawn.application.events.relay import Relay, Standing
from spawn.application.jobs import SERVICE
from spawn.application.quality.queries import latest_report
from spawn.domain.quality.rules import Report
from spawn.entrypoints.http.events.sse import Streams
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.metrics.schema_metrics import SchemaMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST.encode()


_EVENT_GAUGES: Final[tuple[tuple[str, str, Callable[[Standing], float]], ...]] = (
    (
        "spawn_events_lag_seconds",
        "Age of the oldest event that the publisher has not taken.",
        lambda standing: standing.lag_s,
    ),
    (
        "spawn_events_backlog_rows",
        "Rows of the journal that the publisher is not past yet.",
        lambda standing: standing.backlog,
    ),
    (
        "spawn_events_waiting_aggregates",
        "Aggregates whose events wait behind one that failed.",
        lambda standing: standing.waiting,
    ),
    (
        "spawn_dead_letters",
        "Events given up that wait to be replayed or discarded.",
        lambda standing: standing.dead_letters,
    ),
)


class Metrics:
    """The registry behind `/monitoring/metrics`, private to this service."""

    def __init__(self, requests: RequestMetrics, log: AccessLog) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._provider = MeterProvider(
            metric_readers=[
                PrometheusMetricReader(
                    disable_target_info=True, scope_info_enabled=False, registry=self._registry
                )
            ],
            shutdown_on_exit=False,
        )
        self._registry.register(requests)
        self._log = log
        self._service: _ServiceCollector | None = None

    @property
    def meter(self) -> Meter:
        """Where business metrics are recorded."""
        return self._provider.get_meter("spawn", __version__)

    def watch(self, services: Services, relay: Relay, streams: Streams) -> None:
        """Add what the services know of themselves to every scrape."""
        self._service = _ServiceCollector(services, relay, streams, self._log)
        self._registry.register(self._service)

    async def render(self) -> bytes:
        """The metrics now, as text."""
        if self._service is not None:
            await self._service.gather()
        return generate_latest(self._registry)

    def close(self) -> None:
        """Let the readers go."""
        self._provider.shutdown()


class _ServiceCollector(Collector):
    """Store, feed, schema and registry as gauges."""

    def __init__(self, services: Services, relay: Relay, streams: Streams, log: AccessLog) -> None:
        self._services = services
        self._relay = relay
        self._streams = streams
        self._log = log
        self._schemas = SchemaMetrics(services)
        self._report: Report | None = None
        self._standings: list[Standing] = []

    async def gather(self) -> None:
        """Ask what can only be awaited, before the scrape reads it."""
        await self._schemas.gather()
        stored = await latest_report(self._services, SERVICE)
        self._report = None if stored is None else stored.state
        self._standings = await self._relay.standings()

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        yield from self._storage()
        yield from self._schemas.collect()
        yield from self._quality()
        yield from self._events()
        yield CounterMetricFamily(
            "spawn_access_lines_dropped",
            "Access lines dropped because the log's reader stalled.",
            value=self._log.dropped,
        )

    def _storage(self) -> Iterator[Metric]:
        status = self._services.control.status()
        gauges = (
            ("spawn_storage_writable", "1 if the store takes writes.", int(status.writable)),
            ("spawn_storage_queue_changes", "Changes waiting for the writer.", status.queued),
            ("spawn_storage_queue_limit_changes", "Most that may wait.", status.queue_limit),
            ("spawn_projection_lag_rows", "Rows not projected yet.", status.lag_rows),
            ("spawn_projection_lag_seconds", "Age of the oldest such row.", status.lag_s),
            ("spawn_storage_file_bytes", "Size of the store's file.", status.file_bytes),
            ("spawn_storage_wal_bytes", "Size of its log.", status.wal_bytes),
            ("spawn_disk_free_bytes", "Free space on the store's disk.", status.free_bytes),
            ("spawn_disk_reserve_bytes", "Space kept free.", status.reserve_bytes),
        )
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)

    def _events(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "spawn_feed_lag_seconds",
            "Age of the oldest event that some publisher has not taken.",
            value=max((standing.lag_s for standing in self._standings), default=0.0),
        )
        published = CounterMetricFamily(
            "spawn_events_published",
            "Events by publisher and what became of a try: delivered, failed, dead_lettered.",
            labels=("publisher", "outcome"),
        )
        for standing in self._standings:
            published.add_metric((standing.name, "delivered"), standing.delivered)
            published.add_metric((standing.name, "failed"), standing.failed)
            published.add_metric((standing.name, "dead_lettered"), standing.given_up)
        yield published
        for name, text, value in _EVENT_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("publisher",))
            for standing in self._standings:
                gauge.add_metric((standing.name,), value(standing))
            yield gauge
        yield from self._followers()

    def _followers(self) -> Iterator[Metric]:
        streams = self._streams
        yield GaugeMetricFamily(
            "spawn_event_streams", "Clients that follow the event stream.", value=streams.open
        )
        yield CounterMetricFamily(
            "spawn_event_stream_messages", "Events sent to followers.", value=streams.sent
        )
        yield CounterMetricFamily(
            "spawn_event_streams_cut_off",
            "Followers cut off because their connection took nothing.",
            value=streams.cut_off,
        )

    def _quality(self) -> Iterator[Metric]:
        """The latest measurement; there are at most three rules for a column of the schema."""
        report = self._report
        if report is None:
            return
        yield GaugeMetricFamily(
            "spawn_quality_measured_timestamp_seconds",
            "When the data were last measured.",
            value=report.measured_at.timestamp(),
        )
        values = GaugeMetricFamily(
            "spawn_quality_rule_value",
            "What a rule measured: a share, or an age in seconds.",
            labels=("rule", "dimension"),
        )
        passed = GaugeMetricFamily(
            "spawn_quality_rule_passed",
            "1 if the service level of a rule is kept, 0 if it is broken.",
            labels=("rule", "severity"),
        )
        for result in report.results:
            rule = result.rule
            if result.value is not None:
                values.add_metric((rule.rule_id, rule.dimension.value), result.value)
            if result.passed is not None:
                passed.add_metric((rule.rule_id, rule.severity.value), int(result.passed))
        yield values
        yield passed
