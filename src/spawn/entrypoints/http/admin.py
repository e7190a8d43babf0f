"""Routes of administration: the tables of the store, the log level."""

from typing import Final

from loguru import logger

from spawn.application.dependencies import require
from spawn.domain.errors import NotFound
from spawn.domain.principal import Scope
from spawn.domain.struct_reader import compile_reader
from spawn.entrypoints.http.protocol.operation import BODY_PROBLEMS, Body, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Count, PageView, WireStruct
from spawn.entrypoints.logging import set_log_level
from spawn.entrypoints.settings import LogLevel
from spawn.ports.storage import TableColumn

TABLES: Final = "/v1/admin/tables"


class TableView(WireStruct, frozen=True):
    """A table of the store; the number of rows may be an estimate."""

    name: str
    rows: Count
    columns: tuple[TableColumn, ...]


class LogLevelView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """The log level of the process."""

    level: LogLevel


_read_log_level: Final = compile_reader(LogLevelView)


@route(
    "GET",
    TABLES,
    "listTables",
    scopes=(Scope.ADMIN,),
    tag="admin",
    summary="List the tables of the store",
    returns=Success(PageView[TableView], "Tables."),
    problems=("forbidden",),
)
async def list_tables(request: StrictRequest) -> PageView[TableView]:
    """Return the tables with their columns and row counts, without data."""
    require(request.principal, Scope.ADMIN)
    tables = await request.dependencies.reads.tables()
    return PageView(tuple(map(TableView.of, tables)), next=None)


@route(
    "GET",
    TABLES + "/{name}",
    "getTable",
    scopes=(Scope.ADMIN,),
    tag="admin",
    summary="Get a table",
    returns=Success(TableView, "The table."),
    problems=("not_found", "forbidden"),
)
async def get_table(request: StrictRequest, name: str) -> TableView:
    """Return the columns and the row count of a table."""
    require(request.principal, Scope.ADMIN)
    for table in await request.dependencies.reads.tables():
        if table.name == name:
            return TableView.of(table)
    raise NotFound("No table has this name.")


@route(
    "PUT",
    "/v1/admin/log-level",
    "setLogLevel",
    scopes=(Scope.ADMIN,),
    tag="admin",
    summary="Set the log level of the process",
    body=Body(LogLevelView, example={"level": "DEBUG"}),
    returns=Success(LogLevelView, "The new level."),
    problems=(*BODY_PROBLEMS, "forbidden"),
)
async def put_log_level(request: StrictRequest) -> LogLevelView:
    """Set the log level until the process ends."""
    require(request.principal, Scope.ADMIN)
    view: LogLevelView = _read_log_level(await request.read_json_object(), "")
    request.context.audit_detail = f"level {view.level}"
    set_log_level(view.level)
    logger.warning("log level set to {}", view.level)
    return view


ROUTES: Final[list[Route]] = [list_tables, get_table, put_log_level]
