# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""One attempt to migrate, as the writer's thread sees it: staging, the transaction, the log."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal.appender import Ledger
from spawn.adapters.duckdb.migration.scan import Promotion, look_at, windows
from spawn.adapters.duckdb.migration.schema_changes import govern
from spawn.adapters.duckdb.migration.sql import described, fill, fills, statements
from spawn.adapters.duckdb.schema_table import log_migration
from spawn.adapters.duckdb.state.bulk_projection import json_type, typed
from spawn.adapters.duckdb.tables import quoted, sql_type
from spawn.adapters.embedded.migration_checks import Breaches, columns_of, promotion
from spawn.domain.errors import Conflict, SpawnError
from spawn.domain.schemas.evolution.migration_plan import AddColumn, FillNulls, MigrationPlan
from spawn.ports.runtime import Clock
from spawn.ports.schemas import Disproved, Migration, MigrationOutcome, SchemaRecord


class Attempt:
    """A migration under way, from its first look at the data to its end, good or bad."""

    def __init__(
        self, ledger: Ledger, clock: Clock, plan: MigrationPlan, actor: str, reason: str
    ) -> None:
        self.plan = plan
        self._ledger = ledger
        self._fields = ledger.shelf.book.stored_fields
        self._began = time.monotonic()
        self._promoting = [
            (n, s.column)
            for n, s in enumerate(plan.steps)
            if isinstance(s, AddColumn) and promotion(s)
        ]
        self._attempted = Migration(
            schema_id=plan.schema_id,
            old_version=plan.old_version,
            new_version=plan.new_version,
            started_at=clock.now(),
            duration_s=0.0,
            steps=described(plan, self._fields),
            rows=0,
            outcome=MigrationOutcome.ADOPTED,
            actor=actor,
            reason=reason,
        )

    # -- before the transaction -------------------------------------------------------------

    def promotes(self) -> bool:
        """Whether projects may hold extensions that become values of columns."""
        return bool(self._promoting)

    def make_stages(self) -> None:
        """Make an empty table for each column that an extension may be promoted to."""
        for number, column in self._promoting:
            of = sql_type(column.type)
            self._ledger.scratch(
                f"create or replace temp table {_stage(number)} (position bigint, value {of})"
            )

    def stage(self, promotions: Sequence[Promotion]) -> None:
        """Keep values that are to be promoted until their column is there."""
        for number, column in self._promoting:
            mine = (p for p in promotions if p.step == number)
            rows = [{"position": p.position, "value": p.value} for p in mine]
            if not rows:
                continue
            shape = f'[{{"position":"BIGINT","value":"{json_type(column.type)}"}}]'
            value = typed(msgspec.structs.replace(column, name="value"))
            taken = (
                "select r.position as position, r.value as value"
                f" from (select unnest(from_json(?, '{shape}')) r)"
            )
            self._ledger.scratch(
                f"insert into {_stage(number)} select position, {value} from ({taken})",
                msgspec.json.encode(rows).decode(),
            )

    # -- the transaction --------------------------------------------------------------------

    def carry_out(self, record: SchemaRecord, seen: int) -> Migration:
        """Look at what was written behind a position, then change table, book, log and journal.

        Raises:
            Disproved, Stale, Conflict: as `SchemaStore.migrate`; nothing was changed.
        """
        ledger = self._ledger
        before = ledger.shelf.book
        book = before.migrating(record, self.plan)

        def work(cursor: Cursor) -> Migration:
            self._look_again(cursor, seen)
            migration = self._done(rows=self._change_tables(cursor))
            log_migration(cursor, migration)
            return migration

        actor = self._attempted.actor
        migration = govern(ledger, book, record, actor, work, columns_of(self.plan))
        self._drop_stages()
        return migration

    def _look_again(self, cursor: Cursor, seen: int) -> None:
        breaches, book = Breaches(self.plan.proofs), self._ledger.shelf.book
        for window in windows(seen, self._ledger.position):
            self.stage(look_at(cursor, breaches, self.plan, book, window))
        if failures := breaches.failures():
            raise Disproved(failures)

    def _change_tables(self, cursor: Cursor) -> int:
        """Carry out the steps; to how many projects the step that gave most gave a value."""
        given = [0]
        for step, lines in statements(self.plan, self._fields):
            if isinstance(step, FillNulls):
                given.append(_count(cursor, f"{quoted(step.name)} is null"))
            for line in lines:
                cursor.execute(line)
        for name, default in fills(self.plan):
            cursor.execute(fill(name), [default])
        for number, column in self._promoting:
            cursor.execute(
                f"update projects set {quoted(column.name)} = s.value"
                f" from {_stage(number)} s where projects._position = s.position"
            )
        added = [step.column for step in self.plan.steps if isinstance(step, AddColumn)]
        given += [_count(cursor, f"{quoted(column.name)} is not null") for column in added]
        return max(given)

    # -- the end ----------------------------------------------------------------------------

    def give_up(self, failure: SpawnError) -> None:
        """Put an attempt that failed into the log, unless another one was only quicker."""
        self._drop_stages()
        refused = isinstance(failure, Disproved)
        if isinstance(failure, Conflict) and not refused:
            return
        outcome = MigrationOutcome.REFUSED if refused else MigrationOutcome.FAILED
        migration = self._done(outcome=outcome, detail=failure.detail)
        self._ledger.in_transaction(lambda cursor: log_migration(cursor, migration))

    def _done(self, **found: Any) -> Migration:
        spent = time.monotonic() - self._began
        return msgspec.structs.replace(self._attempted, duration_s=spent, **found)

    def _drop_stages(self) -> None:
        # A file that was opened anew meanwhile has forgotten them already.
        with suppress(duckdb.Error):
            for number, _ in self._promoting:
                self._ledger.scratch(f"drop table if exists {_stage(number)}")


def _stage(number: int) -> str:
    return f"promoted_{number:d}"


def _count(cursor: Cursor, condition: str) -> int:
    found = cursor.execute(f"select count(*) from projects where {condition}").fetchone()
    return int(found[0]) if found else 0
