"""Routes of administration: the tables of the store, the log level."""

from typing import Any, Final

import msgspec
from litestar import get, put
from loguru import logger

from spawn.application.dependencies import require
from spawn.domain.errors import NotFound
from spawn.domain.struct_reader import compile_reader
from spawn.entrypoints.http.openapi.handler_operation import (
    HandlerOperation,
    RequestBody,
    SuccessResponse,
    operation_options,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response, json_response
from spawn.entrypoints.logging import set_log_level
from spawn.entrypoints.settings import LogLevel
from spawn.ports.storage import Table

TABLES: Final = "/v1/admin/tables"

LIST: Final = HandlerOperation(
    id="listTables",
    tag="admin",
    summary="List the tables of the store",
    responses={200: SuccessResponse(description="Tables.", schema="TableList")},
    problems=("forbidden",),
)
READ: Final = HandlerOperation(
    id="getTable",
    tag="admin",
    summary="Get a table",
    responses={200: SuccessResponse(description="The table.", schema="Table")},
    problems=("not_found", "forbidden"),
)
LOG_LEVEL: Final = HandlerOperation(
    id="setLogLevel",
    tag="admin",
    summary="Set the log level of the process",
    body=RequestBody(schema="LogLevel", example={"level": "DEBUG"}),
    responses={200: SuccessResponse(description="The new level.", schema="LogLevel")},
    problems=(
        "malformed_body",
        "invalid_input",
        "unsupported_media_type",
        "body_too_large",
        "request_timeout",
        "forbidden",
    ),
)


class _LogLevelBody(msgspec.Struct, frozen=True):
    """A log level, as a client sends it."""

    level: LogLevel


_read_log_level: Final = compile_reader(_LogLevelBody)


def _table_fields(table: Table) -> dict[str, Any]:
    return {"name": table.name, "rows": table.rows, "columns": table.columns}


@get(TABLES, opt=operation_options(LIST))
async def list_tables(request: StrictRequest) -> Response:
    """Return the tables with their columns and row counts, without data."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    require(request.principal, "admin")
    tables = await request.dependencies.reads.tables()
    return json_response({"items": [_table_fields(table) for table in tables], "next": None})


@get(TABLES + "/{name:str}", opt=operation_options(READ))
async def get_table(request: StrictRequest) -> Response:
    """Return the columns and the row count of a table."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    require(request.principal, "admin")
    name = request.scope["path_params"]["name"]
    for table in await request.dependencies.reads.tables():
        if table.name == name:
            return json_response(_table_fields(table))
    raise NotFound("No table has this name.")


@put("/v1/admin/log-level", opt=operation_options(LOG_LEVEL))
async def put_log_level(request: StrictRequest) -> Response:
    """Set the log level until the process ends."""
    request.query_parameters()
    request.negotiate_media_type("application/json")
    require(request.principal, "admin")
    level = _read_log_level(await request.read_json_object(), "").level
    set_log_level(level)
    logger.warning("log level set to {}", level)
    return json_response({"level": level})


ROUTES: Final = [list_tables, get_table, put_log_level]
