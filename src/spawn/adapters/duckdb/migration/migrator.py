"""Migrations of the table of projects: looked at beside the writer, done in one of its turns.

The data are looked at through to where the journal stands, by a reader of their own, while writes
go on; then what was written meanwhile, and again until little is left. Only that little is looked
at in the transaction that changes table, book, log and journal.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from spawn.adapters.duckdb.connection import Readers
from spawn.adapters.duckdb.journal.appender import Ledger
from spawn.adapters.duckdb.journal.group_commit import Writer
from spawn.adapters.duckdb.migration.scan import look_at, windows
from spawn.adapters.duckdb.migration.sql import described
from spawn.adapters.duckdb.migration.transaction import Attempt
from spawn.adapters.embedded.migration_checks import Breaches
from spawn.domain.errors import SpawnError
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.ports.runtime import Clock
from spawn.ports.schemas import Disproved, Failure, Migration, SchemaRecord

_SMALL_REST: Final = 500
_MAX_ROUNDS: Final = 8
_MAX_STEPS: Final = 50
_LONGEST_REST_S: Final = 0.1


class Evolution:
    """What the store does to go from one version of the schema to the next."""

    def __init__(self, ledger: Ledger, writer: Writer, surveys: Readers, clock: Clock) -> None:
        self._ledger = ledger
        self._writer = writer
        self._surveys = surveys
        self._clock = clock
        self._turn = asyncio.Lock()

    def describe(self, plan: MigrationPlan) -> tuple[str, ...]:
        """The statements of a plan; see `SchemaStore.describe`."""
        return described(plan, self._ledger.shelf.book.stored_fields)

    async def examine(self, proofs: Sequence[Proof]) -> tuple[Failure, ...]:
        """The proofs that do not hold; see `SchemaStore.examine`."""
        breaches = Breaches(proofs)
        await self._look(breaches, None, 0, await self._level())
        return breaches.failures()

    async def migrate(
        self, record: SchemaRecord, plan: MigrationPlan, actor: str, reason: str
    ) -> Migration:
        """Put the version in force over the data; see `SchemaStore.migrate`."""
        async with self._turn:
            self._ledger.shelf.book.migrating(record, plan)  # refuses what cannot be, before work
            attempt = Attempt(self._ledger, self._clock, plan, actor, reason)
            try:
                seen = await self._prepare(attempt)
                migration: Migration = await self._writer.run(
                    lambda: attempt.carry_out(record, seen)
                )
            except SpawnError as failure:
                with suppress(SpawnError):
                    await self._writer.run(partial(attempt.give_up, failure))
                raise
            return migration

    async def _prepare(self, attempt: Attempt) -> int:
        """Look at what is there and stage what is promoted; the position that was reached.

        Raises:
            Disproved: a proof does not hold.
        """
        await self._writer.run(attempt.make_stages)
        seen = 0
        for _ in range(_MAX_ROUNDS):
            breaches, through = Breaches(attempt.plan.proofs), await self._level()
            await self._look(breaches, attempt, seen, through)
            if failures := breaches.failures():
                raise Disproved(failures)
            seen = through
            if self._ledger.position - seen <= _SMALL_REST:
                break
        return seen

    async def _level(self) -> int:
        """The journal's end, with the state tables level with it; commits go between the steps."""
        for _ in range(_MAX_STEPS):
            if self._ledger.lag_rows() <= _SMALL_REST:
                break
            await self._writer.run(partial(self._ledger.project, _SMALL_REST))
        through = self._ledger.position
        await self._writer.run(self._ledger.project_all)
        return through

    async def _look(
        self, breaches: Breaches, attempt: Attempt | None, after: int, through: int
    ) -> None:
        """Look at the projects whose newest row is behind a position and not behind another.

        What is written behind that is looked at in the next round, or in the transaction. Each look
        is short and followed by a rest as long: requests come first.
        """
        book, plan = self._ledger.shelf.book, attempt.plan if attempt else None
        if not breaches.proofs and not (attempt and attempt.promotes()):
            return
        for window in windows(after, through):
            began = time.monotonic()
            look = partial(look_at, breaches=breaches, plan=plan, book=book, window=window)
            found = await self._surveys.run(look)
            if attempt is not None and found:
                await self._writer.run(partial(attempt.stage, found))
            await asyncio.sleep(min(time.monotonic() - began, _LONGEST_REST_S))
