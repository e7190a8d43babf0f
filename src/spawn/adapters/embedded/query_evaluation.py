"""What a query means, in plain Python: the memory store selects with it, caches judge with it.

An engine that selects in its own language must agree with this module; the contract suite
compares them.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any

from spawn.domain.change import Stored
from spawn.domain.errors import CursorInvalid, FieldError, InvalidInput
from spawn.domain.projects.project import Project
from spawn.domain.query import MAX_LIMIT, Filter, Operator, Page, Query, Sort
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.model import Column, ColumnType, TypeName, Value

Keys = tuple[Value | None, ...]
"""Sort keys of an item in the order of the sorts, completed by its creation position."""

MAX_ENTRIES = 1_000
"""The cap on one page of history or feed, entries."""
MAX_IDS = 10_000
"""The cap on ids named in one call."""

RECORDED: Mapping[str, Column] = {c.name: c for c in SYSTEM_COLUMNS if c.name == "created_at"}
"""What aggregates other than projects can be selected and sorted by."""

_MAX_DIGITS = 38
_BIGINT = 2**63
_WIDE = Context(prec=100)
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
    """Refuse unknown fields, values of another type than their field's, and limits off bounds.

    `fields` are those of projects; aggregates of other kinds have what is `RECORDED` of all.

    Raises:
        InvalidInput: names every offence.
        CursorInvalid: `after` has not one key per sort and the creation position.
    """
    fields = fields if query.kind == "project" else RECORDED
    errors: list[FieldError] = []
    if not 1 <= query.limit <= MAX_LIMIT:
        errors.append(FieldError("/limit", "out_of_range", f"The limit is 1 to {MAX_LIMIT}."))
    for wanted in query.filters:
        errors += _filter_offences(wanted, fields)
    errors += [_unknown(sort.field) for sort in query.sort if sort.field not in fields]
    if errors:
        raise InvalidInput(errors)
    if query.after is not None:
        _check_after(query, fields)


def _unknown(field: str) -> FieldError:
    return FieldError(f"/{field}", "unknown_field", "There is no such field to select by.")


def _filter_offences(wanted: Filter, fields: Mapping[str, Column]) -> list[FieldError]:
    column = fields.get(wanted.field)
    pointer = f"/{wanted.field}"
    if column is None:
        return [_unknown(wanted.field)]
    exists = wanted.operator is Operator.EXISTS
    kind = TypeName.BOOLEAN if exists else column.type.name
    if wanted.operator is Operator.LIKE and kind is not TypeName.STRING:
        return [FieldError(pointer, "operator_unsuitable", "like is for text.")]
    counted = len(wanted.values) >= 1 if wanted.operator is Operator.IN else len(wanted.values) == 1
    if not counted:
        return [
            FieldError(pointer, "operand_count", "The operator needs another number of values.")
        ]
    if not all(is_of_type(value, kind) for value in wanted.values):
        return [FieldError(pointer, "wrong_type", f"The value is not of type {kind}.")]
    if not all(_fits(value, column.type) for value in wanted.values):
        return [FieldError(pointer, "out_of_range", f"The value is beyond {column.type}.")]
    return []


def _check_after(query: Query, fields: Mapping[str, Column]) -> None:
    *keys, position = query.after or (None,)
    fits = len(keys) == len(query.sort) and is_of_type(position, TypeName.BIGINT)
    for key, sort in zip(keys, query.sort, strict=False):
        of = fields[sort.field].type
        fits = fits and (key is None or (is_of_type(key, of.name) and _fits(key, of)))
    if not fits:
        raise CursorInvalid("The cursor does not belong to this query.")


def is_of_type(value: object, kind: TypeName) -> bool:
    """Whether a Python value is one of the column type; a bool is no number, an instant no day."""
    if isinstance(value, bool):
        return kind is TypeName.BOOLEAN
    if isinstance(value, datetime):
        return kind is TypeName.TIMESTAMP and value.tzinfo is not None
    return isinstance(value, _PYTHON_TYPES[kind])


def _fits(value: object, of: ColumnType) -> bool:
    """Whether the column could hold the number, so that no engine has to round it to compare."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return True
    if of.name is TypeName.DECIMAL:
        scale = of.scale or 0
        number = Decimal(value)
        whole = (of.precision or _MAX_DIGITS) - scale
        return number.is_finite() and (
            not number
            or (number.adjusted() < whole and int(number.normalize(_WIDE).as_tuple()[2]) >= -scale)
        )
    if of.name is TypeName.DOUBLE:
        return math.isfinite(value)
    return -_BIGINT <= value < _BIGINT


