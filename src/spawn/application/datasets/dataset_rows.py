"""Rows of a dataset, read page by page."""

from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.application.access.row_access import require_all_rows
from spawn.application.datasets.case_rows import read_case_rows
from spawn.application.datasets.dataset_columns import (
    AGGREGATE_DATASETS,
    DatasetName,
    list_columns,
)
from spawn.application.datasets.dataset_query import DatasetQuery
from spawn.application.datasets.row_filters import filter_rows
from spawn.application.datasets.schedule_rows import read_schedule_rows
from spawn.application.dependencies import Dependencies, require
from spawn.application.events.encoded_feed import EventFilter
from spawn.application.lineage.recorder import RunProgress
from spawn.application.portfolios.portfolio_rows import read_fx_rates
from spawn.application.projects.queries import project_fields
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.traffic.work_turns import WorkTurns
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import NotFound
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.imports.import_state import IMPORT_KIND, ImportState
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.codec import to_json_number, to_json_value
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.report import DATASET, REPORT_KIND, QualityReport
from spawn.domain.query import MAX_LIMIT, Page, Query

Row = dict[str, Any]
"""Values of a row by column, for a msgspec JSON encoder."""

_ROWS_PER_TURN: Final = 32
"""Rows that may be read and formatted in one turn: about 2 ms of work."""

_FINANCE: Final = frozenset(
    {DatasetName.CASES, DatasetName.FX_RATES, DatasetName.SCHEDULES, *AGGREGATE_DATASETS}
    - {DatasetName.APPROVALS}
)
"""Datasets that need a scope of the financing beside that of exports."""

_WHOLE_STORE: Final = frozenset({DatasetName.QUALITY, DatasetName.IMPORTS, DatasetName.APPROVALS})
_decode_report = msgspec.json.Decoder(QualityReport).decode


def require_dataset(principal: Principal, name: DatasetName) -> None:
    """Check that a principal may read a dataset.

    Raises:
        Forbidden: it may not.
    """
    require(principal, Scope.DATA_EXPORT)
    if name in _FINANCE:
        require(principal, Scope.FINANCE_READ, Scope.FINANCE_WRITE)
    if name is DatasetName.APPROVALS:
        require(principal, Scope.APPROVALS_DECIDE, Scope.ADMIN)
    if name in _WHOLE_STORE:
        require_all_rows(principal)


def read_rows(
    dependencies: Dependencies,
    principal: Principal,
    dataset: DatasetQuery,
    envelope: EventEnvelope,
    end: Position,
) -> AsyncIterator[Row]:
    """Return the rows of a dataset, with at most one page in memory.

    Args:
        dependencies: the ports.
        principal: the reader.
        dataset: the query.
        envelope: the attributes that all events share.
        end: the position through which history and events are read.

    Raises:
        Forbidden: the principal may not read.
    """
    require_dataset(principal, dataset.name)
    if dataset.name is DatasetName.PROJECTS:
        return read_projects(dependencies, principal, dataset)
    rows = _read_others(dependencies, dataset, envelope, end)
    if dataset.row_filters:
        rows = filter_rows(rows, dataset.row_filters)
    return _select(rows, dataset) if dataset.fields else rows


def _read_others(
    dependencies: Dependencies, dataset: DatasetQuery, envelope: EventEnvelope, end: Position
) -> AsyncIterator[Row]:
    if dataset.name is DatasetName.HISTORY:
        return _read_history(dependencies, dataset.event_filter, end)
    if dataset.name is DatasetName.EVENTS:
        return _read_events(dependencies, dataset.event_filter, envelope, end)
    kind = AGGREGATE_DATASETS.get(dataset.name)
    if kind is not None:
        return _read_aggregates(dependencies, kind, dataset)
    return _ROW_SOURCES[dataset.name](dependencies)


async def count_rows(
    rows: AsyncIterator[Row], progress: RunProgress, turns: WorkTurns
) -> AsyncIterator[Row]:
    """Yield the rows and count them in the progress of a run; wait for a turn after a few.

    The rows of a page are there at once, so that nothing else would run for as long as it takes
    to format them all.
    """
    async for row in rows:
        progress.rows += 1
        if progress.rows % _ROWS_PER_TURN == 0:
            await turns.wait_for_turn()
        yield row


async def _select(rows: AsyncIterator[Row], dataset: DatasetQuery) -> AsyncIterator[Row]:
    names = [column.name for column in dataset.columns]
    async for row in rows:
        yield {name: row[name] for name in names}


async def read_projects(
    dependencies: Dependencies, principal: Principal, dataset: DatasetQuery
) -> AsyncIterator[Row]:
    """Yield projects, all under one schema version even if another becomes active meanwhile.

    Raises:
        Forbidden: the principal may not read.
    """
    require(principal, Scope.DATA_EXPORT)
    if dataset.view is None:
        raise RuntimeError(f"{dataset.name} has no schema version")
    schema = dataset.view.schema
    query: Query | None = dataset.query
    while query is not None:
        page: Page[StoredAggregate[Any]] = await dependencies.reads.page(query)
        for aggregate in page.items:
            stored = await convert_to_version(dependencies, aggregate, schema.version)
            yield project_fields(stored, schema, dataset.fields)
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


async def _read_entries(
    dependencies: Dependencies, event_filter: EventFilter, end: Position
) -> AsyncIterator[JournalEntry]:
    """Yield the entries of the feed through a position."""
    after = Position(end.epoch, 0)
    while after < end:
        page = await dependencies.reads.feed(
            after=after, limit=MAX_LIMIT, types=event_filter.types, subject=event_filter.subject
        )
        for entry in page.entries:
            if entry.position > end:
                return
            yield entry
        if page.next == after:
            return
        after = page.next


