# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""SQL of a typed query: the select statement of one page, and the count of its items."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from spawn.adapters.duckdb.tables import quote_name, sql_type
from spawn.domain.aggregates import AggregateType
from spawn.domain.projects.document_fields import (
    DocumentField,
    parse_number,
    parse_whole_number,
)
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


_NUMBER_TYPES = "('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')"
_WHOLE_TYPES = "('BIGINT', 'UBIGINT')"


class PageStatement:
    """Select statement of a page: quoted identifiers, and values as parameters.

    Args:
        aggregate_type: the type of the items.
        fields: its columns.
        find_promoted: returns the schema versions whose extension of a name is a column now.
        past_states: a relation that replaces the state table, with its parameters.
    """

    def __init__(
        self,
        aggregate_type: AggregateType,
        fields: Mapping[str, Column],
        find_promoted: Callable[[str], Collection[int]],
        past_states: tuple[str, list[Any]] | None = None,
    ) -> None:
        self._type = aggregate_type
        self._fields = fields
        self._find_promoted = find_promoted
        self._past_source = past_states[0] if past_states else None
        self.parameters: list[Any] = [*past_states[1]] if past_states else []

    def select(self, query: Query) -> str:
        """Return the select for the locations of a page, and one more row if a page follows.

        It selects nothing else: the engine unpacks what is selected of every row that passes the
        filter, though only fifty are returned.
        """
        source = self._source(query)
        conditions = self._conditions(query)
        if query.after is not None:
            conditions.append(self._after(query.sort, query.after))
        where = " and ".join(conditions) or "true"
        return (
            f"select _created, _position, epoch_us(created_at) from {source}"
            f" where {where} order by {_order_by(query)} limit {query.limit + 1:d}"
        )

    def positions(self, query: Query) -> str:
        """Return the select for the journal rows of all items, in order."""
        source, conditions = self._source(query), self._conditions(query)
        where = " and ".join(conditions) or "true"
        return f"select _position from {source} where {where} order by {_order_by(query)}"

    def count(self, query: Query) -> str:
        """Return the select for the number of items that match the filters of a query."""
        source, conditions = self._source(query), self._conditions(query)
        return f"select count(*) from {source} where {' and '.join(conditions) or 'true'}"

    def _conditions(self, query: Query) -> list[str]:
        return [self._filter(condition) for condition in query.filters]

    def _source(self, query: Query) -> str:
        """Return the relation of the items, with their documents where a filter reads them."""
        source = self._past_source or self._type.table or self._aggregates()
        if not any(map(self._type.find_document_field, (f.field for f in query.filters))):
            return source
        return (
            f"(select s.*, j.document _document, j.schema_version _schema_version from {source} s"
            " join journal j on j.position = s._position)"
        )

    def _aggregates(self) -> str:
        """Return a subquery with the columns of a table, for a kind that has none."""
        return (
            f"(select substr(key, length(kind) + 2) {quote_name(self._type.id_column)}, version,"
            " created _created, position _position, created_at from aggregates"
            f" where kind = {self._parameter(self._type.kind)})"
        )

    def _filter(self, condition: Filter) -> str:
        document_field = self._type.find_document_field(condition.field)
        if document_field is not None:
            return self._document_filter(condition, document_field)
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

    def _document_filter(self, condition: Filter, field: DocumentField) -> str:
        """Return the condition on a field of the document, as `query_evaluation` defines it."""
        operator, operands = condition.operator, [str(value) for value in condition.values]
        if field.is_json:
            condition_sql = self._extension_condition(field, condition)
        elif operator is Operator.EXISTS:
            condition_sql = _text_exists(field)
        else:
            condition_sql = self._text_condition(field, operator, operands)
        is_negated = operator is Operator.NE or condition.values == (False,)
        return f"{'not ' if is_negated else ''}coalesce({condition_sql}, false)"

    def _text_condition(self, field: DocumentField, operator: Operator, operands: list[str]) -> str:
        name = "v" if field.is_list else _document_text(field)
        if operator is Operator.LIKE:
            test = f"contains(lower({name}), lower({self._parameter(operands[0])}))"
        else:
            values = ", ".join(self._parameter(operand) for operand in operands)
            test = f"{name} in ({values})"
        if not field.is_list:
            return test
        return f"len(list_filter({_document_texts(field)}, lambda v: {test})) > 0"

    def _extension_condition(self, field: DocumentField, condition: Filter) -> str:
        path = f"'$.\"{field.name}\"'"
        json_type = f"json_type(_document, {path})"
        text = f"json_extract_string(_document, {path})"
        is_text, is_number = f"{json_type} = 'VARCHAR'", f"{json_type} in {_NUMBER_TYPES}"
        operator, operands = condition.operator, [str(value) for value in condition.values]
        if operator is Operator.EXISTS:
            test = f"{json_type} <> 'NULL'"
        elif operator is Operator.LIKE:
            operand = self._parameter(operands[0])
            test = f"{is_text} and contains(lower({text}), lower({operand}))"
        elif operator in (Operator.EQ, Operator.NE, Operator.IN):
            texts = ", ".join(self._parameter(operand) for operand in operands)
            test = f"{json_type} in ('VARCHAR', 'BOOLEAN') and {text} in ({texts})"
            numbers = [operand for operand in operands if parse_number(operand) is not None]
            if numbers:
                number_test = self._number_condition(json_type, text, "in", numbers)
                test = f"({test}) or ({is_number} and {number_test})"
        elif parse_number(operands[0]) is None:
            test = f"{is_text} and {text} {_COMPARISONS[operator]} {self._parameter(operands[0])}"
        else:
            comparison = _COMPARISONS[operator]
            number_test = self._number_condition(json_type, text, comparison, operands)
            test = f"{is_number} and {number_test}"
        promoted = ", ".join(f"{version:d}" for version in self._find_promoted(field.name))
        # The document has the value under its old name; the state has it in the new column.
        return f"({test}) and _schema_version not in ({promoted})" if promoted else test

    def _number_condition(
        self, json_type: str, text: str, comparison: str, operands: list[str]
    ) -> str:
        """Return the comparison of a number: of whole ones of 64 bits exactly, else as doubles."""

        def compare(type_name: str, listed: list[str]) -> str:
            values = ", ".join(f"{self._parameter(one)}::{type_name}" for one in listed)
            return f"try_cast({text} as {type_name}) {comparison} ({values})"

        wholes = [one for one in operands if parse_whole_number(one) is not None]
        others = [one for one in operands if parse_whole_number(one) is None]
        tests = [compare("hugeint", wholes)] if wholes else []
        tests += [compare("double", others)] if others else []
        exact = f"case when {json_type} in {_WHOLE_TYPES} then {' or '.join(tests)}"
        return f"({exact} else {compare('double', operands)} end)"

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


def _order_by(query: Query) -> str:
    sort = (
        f"{quote_name(order.field)} {'desc' if order.descending else 'asc'} nulls last, "
        for order in query.sort
    )
    return f"{''.join(sort)}_created"


def _document_text(field: DocumentField) -> str:
    """Return the text of a field, null if it is absent."""
    texts = (f"json_extract_string(_document, '$.{'.'.join(path)}')" for path in field.paths)
    return "(" + " || ':' || ".join(texts) + ")"


def _document_texts(field: DocumentField) -> str:
    """Return the list of the texts of a list's members."""
    (list_name, member), *_ = field.paths
    return f"json_extract_string(_document, '$.{list_name}[*].{member}')"


def _text_exists(field: DocumentField) -> str:
    if field.is_list:
        return f"len({_document_texts(field)}) > 0"
    return f"{_document_text(field)} is not null"


def engine_value(value: Value) -> Any:
    """Convert a value to a parameter that loses nothing when cast to its column type."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, str) else value
