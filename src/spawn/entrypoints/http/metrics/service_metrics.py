"""Metrics of the service in the Prometheus text format, collected when scraped."""

import platform
from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spawn import __version__
from spawn.application.background_tasks import BackgroundTasks
from spawn.application.dependencies import Dependencies
from spawn.application.events.event_streams import EventStreams
from spawn.application.events.relay import DeliveryStatus, Relay
from spawn.application.quality.queries import get_latest_report
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.quality.report import QualityReport
from spawn.entrypoints.http.metrics.project_metrics import ProjectMetrics
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.metrics.schema_metrics import SchemaMetrics
from spawn.entrypoints.http.metrics.store_metrics import StoreMetrics

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST.encode()
_EVENT_GAUGES: Final[tuple[tuple[str, str, Callable[[DeliveryStatus], float]], ...]] = (
    (
        "spawn_events_lag_seconds",
        "Age of the oldest event that the publisher has not delivered.",
        lambda status: status.lag_s,
    ),
    (
        "spawn_events_backlog_rows",
        "Journal rows after the position of the publisher.",
        lambda status: status.backlog,
    ),
    (
        "spawn_events_waiting_aggregates",
        "Aggregates whose events wait for the retry of a failed one.",
        lambda status: status.waiting,
    ),
    (
        "spawn_dead_letters",
        "Undeliverable events that are neither replayed nor discarded.",
        lambda status: status.dead_letters,
    ),
)


class PrometheusMetrics:
    """The metrics behind `/monitoring/metrics`, in a registry private to the service."""

    def __init__(self, requests: RequestMetrics, dropped_lines: Callable[[], int]) -> None:
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
        ProcessCollector(registry=self._registry)
        self._dropped_lines = dropped_lines
        self._service: _ServiceCollector | None = None

    def register(self, collector: Collector) -> None:
        """Add the metrics of a collector to every scrape."""
        self._registry.register(collector)

    @property
    def meter(self) -> Meter:
        """The OpenTelemetry meter of domain metrics."""
        return self._provider.get_meter("spawn", __version__)

    def watch(
        self,
        dependencies: Dependencies,
        relay: Relay,
        streams: EventStreams,
        background: BackgroundTasks,
    ) -> None:
        """Add the state of the relay, the schemas and the tasks to every scrape."""
        self._service = _ServiceCollector(
            dependencies, relay, streams, background, self._dropped_lines
        )
        self._registry.register(self._service)

    async def render(self) -> bytes:
        """Return the current metrics as text."""
        if self._service is not None:
            await self._service.gather()
        return generate_latest(self._registry)

    def close(self) -> None:
        """Shut the metric readers down."""
        self._provider.shutdown()


