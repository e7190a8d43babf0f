"""Introspection and operation: the tables behind the store, the log level."""

from typing import Any, Final

from litestar import get, put
from loguru import logger

from spawn.application.dependencies import require
from spawn.domain.errors import InvalidInput, NotFound
from spawn.entrypoints.http.openapi.operation import Body, Operation, Success, described
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Reply, json_reply
from spawn.entrypoints.telemetry import LEVELS, set_log_level
from spawn.ports.storage import Table

TABLES: Final = "/v1/admin/tables"

LIST: Final = Operation(
    id="listTables",
    tag="admin",
    summary="List the tables behind the store",
    answers={200: Success(description="Tables.", schema="TableList")},
    problems=("forbidden",),
)
READ: Final = Operation(
    id="getTable",
    tag="admin",
    summary="Read the columns of a table",
    answers={200: Success(description="The table.", schema="Table")},
    problems=("not_found", "forbidden"),
)
LOG_LEVEL: Final = Operation(
    id="setLogLevel",
    tag="admin",
    summary="Change the log level of this process",
    body=Body(schema="LogLevel", example={"level": "DEBUG"}),
    answers={200: Success(description="The level now.", schema="LogLevel")},
    problems=(
        "malformed_body",
        "invalid_input",
        "unsupported_media_type",
        "body_too_large",
        "request_timeout",
        "forbidden",
    ),
)


def _fields(table: Table) -> dict[str, Any]:
    return {"name": table.name, "rows": table.rows, "columns": table.columns}


@get(TABLES, opt=described(LIST))
async def tables(request: StrictRequest) -> Reply:
    """The tables, without data."""
    request.query()
    request.accepts("application/json")
    require(request.principal, "admin")
    found = await request.services.reads.tables()
    return json_reply({"items": [_fields(table) for table in found], "next": None})


@get(TABLES + "/{name:str}", opt=described(READ))
async def table(request: StrictRequest) -> Reply:
    """One table."""
    request.query()
    request.accepts("application/json")
    require(request.principal, "admin")
    name = request.scope["path_params"]["name"]
    for found in await request.services.reads.tables():
        if found.name == name:
            return json_reply(_fields(found))
    raise NotFound("There is no such table.")


@put("/v1/admin/log-level", opt=described(LOG_LEVEL))
async def log_level(request: StrictRequest) -> Reply:
    """Change how much this process logs, until it ends."""
    request.query()
    request.accepts("application/json")
    require(request.principal, "admin")
    tokens = await request.tokens()
    level = tokens.get("level")
    if set(tokens) != {"level"} or type(level) is not str or level not in LEVELS:
        raise InvalidInput.at("/level", "not_in_enum", f"One level, of {', '.join(LEVELS)}.")
    set_log_level(level)
    logger.warning("log level set to {}", level)
    return json_reply({"level": level})


ROUTES: Final = [tables, table, log_level]
