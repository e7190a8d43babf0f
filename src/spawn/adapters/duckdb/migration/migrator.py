"""Online migration of the table of a governed kind: scans beside the writer, then one transaction.

A reader of its own scans the data up to the end of the journal while writes go on; then the rows
written meanwhile, and again until few remain. Only those few are scanned in the transaction that
changes table, history, log and journal.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from spawn.adapters.duckdb.connection import ReaderThreads
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.group_commit import GroupCommitWriter
from spawn.adapters.duckdb.migration.scan import scan, scan_ranges
from spawn.adapters.duckdb.migration.sql import describe_plan
from spawn.adapters.duckdb.migration.transaction import MigrationTransaction
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.embedded.migration_checks import ViolationCollector
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import SpawnError
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.ports.runtime import Clock
from spawn.ports.schemas import MigrationRecord, MigrationRejected, ProofViolation, SchemaRecord

_MAX_REMAINING_ROWS: Final = 500
_MAX_ROUNDS: Final = 8
_MAX_PROJECTION_STEPS: Final = 50
_MAX_PAUSE_S: Final = 0.1


class Migrator:
    """Checks of proofs, and migrations from one schema version to the next."""

    def __init__(
        self,
        appender: JournalAppender,
        writer: GroupCommitWriter,
        scan_readers: ReaderThreads,
        clock: Clock,
    ) -> None:
        self._appender = appender
        self._writer = writer
        self._scan_readers = scan_readers
        self._clock = clock
        self._lock = asyncio.Lock()

    def describe_plan(self, plan: MigrationPlan) -> tuple[str, ...]:
        """Return the statements of a plan; see `SchemaStore.describe_plan`."""
        return describe_plan(plan, self._appender.schema_table.history.columns(plan.kind))

    async def check_proofs(self, proofs: Sequence[Proof], kind: str) -> tuple[ProofViolation, ...]:
        """Return the violated proofs; see `SchemaStore.check_proofs`."""
        violations = ViolationCollector(proofs)
        await self._scan(violations, kind, None, 0, await self._project_all())
        return violations.failures()

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, actor: str, reason: str
    ) -> MigrationRecord:
        """Activate the version over the data; see `SchemaStore.migrate`."""
        async with self._lock:
            # Raises before any work if the migration is impossible.
            self._appender.schema_table.history.of(plan.kind).with_migration(record, plan)
            transaction = MigrationTransaction(self._appender, self._clock, plan, actor, reason)
            try:
                scanned_through = await self._scan_and_stage(transaction)
                migration: MigrationRecord = await self._writer.run(
                    lambda: transaction.run(record, scanned_through), "migrate the tables"
                )
            except SpawnError as error:
                with suppress(SpawnError):
                    await self._writer.run(
                        partial(transaction.record_failure, error), "log a failed migration"
                    )
                raise
            return migration

    async def _scan_and_stage(self, transaction: MigrationTransaction) -> int:
        """Scan the data and stage promoted values; return the position that was reached.

        Raises:
            MigrationRejected: a proof does not hold.
        """
        scanned_through = 0
        for _ in range(_MAX_ROUNDS):
            violations = ViolationCollector(transaction.plan.proofs)
            through = await self._project_all()
            await self._scan(
                violations, transaction.plan.kind, transaction, scanned_through, through
            )
            if failures := violations.failures():
                raise MigrationRejected(failures)
            scanned_through = through
            if self._appender.position - scanned_through <= _MAX_REMAINING_ROWS:
                break
        return scanned_through

    async def _project_all(self) -> int:
        """Project up to the end of the journal, between commits, and return that position."""
        for _ in range(_MAX_PROJECTION_STEPS):
            if self._appender.lag_rows() <= _MAX_REMAINING_ROWS:
                break
            await self._writer.run(
                partial(self._appender.project, _MAX_REMAINING_ROWS), "project the state tables"
            )
        through = self._appender.position
        await self._writer.run(self._appender.project_all, "project the state tables")
        return through

    async def _scan(
        self,
        violations: ViolationCollector,
        kind: str,
        transaction: MigrationTransaction | None,
        after: int,
        through: int,
    ) -> None:
        """Scan the aggregates whose newest row is in the journal range (after, through].

        Later rows are scanned in the next round, or in the transaction. Each scan is short and
        followed by a pause of the same length: requests have priority.
        """
        schema_history = self._appender.schema_table.history
        plan = transaction.plan if transaction else None
        if not violations.proofs and not (transaction and transaction.has_promotions()):
            return
        for scan_range in scan_ranges(after, through):
            started_at_s = time.monotonic()
            scan_one_range = partial(
                scan,
                violations=violations,
                table=StateTable(AGGREGATE_TYPES[kind], schema_history),
                plan=plan,
                schema_history=schema_history,
                scan_range=scan_range,
            )
            promotions = await self._scan_readers.run(scan_one_range)
            if transaction is not None and promotions:
                await self._writer.run(
                    partial(transaction.stage, promotions), "stage promoted values"
                )
            await asyncio.sleep(min(time.monotonic() - started_at_s, _MAX_PAUSE_S))