class _ServiceCollector(Collector):
    """Collector of store, schema, quality and event metrics."""

    def __init__(
        self,
        dependencies: Dependencies,
        relay: Relay,
        streams: EventStreams,
        background: BackgroundTasks,
        dropped_lines: Callable[[], int],
    ) -> None:
        self._background = background
        self._dependencies = dependencies
        self._relay = relay
        self._streams = streams
        self._dropped_lines = dropped_lines
        self._schemas = SchemaMetrics(dependencies)
        self._store = StoreMetrics(dependencies.control)
        self._projects = ProjectMetrics(dependencies.reads)
        self._report: QualityReport | None = None
        self._delivery_statuses: list[DeliveryStatus] = []

    async def gather(self) -> None:
        """Load the values that need awaiting, before `collect` reads them."""
        await self._schemas.gather()
        await self._store.gather()
        await self._projects.gather()
        aggregate = await get_latest_report(self._dependencies, SERVICE_PRINCIPAL)
        self._report = None if aggregate is None else aggregate.state
        self._delivery_statuses = await self._relay.delivery_statuses()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the service."""
        yield self._collect_build()
        yield from self._collect_storage()
        yield from self._collect_clock()
        yield from self._store.collect()
        yield from self._projects.collect()
        yield from self._schemas.collect()
        yield from self._collect_quality()
        yield from self._collect_events()
        yield from self._collect_tasks()
        yield from self._collect_backups()
        yield CounterMetricFamily(
            "spawn_access_lines_dropped",
            "Access log lines dropped because the reader of the log stalled.",
            value=self._dropped_lines(),
        )

    def _collect_build(self) -> Metric:
        build = GaugeMetricFamily(
            "spawn_build_info",
            "Versions of the service and its interpreter, and its storage engine; always 1.",
            labels=("version", "python_version", "engine"),
        )
        engine = self._dependencies.control.status().engine
        build.add_metric((__version__, platform.python_version(), engine), 1)
        return build

    def _collect_storage(self) -> Iterator[Metric]:
        status = self._dependencies.control.status()
        gauges = (
            ("spawn_storage_writable", "1 if the store accepts writes.", int(status.is_writable)),
            (
                "spawn_storage_stall_seconds",
                "Time for which the writer has not moved on while work waits; 0 if it does.",
                self._dependencies.control.stalled_s(),
            ),
            ("spawn_storage_queue_changes", "Changes in the write queue.", status.queued),
            (
                "spawn_storage_queue_limit_changes",
                "Capacity of the write queue.",
                status.queue_limit,
            ),
            (
                "spawn_projection_lag_rows",
                "Journal rows that are not projected yet.",
                status.lag_rows,
            ),
            (
                "spawn_projection_lag_seconds",
                "Age of the oldest row that is not projected.",
                status.lag_s,
            ),
            (
                "spawn_projection_uncompared_rows",
                "Rows to compare with the journal after an unclean stop.",
                status.uncompared_rows,
            ),
            ("spawn_storage_file_bytes", "Size of the store's file.", status.file_bytes),
            ("spawn_storage_wal_bytes", "Size of the store's write-ahead log.", status.wal_bytes),
            ("spawn_disk_free_bytes", "Free space on the store's disk.", status.free_bytes),
            (
                "spawn_disk_reserve_bytes",
                "Space reserved on the store's disk.",
                status.reserve_bytes,
            ),
        )
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value=value)

    def _collect_clock(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "spawn_clock_jump_seconds",
            "Time by which the clock has left its course; negative if it went back.",
            value=self._dependencies.clock.jump_s(),
        )
        yield GaugeMetricFamily(
            "spawn_clock_recorded_ahead_seconds",
            "Time by which the newest change is dated ahead of the clock.",
            value=self._dependencies.control.status().recorded_ahead_s,
        )

    def _collect_events(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "spawn_feed_lag_seconds",
            "Age of the oldest event that some publisher has not delivered.",
            value=max((status.lag_s for status in self._delivery_statuses), default=0.0),
        )
        published = CounterMetricFamily(
            "spawn_events_published",
            "Delivery attempts by publisher and outcome: delivered, failed, dead_lettered.",
            labels=("publisher", "outcome"),
        )
        for status in self._delivery_statuses:
            published.add_metric((status.name, "delivered"), status.delivered)
            published.add_metric((status.name, "failed"), status.failed)
            published.add_metric((status.name, "dead_lettered"), status.dead_lettered)
        yield published
        for name, text, value in _EVENT_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("publisher",))
            for status in self._delivery_statuses:
                gauge.add_metric((status.name,), value(status))
            yield gauge
        yield from self._collect_streams()

    def _collect_tasks(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "spawn_background_task_failures",
            "Failures of background tasks, each of which was started again.",
            labels=("task",),
        )
        for status in self._background.statuses():
            failures.add_metric((status.name,), status.failures)
        yield failures

    def _collect_backups(self) -> Iterator[Metric]:
        backups = self._dependencies.backups
        if backups is None:
            return
        status = backups.status()
        if status.age_s is not None:
            yield GaugeMetricFamily(
                "spawn_backup_age_seconds", "Age of the newest good backup.", value=status.age_s
            )
        yield GaugeMetricFamily(
            "spawn_backup_interval_seconds",
            "Time between two scheduled backups; 0 if none is scheduled.",
            value=status.interval_s,
        )
        yield CounterMetricFamily(
            "spawn_backup_failures", "Backups that failed.", value=status.failures
        )

    def _collect_streams(self) -> Iterator[Metric]:
        streams = self._streams
        yield GaugeMetricFamily(
            "spawn_event_streams", "Open event streams.", value=streams.open_count
        )
        yield CounterMetricFamily(
            "spawn_event_stream_messages",
            "Events sent over event streams.",
            value=streams.sent_count,
        )
        yield CounterMetricFamily(
            "spawn_event_streams_cut_off",
            "Event streams disconnected because their connection accepted nothing.",
            value=streams.disconnect_count,
        )

    def _collect_quality(self) -> Iterator[Metric]:
        """Yield the latest measured values; a column has at most three rules."""
        report = self._report
        if report is None:
            return
        yield GaugeMetricFamily(
            "spawn_quality_measured_timestamp_seconds",
            "Time of the last quality measurement.",
            value=report.measured_at.timestamp(),
        )
        values = GaugeMetricFamily(
            "spawn_quality_rule_value",
            "Measured value of a rule: a share, or an age in seconds.",
            labels=("rule", "dimension"),
        )
        passed = GaugeMetricFamily(
            "spawn_quality_rule_passed",
            "1 if the data meet the service level of a rule, 0 if they miss it.",
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
