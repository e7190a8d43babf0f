# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""Counting how much of the data keeps a rule: one snapshot, a few passes over it."""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb
import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal_rows import instant
from spawn.adapters.duckdb.state.constraint_sql import conforming
from spawn.adapters.duckdb.tables import quoted
from spawn.domain.quality.rules import (
    MAX_SAMPLES,
    REFERENCE,
    Complete,
    Conforming,
    InOrder,
    Measure,
    SharesWhole,
    SumEquals,
    Tally,
    Unique,
)

_AT_ONCE = 50
"""Measures that one pass over the table counts."""

_ADDEND = "decimal(38,10)"
_STRUCTURE = (
    '{"sponsors":[{"share":"DECIMAL(11,8)"}],"external_ref":{"source":"VARCHAR","id":"VARCHAR"}}'
)
# What is no column lies in the document alone; a row's position leads to it. No text holds a NUL,
# so it divides the two parts of a reference.
_DOCUMENTS = (
    "(select project_id, _created, r.external_ref.source || chr(0) || r.external_ref.id as ref,"
    " list_sum(list_transform(r.sponsors, s -> s.share)) as shares"
    f" from (select p.project_id, p._created, from_json(j.document, '{_STRUCTURE}') r"
    " from projects p join journal j on j.position = p._position))"
)
_REFERENCES = Unique(REFERENCE)


class _Condition(msgspec.Struct, frozen=True):
    """Two expressions over a source: whether a row is looked at, and whether it keeps the rule."""

    source: str
    looked_at: str
    kept: str