def value_of(stored: Stored[Any], field: str) -> Value | None:
    """The value of a core, governed or stored field of a project; None if absent.

    A query that was read under the version before may still name a column that has retired since.
    """
    value: Value | None
    if field in _STORED_FIELDS:
        value = getattr(stored, field)
    elif field in Project.__struct_fields__:
        value = getattr(stored.state, field)
    else:
        state = stored.state
        value = state.attributes.get(field)
        if value is None and state.hidden_attributes:
            value = state.hidden_attributes.get(field)
    return value


def matches(stored: Stored[Any], filters: tuple[Filter, ...]) -> bool:
    """Whether all the filters hold for the item."""
    return all(_holds(value_of(stored, wanted.field), wanted) for wanted in filters)


def _holds(value: Any, wanted: Filter) -> bool:
    asked, operand = wanted.operator, wanted.values[0]
    if asked is Operator.EXISTS:
        return (value is not None) is operand
    if value is None:
        return asked is Operator.NE
    if asked is Operator.IN:
        return value in wanted.values
    return _COMPARISONS[asked](value, operand)


_COMPARISONS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operator.eq,
    Operator.NE: operator.ne,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LIKE: lambda value, part: part.lower() in value.lower(),
}


def keys_of(stored: Stored[Any], created: int, sort: tuple[Sort, ...]) -> Keys:
    """The item's sort keys, with its creation position `created` last."""
    return (*(value_of(stored, by.field) for by in sort), created)


def comes_after(keys: Keys, mark: Keys, sort: tuple[Sort, ...]) -> bool:
    """Whether an item with `keys` comes after one with `mark` in the total order of the sorts."""
    for key, other, by in zip(keys, mark, sort, strict=False):
        if key == other:
            continue
        if key is None or other is None:
            return key is None
        return bool(key < other if by.descending else key > other)  # type: ignore[operator]  # one column, one type
    return bool(keys[-1] > mark[-1])  # type: ignore[operator]  # positions are integers


def ordered(items: list[tuple[Stored[Any], int]], by: Sort) -> list[tuple[Stored[Any], int]]:
    """Items stably sorted by one field, absent values last in either direction."""
    present = [item for item in items if value_of(item[0], by.field) is not None]
    absent = [item for item in items if value_of(item[0], by.field) is None]
    present.sort(key=lambda item: value_of(item[0], by.field), reverse=by.descending)  # type: ignore[arg-type,return-value]  # none is None here
    return present + absent


def check_limit(limit: int, cap: int = MAX_ENTRIES) -> None:
    """Refuse a limit off bounds.

    Raises:
        InvalidInput: below 1 or above the cap.
    """
    if not 1 <= limit <= cap:
        raise InvalidInput.at("/limit", "out_of_range", f"The limit is 1 to {cap}.")


def check_ids(ids: Sequence[str]) -> None:
    """Refuse more ids than one call may name.

    Raises:
        InvalidInput: above the cap.
    """
    if len(ids) > MAX_IDS:
        raise InvalidInput.at("/ids", "too_many", f"At most {MAX_IDS} ids at once.")


def page_of(items: list[tuple[Stored[Any], int]], query: Query) -> Page[Stored[Any]]:
    """The page that the query asks of these items, given in creation order with its positions."""
    chosen = [item for item in items if matches(item[0], query.filters)]
    for by in reversed(query.sort):
        chosen = ordered(chosen, by)
    after, sort = query.after, query.sort
    if after is not None:
        chosen = [item for item in chosen if comes_after(keys_of(*item, sort), after, sort)]
    shown = chosen[: query.limit]
    more = len(chosen) > query.limit
    return Page(tuple(stored for stored, _ in shown), keys_of(*shown[-1], sort) if more else None)
