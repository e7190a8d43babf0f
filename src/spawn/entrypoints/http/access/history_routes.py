"""Routes of histories: who made each version of an aggregate of any kind."""

from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.access.aggregate_histories import list_history
from spawn.application.dependencies import require
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import InvalidInput
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.cursors import cursor_binding, decode_cursor_key
from spawn.entrypoints.http.protocol.operation import Cache, Parameter, Success
from spawn.entrypoints.http.protocol.query_params import AFTER, LIMIT, read_limit
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Result, Route, page_result, route
from spawn.entrypoints.http.wire import Instant, PageView, Version, WireStruct

HISTORY: Final = "/v1/admin/history"
_KIND: Final = {"type": "string", "enum": sorted(AGGREGATE_TYPES)}
_KEY: Final = {"type": "string", "minLength": 1, "maxLength": 300}


class VersionRecordView(WireStruct, frozen=True, kw_only=True):
    """One version of an aggregate, without its document; `type` is empty without an event."""

    version: Version
    type: Annotated[str, Meta(examples=["approval.decided"])]
    actor: Annotated[str, Meta(examples=["key:pricing-desk"])]
    recorded_at: Instant
    changed: tuple[str, ...]
    reason: str | None

    @classmethod
    def of_entry(cls, entry: JournalEntry) -> Self:
        """Return the wire form of a journal entry."""
        return cls.of(entry)


@route(
    "GET",
    HISTORY,
    "getAggregateHistory",
    tag="admin",
    scopes=(Scope.ADMIN,),
    summary="Get the history of an aggregate",
    description=(
        "Who made each version of anything that the store has, oldest first: a mapping, a job and"
        " its cancellation, a measurement of quality, a consumer, an API client, an approval. A"
        " quality report has the id of its dataset, `projects`; an API client, a mapping and a"
        " consumer have their names."
    ),
    parameters=(
        Parameter("kind", _KIND, "The kind of the aggregate.", is_required=True),
        Parameter("id", _KEY, "The id of the aggregate.", is_required=True),
        LIMIT,
        AFTER,
    ),
    returns=Success(PageView[VersionRecordView], "Versions.", headers=("Link",)),
    problems=("not_found", "cursor_invalid"),
    cache=Cache.NO_STORE,
)
async def get_history(request: StrictRequest) -> Result:
    """Return a page of the versions of an aggregate."""
    require(request.principal, Scope.ADMIN)
    kind, key = (request.query.get(name, "") for name in ("kind", "id"))
    if kind not in AGGREGATE_TYPES:
        detail = f"The kind must be one of: {', '.join(sorted(AGGREGATE_TYPES))}."
        raise InvalidInput.at("/kind", "not_in_enum", detail)
    if not key:
        raise InvalidInput.at("/id", "missing", "is required")
    return await build_history_page(request, kind, key)


async def build_history_page(request: StrictRequest, kind: str, key: str) -> Result:
    """Return the page of a history that the parameters of a request select."""
    binding, after = cursor_binding(HISTORY, kind, key), request.query.get("after")
    limit = read_limit(request.query.get("limit"))
    entries = await list_history(
        request.dependencies,
        kind,
        key,
        after_version=0 if after is None else decode_cursor_key(after, binding, int),
        limit=limit,
    )
    next_keys = (entries[-1].version,) if len(entries) == limit else None
    return page_result(request, map(VersionRecordView.of_entry, entries), next_keys, binding)


ROUTES: Final[list[Route]] = [get_history]
