"""Counts of schema versions and migrations since the start of the process."""

from collections import Counter
from datetime import datetime
from typing import Final

from spawn.domain.aggregates import governed_kinds
from spawn.ports.schemas import (
    MigrationOutcome,
    MigrationRecord,
    SchemaRecord,
    SchemaState,
    SchemaStore,
)

DURATION_BOUNDS_S: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0)
"""Upper bounds of the buckets of migration durations, seconds."""

_NOT_ADOPTED: Final = frozenset({SchemaState.QUARANTINED, SchemaState.REJECTED})


class SchemaCounts:
    """Counts from the store, whichever process adopted or rejected the versions.

    `duration_buckets` has the migrations up to each bound, `total_duration_s` those of all.
    """

    def __init__(self) -> None:
        self.active: list[SchemaRecord] = []
        self.states: Counter[SchemaState] = Counter()
        self.outcomes: Counter[MigrationOutcome] = Counter()
        self.duration_buckets: Counter[float] = Counter()
        self.total_duration_s = 0.0
        self._not_adopted: set[tuple[str, int, str]] = set()
        self._counted_until: datetime | None = None

    @property
    def not_adopted_count(self) -> int:
        """Number of versions that were ever quarantined or rejected."""
        return len(self._not_adopted)

    async def update(self, schemas: SchemaStore) -> None:
        """Count the versions, and the migrations since the last update."""
        records: list[SchemaRecord] = []
        self.active = []
        for kind in governed_kinds():
            records += await schemas.records(kind)
            active = await schemas.active(kind)
            self.active += [] if active is None else [active]
        self.states = Counter(record.state for record in records)
        # A version that is approved later still counts as quarantined: counters never decrease.
        self._not_adopted |= {
            (record.schema.kind, record.schema.version, record.schema.fingerprint)
            for record in records
            if record.state in _NOT_ADOPTED
        }
        for migration in reversed(await schemas.migration_log()):
            self._count_migration(migration)

    def _count_migration(self, migration: MigrationRecord) -> None:
        if self._counted_until is not None and migration.started_at <= self._counted_until:
            return
        self._counted_until = migration.started_at
        self.outcomes[migration.outcome] += 1
        self.total_duration_s += migration.duration_s
        self.duration_buckets.update(
            bound for bound in DURATION_BOUNDS_S if migration.duration_s <= bound
        )
