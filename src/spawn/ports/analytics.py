"""Storage ports for analytics: measures over all stored data, and its columns."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from spawn.domain.events.position import Position
from spawn.domain.portfolios.flow_columns import FlowColumns
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.measures import Measure, Measurement
from spawn.domain.query import Query


class QualityStore(Protocol):
    """Counts how many stored values satisfy a rule."""

    async def measure(self, measures: Sequence[Measure], kind: str = PROJECT_KIND) -> Measurement:
        """Return a tally of each measure, all over the states of a governed kind at one moment.

        They include every change acknowledged before the call. MUST agree with
        `adapters.embedded.quality_counts`, the definition of each measure in plain Python, and
        MUST NOT block commands or other reads meanwhile.

        Raises:
            InvalidInput: a measure names a field that the kind's active schema does not have.
            DeadlineExceeded: counting took too long and was stopped.
        """
        ...


class ArrowTable(Protocol):
    """A table that other libraries read without a copy, by the Arrow PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a capsule with an Arrow stream of the table."""
        ...


class ColumnChunk(msgspec.Struct, frozen=True):
    """Consecutive projects as columns; `rows` is their number."""

    rows: int
    table: ArrowTable


class ColumnSelection(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of projects to read, under the active schema version that has this number.

    `names` are core and governed fields, and `extensions` for the `x_` fields as one JSON object:
    those of `extension_names`, or all if it is None.
    """

    names: tuple[str, ...]
    schema_version: int
    extension_names: frozenset[str] | None = None


@runtime_checkable
class ColumnStore(Protocol):
    """Port for projects as typed columns, in bounded memory. A store may lack it."""

    async def read_columns(
        self, query: Query, selection: ColumnSelection, through: Position
    ) -> AsyncGenerator[ColumnChunk] | None:
        """Return chunks of the projects that match a query, in its order; at least one chunk.

        All are of one state: that of a position, or of `as_of` if the query has it. `limit` and
        `after` have no part. Values have the column's type: decimals are exact, timestamps are in
        UTC with microseconds, and nested fields are JSON as text, null where they are absent or
        empty. MUST NOT block commands or other reads while a chunk is not fetched.

        None if rows have to be converted, since another schema version is active, or if there is
        no space.

        Raises:
            InvalidInput: an unknown field, or an instant that is too costly.
            DeadlineExceeded: a chunk took too long.
        """
        ...


@runtime_checkable
class FlowTotals(Protocol):
    """Sums flows by cell, millions at a time, off the event loop."""

    async def sum_flows(self, flows: FlowColumns) -> dict[int, int]:
        """Return the exact sum of each cell that has a flow.

        MUST agree with `domain.portfolios.flow_columns.sum_flows`, the definition in plain Python.

        Raises:
            DeadlineExceeded: summing took too long and was stopped.
            Overloaded: too many queries wait already.
        """
        ...
