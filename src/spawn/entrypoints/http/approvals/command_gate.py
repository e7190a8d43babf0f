"""The gate before commands: dry runs, requests for approval, and commands that were approved.

A route whose operation has an `approval` passes through it. An approved command runs through the
same handler as any other, with a request that is built from the approval.
"""

from collections.abc import Iterable
from functools import partial, wraps
from typing import Any, Final

import msgspec

from spawn.application.approvals.decisions import ApprovedCommand
from spawn.application.approvals.previews import (
    ApprovalNeeded,
    preview_command,
    preview_state,
    with_judged_changes,
    without_changes,
)
from spawn.application.approvals.requests import CommandText, request_approval
from spawn.application.dependencies import Dependencies
from spawn.domain.approvals.approval import (
    APPROVAL_KIND,
    Approval,
    CommandPreview,
)
from spawn.domain.approvals.approval_policy import (
    CommandFacts,
    StateChange,
    StateFacts,
    needs_approval,
    read_facts,
    result_needs_approval,
    write_exactly,
)
from spawn.domain.change import (
    IdempotencyReceipt,
    ResponseRecipe,
    StoredAggregate,
)
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal
from spawn.entrypoints.http.approvals.wire import PATH, ApprovalView, CommandDryRunView
from spawn.entrypoints.http.protocol.idempotency import (
    find_stored_response,
    read_idempotency_key,
    render_stored_response,
)
from spawn.entrypoints.http.protocol.operation import IDEMPOTENCY_KEY, Approvable, Operation
from spawn.entrypoints.http.protocol.request import StrictRequest, read_document
from spawn.entrypoints.http.protocol.response import NO_STORE, Header, Response, json_response
from spawn.entrypoints.http.protocol.route import Result, Route
from spawn.entrypoints.http.state import HttpState, StateKey
from spawn.entrypoints.request_context import RequestContext
from spawn.ports.access import Authentication

CODEC: Final = "approval.v1"
"""Name of the codec of these responses in receipts."""

COMMANDS: Final[StateKey[dict[str, Route]]] = StateKey(dict)
"""Routes of the commands that may need an approval, by the id of their operation."""

_ACCEPTED: Final = 202


def pass_gate(route: Route) -> Route:
    """Return the route with the gate before its handler, if its operation has an approval."""
    approvable = route.operation.approval
    if approvable is None:
        return route

    @wraps(route.handler)
    async def handle(request: StrictRequest, **path_params: str) -> object:
        is_dry_run = _read_dry_run(request)
        if not is_dry_run and not _has_rules(request, route):
            return await route.handler(request, **path_params)
        return await _Command(request, route, approvable, path_params).run(is_dry_run=is_dry_run)

    return Route(route.operation, handle)


def _has_rules(request: StrictRequest, route: Route) -> bool:
    """Whether the policy has rules of a command, or of one that it may count as."""
    policy, operation = request.http_state.approval_policy, route.operation
    facts = None if operation.approval is None else operation.approval.state_facts
    return bool(policy.rules_for(operation.id) or (facts and policy.rules_for(facts.counts_as)))


def list_facts(routes: Iterable[Route]) -> dict[str, CommandFacts]:
    """Return what rules may read of each command that may need an approval."""
    operations = (route.operation for route in routes)
    return {one.id: one.approval.facts for one in operations if one.approval is not None}


def _read_dry_run(request: StrictRequest) -> bool:
    """Whether a request is a dry run; any other value than the two is an error, not a command."""
    text = request.query.get("dry_run", "false")
    if text not in {"true", "false"}:
        raise InvalidInput.at("/dry_run", "not_in_enum", "dry_run must be true or false.")
    return text == "true"


