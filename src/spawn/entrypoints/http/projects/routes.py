"""Routes of projects: thin readings of a request around one use case each."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final, TypeVar

import msgspec
from litestar import get, patch, post

from spawn.application.dependencies import Services
from spawn.application.projects.commands import (
    MAX_ATTEMPTS,
    Call,
    Outcome,
    SchemaMoved,
    amend_project,
    create_project,
    get_project,
    project_history,
    transition_project,
)
from spawn.application.projects.versioned_views import shown_under
from spawn.domain.change import Entry, Stored
from spawn.domain.dates import parse_date, parse_instant
from spawn.domain.errors import (
    CursorInvalid,
    FieldError,
    InvalidInput,
    Stale,
    Unavailable,
)
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.projects.lifecycle import Status, status_of
from spawn.domain.projects.project import MAX_REASON, Project
from spawn.domain.schemas.nested_fields import read_prose
from spawn.domain.schemas.validator import Attributes
from spawn.entrypoints.http.openapi.operation import described
from spawn.entrypoints.http.projects import operations
from spawn.entrypoints.http.projects.version_headers import View, asked_view, ruling_view
from spawn.entrypoints.http.protocol.preconditions import (
    Keyed,
    call_of,
    expected_version,
    kept_answer,
    keyed,
    reply_of,
)
from spawn.entrypoints.http.protocol.query_params import (
    next_link,
    read_cursor,
    read_fields,
    read_limit,
    write_cursor,
)
from spawn.entrypoints.http.protocol.request import StrictRequest, canonical_id
from spawn.entrypoints.http.protocol.response import Reply, encode
from spawn.entrypoints.http.state import Surface
from spawn.entrypoints.http.wire import (
    Document,
    build_document,
    entity_tag,
    epoch_of,
    none_match,
    view_digest,
    warned,
)

T = TypeVar("T")
KIND: Final = "project"
PATH: Final = "/v1/ops/projects"
READ_PATH: Final = PATH + "/{project_id:str}"
PATCH_TYPES: Final = frozenset({"application/merge-patch+json", "application/json"})
_PROSE: Final = read_prose(MAX_REASON)
"""Headers of a page that a 304 repeats."""
_TRANSITION: Final = frozenset({"to", "reason", "effective_on"})


class _Attempt:
    """One attempt at a command, under one version of the schema from the body to the answer."""

    def __init__(self, request: StrictRequest, use: Keyed | None, view: View, epoch: int) -> None:
        self._request = request
        self._use = use
        self._view = view
        self._epoch = epoch

    def read(self, body: bytes, *, partial: bool = False) -> Attributes:
        """What a body says, by the day of the request."""
        today = self._request.services.clock.now().date()
        return self._view.conformance.read(read_object(body), partial=partial, on=today)

    def call(self, answer: Callable[[Document], Reply], version: int | None = None) -> Call:
        """The circumstances of the command, the answer to keep for its key included."""

        def render(stored: Stored[Project]) -> Reply:
            return answer(_built(stored, self._view, self._epoch))

        kept = None if self._use is None else self._use.answered(render)
        return call_of(self._request, kept, version, self._view.generation)

    async def reply(self, outcome: Outcome, answer: Callable[[Document], Reply]) -> Reply:
        """The answer to what came of it; the document is kept for the reads that follow."""
        if outcome.replayed is not None:
            return reply_of(outcome.replayed)
        if outcome.stored is None:
            raise RuntimeError("a command that was not replayed leaves a project behind")
        services, surface = self._request.services, self._request.surface
        stored, view = outcome.stored, self._view
        return answer(await document_of(services, surface, stored, view, self._epoch))


async def _carry_out(
    request: StrictRequest, use: Keyed | None, perform: Callable[[_Attempt], Awaitable[Reply]]
) -> Reply:
    """Perform a command; again from the body on if another schema came to rule meanwhile."""
    for _ in range(MAX_ATTEMPTS):
        view = await ruling_view(request)
        epoch = epoch_of(await request.services.reads.position())
        try:
            return await perform(_Attempt(request, use, view, epoch))
        except SchemaMoved:
            continue
        except Stale:
            # The same request may have won meanwhile: then this one has lost nothing.
            known = await kept_answer(request, use)
            if known is None:
                raise
            return known
    raise Unavailable(f"The schema changed {MAX_ATTEMPTS} times while this was decided.")


@post(PATH, opt=described(operations.CREATE))
async def create(request: StrictRequest) -> Reply:
    """Create a project under a new id."""
    request.query()
    request.accepts("application/json")
    body = await request.bytes_of()
    use = keyed(request, PATH, body)
    known = await kept_answer(request, use)
    if known is not None:
        return known

    async def perform(attempt: _Attempt) -> Reply:
        attributes = attempt.read(body)

        def answer(document: Document) -> Reply:
            location = (b"location", f"{PATH}/{document.project_id}".encode())
            return document.reply(201, location, *warned(attributes.warnings))

        with request.surface.span("create_project"):
            outcome = await create_project(
                request.services,
                request.principal,
                attributes=attributes,
                call=attempt.call(answer),
            )
        return await attempt.reply(outcome, answer)

    return await _carry_out(request, use, perform)


@patch(PATH + "/{project_id:str}", opt=described(operations.AMEND))
async def amend(request: StrictRequest) -> Reply:
    """Merge a patch into a project."""
    request.query()
    request.accepts("application/json")
    project_id = request.path_id()
    body = await request.bytes_of(PATCH_TYPES)
    use = keyed(request, f"{PATH}/{project_id}", body)
    known = await kept_answer(request, use)
    if known is not None:
        return known

    async def perform(attempt: _Attempt) -> Reply:
        attributes = attempt.read(body, partial=True)
        # RFC 9110, 13.2.1: what is wrong with the request itself comes before its preconditions.
        version = await expected_version(request, KIND, project_id)

        def answer(document: Document) -> Reply:
            return document.reply(200, *warned(attributes.warnings))

        with request.surface.span("amend_project"):
            outcome = await amend_project(
                request.services,
                request.principal,
                project_id,
                attributes=attributes,
                call=attempt.call(answer, version),
            )
        return await attempt.reply(outcome, answer)

    return await _carry_out(request, use, perform)


@post(PATH + "/{project_id:str}/transitions", status_code=200, opt=described(operations.TRANSITION))
async def transition(request: StrictRequest) -> Reply:
    """Take a step of the status machine."""
    request.query()
    request.accepts("application/json")
    project_id = request.path_id()
    body = await request.bytes_of()
    use = keyed(request, f"{PATH}/{project_id}/transitions", body)
    known = await kept_answer(request, use)
    if known is not None:
        return known
    to, reason, effective_on = _read_transition(read_object(body))

    async def perform(attempt: _Attempt) -> Reply:
        version = await expected_version(request, KIND, project_id)
        with request.surface.span("transition_project"):
            outcome = await transition_project(
                request.services,
                request.principal,
                project_id,
                to=to,
                reason=reason,
                effective_on=effective_on,
                call=attempt.call(Document.reply, version),
            )
        return await attempt.reply(outcome, Document.reply)

    return await _carry_out(request, use, perform)


@get(READ_PATH, opt=described(operations.READ))
async def read(request: StrictRequest) -> Reply:
    """One project. The common case costs a head, two look-ups and a comparison of tags."""
    scope = request.scope
    project_id = canonical_id(scope["path_params"]["project_id"])
    headers = request.context.headers
    if headers.get(b"accept") not in {None, b"*/*"}:
        request.accepts("application/json")
    if scope["query_string"]:
        document = await _read_view(request, project_id)
    else:
        services = request.services
        generation = (await services.active()).schema.version
        head = await services.reads.head(KIND, project_id)
        known = request.surface.documents.get(
            (project_id, head.version, head.epoch, generation, ())
        )
        document = known or await _load(request, project_id, head.epoch)
    seen = headers.get(b"if-none-match")
    if seen is not None and none_match(seen.decode("latin-1"), document.tag):
        return document.unchanged()
    return document.reply()


async def _load(request: StrictRequest, project_id: str, epoch: int) -> Document:
    view = await ruling_view(request)
    stored = await get_project(request.services, request.principal, project_id)
    return await document_of(request.services, request.surface, stored, view, epoch)


async def _read_view(request: StrictRequest, project_id: str) -> Document:
    """A project at an instant, some of its fields, or in the shape of an older version."""
    given = request.query("as_of", "fields", "schema_version")
    services = request.services
    view = await asked_view(request, given.get("schema_version"))
    names = read_fields(given.get("fields"), view.conformance)
    as_of = parse_instant(given["as_of"], pointer="/as_of") if "as_of" in given else None
    with request.surface.span("get_project"):
        stored = await get_project(services, request.principal, project_id, as_of=as_of)
    epoch = (await services.reads.head(KIND, project_id)).epoch
    view = msgspec.structs.replace(view, names=names)
    return await document_of(services, request.surface, stored, view, epoch)


async def document_of(
    services: Services, surface: Surface, stored: Stored[Project], view: View, epoch: int
) -> Document:
    """The encoded project, from the cache or into it; entries never change."""
    cache = surface.documents
    key = (stored.id, stored.version, epoch, view.generation, view.marks)
    known = cache.get(key)
    if known is not None:
        return known
    shown = await shown_under(services, stored, view.schema.version)
    return cache.put(key, _built(shown, view, epoch))


def _built(stored: Stored[Project], view: View, epoch: int) -> Document:
    """The project encoded; it has the view's shape."""
    tag = entity_tag(stored.version, epoch, view.generation, view.marks)
    return build_document(stored, view.schema, tag, view.headers, view.names)


