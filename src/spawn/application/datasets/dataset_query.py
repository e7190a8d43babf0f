"""Query of a dataset in texts: rows, fields, order and the form of decimals."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from spawn.application.datasets.dataset_columns import (
    AGGREGATE_DATASETS,
    DatasetColumn,
    DatasetName,
    list_columns,
    list_project_columns,
)
from spawn.application.datasets.row_filters import FEED_PARAMETERS, read_row_filters
from spawn.application.dependencies import Dependencies, require_past
from spawn.application.events.encoded_feed import EventFilter, read_event_filter
from spawn.application.projects.list_query import read_selection
from spawn.application.schemas.served_versions import SchemaVersionView, read_version_view
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.dates import parse_moment
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.query import MAX_LIMIT, Filter, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.domain.text import MAX_SUGGESTIONS, suggest_name

C = TypeVar("C", bound=StrEnum)
_FILE_PARAMETERS: Final = ("format", "fields", "decimals", "nested", "bom")
_PAGE_PARAMETERS: Final = ("limit", "after", "offset")
_NO_PAGES: Final = "A dataset is one file of all rows: filter them, or read the pages of a list."
_PROJECT_PARAMETERS: Final = (*_FILE_PARAMETERS, "schema_version", "as_of")


class DecimalForm(StrEnum):
    """The form of decimals in JSON."""

    NUMBER = "number"
    STRING = "string"


class NestedForm(StrEnum):
    """The form of objects, arrays and `x_` fields in JSON: as in lists, or cells of a table.

    With the cells of a table each row has every column, and objects and arrays are texts.
    """

    JSON = "json"
    TEXT = "text"


class DatasetQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A selection of one dataset: its columns, and the rows in their order.

    `query` selects projects, `event_filter` and `row_filters` the rows of other datasets.
    `decimals` is None for the form of each field in lists: amounts are strings. `view` is the
    schema version of the rows of a governed kind, and None for other datasets. `nested` is None
    for the form of objects and arrays that the format has by default.
    """

    name: DatasetName
    columns: tuple[DatasetColumn, ...]
    fields: tuple[str, ...] = ()
    view: SchemaVersionView | None = None
    query: Query = Query(limit=MAX_LIMIT)
    event_filter: EventFilter = EventFilter()
    row_filters: tuple[Filter, ...] = ()
    decimals: DecimalForm | None = None
    has_mark: bool = False
    nested: NestedForm | None = None


async def read_dataset_query(
    dependencies: Dependencies, name: DatasetName, parameters: Mapping[str, str]
) -> DatasetQuery:
    """Read the query of a dataset from the texts of its parameters.

    Raises:
        InvalidInput: naming each parameter that is unknown, not of its type or yet to come.
        NotFound: the store never had data under the schema version.
        SchemaVersionExpired: the schema version is no longer served.
    """
    errors: list[FieldError] = []
    pages = [one for one in _PAGE_PARAMETERS if one in parameters]
    errors += [FieldError(f"/{one}", "unknown_parameter", _NO_PAGES) for one in pages]
    parameters = {one: text for one, text in parameters.items() if one not in pages}
    decimals = _read_choice(parameters, "decimals", DecimalForm, errors)
    has_mark = _read_choice(parameters, "bom", _Boolean, errors) is _Boolean.TRUE
    nested = _read_choice(parameters, "nested", NestedForm, errors)
    if name is DatasetName.PROJECTS:
        query = await _read_project_query(dependencies, parameters, errors)
    else:
        view = await _read_view(dependencies, name, parameters)
        query = _read_other_query(name, parameters, errors, view)
    if errors:
        raise InvalidInput(errors)
    return msgspec.structs.replace(query, decimals=decimals, has_mark=has_mark, nested=nested)


async def _read_view(
    dependencies: Dependencies, name: DatasetName, parameters: Mapping[str, str]
) -> SchemaVersionView | None:
    """Return the schema version of a dataset's rows; None for a kind that is not governed."""
    kind = AGGREGATE_DATASETS.get(name)
    if kind is None or not AGGREGATE_TYPES[kind].is_governed:
        return None
    return await read_version_view(dependencies, parameters.get("schema_version"), kind)


class _Boolean(StrEnum):
    TRUE = "true"
    FALSE = "false"


async def _read_project_query(
    dependencies: Dependencies, parameters: Mapping[str, str], errors: list[FieldError]
) -> DatasetQuery:
    view = await read_version_view(dependencies, parameters.get("schema_version"))
    filters = {n: text for n, text in parameters.items() if n not in _PROJECT_PARAMETERS}
    names = list(dict.fromkeys(parameters.get("fields", "").split(",")))
    all_extensions = (EXTENSIONS_COLUMN,) if EXTENSIONS_COLUMN in names else ()
    fields = ",".join(name for name in names if name not in all_extensions)
    fields_text = None if "fields" not in parameters or (all_extensions and not fields) else fields
    validator = compile_schema(view.value_schema)
    selection = read_selection(filters, fields_text, validator, errors, _PROJECT_PARAMETERS)
    selection = msgspec.structs.replace(selection, fields=(*selection.fields, *all_extensions))
    as_of = None
    try:
        if "as_of" in parameters:
            as_of = parse_moment(parameters["as_of"], pointer="/as_of")
            await require_past(dependencies, as_of)
    except InvalidInput as error:
        errors.extend(error.errors)
    query = Query(filters=selection.filters, sort=selection.sort, as_of=as_of, limit=MAX_LIMIT)
    return DatasetQuery(
        name=DatasetName.PROJECTS,
        columns=list_project_columns(view.value_schema, selection.fields),
        fields=selection.fields,
        view=view,
        query=view.translate_query(query),
    )


def _read_other_query(
    name: DatasetName,
    parameters: Mapping[str, str],
    errors: list[FieldError],
    view: SchemaVersionView | None,
) -> DatasetQuery:
    schema = None if view is None else view.value_schema
    has_events = name in {DatasetName.HISTORY, DatasetName.EVENTS}
    feed_names = FEED_PARAMETERS if has_events else ()
    version_name = () if view is None else ("schema_version",)
    other_names = (*_FILE_PARAMETERS, *feed_names, *version_name)
    filters = {n: text for n, text in parameters.items() if n not in other_names}
    row_filters = read_row_filters(name, filters, other_names, errors, schema)
    event_filter = EventFilter()
    if has_events:
        try:
            event_filter = read_event_filter(parameters)
        except InvalidInput as error:
            errors.extend(error.errors)
    names = _read_names(name, parameters.get("fields"), errors, schema)
    return DatasetQuery(
        name=name,
        columns=list_columns(name, names, schema),
        fields=names,
        view=view,
        event_filter=event_filter,
        row_filters=row_filters,
    )


def _read_names(
    name: DatasetName, text: str | None, errors: list[FieldError], schema: Schema | None
) -> tuple[str, ...]:
    """Return the names of the fields, each once; empty for all fields."""
    if text is None:
        return ()
    columns = [column.name for column in list_columns(name, schema=schema)]
    names = dict.fromkeys(text.split(","))
    for item in names:
        if item not in columns:
            hint = suggest_name(item, columns) if len(errors) < MAX_SUGGESTIONS else ""
            errors.append(
                FieldError("/fields", "unknown_field", f"Unknown name '{item[:64]}'.{hint}")
            )
    return tuple(item for item in names if item in columns)


def _read_choice(
    parameters: Mapping[str, str], name: str, choices: type[C], errors: list[FieldError]
) -> C | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        detail = f"It must be one of: {', '.join(choices)}."
        errors.append(FieldError(f"/{name}", "not_in_enum", detail))
        return None
