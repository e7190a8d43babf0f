"""Evaluation of queries in plain Python, for the memory store and the page caches.

An engine that evaluates queries in its own language must agree with this module; the contract suite
compares them.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import CursorInvalid, FieldError, InvalidInput
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.projects.document_fields import (
    DocumentField,
    JsonScalar,
    is_whole_number,
    parse_number,
    parse_whole_number,
    read_document_values,
)
from spawn.domain.query import (
    COMPARISONS,
    MAX_LIMIT,
    Filter,
    HistoryBounds,
    Operator,
    Page,
    Query,
    Sort,
    meets,
)
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value

SortKeys = tuple[Value | None, ...]
"""Sort keys of an item in the order of the sorts, then its creation position."""

MAX_ENTRIES = 1_000
"""Largest page of history or feed, entries."""
MAX_IDS = 10_000
"""Largest number of ids in one call."""

_MAX_DIGITS = 38
_BIGINT = 2**63
_WIDE = Context(prec=100)
TEXT_OPERATORS = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.LIKE, Operator.EXISTS})
"""Operators of a document field that is always a text."""

_STORED_FIELDS = frozenset({"version", "created_at", "updated_at"})
_PYTHON_TYPES: dict[TypeName, tuple[type, ...]] = {
    TypeName.STRING: (str,),
    TypeName.INTEGER: (int,),
    TypeName.BIGINT: (int,),
    TypeName.DECIMAL: (Decimal, int),
    TypeName.DOUBLE: (float, int, Decimal),
    TypeName.BOOLEAN: (bool,),
    TypeName.DATE: (date,),
    TypeName.TIMESTAMP: (datetime,),
}


def check_query(query: Query, fields: Mapping[str, Column]) -> None:
    """Check the operands, limit and position of a query whose kind has these columns.

    Raises:
        InvalidInput: names every error.
        CursorInvalid: `after` has not one key per sort and the creation position.
    """
    errors: list[FieldError] = []
    if not 1 <= query.limit <= MAX_LIMIT:
        errors.append(FieldError("/limit", "out_of_range", f"The limit is 1 to {MAX_LIMIT}."))
    find_document_field = AGGREGATE_TYPES[query.kind].find_document_field
    for condition in query.filters:
        document_field = find_document_field(condition.field)
        if document_field is None:
            errors += _filter_errors(condition, fields)
        else:
            errors += _document_filter_errors(condition, document_field)
    if query.as_of is not None and AGGREGATE_TYPES[query.kind].table is None:
        detail = "Only kinds with a table have past pages."
        errors.append(FieldError("/as_of", "unsuitable", detail))
    errors += [_unknown(sort.field) for sort in query.sort if sort.field not in fields]
    if errors:
        raise InvalidInput(errors)
    if query.after is not None:
        _check_after(query, fields)


def _unknown(field: str) -> FieldError:
    return FieldError(f"/{field}", "unknown_field", "No such field can be filtered or sorted by.")


def _filter_errors(condition: Filter, fields: Mapping[str, Column]) -> list[FieldError]:
    column = fields.get(condition.field)
    pointer = f"/{condition.field}"
    if column is None:
        return [_unknown(condition.field)]
    exists = condition.operator is Operator.EXISTS
    kind = TypeName.BOOLEAN if exists else column.type.name
    if condition.operator is Operator.LIKE and kind is not TypeName.STRING:
        return [FieldError(pointer, "operator_unsuitable", "like needs a text field.")]
    if not _has_operand_count(condition):
        return [FieldError(pointer, *_OPERAND_COUNT)]
    if not all(is_of_type(value, kind) for value in condition.values):
        return [FieldError(pointer, "wrong_type", f"The value is not of type {kind}.")]
    if not all(_fits_column(value, column.type) for value in condition.values):
        return [
            FieldError(pointer, "out_of_range", f"The value is out of range for {column.type}.")
        ]
    return []


def _document_filter_errors(condition: Filter, field: DocumentField) -> list[FieldError]:
    pointer = f"/{condition.field}"
    if not field.is_json and condition.operator not in TEXT_OPERATORS:
        return [FieldError(pointer, "operator_unsuitable", "The field's texts are not ordered.")]
    if not _has_operand_count(condition):
        return [FieldError(pointer, *_OPERAND_COUNT)]
    kind = TypeName.BOOLEAN if condition.operator is Operator.EXISTS else TypeName.STRING
    if not all(is_of_type(value, kind) for value in condition.values):
        return [FieldError(pointer, "wrong_type", f"The value is not of type {kind}.")]
    return []


_OPERAND_COUNT = ("operand_count", "The operator takes a different number of values.")


def _has_operand_count(condition: Filter) -> bool:
    if condition.operator is Operator.IN:
        return len(condition.values) >= 1
    return len(condition.values) == 1


def _check_after(query: Query, fields: Mapping[str, Column]) -> None:
    *keys, position = query.after or (None,)
    is_valid = len(keys) == len(query.sort) and is_of_type(position, TypeName.BIGINT)
    for key, sort in zip(keys, query.sort, strict=False):
        column_type = fields[sort.field].type
        is_valid = is_valid and (
            key is None or (is_of_type(key, column_type.name) and _fits_column(key, column_type))
        )
    if not is_valid:
        raise CursorInvalid("The cursor does not belong to this query.")


def is_of_type(value: object, kind: TypeName) -> bool:
    """Whether a Python value has the column type; bool is no number, datetime no date."""
    if isinstance(value, bool):
        return kind is TypeName.BOOLEAN
    if isinstance(value, datetime):
        return kind is TypeName.TIMESTAMP and value.tzinfo is not None
    return isinstance(value, _PYTHON_TYPES[kind])


def _fits_column(value: object, column_type: ColumnType) -> bool:
    """Whether the column can store the number, so that comparing needs no rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return True
    if column_type.name is TypeName.DECIMAL:
        scale = column_type.scale or 0
        number = Decimal(value)
        whole_digits = (column_type.precision or _MAX_DIGITS) - scale
        return number.is_finite() and (
            not number
            or (
                number.adjusted() < whole_digits
                and int(number.normalize(_WIDE).as_tuple()[2]) >= -scale
            )
        )
    if column_type.name is TypeName.DOUBLE:
        return math.isfinite(value)
    return -_BIGINT <= value < _BIGINT