def _read_transition(tokens: dict[str, Token]) -> tuple[Status, str, date | None]:
    """The step that a body asks for."""
    errors = [
        FieldError(f"/{name}", "unknown_field", "There is no such field.")
        for name in tokens
        if name not in _TRANSITION
    ]
    to, reason, on = (tokens.get(name) for name in ("to", "reason", "effective_on"))
    status = _text(to, "/to", status_of, errors)
    effective_on = None if on is None else _text(on, "/effective_on", parse_date, errors)
    said = _text(reason, "/reason", _reason, errors)
    if errors or status is None or said is None:
        raise InvalidInput(errors)
    return status, said, effective_on


def _text(token: Token, pointer: str, read: Callable[..., T], errors: list[FieldError]) -> T | None:
    """A required text, read; or None with the offence added."""
    if type(token) is not str:
        errors.append(FieldError(pointer, _missing(token), "A text is required here."))
        return None
    try:
        return read(token, pointer=pointer)
    except InvalidInput as failure:
        errors.extend(failure.errors)
        return None


def _reason(text: str, *, pointer: str) -> str:
    """Fit to be kept: judged here, because what is wrong with a body comes before If-Match."""
    if not text.strip():
        raise InvalidInput.at(pointer, "empty", "A transition needs a reason.")
    return _PROSE(text, pointer)


