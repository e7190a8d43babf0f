"""HTTP routes of approvals: list, get, decide."""

from functools import partial
from typing import Final

from spawn.application.approvals.decisions import decide_approval
from spawn.application.approvals.requests import (
    READER_SCOPES,
    get_approval,
    list_approvals,
    review_approval,
)
from spawn.domain.approvals.approval import ApprovalState
from spawn.domain.change import IdempotencyReceipt
from spawn.domain.json_tokens import parse_object
from spawn.domain.query import Query
from spawn.entrypoints.http.approvals.command_gate import (
    build_recipe,
    find_command,
    render_approval,
)
from spawn.entrypoints.http.approvals.wire import (
    EXAMPLE,
    PATH,
    ApprovalDecisionRequestView,
    ApprovalView,
    read_decision_request,
)
from spawn.entrypoints.http.protocol.cursors import cursor_binding
from spawn.entrypoints.http.protocol.idempotency import read_idempotency_key, run_once
from spawn.entrypoints.http.protocol.operation import (
    BODY_PROBLEMS,
    IDEMPOTENCY_KEY,
    Body,
    Cache,
    Parameter,
    Success,
)
from spawn.entrypoints.http.protocol.query_params import (
    AFTER,
    LIMIT,
    read_after,
    read_choice,
    read_limit,
)
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import PageView

_TAG: Final = "approvals"
_APPROVAL: Final = PATH + "/{approval_id}"
_NAME: Final = {"type": "string"}


@route(
    "GET",
    PATH,
    "listApprovals",
    scopes=READER_SCOPES,
    serves_row_scopes=True,
    tag=_TAG,
    summary="List approvals",
    description=(
        "Commands that wait for a decision, and those that were decided, newest first. A caller"
        " without `approvals:decide` or `admin` sees its own. With `state=pending` an approval"
        " whose versions have moved is listed too, and has the state `stale`."
    ),
    parameters=(
        Parameter("state", ApprovalState, "Only approvals in this state."),
        Parameter("maker", _NAME, "Only commands of one maker, such as `key:pricing-desk`."),
        Parameter("command", _NAME, "Only commands of one operation, such as `amendProject`."),
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[ApprovalView], "One page, newest first.", headers=("Link",)),
    problems=("cursor_invalid",),
    cache=Cache.NO_STORE,
)
async def get_approval_page(request: StrictRequest) -> Result:
    """Return a page of approvals."""
    query = request.query
    selection = sorted(f"{n}={v}" for n, v in query.items() if n not in {"limit", "after"})
    binding = cursor_binding(PATH, *selection)
    page = await list_approvals(
        request.dependencies,
        request.principal,
        Query(limit=read_limit(query.get("limit")), after=read_after(query, binding)),
        state=read_choice(query, "state", ApprovalState),
        maker=query.get("maker"),
        command=query.get("command"),
    )
    items = [await review_approval(request.dependencies, one) for one in page.items]
    return page_result(request, map(ApprovalView.of_reviewed, items), page.next, binding)


@route(
    "GET",
    _APPROVAL,
    "getApproval",
    scopes=READER_SCOPES,
    serves_row_scopes=True,
    tag=_TAG,
    summary="Get an approval",
    returns=Success(ApprovalView, "The approval, with every field that the command changes."),
    problems=("not_found",),
    cache=Cache.NO_STORE,
)
async def read_approval(request: StrictRequest, approval_id: str) -> ApprovalView:
    """Return an approval."""
    aggregate = await get_approval(request.dependencies, request.principal, approval_id)
    return ApprovalView.of_reviewed(await review_approval(request.dependencies, aggregate))


@route(
    "POST",
    _APPROVAL + "/decision",
    "decideApproval",
    scopes=READER_SCOPES,
    serves_row_scopes=True,
    tag=_TAG,
    summary="Decide about a command",
    description=(
        "Approving carries the command out as its maker, at the versions that the maker saw; if"
        " these have moved, it becomes stale and nothing changes. Approving and rejecting need"
        " `approvals:decide` and another person than the maker: keys of one client are one person."
        " The maker may withdraw its command."
    ),
    parameters=(IDEMPOTENCY_KEY,),
    body=Body(ApprovalDecisionRequestView, example=dict(EXAMPLE)),
    returns=Success(ApprovalView, "The approval, decided."),
    problems=(
        *BODY_PROBLEMS,
        *("not_found", "conflict", "overloaded", "storage_full", "idempotency_key_reused"),
        *("duplicate", "illegal_transition", "stale_version", "registry_error"),
    ),
    cache=Cache.NO_STORE,
    is_audited=True,
)
async def post_decision(request: StrictRequest, approval_id: str) -> Response:
    """Decide about a command of another person."""
    body = await request.read_body()
    key = read_idempotency_key(
        request, request.operation.path.format(approval_id=approval_id), body
    )

    async def decide() -> Response:
        view: ApprovalDecisionRequestView = read_decision_request(parse_object(body), "")
        request.context.audit_detail = f"{view.decision}: {view.reason}"
        aggregate = await decide_approval(
            request.dependencies,
            request.principal,
            approval_id,
            view.decision,
            view.reason,
            find_command=partial(find_command, request.http_state),
            receipt=None if key is None else IdempotencyReceipt(key, build_recipe(200)),
        )
        return render_approval(200, aggregate)

    return await run_once(request, key, decide)


ROUTES: Final[list[Route]] = [get_approval_page, read_approval, post_decision]
