"""Metrics of schema governance: active schema, versions, migrations, registry."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from spawn.application.dependencies import Dependencies
from spawn.ports.schemas import MigrationOutcome, MigrationRecord, SchemaRecord, SchemaState

BREAKER_STATES: Final = ("none", "closed", "half_open", "open")
_NOT_ADOPTED: Final = frozenset({SchemaState.QUARANTINED, SchemaState.REJECTED})
_REPORTED_STATES: Final = tuple(
    s for s in SchemaState if s not in {SchemaState.ACTIVE, SchemaState.RETIRED}
)
_BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0)


class SchemaMetrics:
    """Metrics of schemas from the store, whichever process adopted or rejected them."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._active: SchemaRecord | None = None
        self._states: Counter[SchemaState] = Counter()
        self._quarantined: set[tuple[int, str]] = set()
        self._outcomes: Counter[MigrationOutcome] = Counter()
        self._counted_until: datetime | None = None
        self._bucket_counts: Counter[float] = Counter()
        self._total_s = 0.0

    async def gather(self) -> None:
        """Load the values that need awaiting, before `collect` reads them."""
        records = await self._dependencies.schemas.records()
        self._active = await self._dependencies.schemas.active()
        self._states = Counter(record.state for record in records)
        # A version that is approved later still counts as quarantined: counters never decrease.
        self._quarantined |= {
            (record.schema.version, record.schema.fingerprint)
            for record in records
            if record.state in _NOT_ADOPTED
        }
        for migration in reversed(await self._dependencies.schemas.migration_log()):
            self._count_migration(migration)

    def _count_migration(self, migration: MigrationRecord) -> None:
        if self._counted_until is not None and migration.started_at <= self._counted_until:
            return
        self._counted_until = migration.started_at
        self._outcomes[migration.outcome] += 1
        self._total_s += migration.duration_s
        self._bucket_counts.update(bound for bound in _BOUNDS_S if migration.duration_s <= bound)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of schemas and of the registry."""
        yield self._collect_active()
        yield from self._collect_versions()
        yield from self._collect_migrations()
        yield from self._collect_registry()

    def _collect_active(self) -> Metric:
        info = GaugeMetricFamily(
            "spawn_schema_active_info",
            "The active schema; always 1.",
            labels=("schema_id", "version", "fingerprint", "provenance"),
        )
        if self._active is not None:
            schema, provenance = self._active.schema, self._active.provenance
            labels = (schema.id, str(schema.version), schema.fingerprint, provenance.value)
            info.add_metric(labels, 1)
        return info

    def _collect_versions(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "spawn_schema_quarantined",
            "Schema versions that were quarantined or rejected, even if approved later.",
            value=len(self._quarantined),
        )
        versions = GaugeMetricFamily(
            "spawn_schema_versions",
            "Schema versions that are not adopted, by state.",
            labels=("state",),
        )
        for state in _REPORTED_STATES:
            versions.add_metric((state.value,), self._states[state])
        yield versions

    def _collect_migrations(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "spawn_schema_migrations",
            "Attempts to migrate the data to another schema version, by outcome.",
            labels=("outcome",),
        )
        for outcome in MigrationOutcome:
            attempts.add_metric((outcome.value,), self._outcomes[outcome])
        yield attempts
        buckets = [(str(bound), float(self._bucket_counts[bound])) for bound in _BOUNDS_S]
        count = float(self._outcomes.total())
        yield HistogramMetricFamily(
            "spawn_schema_migration_seconds",
            "Duration of a migration attempt, its scan of the data included.",
            buckets=[*buckets, ("+Inf", count)],
            sum_value=self._total_s,
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
