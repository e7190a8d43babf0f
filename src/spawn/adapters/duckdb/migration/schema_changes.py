"""Adoption and recording of schema versions: file, journal and caches in one transaction."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.prepared_change import PreparedChange
from spawn.adapters.duckdb.journal_rows import aggregate_key
from spawn.adapters.duckdb.schema_table import create_empty_table, write_history
from spawn.adapters.embedded.schema_history import (
    SchemaHistory,
    reportable_record,
    status_change,
)
from spawn.domain.aggregates import encode_state
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.ports.schemas import SchemaRecord

T = TypeVar("T")


def adopt(appender: JournalAppender, record: SchemaRecord, actor: str) -> None:
    """Activate a schema in a store without data of its kind; see `SchemaStore.adopt`."""
    histories = appender.schema_table.history
    before = histories.of(record.schema.kind)
    history = before.with_adoption(record)
    work = partial(create_empty_table, before=before, histories=histories.replace(history))
    change_schema(appender, history, record, actor, work)


def record_version(appender: JournalAppender, record: SchemaRecord, actor: str) -> None:
    """Record a version that is not active; see `SchemaStore.record`."""
    history = appender.schema_table.history.of(record.schema.kind).with_record(record)
    change_schema(appender, history, record, actor, lambda _: None)


def change_schema(
    appender: JournalAppender,
    schema_history: SchemaHistory,
    record: SchemaRecord,
    actor: str,
    work: Callable[[Cursor], T],
    changed: tuple[str, ...] = (),
) -> T:
    """Run `work` and switch to a history of one kind, in one transaction.

    An event is committed with them if the change of the record is reportable.
    """
    before = appender.schema_table.history.of(schema_history.kind)
    histories = appender.schema_table.history.replace(schema_history)

    def work_and_write_history(cursor: Cursor) -> T:
        result = work(cursor)
        write_history(cursor, before, schema_history)
        return result

    news = reportable_record(before, schema_history, record)
    if news is None:
        result = appender.in_transaction(work_and_write_history)
    else:
        location = appender.location(aggregate_key(SCHEMA_KIND, news.schema.id))
        version = location.version if location else 0
        change = status_change(
            news,
            schema_history,
            version=version,
            actor=actor,
            changed=changed,
            schema_version=histories.of(PROJECT_KIND).active_schema.version,
        )
        document = encode_state(SCHEMA_KIND, change.writes[0].state, schema_history.active_schema)
        result = appender.commit_with(PreparedChange(change, [document]), work_and_write_history)
    if schema_history.active_schema is not before.active_schema:
        appender.switch_schema(histories)
    appender.schema_table.history = histories
    return result
