"""Adoption and recording of schema versions: file, journal and caches in one transaction."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal.appender import JournalAppender
from spawn.adapters.duckdb.journal.prepared_change import PreparedChange
from spawn.adapters.duckdb.journal_rows import aggregate_key
from spawn.adapters.duckdb.schema_table import create_empty_tables, write_history
from spawn.adapters.embedded.schema_history import (
    SchemaHistory,
    reportable_record,
    status_change,
)
from spawn.domain.aggregates import encode_state
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.ports.schemas import SchemaRecord

T = TypeVar("T")


def adopt(appender: JournalAppender, record: SchemaRecord, actor: str) -> None:
    """Activate a schema in a store without projects; see `SchemaStore.adopt`."""
    schema_history = appender.schema_table.history.with_adoption(record)
    change_schema(
        appender,
        schema_history,
        record,
        actor,
        partial(create_empty_tables, schema_history=schema_history),
    )


def record_version(appender: JournalAppender, record: SchemaRecord, actor: str) -> None:
    """Record a version that is not active; see `SchemaStore.record`."""
    change_schema(
        appender, appender.schema_table.history.with_record(record), record, actor, lambda _: None
    )


def change_schema(
    appender: JournalAppender,
    schema_history: SchemaHistory,
    record: SchemaRecord,
    actor: str,
    work: Callable[[Cursor], T],
    changed: tuple[str, ...] = (),
) -> T:
    """Run `work` and switch to a history, in one transaction.

    An event is committed with them if the change of the record is reportable.
    """

    def work_and_write_history(cursor: Cursor) -> T:
        result = work(cursor)
        write_history(cursor, appender.schema_table.history, schema_history)
        return result

    news = reportable_record(appender.schema_table.history, schema_history, record)
    if news is None:
        result = appender.in_transaction(work_and_write_history)
    else:
        location = appender.location(aggregate_key(SCHEMA_KIND, news.schema.id))
        version = location.version if location else 0
        change = status_change(news, schema_history, version=version, actor=actor, changed=changed)
        document = encode_state(SCHEMA_KIND, change.writes[0].state, schema_history.active_schema)
        result = appender.commit_with(PreparedChange(change, [document]), work_and_write_history)
    if schema_history.active_schema is not appender.schema_table.history.active_schema:
        appender.switch_schema(schema_history)
    appender.schema_table.history = schema_history
    return result