def field_value(aggregate: StoredAggregate[Any], field: str) -> Value | None:
    """Return the value of an indexed column of an aggregate; None if absent."""
    value: Value | None
    if field in _STORED_FIELDS:
        value = getattr(aggregate, field)
        return value
    aggregate_type = AGGREGATE_TYPES[aggregate.kind]
    if field == aggregate_type.id_column:
        return aggregate.id
    return aggregate_type.read_column(aggregate.state, field)


def matches(aggregate: StoredAggregate[Any], filters: tuple[Filter, ...]) -> bool:
    """Whether the item satisfies all filters."""
    return all(_is_met(aggregate, condition) for condition in filters)


def _is_met(aggregate: StoredAggregate[Any], condition: Filter) -> bool:
    field = AGGREGATE_TYPES[aggregate.kind].find_document_field(condition.field)
    if field is None:
        return meets(field_value(aggregate, condition.field), condition)
    values = read_document_values(aggregate.state, field)
    operator, operands = condition.operator, condition.values
    if operator is Operator.EXISTS:
        return bool(values) is operands[0]
    if operator is Operator.NE:
        return not any(_document_value_holds(value, Operator.EQ, operands) for value in values)
    return any(_document_value_holds(value, operator, operands) for value in values)


def _document_value_holds(
    value: JsonScalar | None, operator: Operator, operands: tuple[Value, ...]
) -> bool:
    """Whether a value of a document field meets a condition; see `DocumentField`."""
    if value is None:
        return False
    if operator in (Operator.EQ, Operator.IN):
        return any(_equals_operand(value, str(operand)) for operand in operands)
    operand, number = str(operands[0]), parse_number(str(operands[0]))
    if operator is Operator.LIKE or number is None:
        return isinstance(value, str) and COMPARISONS[operator](value, operand)
    is_number = not isinstance(value, bool | str)
    return is_number and COMPARISONS[operator](*_to_comparable(value, operand))