async def _read_history(
    dependencies: Dependencies, event_filter: EventFilter, end: Position
) -> AsyncIterator[Row]:
    types = AGGREGATE_TYPES[PROJECT_KIND].event_types
    if event_filter.types is not None:
        types = types & event_filter.types
    entries = EventFilter(types, event_filter.subject)
    async for entry in _read_entries(dependencies, entries, end):
        yield {
            "project_id": entry.id,
            "version": entry.version,
            "type": entry.type,
            "actor": entry.actor,
            "recorded_at": entry.recorded_at,
            "schema_version": entry.schema_version,
            "reason": entry.reason,
            "changed": entry.changed,
            "document": msgspec.Raw(entry.document),
        }


async def _read_events(
    dependencies: Dependencies, event_filter: EventFilter, envelope: EventEnvelope, end: Position
) -> AsyncIterator[Row]:
    async for entry in _read_entries(dependencies, event_filter, end):
        event = msgspec.structs.asdict(envelope.to_cloudevent(entry))
        yield {n: None if value is msgspec.UNSET else value for n, value in event.items()}


async def _read_quality(dependencies: Dependencies) -> AsyncIterator[Row]:
    """Yield the results of every run, oldest first."""
    try:
        newest = (await dependencies.reads.head(REPORT_KIND, DATASET)).version
    except NotFound:
        return
    version = 0
    while version < newest:
        entries = await dependencies.reads.history(
            REPORT_KIND, DATASET, after_version=version, limit=MAX_LIMIT
        )
        for entry in entries:
            for row in _quality_rows(entry.version, _decode_report(entry.document)):
                yield row
        if not entries:
            return
        version = entries[-1].version


def _quality_rows(run: int, report: QualityReport) -> list[Row]:
    return [
        {
            "run": run,
            "measured_at": report.measured_at,
            "schema_version": report.schema_version,
            "projects": report.projects,
            "rule_id": result.rule.rule_id,
            "dimension": result.rule.dimension,
            "severity": result.rule.severity,
            "unit": result.rule.unit,
            "columns": result.rule.columns,
            "threshold": _json_number(result.rule.threshold),
            "value": result.value,
            "met": result.met,
            "checked": result.checked,
            "passed": result.passed,
        }
        for result in report.results
    ]


def _json_number(value: Decimal | None) -> msgspec.Raw | None:
    return None if value is None else to_json_number(value)


async def _read_aggregates(
    dependencies: Dependencies, kind: str, dataset: DatasetQuery
) -> AsyncIterator[Row]:
    """Yield the aggregates of a kind by their indexed columns, in order of creation.

    Those of a governed kind are under the version of the query, even if another becomes active.
    """
    aggregate_type = AGGREGATE_TYPES[kind]
    schema = None if dataset.view is None else dataset.view.schema
    system_names = {aggregate_type.id_column, "version", "created_at", "updated_at"}
    governed_names = frozenset(one.name for one in schema.governed) if schema else frozenset[str]()
    columns = list_columns(dataset.name, schema=schema)
    names = [one.name for one in columns if one.name not in system_names]
    query: Query | None = Query(kind=kind, limit=MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[Any]] = await dependencies.reads.page(query)
        for one in page.items:
            aggregate = one
            if schema is not None:
                aggregate = await convert_to_version(dependencies, one, schema.version)
            values: Row = {
                name: aggregate_type.read_column(aggregate.state, name) for name in names
            }
            # As in lists: amounts are strings, other decimals numbers.
            values |= {
                name: to_json_value(name, value)
                for name, value in values.items()
                if value is not None and name in governed_names
            }
            yield {
                aggregate_type.id_column: aggregate.id,
                "version": aggregate.version,
                **values,
                "created_at": aggregate.created_at,
                "updated_at": aggregate.updated_at,
            }
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


async def _read_imports(dependencies: Dependencies) -> AsyncIterator[Row]:
    """Yield the imports in order of creation."""
    query: Query | None = Query(kind=IMPORT_KIND, limit=MAX_LIMIT)
    while query is not None:
        page: Page[StoredAggregate[ImportState]] = await dependencies.reads.page(query)
        for aggregate in page.items:
            state = aggregate.state
            counts = state.counts
            yield {
                "import_id": state.import_id,
                "kind": state.kind,
                "format": state.format,
                "mapping": state.mapping,
                "mapping_version": state.mapping_version,
                "size_bytes": state.size_bytes,
                "sha256": state.sha256,
                "requested_by": state.requested_by,
                "rows": counts.rows,
                "accepted": counts.accepted,
                "unchanged": counts.unchanged,
                "quarantined": counts.quarantined,
                "warnings": counts.warnings,
                "skipped": counts.skipped,
                "merged": counts.merged,
                "vanished": counts.vanished,
                "currency_assumed": counts.currency_assumed,
                "is_correction": state.is_correction,
                "by_reason": counts.by_reason,
                "skipped_by": counts.skipped_by,
                "failed_checks": counts.failed_checks,
                "created_at": aggregate.created_at,
                "updated_at": aggregate.updated_at,
            }
        query = msgspec.structs.replace(query, after=page.next) if page.next else None


_ROW_SOURCES: Final[Mapping[DatasetName, Callable[[Dependencies], AsyncIterator[Row]]]] = {
    DatasetName.QUALITY: _read_quality,
    DatasetName.IMPORTS: _read_imports,
    DatasetName.CASES: read_case_rows,
    DatasetName.FX_RATES: read_fx_rates,
    DatasetName.SCHEDULES: read_schedule_rows,
}
"""Sources of the rows of the datasets that are read as a whole."""