def _missing(token: Token) -> str:
    return "missing" if token is None else "wrong_type"


@get(PATH + "/{project_id:str}/history", opt=described(operations.HISTORY))
async def history(request: StrictRequest) -> Reply:
    """The versions of a project, oldest first."""
    request.accepts("application/json")
    project_id = request.path_id()
    given = request.query("limit", "after")
    limit = read_limit(given.get("limit"))
    binding = bytes.fromhex(view_digest((KIND, project_id)))
    after = _after_version(given["after"], binding) if "after" in given else 0
    view = await ruling_view(request)
    with request.surface.span("project_history"):
        entries = await project_history(
            request.services,
            request.principal,
            project_id,
            after_version=after,
            limit=limit,
        )
    cursor = write_cursor((entries[-1].version,), binding) if len(entries) == limit else None
    items = b",".join(encode(_history_item(entry)) for entry in entries)
    body = b'{"items":[%b],"next":%b}' % (items, encode(cursor))
    headers = list(view.headers)
    if cursor is not None:
        headers.append(next_link(request.scope["path"], request.any_query(), cursor))
    return Reply(200, body, headers=headers)


def _after_version(text: str, binding: bytes) -> int:
    keys = read_cursor(text, binding)
    if len(keys) != 1 or not isinstance(keys[0], int):
        raise CursorInvalid("The cursor is not one of this history.")
    return keys[0]


def _history_item(entry: Entry) -> dict[str, Any]:
    """One version, with the document as it was encoded at commit."""
    item: dict[str, Any] = {
        "version": entry.version,
        "type": entry.type,
        "actor": entry.actor,
        "recorded_at": entry.recorded_at,
        "schema_version": entry.schema_version,
        "changed": entry.changed,
        "document": msgspec.Raw(entry.document),
    }
    if entry.reason is not None:
        item["reason"] = entry.reason
    return item


ROUTES: Final = [create, read, amend, transition, history]
