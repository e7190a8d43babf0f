# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Migration on the writer's thread: staging tables, the final transaction, the log."""

import time
from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.migration.scan import Promotion, scan, scan_ranges
from spawn.adapters.duckdb.migration.schema_changes import change_schema
from spawn.adapters.duckdb.migration.sql import (
    describe_plan,
    drop_statements,
    fill_sql,
    parameter_fills,
    step_statements,
    table_name,
)
from spawn.adapters.duckdb.schema_table import log_migration
from spawn.adapters.duckdb.state.bulk_projection import cast_expression, json_type
from spawn.adapters.duckdb.state.state_table import StateTable
from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.adapters.embedded.migration_checks import (
    ViolationCollector,
    changed_columns,
    promoted_field,
)
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import Conflict, SpawnError
from spawn.domain.schema_version import Column
from spawn.domain.schemas.evolution.migration_plan import AddColumn, FillNulls, MigrationPlan
from spawn.ports.runtime import Clock
from spawn.ports.schemas import MigrationOutcome, MigrationRecord, MigrationRejected, SchemaRecord


class MigrationTransaction:
    """Migration in progress, from the first scan of the data to its outcome."""

    def __init__(
        self, appender: JournalAppender, clock: Clock, plan: MigrationPlan, actor: str, reason: str
    ) -> None:
        self.plan = plan
        self._appender = appender
        self._fields = appender.schema_table.history.columns(plan.kind)
        self._table = table_name(plan.kind)
        self._started_at_s = time.monotonic()
        self._promoted_columns = [
            (n, s.column)
            for n, s in enumerate(plan.steps)
            if isinstance(s, AddColumn) and promoted_field(s, self._fields)
        ]
        self._stages: set[int] = set()
        self._record = MigrationRecord(
            schema_id=plan.schema_id,
            old_version=plan.old_version,
            new_version=plan.new_version,
            started_at=clock.now(),
            duration_s=0.0,
            steps=describe_plan(plan, self._fields),
            rows=0,
            outcome=MigrationOutcome.ADOPTED,
            actor=actor,
            reason=reason,
        )

    # -- before the transaction -------------------------------------------------------------

    def has_promotions(self) -> bool:
        """Whether states may have extensions that become values of columns."""
        return bool(self._promoted_columns)

    def stage(self, promotions: Sequence[Promotion]) -> None:
        """Stage promoted values until their column exists, in a table for each column."""
        rows_by_step: dict[int, list[dict[str, Any]]] = {}
        for promotion in promotions:
            row = {"position": promotion.position, "value": promotion.value}
            rows_by_step.setdefault(promotion.step, []).append(row)
        for number, column in self._promoted_columns:
            rows = rows_by_step.get(number)
            if rows is None:
                continue
            self._create_stage(number, column)
            layout = f'[{{"position":"BIGINT","value":"{json_type(column.type)}"}}]'
            value = cast_expression(msgspec.structs.replace(column, name="value"))
            source = (
                "select r.position as position, r.value as value"
                f" from (select unnest(from_json(?, '{layout}')) r)"
            )
            self._appender.run_on_temporary_tables(
                f"insert into {_stage(number)} select position, {value} from ({source})",
                msgspec.json.encode(rows).decode(),
            )

    def _create_stage(self, number: int, column: Column) -> None:
        if number not in self._stages:
            self._appender.run_on_temporary_tables(
                f"create or replace temp table {_stage(number)}"
                f" (position bigint, value {sql_type(column.type)})"
            )
            self._stages.add(number)

    # -- the transaction --------------------------------------------------------------------

    def run(self, record: SchemaRecord, scanned_through: int) -> MigrationRecord:
        """Scan the rows after a position, then change table, history, log and journal.

        Raises:
            MigrationRejected, StaleVersion, Conflict: as `SchemaStore.migrate`; nothing was
                changed.
        """
        appender = self._appender
        histories = appender.schema_table.history
        schema_history = histories.of(self.plan.kind).with_migration(record, self.plan)

        def work(cursor: Cursor) -> MigrationRecord:
            self._scan_rest(cursor, scanned_through)
            rows = self._change_tables(cursor, schema_history.columns)
            migration = self._finished_record(rows=rows)
            log_migration(cursor, migration)
            return migration

        actor = self._record.actor
        migration = change_schema(
            appender, schema_history, record, actor, work, changed_columns(self.plan)
        )
        self._drop_stages()
        return migration

    def _scan_rest(self, cursor: Cursor, scanned_through: int) -> None:
        violations = ViolationCollector(self.plan.proofs)
        schema_history = self._appender.schema_table.history
        table = StateTable(AGGREGATE_TYPES[self.plan.kind], schema_history)
        for scan_range in scan_ranges(scanned_through, self._appender.position):
            self.stage(scan(cursor, violations, table, self.plan, schema_history, scan_range))
        if failures := violations.failures():
            raise MigrationRejected(failures)

    def _change_tables(self, cursor: Cursor, columns: Container[str]) -> int:
        """Run the plan's SQL. Return the largest number of rows that one step filled."""
        filled_counts = [0]
        for step, lines in step_statements(self.plan, self._fields):
            if isinstance(step, FillNulls):
                filled_counts.append(self._count(cursor, f"{quote_name(step.name)} is null"))
            for line in lines:
                cursor.execute(line)
        for line in drop_statements(self.plan, self._fields, columns):
            cursor.execute(line)
        for name, default in parameter_fills(self.plan):
            cursor.execute(fill_sql(self.plan.kind, name), [default])
        for number, column in self._promoted_columns:
            if number in self._stages:
                cursor.execute(
                    f"update {self._table} set {quote_name(column.name)} = s.value"
                    f" from {_stage(number)} s where {self._table}._position = s.position"
                )
        return max(*self._count_new_values(cursor), *filled_counts)

    def _count_new_values(self, cursor: Cursor) -> list[int]:
        """Return the number of values of each new column that may have some."""
        names = [
            quote_name(step.column.name)
            for number, step in enumerate(self.plan.steps)
            if isinstance(step, AddColumn)
            and (
                step.default is not None
                or step.source_name in self._fields
                or number in self._stages
            )
        ]
        if not names:
            return [0]
        counts = ", ".join(f"count({name})" for name in names)
        row = cursor.execute(f"select {counts} from {self._table}").fetchone()
        return [int(count) for count in row or (0,)]

    def _count(self, cursor: Cursor, condition: str) -> int:
        row = cursor.execute(f"select count(*) from {self._table} where {condition}").fetchone()
        return int(row[0]) if row else 0

    # -- the end ----------------------------------------------------------------------------

    def record_failure(self, error: SpawnError) -> None:
        """Log a failed migration, unless it only lost a race."""
        self._drop_stages()
        is_rejected = isinstance(error, MigrationRejected)
        if isinstance(error, Conflict) and not is_rejected:
            return
        outcome = MigrationOutcome.REJECTED if is_rejected else MigrationOutcome.FAILED
        migration = self._finished_record(outcome=outcome, detail=error.detail)
        self._appender.in_transaction(lambda cursor: log_migration(cursor, migration))

    def _finished_record(self, **values: Any) -> MigrationRecord:
        duration_s = time.monotonic() - self._started_at_s
        return msgspec.structs.replace(self._record, duration_s=duration_s, **values)

    def _drop_stages(self) -> None:
        # A file reopened meanwhile has lost its temporary tables already.
        with suppress(duckdb.Error):
            for number in self._stages:
                self._appender.run_on_temporary_tables(f"drop table if exists {_stage(number)}")


def _stage(number: int) -> str:
    return f"promoted_{number:d}"
