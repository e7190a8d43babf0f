# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""SQL of a typed query: the select statement of one page."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.domain.aggregates import AggregateType
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schema_version import Column, Value

_COMPARISONS = {
    Operator.EQ: "=",
    Operator.NE: "is distinct from",
    Operator.LT: "<",
    Operator.LTE: "<=",
    Operator.GT: ">",
    Operator.GTE: ">=",
}


class PageStatement:
    """Select statement of a page: quoted identifiers, and values as parameters."""

    def __init__(self, aggregate_type: AggregateType, fields: Mapping[str, Column]) -> None:
        self._type = aggregate_type
        self._fields = fields
        self.parameters: list[Any] = []

    def select(self, query: Query) -> str:
        """Return the select for the locations of a page, and one more row if a page follows.

        It selects nothing else: the engine unpacks what is selected of every row that passes the
        filter, though only fifty are returned.
        """
        conditions = [self._filter(condition) for condition in query.filters]
        if query.after is not None:
            conditions.append(self._after(query.sort, query.after))
        where = " and ".join(conditions) or "true"
        source = self._type.table or self._aggregates()
        order_by = "".join(
            f"{quote_name(order.field)} {'desc' if order.descending else 'asc'} nulls last, "
            for order in query.sort
        )
        return (
            f"select _created, _position, epoch_us(created_at) from {source}"
            f" where {where} order by {order_by}_created limit {query.limit + 1:d}"
        )

    def _aggregates(self) -> str:
        """Return a subquery with the columns of a table, for a kind that has none."""
        return (
            f"(select substr(key, length(kind) + 2) {quote_name(self._type.id_column)}, version,"
            " created _created, position _position, created_at from aggregates"
            f" where kind = {self._parameter(self._type.kind)})"
        )

    def _filter(self, condition: Filter) -> str:
        name, operator = quote_name(condition.field), condition.operator
        if operator is Operator.EXISTS:
            return f"{name} is {'not ' if condition.values[0] else ''}null"
        if operator is Operator.LIKE:
            text = self._value(condition.field, condition.values[0])
            return f"contains(lower({name}), lower({text}))"
        if operator is Operator.IN:
            values = ", ".join(self._value(condition.field, value) for value in condition.values)
            return f"{name} in ({values})"
        return (
            f"{name} {_COMPARISONS[operator]} {self._value(condition.field, condition.values[0])}"
        )

    def _after(self, sort: tuple[Sort, ...], after: tuple[Value | None, ...]) -> str:
        """Return the condition that a row follows the keys in the sort order."""
        cases: list[str] = []
        equal = ""
        for order, key in zip(sort, after, strict=False):
            name = quote_name(order.field)
            if key is None:
                equal += f"{name} is null and "
                continue
            value = self._value(order.field, key)
            is_later = f"{name} {'<' if order.descending else '>'} {value}"
            cases.append(f"{equal}({is_later} or {name} is null)")
            equal += f"{name} = {value} and "
        cases.append(f"{equal}_created > {self._parameter(after[-1])}")
        return "(" + " or ".join(f"({case})" for case in cases) + ")"

    def _value(self, field: str, value: Value) -> str:
        return f"{self._parameter(engine_value(value))}::{sql_type(self._fields[field].type)}"

    def _parameter(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"


def engine_value(value: Value) -> Any:
    """Convert a value to a parameter that loses nothing when cast to its column type."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, str) else value
