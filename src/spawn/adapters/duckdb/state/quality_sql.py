# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Quality measures as SQL: one snapshot, and a few passes over it."""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import from_microseconds
from spawn.adapters.duckdb.state.constraint_sql import constraint_condition
from spawn.adapters.duckdb.tables import quote_name
from spawn.domain.aggregates import AggregateType
from spawn.domain.quality.measures import (
    EXTERNAL_REF,
    MAX_SAMPLES,
    CompletenessMeasure,
    ConformityMeasure,
    DateOrderMeasure,
    Measure,
    MeasureTally,
    ShareSumMeasure,
    SumMeasure,
    UniquenessMeasure,
)

_MEASURES_PER_QUERY = 50
"""Measures counted in one pass over the table."""

_ADDEND = "decimal(38,10)"
_SHARE = '[{"share":"DECIMAL(15,12)"}]'
_REFERENCE = '{"source":"VARCHAR","id":"VARCHAR"}'
_REFERENCES = UniquenessMeasure(EXTERNAL_REF)


class _Condition(msgspec.Struct, frozen=True):
    """Two expressions over a source: the rule applies to a row, and the row meets it."""

    source: str
    applies: str
    holds: str


class _TallyQueries:
    """Statements with their parameters, run over one snapshot."""

    def __init__(self, cursor: Cursor, aggregate_type: AggregateType) -> None:
        self._cursor = cursor
        self._table = quote_name(aggregate_type.table or aggregate_type.kind)
        self._id = quote_name(aggregate_type.id_column)
        self._parameters: list[Any] = []

    def count(self, measures: Sequence[Measure]) -> list[MeasureTally]:
        """Return the tallies in order; measures of plain columns share a pass."""
        tallies: dict[int, MeasureTally] = {}
        column_measures: list[tuple[int, Measure]] = []
        document_tallies = self._count_documents(measures)
        for index, measure in enumerate(measures):
            if measure in document_tallies:
                tallies[index] = document_tallies[measure]
            elif isinstance(measure, UniquenessMeasure):
                tallies[index] = self._count_unique(measure)
            elif isinstance(measure, ConformityMeasure) and measure.column.enum is not None:
                tallies[index] = self._count_enum(measure)
            else:
                column_measures.append((index, measure))
        for start in range(0, len(column_measures), _MEASURES_PER_QUERY):
            tallies |= self._count_columns(column_measures[start : start + _MEASURES_PER_QUERY])
        return [tallies[index] for index in range(len(measures))]

    def _count_columns(self, measures: Sequence[tuple[int, Measure]]) -> dict[int, MeasureTally]:
        """Count several measures over one source in one pass."""
        self._parameters = []
        conditions = [self._condition(measure) for _, measure in measures]
        counts = ", ".join(
            f"count(*) filter ({c.applies}), count(*) filter ({c.applies} and {c.holds})"
            for c in conditions
        )
        row = self._row(f"select {counts} from {conditions[0].source}")
        pairs = zip(row[::2], row[1::2], strict=True)
        return {
            index: MeasureTally(
                met_count,
                checked_count,
                self._samples(measure) if met_count < checked_count else (),
            )
            for (index, measure), (checked_count, met_count) in zip(measures, pairs, strict=True)
        }

    def _count_documents(self, measures: Sequence[Measure]) -> dict[Measure, MeasureTally]:
        """Count the measures that need whole documents, if there are any, in one pass.

        Violating ids are queried only if there are any, which is rare.
        """
        share_sums = [m for m in dict.fromkeys(measures) if isinstance(m, ShareSumMeasure)]
        if not share_sums and _REFERENCES not in measures:
            return {}
        self._parameters = []
        fields = tuple(dict.fromkeys(measure.field for measure in share_sums))
        source = _build_document_source(self._table, self._id, fields)
        counts = "".join(
            f"count({quote_name(measure.field)}), count(*) filter ({_are_whole(measure)}), "
            for measure in share_sums
        )
        *shares, reference_count, distinct_count = self._row(
            f"with d as materialized (select * from {source})"
            f" select {counts}count(ref), count(distinct ref) from d"
        )
        tallies: dict[Measure, MeasureTally] = {
            measure: MeasureTally(met, checked, self._samples(measure) if met < checked else ())
            for measure, checked, met in zip(share_sums, shares[::2], shares[1::2], strict=True)
        }
        tallies[_REFERENCES] = (
            MeasureTally(reference_count, reference_count)
            if reference_count == distinct_count
            else self._count_unique(_REFERENCES)
        )
        return tallies

    def _count_enum(self, measure: ConformityMeasure) -> MeasureTally:
        """Count a column with an enum by its few distinct values, not its many rows."""
        self._parameters = []
        name = quote_name(measure.column.name)
        holds = constraint_condition(measure.column, "v", self._parameter)
        checked_count, met_count = self._row(
            f"select coalesce(sum(n), 0), coalesce(sum(n) filter ({holds}), 0) from"
            f" (select {name} v, count(*) n from {self._table}"
            f" where {name} is not null group by v)"
        )
        return MeasureTally(
            int(met_count),
            int(checked_count),
            self._samples(measure) if met_count < checked_count else (),
        )

    def _count_unique(self, measure: UniquenessMeasure) -> MeasureTally:
        source, value = self._table, quote_name(measure.field)
        if measure == _REFERENCES:
            source, value = _build_document_source(self._table, self._id, ()), "ref"
        groups = (
            f"(select count(*) n, {value} v from {source} where {value} is not null group by v)"
        )
        self._parameters = []
        checked_count, met_count = self._row(
            f"select coalesce(sum(n), 0), count(*) filter (n = 1) from {groups}"
        )
        if met_count == checked_count:
            return MeasureTally(int(met_count), int(checked_count))
        rows = self._cursor.execute(
            f"select {self._id} from {source} where {value} in"
            f" (select v from {groups} where n > 1) order by _created limit {MAX_SAMPLES}"
        ).fetchall()
        return MeasureTally(int(met_count), int(checked_count), tuple(name for (name,) in rows))

    def _samples(self, measure: Measure) -> tuple[str, ...]:
        self._parameters = []
        condition = self._condition(measure)
        rows = self._cursor.execute(
            f"select {self._id} from {condition.source} where {condition.applies}"
            f" and not {condition.holds} order by _created limit {MAX_SAMPLES}",
            self._parameters,
        ).fetchall()
        return tuple(name for (name,) in rows)

    def _row(self, statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._cursor.execute(statement, self._parameters).fetchone()
        return row or ()

    def _condition(self, measure: Measure) -> _Condition:
        match measure:
            case CompletenessMeasure(name):
                return _Condition(self._table, "true", f"({quote_name(name)} is not null)")
            case ConformityMeasure(allowed):
                name = quote_name(allowed.name)
                holds = constraint_condition(allowed, name, self._parameter)
                return _Condition(self._table, f"{name} is not null", holds)
            case DateOrderMeasure(names):
                return _order_condition(self._table, names)
            case SumMeasure():
                return self._sum_condition(measure)
            case ShareSumMeasure(field):
                source = _build_document_source(self._table, self._id, (field,))
                return _Condition(
                    source, f"{quote_name(field)} is not null", f"({_are_whole(measure)})"
                )
        raise TypeError(f"a {type(measure).__name__} is not counted one state at a time")

    def _sum_condition(self, measure: SumMeasure) -> _Condition:
        names = [quote_name(name) for name in measure.addends]
        total = f"{quote_name(measure.total)}::{_ADDEND}"
        addend_sum = " + ".join(f"coalesce({name}::{_ADDEND}, 0)" for name in names)
        present = " or ".join(f"{name} is not null" for name in names)
        gap = f"abs(({addend_sum}) - {total})"
        tolerance = self._parameter(float(measure.tolerance))
        return _Condition(
            self._table,
            f"({present}) and {quote_name(measure.total)} is not null",
            f"({gap} = 0 or {gap}::double < {tolerance}::double * abs({total})::double)",
        )

    def _parameter(self, value: Any) -> str:
        self._parameters.append(value)
        return f"${len(self._parameters)}"


def _build_document_source(table: str, identity: str, share_fields: Sequence[str]) -> str:
    """Return a source of the sums of shares, by the name of their field, and of references.

    Members without a column are in the document alone, found by the row's position.
    """
    members = "".join(f"{quote_name(field)}:{_SHARE}," for field in share_fields)
    # The sum is unknown where a share is.
    sums = "".join(
        f" case when len(list_filter(r.{name}, s -> s.share is null)) = 0"
        f" then list_sum(list_transform(r.{name}, s -> s.share)) end as {name},"
        for name in map(quote_name, share_fields)
    )
    # No text contains a NUL, so it separates the two parts of a reference.
    return (
        f"(select {identity}, _created,{sums}"
        " r.external_ref.source || chr(0) || r.external_ref.id as ref"
        f" from (select p.{identity}, p._created,"
        f" from_json(j.document, '{{{members}\"external_ref\":{_REFERENCE}}}') r"
        f" from {table} p join journal j on j.position = p._position))"
    )


def _are_whole(measure: ShareSumMeasure) -> str:
    return f"abs({quote_name(measure.field)} - 100) <= {measure.tolerance:f}"


def _order_condition(table: str, columns: Sequence[str]) -> _Condition:
    names = [quote_name(name) for name in columns]
    present = " + ".join(f"({name} is not null)::integer" for name in names)
    pairs = [(early, late) for index, early in enumerate(names) for late in names[index + 1 :]]
    late = " or ".join(f"coalesce({early} > {late}, false)" for early, late in pairs)
    return _Condition(table, f"({present}) >= 2", f"(not ({late}))")


def count_measures(
    cursor: Cursor, measures: Sequence[Measure], aggregate_type: AggregateType
) -> tuple[int, datetime | None, tuple[MeasureTally, ...]]:
    """Return the number of states of a kind, the time of the last write, and the tallies.

    One transaction, so that every count is of the same states.
    """
    table = quote_name(aggregate_type.table or aggregate_type.kind)
    cursor.execute("begin transaction read only")
    try:
        summary = cursor.execute(f"select count(*), max(epoch_us(updated_at)) from {table}")
        states, changed_at = summary.fetchone() or (0, None)
        tallies = tuple(_TallyQueries(cursor, aggregate_type).count(measures))
    finally:
        # Interrupting a query may have ended its transaction already.
        with contextlib.suppress(duckdb.Error):
            cursor.execute("rollback")
    return states, None if changed_at is None else from_microseconds(changed_at), tallies