def _equals_operand(value: JsonScalar, operand: str) -> bool:
    if isinstance(value, str):
        return value == operand
    if isinstance(value, bool):
        return operand == ("true" if value else "false")
    if parse_number(operand) is None:
        return False
    number, operand_number = _to_comparable(value, operand)
    return number == operand_number


def _to_comparable(value: JsonScalar, operand: str) -> tuple[float, float]:
    """Return a number and its operand: whole numbers of 64 bits as they are, others as doubles."""
    whole_number = parse_whole_number(operand)
    if whole_number is not None and is_whole_number(value):
        return int(value), whole_number
    return float(value), float(operand)


def sort_keys(
    aggregate: StoredAggregate[Any], created_position: int, sort: tuple[Sort, ...]
) -> SortKeys:
    """Return the item's sort keys, with its creation position `created_position` last."""
    return (*(field_value(aggregate, order.field) for order in sort), created_position)


def is_after(keys: SortKeys, boundary: SortKeys, sort: tuple[Sort, ...]) -> bool:
    """Whether `keys` come after `boundary` in the total order of the sorts."""
    for key, other, order in zip(keys, boundary, sort, strict=False):
        if key == other:
            continue
        if key is None or other is None:
            return key is None
        return bool(key < other if order.descending else key > other)  # type: ignore[operator]  # one column, one type
    return bool(keys[-1] > boundary[-1])  # type: ignore[operator]  # positions are integers


def sort_items(
    items: list[tuple[StoredAggregate[Any], int]], order: Sort
) -> list[tuple[StoredAggregate[Any], int]]:
    """Sort items stably by one field, absent values last in either direction."""
    present = [item for item in items if field_value(item[0], order.field) is not None]
    absent = [item for item in items if field_value(item[0], order.field) is None]
    present.sort(key=lambda item: field_value(item[0], order.field), reverse=order.descending)  # type: ignore[arg-type,return-value]  # none is None here
    return present + absent


def is_within(entry: JournalEntry, bounds: HistoryBounds) -> bool:
    """Whether a journal entry is within the bounds of a history."""
    return (
        (bounds.before_version is None or entry.version < bounds.before_version)
        and (bounds.recorded_from is None or entry.recorded_at >= bounds.recorded_from)
        and (bounds.recorded_to is None or entry.recorded_at <= bounds.recorded_to)
    )


def check_limit(limit: int, cap: int = MAX_ENTRIES) -> None:
    """Check that a limit is within bounds.

    Raises:
        InvalidInput: below 1 or above the cap.
    """
    if not 1 <= limit <= cap:
        raise InvalidInput.at("/limit", "out_of_range", f"The limit is 1 to {cap}.")


def check_ids(ids: Sequence[str]) -> None:
    """Check the number of ids in one call.

    Raises:
        InvalidInput: above the cap.
    """
    if len(ids) > MAX_IDS:
        raise InvalidInput.at("/ids", "too_many", f"At most {MAX_IDS} ids at once.")


def evaluate_page(
    items: list[tuple[StoredAggregate[Any], int]], query: Query
) -> Page[StoredAggregate[Any]]:
    """Return the page of the query from items with positions in order of creation."""
    selection = [item for item in items if matches(item[0], query.filters)]
    for order in reversed(query.sort):
        selection = sort_items(selection, order)
    after, sort = query.after, query.sort
    if after is not None:
        selection = [item for item in selection if is_after(sort_keys(*item, sort), after, sort)]
    page_items = selection[: query.limit]
    has_more = len(selection) > query.limit
    return Page(
        tuple(aggregate for aggregate, _ in page_items),
        sort_keys(*page_items[-1], sort) if has_more else None,
    )