class _Command:
    """A request for a command that may need an approval."""

    def __init__(
        self,
        request: StrictRequest,
        route: Route,
        approvable: Approvable,
        path_params: dict[str, str],
    ) -> None:
        self._request = request
        self._route = route
        self._approvable = approvable
        self._path_params = path_params
        self._target = route.operation.path.format(**path_params)

    async def run(self, *, is_dry_run: bool) -> object:
        """Run the command, or its dry run, or request an approval of it."""
        request, principal = self._request, self._request.principal
        has_body = self._route.operation.body is not None
        body = await request.read_body() if has_body else b""
        request.complete_body = body
        # A dry run stores no response under its key, and rejects a wrong one all the same.
        key = read_idempotency_key(request, self._target, body)
        stored_response = await find_stored_response(request, None if is_dry_run else key)
        if stored_response is not None:
            return stored_response
        policy = request.http_state.approval_policy
        rules = policy.rules_for(self._route.operation.id)
        tokens = await read_document(parse_object, body) if has_body else {}
        needs = needs_approval(rules, self._approvable.facts, tokens, principal)
        if not (is_dry_run or needs):
            try:
                return await self._run_judged()
            except ApprovalNeeded:
                needs = True
        text = await self._describe(tokens, body)
        if is_dry_run:
            needs = needs or await self._needs_by_result(text)
        preview = await self._preview(text)
        if is_dry_run:
            view = CommandDryRunView.of_preview(preview, needs_approval=needs)
            return Result(view, (NO_STORE,), status=200)
        if preview == CommandPreview():
            request.base_dependencies = without_changes(request.base_dependencies)
            return await self._route.handler(request, **self._path_params)
        receipt = None if key is None else IdempotencyReceipt(key, build_recipe(_ACCEPTED))
        outcome = await request_approval(
            request.base_dependencies,
            principal,
            text,
            preview,
            lifetime=policy.lifetime,
            receipt=receipt,
        )
        if outcome.replayed_response is not None:
            return await render_stored_response(request, outcome.replayed_response)
        if outcome.approval is None:
            raise RuntimeError("a request that was not replayed must have an approval")
        request.context.audit_detail = f"approval {outcome.approval.id}"
        return render_approval(_ACCEPTED, outcome.approval)

    async def _describe(self, tokens: dict[str, Any], body: bytes) -> CommandText:
        """Return the text of the command; a large body is written on a thread, as it was read."""
        request, operation = self._request, self._route.operation
        kind, amount = read_facts(self._approvable.facts, tokens)
        has_body = operation.body is not None
        return CommandText(
            command=operation.id,
            target=self._target,
            parameters=self._path_params,
            body=await read_document(lambda _: write_exactly(tokens), body) if has_body else "",
            content_type=request.header(b"content-type") or "",
            if_match=request.header(b"if-match"),
            kind=kind,
            amount=amount,
        )

    async def _run_judged(self) -> object:
        """Run the command; what it commits is what the rules about its result have judged.

        Raises:
            ApprovalNeeded: a rule applies to the state that it results in; nothing is written.
        """
        facts, request = self._approvable.state_facts, self._request
        base_dependencies = request.base_dependencies
        if facts is not None:
            request.base_dependencies = with_judged_changes(
                base_dependencies, facts.aggregate, partial(self._judge, facts)
            )
        try:
            return await self._route.handler(request, **self._path_params)
        finally:
            request.base_dependencies = base_dependencies

    def _judge(self, facts: StateFacts, change: StateChange) -> bool:
        """Whether a rule applies to the state that a change results in."""
        policy, command = self._request.http_state.approval_policy, self._route.operation.id
        return result_needs_approval(policy, command, facts, change, self._request.principal)

    async def _needs_by_result(self, text: CommandText) -> bool:
        """Whether a rule applies to the state that the command results in."""
        facts, request = self._approvable.state_facts, self._request
        if facts is None or not _has_rules(request, self._route):
            return False
        command = build_command(request.http_state, self._route, text)
        change = await preview_state(
            request.base_dependencies,
            lambda ports: command.run(request.principal, ports),
            facts.aggregate,
        )
        return change is not None and self._judge(facts, change)

    async def _preview(self, text: CommandText) -> CommandPreview:
        state, principal = self._request.http_state, self._request.principal
        command = build_command(state, self._route, text)
        if command.check is not None:
            return await command.check(principal, self._request.base_dependencies)
        return await preview_command(
            self._request.base_dependencies, lambda ports: command.run(principal, ports)
        )