class _Survey:
    """Statements with their parameters, run over one snapshot."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._parameters: list[Any] = []

    def tally(self, measures: Sequence[Measure]) -> list[Tally]:
        """The tallies, in order; those of plain columns are counted together."""
        found: dict[int, Tally] = {}
        together: list[tuple[int, Measure]] = []
        of_documents: dict[Measure, Tally] = {}
        if any(measure in {SharesWhole(), _REFERENCES} for measure in measures):
            of_documents = self._documents()
        for index, measure in enumerate(measures):
            if measure in of_documents:
                found[index] = of_documents[measure]
            elif isinstance(measure, Unique):
                found[index] = self._unique(measure)
            elif isinstance(measure, Conforming) and measure.column.enum is not None:
                found[index] = self._members(measure)
            else:
                together.append((index, measure))
        for start in range(0, len(together), _AT_ONCE):
            found |= self._count(together[start : start + _AT_ONCE])
        return [found[index] for index in range(len(measures))]

    def _count(self, measures: Sequence[tuple[int, Measure]]) -> dict[int, Tally]:
        """Several measures over one source in one pass."""
        self._parameters = []
        conditions = [self._condition(measure) for _, measure in measures]
        counts = ", ".join(
            f"count(*) filter ({c.looked_at}), count(*) filter ({c.looked_at} and {c.kept})"
            for c in conditions
        )
        row = self._row(f"select {counts} from {conditions[0].source}")
        pairs = zip(row[::2], row[1::2], strict=True)
        return {
            index: Tally(met, checked, self._samples(measure) if met < checked else ())
            for (index, measure), (checked, met) in zip(measures, pairs, strict=True)
        }

    def _documents(self) -> dict[Measure, Tally]:
        """What is counted of documents, each read once; offenders are rare and looked for anew."""
        self._parameters = []
        shared, whole, referred, distinct = self._row(
            f"with d as materialized (select ref, shares from {_DOCUMENTS})"
            " select count(shares), count(*) filter (shares = 100), count(ref),"
            " count(distinct ref) from d"
        )
        shares = Tally(whole, shared, self._samples(SharesWhole()) if whole < shared else ())
        unique = Tally(referred, referred) if referred == distinct else self._unique(_REFERENCES)
        return {SharesWhole(): shares, _REFERENCES: unique}

    def _members(self, measure: Conforming) -> Tally:
        """A column with an enum: its few values are compared, not its many rows."""
        self._parameters = []
        name = quoted(measure.column.name)
        kept = conforming(measure.column, "v", self._parameter)
        checked, met = self._row(
            f"select coalesce(sum(n), 0), coalesce(sum(n) filter ({kept}), 0) from"
            f" (select {name} v, count(*) n from projects where {name} is not null group by v)"
        )
        return Tally(int(met), int(checked), self._samples(measure) if met < checked else ())

    def _unique(self, measure: Unique) -> Tally:
        source, value = "projects", "project_id"
        if measure == _REFERENCES:
            source, value = _DOCUMENTS, "ref"
        grouped = (
            f"(select count(*) n, {value} v from {source} where {value} is not null group by v)"
        )
        self._parameters = []
        checked, met = self._row(
            f"select coalesce(sum(n), 0), count(*) filter (n = 1) from {grouped}"
        )
        if met == checked:
            return Tally(int(met), int(checked))
        rows = self._cursor.execute(
            f"select project_id from {source} where {value} in"
            f" (select v from {grouped} where n > 1) order by _created limit {MAX_SAMPLES}"
        ).fetchall()
        return Tally(int(met), int(checked), tuple(name for (name,) in rows))

    def _samples(self, measure: Measure) -> tuple[str, ...]:
        self._parameters = []
        condition = self._condition(measure)
        rows = self._cursor.execute(
            f"select project_id from {condition.source} where {condition.looked_at}"
            f" and not {condition.kept} order by _created limit {MAX_SAMPLES}",
            self._parameters,
        ).fetchall()
        return tuple(name for (name,) in rows)

    def _row(self, statement: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._cursor.execute(statement, self._parameters).fetchone()
        return row or ()

    def _condition(self, measure: Measure) -> _Condition:
        match measure:
            case Complete(name):
                return _Condition("projects", "true", f"({quoted(name)} is not null)")
            case Conforming(allowed):
                name = quoted(allowed.name)
                kept = conforming(allowed, name, self._parameter)
                return _Condition("projects", f"{name} is not null", kept)
            case InOrder(names):
                return _in_order(names)
            case SumEquals():
                return self._sum_equals(measure)
            case SharesWhole():
                return _Condition(_DOCUMENTS, "shares is not null", "(shares = 100)")
        raise TypeError(f"a {type(measure).__name__} is not counted one project at a time")

    def _sum_equals(self, measure: SumEquals) -> _Condition:
        names = [quoted(name) for name in measure.addends]
        total = f"{quoted(measure.total)}::{_ADDEND}"
        found = " + ".join(f"coalesce({name}::{_ADDEND}, 0)" for name in names)
        present = " or ".join(f"{name} is not null" for name in names)
        gap = f"abs(({found}) - {total})"
        within = self._parameter(float(measure.tolerance))
        return _Condition(
            "projects",
            f"({present}) and {quoted(measure.total)} is not null",
            f"({gap} = 0 or {gap}::double < {within}::double * abs({total})::double)",
        )

    def _parameter(self, value: Any) -> str:
        self._parameters.append(value)
        return f"${len(self._parameters)}"


def _in_order(columns: Sequence[str]) -> _Condition:
    names = [quoted(name) for name in columns]
    there = " + ".join(f"({name} is not null)::integer" for name in names)
    pairs = [(early, late) for at, early in enumerate(names) for late in names[at + 1 :]]
    late = " or ".join(f"coalesce({early} > {late}, false)" for early, late in pairs)
    return _Condition("projects", f"({there}) >= 2", f"(not ({late}))")


def measure(
    cursor: Cursor, measures: Sequence[Measure]
) -> tuple[int, datetime | None, tuple[Tally, ...]]:
    """How many projects there are, when one was last written, and the tallies.

    All in one transaction, so that every count is of the same projects.
    """
    cursor.execute("begin transaction read only")
    try:
        counted = cursor.execute("select count(*), max(epoch_us(updated_at)) from projects")
        projects, changed_at = counted.fetchone() or (0, None)
        tallies = tuple(_Survey(cursor).tally(measures))
    finally:
        # A query that was stopped may have taken its transaction along.
        with contextlib.suppress(duckdb.Error):
            cursor.execute("rollback")
    return projects, None if changed_at is None else instant(changed_at), tallies
