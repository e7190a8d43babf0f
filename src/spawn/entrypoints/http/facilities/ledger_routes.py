"""Routes of ledgers: record and reverse entries; balances, schedules and statements."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, Final

from spawn.application.bounded_cache import BoundedCache
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import (
    EntryResult,
    record_entry,
    reverse_entry,
)
from spawn.application.facilities.ledger_queries import (
    EntryFilter,
    LedgerView,
    compute_balance,
    compute_schedule,
    compute_statement,
    find_versions,
    get_entry,
    get_ledger,
    list_entries,
    view_ledger,
)
from spawn.application.projects.queries import get_project
from spawn.application.struct_schemas import input_schema
from spawn.domain.approvals.approval_policy import CommandFacts
from spawn.domain.dates import parse_date
from spawn.domain.errors import InvalidInput, StaleVersion
from spawn.domain.facilities.ledger import EntryFacts, EntryKind, StoredLedger
from spawn.domain.principal import Scope
from spawn.entrypoints.http.facilities.facility_responses import (
    ENTRY_CODEC,
    CommandAttempt,
    render_entry,
)
from spawn.entrypoints.http.facilities.ledger_wire import (
    BalanceView,
    EntryView,
    RepaymentScheduleView,
    ReversalRequestView,
    StatementView,
    read_entry_facts,
    read_reversal_facts,
)
from spawn.entrypoints.http.facilities.routes import COMMAND_PROBLEMS, FACILITY, TAG
from spawn.entrypoints.http.facilities.statement_page import TEMPLATE, build_statement_page
from spawn.entrypoints.http.html.rendering import page_response
from spawn.entrypoints.http.projects.preconditions import require_if_match
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.etags import (
    is_not_modified,
    is_version_match,
    version_etag,
)
from spawn.entrypoints.http.protocol.idempotency import render_stored_response
from spawn.entrypoints.http.protocol.operation import (
    HTML,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JSON,
    PATH_PATTERNS,
    Approvable,
    Body,
    Computed,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    KNOWN_AS_OF,
    LIMIT,
    read_choice,
    read_limit,
    read_moment,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import NO_CACHE, Response, encode_json
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.state import StateKey
from spawn.entrypoints.http.wire import PageView

ENTRIES: Final = FACILITY + "/entries"
MAX_CACHED_FIGURES: Final = 8_192
MAX_CACHED_FIGURE_BYTES: Final = 32 * 1024 * 1024
"""Balances, schedules and statements in memory, by their number and their size."""

_READ_SCOPES: Final = (Scope.FINANCE_READ,)
_WRITE_SCOPES: Final = (Scope.FINANCE_WRITE, Scope.RESTATE)
_ENTRY_PROBLEMS: Final = (*COMMAND_PROBLEMS, "stale_version", "precondition_required", "forbidden")
_DATE: Final = {"type": "string", "format": "date"}
_FIGURES: Final[StateKey[BoundedCache[Response]]] = StateKey(
    lambda: BoundedCache(MAX_CACHED_FIGURES, MAX_CACHED_FIGURE_BYTES, _count_bytes)
)
_NUMBER: Final = re.compile(PATH_PATTERNS["number"], re.ASCII)
_KEY: Final = Parameter(
    "Idempotency-Key",
    IDEMPOTENCY_KEY.schema,
    "Makes the command safe to repeat: within 24 hours it returns the first response again.",
    "header",
    is_required=True,
    component="RequiredIdempotencyKey",
)
_ON: Final = Parameter("on", _DATE, "The value date, by default today in UTC.")
_FROM: Final = Parameter("from", _DATE, "The first day of the statement.", is_required=True)
_TO: Final = Parameter("to", _DATE, "The last day of the statement, by default today in UTC.")
_RECORDED: Final = Success(EntryView, "Recorded.", status=201, headers=("Location", "ETag"))


@cache
def _get_facts_schema() -> Any:
    return input_schema(EntryFacts)


@route(
    "POST",
    ENTRIES,
    "recordEntry",
    scopes=_WRITE_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Record an entry of a ledger",
    description=(
        "A fact with its value date: an opening position, draw, payment, prepayment, rate fixing, "
        "fee, capitalisation, cancellation, waiver, or the closing of periods. `If-Match` has the "
        "ETag of the ledger, from its entries or its balance. The ledger is checked at every value "
        "date. An entry in a closed period needs the scope `restate` and a reason; one in an open "
        "period needs `finance:write`."
    ),
    parameters=(IF_MATCH, _KEY),
    body=Body(
        Computed(_get_facts_schema),
        example={
            "kind": "draw",
            "value_date": "2026-04-15",
            "amount": "12500000.00",
            "external_key": "DR-2026-001",
            "evidence": "Utilisation request of 2026-04-08",
        },
    ),
    returns=_RECORDED,
    problems=_ENTRY_PROBLEMS,
    approval=Approvable(CommandFacts(kind="kind", amount="amount")),
)
async def post_entry(request: StrictRequest, facility_id: str) -> Response:
    """Record a fact in the ledger of a facility."""
    body = await request.read_body()
    path = ENTRIES.format(facility_id=facility_id)
    attempt = CommandAttempt(request, path, body, ENTRY_CODEC)

    async def record() -> Response:
        facts = read_entry_facts(body)
        ledger, version = await _read_expected_ledger(request, facility_id)
        result = await record_entry(
            request.dependencies,
            request.principal,
            facility_id,
            facts,
            _build_context(request, attempt, ledger, version),
        )
        return await _respond(request, result, ledger.epoch)

    return await attempt.run(record)


@route(
    "POST",
    ENTRIES + "/{number}/reversal",
    "reverseEntry",
    scopes=_WRITE_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Reverse an entry of a ledger",
    description=(
        "The reversal has the value date of the entry and its amount with the opposite sign. An "
        "entry is reversed at most once, and a reversal never. Record the right entry beside it."
    ),
    parameters=(IF_MATCH, _KEY),
    body=Body(ReversalRequestView, example={"reason": "drawn under another facility"}),
    returns=_RECORDED,
    problems=_ENTRY_PROBLEMS,
    approval=Approvable(),
)
async def post_reversal(request: StrictRequest, facility_id: str, number: str) -> Response:
    """Reverse an entry of a ledger."""
    body = await request.read_body()
    path = f"{ENTRIES}/{{number}}/reversal".format(facility_id=facility_id, number=number)
    attempt = CommandAttempt(request, path, body, ENTRY_CODEC)

    async def reverse() -> Response:
        facts = read_reversal_facts(body)
        ledger, version = await _read_expected_ledger(request, facility_id)
        result = await reverse_entry(
            request.dependencies,
            request.principal,
            facility_id,
            _read_entry_number(number),
            facts,
            _build_context(request, attempt, ledger, version),
        )
        return await _respond(request, result, ledger.epoch)

    return await attempt.run(reverse)


def _build_context(
    request: StrictRequest, attempt: CommandAttempt, ledger: StoredLedger, version: int | None
) -> FinanceContext:
    return FinanceContext(
        expected_version=version,
        receipt=attempt.receipt(ledger.epoch, 201),
        traceparent=request.context.traceparent,
    )


async def _read_expected_ledger(
    request: StrictRequest, facility_id: str
) -> tuple[StoredLedger, int | None]:
    """Return the ledger and the version that If-Match expects; None for `*`, any version.

    Raises:
        RequestProblem: 428, there is no If-Match.
        NotFound: no such facility.
        StaleVersion: If-Match names only versions other than the current one.
    """
    header = require_if_match(request)
    ledger = await get_ledger(request.dependencies, facility_id)
    if header == "*":
        return ledger, None
    if not is_version_match(header, ledger.version, ledger.epoch):
        detail = f"The ledger has {ledger.version} entries now: read it again."
        raise StaleVersion(detail, current=ledger.version)
    return ledger, ledger.version


async def _respond(request: StrictRequest, result: EntryResult, epoch: int) -> Response:
    if result.replayed_response is not None:
        return await render_stored_response(request, result.replayed_response)
    if result.stored_entry is None:
        raise RuntimeError("a command that was not replayed must return an entry")
    return render_entry(result.stored_entry, epoch, 201)


def _read_entry_number(text: str) -> int:
    """Return the number of an entry in a path; one that no entry can have is 0."""
    return int(text) if _NUMBER.fullmatch(text) else 0


@route(
    "GET",
    ENTRIES,
    "listEntries",
    scopes=_READ_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="List the entries of a ledger",
    description=(
        "In the order of recording. `restated_since` takes the entries that were recorded from an "
        "instant on and are valued in a period that was closed. The ETag is that of the ledger."
    ),
    parameters=(
        Parameter("kind", EntryKind, "Only entries of this kind."),
        Parameter(
            "restated_since",
            {"anyOf": [{"type": "string", "format": "date-time"}, _DATE]},
            "Only restatements that were recorded from this instant, or the start of a day, on.",
        ),
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[EntryView], "One page.", headers=("ETag", "Link")),
    problems=("not_found", "cursor_invalid"),
)
async def read_entry_page(request: StrictRequest, facility_id: str) -> Result:
    """List the entries of a ledger."""
    query = request.query
    kind = read_choice(query, "kind", EntryKind)
    since = read_moment(query, "restated_since", is_start=True)
    binding = cursor_binding(ENTRIES, facility_id, str(kind), str(since))
    limit, after = read_limit(query.get("limit")), query.get("after")
    page, ledger = await list_entries(
        request.dependencies,
        request.principal,
        facility_id,
        selection=EntryFilter(kind=kind, restated_since=since),
        after=0 if after is None else decode_cursor_key(after, binding, int),
        limit=limit,
    )
    next_keys = (page[-1].entry.number,) if len(page) == limit else None
    headers = ((b"etag", version_etag(ledger.version, ledger.epoch, 0).encode()),)
    items = map(EntryView.of_recorded, page)
    return page_result(request, items, next_keys, binding, headers=headers)


@route(
    "GET",
    ENTRIES + "/{number}",
    "getEntry",
    scopes=_READ_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get an entry of a ledger",
    returns=Success(EntryView, "The entry.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_entry(request: StrictRequest, facility_id: str, number: str) -> Response:
    """Return one entry; its ETag is that of the ledger when it was recorded."""
    stored_entry, epoch = await get_entry(
        request.dependencies, request.principal, facility_id, _read_entry_number(number)
    )
    return render_entry(stored_entry, epoch, 200)


@route(
    "GET",
    FACILITY + "/balance",
    "getBalance",
    scopes=_READ_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the balance of a facility",
    description=(
        "Balance, undrawn commitment, interest, fees and arrears at the end of a day (`on`), as "
        "known at an instant (`as_of`). The same dates give the same bytes at any later time."
    ),
    parameters=(_ON, KNOWN_AS_OF, IF_NONE_MATCH),
    returns=Success(BalanceView, "The balance.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_balance(request: StrictRequest, facility_id: str) -> Response:
    """Return what a facility amounts to on a date."""

    def build(view: LedgerView) -> BalanceView:
        return BalanceView.of_balance(view, compute_balance(view))

    return await _show(request, facility_id, _read_day(request.query, "on"), build)


@route(
    "GET",
    FACILITY + "/schedule",
    "getRepaymentSchedule",
    scopes=_READ_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get the schedule of a facility",
    description=(
        "What the terms and the entries up to a day (`on`) make due, by the engine of the "
        "calculators. What falls due is taken as paid on its date."
    ),
    parameters=(_ON, KNOWN_AS_OF, IF_NONE_MATCH),
    returns=Success(RepaymentScheduleView, "The schedule.", headers=("ETag",)),
    problems=("not_found",),
)
async def read_schedule(request: StrictRequest, facility_id: str) -> Response:
    """Return the schedule of a facility."""

    def build(view: LedgerView) -> RepaymentScheduleView:
        return RepaymentScheduleView.of_schedule(view, compute_schedule(view))

    return await _show(request, facility_id, _read_day(request.query, "on"), build)


@route(
    "GET",
    FACILITY + "/statement",
    "getStatement",
    scopes=_READ_SCOPES,
    serves_row_scopes=True,
    tag=TAG,
    summary="Get a statement of a facility",
    description=(
        "Movements from one day to another (both included) with the allocation of each payment and "
        "the lenders' parts of it, and totals and arrears of each period. `text/html` is a page to "
        "read and print."
    ),
    parameters=(_FROM, _TO, KNOWN_AS_OF, IF_NONE_MATCH),
    returns=Success(StatementView, "The statement.", headers=("ETag",), alternatives={HTML: str}),
    problems=("not_found",),
    formats={"json": JSON, "html": HTML},
)
async def read_statement(request: StrictRequest, facility_id: str) -> Response:
    """Return the statement of a facility as JSON, or as a page by Accept."""
    start = _read_day(request.query, "from")
    if start is None:
        raise InvalidInput.at("/from", "missing", "is required: the first day of the statement")

    def build(view: LedgerView) -> StatementView:
        return StatementView.of_statement(view, start, compute_statement(view, start))

    end = _read_day(request.query, "to")
    if request.media_type != HTML:
        return await _show(request, facility_id, end, build)
    as_of = read_moment(request.query, "as_of")
    view = await view_ledger(
        request.dependencies, request.principal, facility_id, on=end, as_of=as_of
    )
    project = None
    if Scope.PROJECTS_READ in request.principal.scopes:
        project = await get_project(
            request.dependencies, request.principal, view.facility.project_id
        )
    page = build_statement_page(build(view), view.facility, project)
    return await page_response(TEMPLATE, page, headers=(NO_CACHE,))


def _count_bytes(response: Response) -> int:
    return len(response.body_message["body"])


def _read_day(parameters: Mapping[str, str], name: str) -> date | None:
    text = parameters.get(name)
    return None if text is None else parse_date(text, pointer=f"/{name}")


async def _show(
    request: StrictRequest,
    facility_id: str,
    on: date | None,
    build: Callable[[LedgerView], object],
) -> Response:
    """Return figures of a ledger, cached by the versions and dates that they follow from.

    Their tag names all of them, so that figures of the same tag are the same bytes.
    """
    dependencies, query = request.dependencies, request.query
    as_of: datetime | None = read_moment(query, "as_of")
    on = dependencies.clock.now().date() if on is None else on
    versions = await find_versions(dependencies, facility_id)
    names = (request.operation.id, query.get("from", ""), str(on), str(as_of), *map(str, versions))
    key = (facility_id, *names)
    cache = request.http_state[_FIGURES]
    response = cache.get(key)
    if response is None:
        view = await view_ledger(dependencies, request.principal, facility_id, on=on, as_of=as_of)
        tag = version_etag(view.ledger.version, view.ledger.epoch, 0, names)
        body = encode_json(build(view))
        response = Response(200, body, headers=((b"etag", tag.encode()),))
        if view.ledger.version == versions.ledger:
            cache.put(key, response)
    tag = version_etag(versions.ledger, versions.epoch, 0, names)
    if is_not_modified(request.header(b"if-none-match"), tag):
        return Response(304, headers=((b"etag", tag.encode()),))
    return response


ROUTES: Final[list[Route]] = [
    post_entry,
    read_entry_page,
    read_entry,
    post_reversal,
    read_balance,
    read_schedule,
    read_statement,
]