def find_command(state: HttpState, approval: Approval) -> ApprovedCommand:
    """Find the command of an approval.

    Raises:
        NotFound: this release has no such command.
    """
    route = state[COMMANDS].get(approval.command)
    if route is None:
        raise NotFound(f"This release has no command {approval.command}: reject the approval.")
    text = CommandText(
        command=approval.command,
        target=approval.target,
        parameters=approval.parameters,
        body=approval.body,
        content_type=approval.content_type,
        if_match=approval.if_match,
    )
    return build_command(state, route, text, approval.preview)


def build_command(
    state: HttpState, route: Route, text: CommandText, preview: CommandPreview | None = None
) -> ApprovedCommand:
    """Return a command that runs through the handler of its route, as its preview was checked."""
    operation = route.operation

    async def run(principal: Principal, dependencies: Dependencies) -> object:
        request = _build_request(state, operation, text, principal, dependencies)
        request.checked_preview = preview
        return await route.handler(request, **text.parameters)

    check_route = None if operation.approval is None else operation.approval.check

    async def check(principal: Principal, dependencies: Dependencies) -> CommandPreview:
        if check_route is None:
            raise RuntimeError("the command is one change and has no check")
        request = _build_request(state, operation, text, principal, dependencies)
        return await check_route(request, **text.parameters)

    return ApprovedCommand(
        scopes=operation.scopes, run=run, check=None if check_route is None else check
    )


def _build_request(
    state: HttpState,
    operation: Operation,
    text: CommandText,
    principal: Principal,
    dependencies: Dependencies,
) -> StrictRequest:
    """Build a request as the maker sent it, less what belongs to its own exchange."""
    headers = {b"content-type": text.content_type.encode("latin-1")}
    if text.if_match is not None:
        headers[b"if-match"] = text.if_match.encode("latin-1")
    scope: Any = {
        "type": "http",
        "method": operation.method,
        "path": text.target,
        "query_string": b"",
        "headers": list(headers.items()),
        "path_params": dict(text.parameters),
    }
    request = StrictRequest(scope)
    request.context = RequestContext(headers, "", "", None)
    request.context.authentication = Authentication(principal=principal)
    # The key is that of the maker's request, whose receipt has the approval.
    parameters = tuple(one for one in operation.parameters if one.name != IDEMPOTENCY_KEY.name)
    request.http_state = state
    request.operation = msgspec.structs.replace(operation, parameters=parameters)
    request.base_dependencies, request.complete_body = dependencies, text.body.encode()
    request.checked_preview = None
    request.query, request.media_type = {}, operation.media_types[0]
    return request


def build_recipe(status: int) -> ResponseRecipe:
    """Return the recipe of a response that shows a version of an approval."""
    return ResponseRecipe(codec=CODEC, status=status)


def render_approval(status: int, aggregate: StoredAggregate[Approval]) -> Response:
    """Return the response to a request for approval, or to a decision."""
    location: list[Header] = [(b"location", f"{PATH}/{aggregate.id}".encode()), NO_STORE]
    headers = location if status == _ACCEPTED else [NO_STORE]
    return json_response(ApprovalView.of_recorded(aggregate), status=status, headers=headers)


async def render_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render such a response again, from the version that it showed."""
    subject = recipe.subject
    if subject is None or subject.kind != APPROVAL_KIND:
        raise RuntimeError("the receipt must refer to an approval")
    aggregate = await dependencies.reads.get(subject.kind, subject.id, version=subject.version)
    return render_approval(recipe.status, aggregate)
