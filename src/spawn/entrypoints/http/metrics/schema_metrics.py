"""What a scrape sees of governance: the schema in force, what waits, migrations, the registry."""

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

from spawn.application.dependencies import Services
from spawn.ports.schemas import Migration, MigrationOutcome, SchemaRecord, SchemaState

BREAKER_STATES: Final = ("none", "closed", "half_open", "open")
_REFUSED: Final = frozenset({SchemaState.QUARANTINED, SchemaState.REJECTED})
_SHOWN: Final = tuple(s for s in SchemaState if s not in {SchemaState.ACTIVE, SchemaState.RETIRED})
_BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0)


class SchemaMetrics:
    """Metrics of schemas, whoever adopted or refused them: on demand, by itself, elsewhere."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._active: SchemaRecord | None = None
        self._states: Counter[SchemaState] = Counter()
        self._refused: set[tuple[int, str]] = set()
        self._outcomes: Counter[MigrationOutcome] = Counter()
        self._counted_until: datetime | None = None
        self._within: Counter[float] = Counter()
        self._spent_s = 0.0

    async def gather(self) -> None:
        """Ask what can only be awaited, before the scrape reads it."""
        records = await self._services.schemas.records()
        self._active = await self._services.schemas.active()
        self._states = Counter(record.state for record in records)
        # A version that is approved later was refused all the same: a counter never goes back.
        self._refused |= {
            (record.schema.version, record.schema.fingerprint)
            for record in records
            if record.state in _REFUSED
        }
        for migration in reversed(await self._services.schemas.migrations()):
            self._count(migration)

    def _count(self, migration: Migration) -> None:
        if self._counted_until is not None and migration.started_at <= self._counted_until:
            return
        self._counted_until = migration.started_at
        self._outcomes[migration.outcome] += 1
        self._spent_s += migration.duration_s
        self._within.update(bound for bound in _BOUNDS_S if migration.duration_s <= bound)

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        yield self._info()
        yield from self._versions()
        yield from self._migrations()
        yield from self._registry()

    def _info(self) -> Metric:
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

    def _versions(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "spawn_schema_quarantined",
            "Schema versions that were refused, those decided on since included.",
            value=len(self._refused),
        )
        waiting = GaugeMetricFamily(
            "spawn_schema_versions",
            "Schema versions beside the adopted ones, by where they stand.",
            labels=("state",),
        )
        for state in _SHOWN:
            waiting.add_metric((state.value,), self._states[state])
        yield waiting

    def _migrations(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "spawn_schema_migrations",
            "Attempts to take the data to another schema version, by how they ended.",
            labels=("outcome",),
        )
        for outcome in MigrationOutcome:
            attempts.add_metric((outcome.value,), self._outcomes[outcome])
        yield attempts
        buckets = [(str(bound), float(self._within[bound])) for bound in _BOUNDS_S]
        count = float(self._outcomes.total())
        yield HistogramMetricFamily(
            "spawn_schema_migration_seconds",
            "Time such an attempt took, the look at the data included.",
            buckets=[*buckets, ("+Inf", count)],
            sum_value=self._spent_s,
        )

    def _registry(self) -> Iterator[Metric]:
        source = self._services.registry.status()
        if source.age_s is not None:
            yield GaugeMetricFamily(
                "spawn_schema_age_seconds",
                "Seconds since the registry last vouched for the schema.",
                value=source.age_s,
            )
        breaker = GaugeMetricFamily(
            "spawn_registry_breaker_state",
            "1 for the state the registry's circuit breaker is in.",
            labels=("state",),
        )
        for state in BREAKER_STATES:
            breaker.add_metric((state,), int(source.breaker == state))
        yield breaker
