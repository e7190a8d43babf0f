"""Metrics of schema governance: active schema, versions, migrations, registry."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.schema_counts import DURATION_BOUNDS_S, SchemaCounts
from spawn.ports.schemas import MigrationOutcome, SchemaState

BREAKER_STATES: Final = ("none", "closed", "half_open", "open")
_REPORTED_STATES: Final = tuple(
    s for s in SchemaState if s not in {SchemaState.ACTIVE, SchemaState.RETIRED}
)


class SchemaMetrics:
    """Metrics of schemas from the store, whichever process adopted or rejected them."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._counts = SchemaCounts()

    async def gather(self) -> None:
        """Load the values that need awaiting, before `collect` reads them."""
        await self._counts.update(self._dependencies.schemas)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of schemas and of the registry."""
        yield self._collect_active()
        yield from self._collect_versions()
        yield from self._collect_migrations()
        yield from self._collect_registry()

    def _collect_active(self) -> Metric:
        info = GaugeMetricFamily(
            "spawn_schema_active_info",
            "The active schema of each governed kind; always 1.",
            labels=("schema_id", "version", "fingerprint", "provenance"),
        )
        for active in self._counts.active:
            schema, provenance = active.schema, active.provenance
            labels = (schema.id, str(schema.version), schema.fingerprint, provenance.value)
            info.add_metric(labels, 1)
        return info

    def _collect_versions(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "spawn_schema_quarantined",
            "Schema versions that were quarantined or rejected, even if approved later.",
            value=self._counts.not_adopted_count,
        )
        versions = GaugeMetricFamily(
            "spawn_schema_versions",
            "Schema versions that are not adopted, by state.",
            labels=("state",),
        )
        for state in _REPORTED_STATES:
            versions.add_metric((state.value,), self._counts.states[state])
        yield versions

    def _collect_migrations(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "spawn_schema_migrations",
            "Attempts to migrate the data to another schema version, by outcome.",
            labels=("outcome",),
        )
        for outcome in MigrationOutcome:
            attempts.add_metric((outcome.value,), self._counts.outcomes[outcome])
        yield attempts
        bucket_counts = self._counts.duration_buckets
        buckets = [(str(bound), float(bucket_counts[bound])) for bound in DURATION_BOUNDS_S]
        count = float(self._counts.outcomes.total())
        yield HistogramMetricFamily(
            "spawn_schema_migration_seconds",
            "Duration of a migration attempt, its scan of the data included.",
            buckets=[*buckets, ("+Inf", count)],
            sum_value=self._counts.total_duration_s,
        )

    def _collect_registry(self) -> Iterator[Metric]:
        source = self._dependencies.registry.status()
        if source.age_s is not None:
            yield GaugeMetricFamily(
                "spawn_schema_age_seconds",
                "Seconds since the registry last confirmed the schema.",
                value=source.age_s,
            )
        breaker = GaugeMetricFamily(
            "spawn_registry_breaker_state",
            "1 for the current state of the registry's circuit breaker.",
            labels=("state",),
        )
        for state in BREAKER_STATES:
            breaker.add_metric((state,), int(source.breaker == state))
        yield breaker
