"""Filters on the rows of datasets other than projects: by column, as in the lists of projects."""

from collections.abc import AsyncIterator, Collection, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec

from spawn.application.datasets.dataset_columns import DatasetColumn, DatasetName, list_columns
from spawn.application.projects.list_query import (
    FILTER_NAME,
    MAX_FILTERS,
    ORDER_OPERATORS,
    build_column_filters,
    read_bound,
    read_operand,
    read_operator,
    read_typed_filter,
)
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.query import Filter, Operator, meets
from spawn.domain.schema_version import ColumnType, Schema, TypeName, Value
from spawn.domain.schemas.value_readers import token_from_text, type_reader
from spawn.domain.text import MAX_SUGGESTIONS, suggest_name

_OWNERS: Final = {
    "sort": "the dataset projects",
    "as_of": "the dataset projects",
    "schema_version": "a dataset of governed rows",
    "subject": "a dataset of events",
}
"""Parameters of some datasets, which other ones report as theirs."""

FEED_PARAMETERS: Final = ("type", "subject")
"""Columns of history and events that their parameters select in the store."""


def read_row_filters(
    name: DatasetName,
    texts: Mapping[str, str],
    other_names: Collection[str],
    errors: list[FieldError],
    schema: Schema | None = None,
) -> tuple[Filter, ...]:
    """Read the filters of a dataset, and append an error for each that is invalid.

    Args:
        name: the dataset.
        texts: the texts of the filters by their name.
        other_names: further parameters, one of which an unknown name may mean.
        errors: the list to which errors are appended.
        schema: the active schema of the dataset's kind, if it is governed.
    """
    columns = {column.name: column for column in list_columns(name, schema=schema)}
    for parameter in FEED_PARAMETERS:
        columns.pop(parameter, None)
    filters: list[Filter] = []
    for text_name, text in texts.items():
        names = {*columns, *other_names} if len(errors) < MAX_SUGGESTIONS else ()
        try:
            filters.append(_read_filter(text_name, text, columns, names))
        except InvalidInput as error:
            errors.extend(error.errors)
    if len(filters) > MAX_FILTERS:
        errors.append(FieldError("", "too_many", f"At most {MAX_FILTERS} filters."))
    return tuple(filters)


def _read_filter(
    name: str, text: str, columns: Mapping[str, DatasetColumn], hint_names: Collection[str]
) -> Filter:
    match, pointer = FILTER_NAME.fullmatch(name), f"/{name[:128]}"
    column = columns.get(match[1]) if match else None
    if match is None or column is None:
        owner = _OWNERS.get(name)
        hint = f" Only {owner} has it." if owner else ""
        hint = hint or suggest_name(name.partition("[")[0], hint_names)
        raise InvalidInput.at(pointer, "unknown_parameter", f"Unknown parameter or column.{hint}")
    if column.type is None:
        detail = "The values of this column are JSON, which has no filters."
        raise InvalidInput.at(pointer, "operator_unsuitable", detail)
    operator = read_operator(pointer, match[2])
    read_value = partial(_read_operand, column, column.type, operator, pointer)
    text_filter = Filter(column.name, operator, (text,))
    return read_typed_filter(text_filter, column.type.name, pointer, read_value)


def _read_operand(
    column: DatasetColumn, column_type: ColumnType, operator: Operator, pointer: str, text: str
) -> Value:
    if column.code is not None:
        code = column.code
        return read_operand(lambda one: code.parse(one, pointer=pointer), pointer, text)
    if column.choices is not None and text not in column.choices:
        # A value that no row can have would be an empty file instead of an error.
        detail = f"must be one of {', '.join(column.choices)}"
        raise InvalidInput.at(pointer, "not_in_enum", detail)
    if column_type.name is TypeName.TIMESTAMP and operator in ORDER_OPERATORS:
        return read_bound(operator, pointer, text)
    read = type_reader(column_type)
    return read_operand(lambda one: read(token_from_text(column_type, one), pointer), pointer, text)


async def filter_rows(
    rows: AsyncIterator[dict[str, Any]], filters: tuple[Filter, ...]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows that meet every filter."""
    async for row in rows:
        if all(meets(_comparable(row[one.field]), one) for one in filters):
            yield row


def _comparable(value: Any) -> Any:
    """Return a value of a row in the type of its operands; numbers are written already."""
    return Decimal(bytes(value).decode()) if isinstance(value, msgspec.Raw) else value


def build_row_filter_properties() -> dict[str, Any]:
    """Return the JSON Schema of each filter that `read_row_filters` reads, by its name."""
    properties: dict[str, Any] = {}
    for dataset in DatasetName:
        if dataset is DatasetName.PROJECTS:
            continue
        for column in list_columns(dataset):
            if column.type is not None and column.name not in FEED_PARAMETERS:
                properties |= build_column_filters(column.name, column.type.name)
    # Parameters of their own have these names; `format[eq]` is the filter.
    properties["format[eq]"] = properties.pop("format")
    properties["schema_version[eq]"] = properties.pop("schema_version")
    return properties
