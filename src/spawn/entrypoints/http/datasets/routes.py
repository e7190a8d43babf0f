"""Route of datasets: rows as one file, in the format of its suffix."""

from collections.abc import Mapping
from typing import Final

import msgspec
from litestar.response.base import ASGIResponse

from spawn.adapters.file_encoder import find_missing_extra
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import DecimalForm, NestedForm, read_dataset_query
from spawn.application.datasets.dataset_rows import require_dataset
from spawn.application.datasets.file_formats import MEDIA_TYPES, DataFormat
from spawn.application.datasets.row_filters import build_row_filter_properties
from spawn.application.events.feed import find_end
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.principal import Scope as AccessScope
from spawn.entrypoints.http.datasets.copied_file import respond_with_copy
from spawn.entrypoints.http.datasets.streamed_file import DatasetFile, StreamResponse
from spawn.entrypoints.http.events.routes import SUBJECT, TYPES
from spawn.entrypoints.http.projects.wire import FIELDS, FILTERS, SORT
from spawn.entrypoints.http.protocol.operation import (
    IF_MATCH,
    IF_NONE_MATCH,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.query_params import KNOWN_AS_OF, SCHEMA_VERSION
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Header
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.schemas.version_headers import read_served_version

PATH: Final = "/v1/data"
_FORMATS: Final = {str(one): one.media_type for one in DataFormat}
_BINARY: Final = {"type": "string", "format": "binary"}
_DECIMALS: Final = Parameter(
    "decimals",
    {"type": "string", "enum": [str(form) for form in DecimalForm]},
    "Decimals in JSON: all as numbers or all as strings, with the same digits. Default: as in "
    "lists. Columns of Parquet and Arrow are exact decimals, unless this is `string`.",
    examples={"exact": {"value": "string"}},
)
_ROW_FILTERS: Final = Parameter(
    "row_filters",
    {
        "type": "object",
        "properties": build_row_filter_properties(),
        "additionalProperties": False,
    },
    "Filters of the other datasets by column: `column=value` or `column[operator]=value`. A day is "
    "meant from its first instant (`gte`) and to its last (`lte`).",
    examples={
        "failed": {"value": {"passed": "false"}},
        "recent": {"value": {"created_at[gte]": "2026-01-01"}},
    },
)
_NESTED: Final = Parameter(
    "nested",
    {"type": "string", "enum": [str(form) for form in NestedForm]},
    "Objects and arrays in JSON. With `text` each row has every column of the CSV, in the same "
    "order: objects and arrays are JSON texts, empty ones null, and the `x_` fields of a project "
    "are one column, `extensions`. With `json` they are as in lists. Default: `text` in lines of "
    "JSON, for readers of tables, and `json` in an array and in the lines of events.",
    examples={"lists": {"value": "json"}},
)
_MARK: Final = Parameter(
    "bom",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    "Whether CSV begins with a byte order mark, by which Excel finds UTF-8.",
    examples={"excel": {"value": "true"}},
)
_RANGE: Final = Parameter(
    "Range",
    str,  # RFC 9110, 14.2: a range that is not understood is ignored
    "Bytes of the file, read of the copy that a HEAD or the first range has written to the disk.",
    "header",
    examples={"first": {"value": "bytes=0-1023"}},
)
_IF_MATCH: Final = msgspec.structs.replace(
    IF_MATCH,
    description="The ETag of the copy that earlier ranges were read of.",
    is_required=False,
    component="",
)
_FILE: Final = Success(
    str,
    "The dataset.",
    media_types=(DataFormat.NDJSON.media_type, DataFormat.CSV.media_type),
    alternatives={
        DataFormat.JSON.media_type: {"type": "array", "items": {"type": "object"}},
        DataFormat.PARQUET.media_type: _BINARY,
        DataFormat.ARROW.media_type: _BINARY,
        DataFormat.XLSX.media_type: _BINARY,
    },
)


@route(
    "GET",
    PATH + "/{dataset}",
    "readDataset",
    scopes=(AccessScope.DATA_EXPORT,),
    serves_row_scopes=True,
    tag="data",
    summary="Download a dataset",
    description=(
        f"A dataset as one streamed file: {', '.join(f'`{name}`' for name in DatasetName)}. "
        "The format follows the suffix of the path, else `format`, else `Accept`. Projects have "
        "the filters, order and fields of their list, the others filters by column; history and "
        "events are also selected by type and subject. Rows under a schema, those of projects and "
        "facilities, take `schema_version`. The "
        "rows include every change up to `Spawn-Position`, a position of the feed. The lineage "
        "has each export of projects as a run, which is complete once the last byte was sent, or "
        "written to a copy. HEAD and Range write the file to the disk, so that it has a length and "
        "lazy readers take parts of it."
    ),
    parameters=(
        _RANGE,
        _IF_MATCH,
        IF_NONE_MATCH,
        FILTERS,
        _ROW_FILTERS,
        SORT,
        FIELDS,
        SCHEMA_VERSION,
        KNOWN_AS_OF,
        TYPES,
        SUBJECT,
        _DECIMALS,
        _NESTED,
        _MARK,
    ),
    returns=_FILE,
    also=(msgspec.structs.replace(_FILE, status=206, description="A range of the file."),),
    problems=(
        "not_found",
        "forbidden",
        "overloaded",
        "storage_full",
        "deadline_exceeded",
        "schema_version_expired",
        "conflict",
        "range_not_satisfiable",
        "stale_version",
    ),
    formats=_FORMATS,
    has_suffix=True,
)
async def download_dataset(request: StrictRequest, dataset: str) -> ASGIResponse:
    """Stream the dataset."""
    name_text, _, suffix = dataset.partition(".")
    if name_text not in {*DatasetName} or (suffix and suffix not in _FORMATS):
        names, suffixes = ", ".join(DatasetName), ", ".join(_FORMATS)
        raise NotFound(f"The datasets are {names}; a suffix is one of {suffixes}.")
    if suffix and request.query.get("format", suffix) != suffix:
        raise InvalidInput.at("/format", "contradiction", f"The path ends in .{suffix}: omit it.")
    file_format = next(one for one, text in MEDIA_TYPES.items() if text == request.media_type)
    if extra := find_missing_extra(file_format):
        raise RequestProblem(
            "not_acceptable",
            f"Files with the suffix .{file_format} need the extra {extra}, which is not installed. "
            "Use another format, or ask the operator to install it.",
        )
    _check_form(request.query, file_format)
    name = DatasetName(name_text)
    require_dataset(request.principal, name)
    query = await read_dataset_query(request.dependencies, name, request.query)
    position, cursor = await find_end(request.dependencies, request.http_state.streams.envelope)
    headers: tuple[Header, ...] = ()
    if query.view is not None:
        headers = (await read_served_version(request, query.view.schema.kind)).headers
    file = DatasetFile(request, query, file_format, position, cursor, headers)
    return await respond_with_copy(request, file) or StreamResponse(request, file)


def _check_form(parameters: Mapping[str, str], file_format: DataFormat) -> None:
    """Check that the parameters of one format's form are not given with another format.

    Raises:
        InvalidInput: naming the parameter.
    """
    if parameters.get("bom") == "true" and file_format is not DataFormat.CSV:
        raise InvalidInput.at("/bom", "not_applicable", "Only CSV has a byte order mark.")
    is_json = file_format in {DataFormat.JSON, DataFormat.NDJSON}
    if parameters.get("nested") == NestedForm.JSON and not is_json:
        detail = f"Only JSON and NDJSON have objects and arrays; cells of {file_format} have texts."
        raise InvalidInput.at("/nested", "not_applicable", detail)


ROUTES: Final[list[Route]] = [download_dataset]
