"""Responses to commands of facilities, rendered the first time and again for a repeated request."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from spawn.application.dependencies import Dependencies
from spawn.application.projects.versioned_views import get_recorded_version
from spawn.application.schemas.served_versions import find_schema
from spawn.domain.change import IdempotencyReceipt, ResponseRecipe, StoredAggregate
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import RecordedEntry
from spawn.domain.schema_version import Schema
from spawn.entrypoints.http.facilities.ledger_wire import EntryView
from spawn.entrypoints.http.facilities.wire import facility_fields
from spawn.entrypoints.http.protocol.etags import is_not_modified, version_etag
from spawn.entrypoints.http.protocol.idempotency import read_idempotency_key, run_once
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import (
    NO_CACHE,
    Header,
    Response,
    decode_headers,
    encode_headers,
    encode_json,
)
from spawn.entrypoints.http.schemas.version_headers import ServedVersion

FACILITIES: Final = "/v1/ops/facilities"
FACILITY_CODEC: Final = "facility.v1"
ENTRY_CODEC: Final = "ledger-entry.v1"
"""Names of the codecs in receipts; another way to render needs another name."""

_CREATED: Final = 201


def render_facility(
    aggregate: StoredAggregate[Any],
    epoch: int,
    status: int,
    schema: Schema,
    headers: Iterable[Header] = (),
) -> Response:
    """Return the response that shows a facility, with its location if it is new.

    Args:
        aggregate: the facility, under the schema.
        epoch: of the store.
        status: of the response.
        schema: the version of the schema.
        headers: further headers, those of the version among them.
    """
    tag = version_etag(aggregate.version, epoch, aggregate.schema_version)
    return _render_with_tag(aggregate, tag, status, schema, headers)


def render_served_facility(
    aggregate: StoredAggregate[Any], epoch: int, version: ServedVersion, if_none_match: str | None
) -> Response:
    """Return the response to a read of a facility that was converted to the served version.

    Raises:
        RequestProblem: 400, the header If-None-Match is no list of entity tags.
    """
    tag = version_etag(aggregate.version, epoch, version.active_version, version.etag_parts)
    headers = (NO_CACHE, *version.headers)
    if is_not_modified(if_none_match, tag):
        return Response(304, headers=((b"etag", tag.encode()), *headers))
    return _render_with_tag(aggregate, tag, 200, version.schema, headers)


def _render_with_tag(
    aggregate: StoredAggregate[Any],
    tag: str,
    status: int,
    schema: Schema,
    more_headers: Iterable[Header],
) -> Response:
    headers = [(b"etag", tag.encode()), *more_headers]
    if status == _CREATED:
        headers.append((b"location", f"{FACILITIES}/{aggregate.id}".encode()))
    return Response(status, encode_json(facility_fields(aggregate, schema)), headers=headers)


def render_entry(stored_entry: RecordedEntry, epoch: int, status: int) -> Response:
    """Return the response that shows an entry; its tag is that of the ledger with this entry."""
    entry = stored_entry.entry
    headers = [(b"etag", version_etag(entry.number, epoch, 0).encode())]
    if status == _CREATED:
        address = f"{FACILITIES}/{entry.facility_id}/entries/{entry.number}"
        headers.append((b"location", address.encode()))
    return Response(status, encode_json(EntryView.of_recorded(stored_entry)), headers=headers)


async def render_entry_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to the recording of an entry again."""

    def render(aggregate: StoredAggregate[Any], epoch: int, status: int) -> Response:
        return render_entry(RecordedEntry(aggregate.state, aggregate.created_at), epoch, status)

    return await _render(dependencies, recipe, render)


async def render_facility_recipe(dependencies: Dependencies, recipe: ResponseRecipe) -> Response:
    """Render the response to a command again, from the version that it showed."""
    if recipe.subject is None:
        raise RuntimeError("the receipt of a command must refer to what it wrote")
    aggregate = await get_recorded_version(dependencies, recipe.subject)
    schema = await find_schema(dependencies, aggregate.schema_version, FACILITY_KIND)
    headers = decode_headers(recipe.headers)
    return render_facility(aggregate, recipe.epoch, recipe.status, schema, headers)


async def _render(
    dependencies: Dependencies,
    recipe: ResponseRecipe,
    render: Callable[[StoredAggregate[Any], int, int], Response],
) -> Response:
    subject = recipe.subject
    if subject is None:
        raise RuntimeError("the receipt of a command must refer to what it wrote")
    aggregate = await dependencies.reads.get(subject.kind, subject.id, version=subject.version)
    return render(aggregate, recipe.epoch, recipe.status)


class CommandAttempt:
    """A command with the receipt of its request, if the request has an idempotency key."""

    def __init__(self, request: StrictRequest, path: str, body: bytes, codec: str) -> None:
        self._request = request
        self._codec = codec
        self._key = read_idempotency_key(request, path, body)

    async def run(self, command: Callable[[], Awaitable[Response]]) -> Response:
        """Run a command, or return the response of the same earlier request.

        Raises:
            SpawnError: as the command.
        """
        return await run_once(self._request, self._key, command)

    def receipt(
        self, epoch: int, status: int, headers: Iterable[Header] = ()
    ) -> IdempotencyReceipt | None:
        """Return the receipt from which the response is rendered again, with further headers."""
        if self._key is None:
            return None
        recipe = ResponseRecipe(
            codec=self._codec, status=status, epoch=epoch, headers=encode_headers(headers)
        )
        return IdempotencyReceipt(self._key, recipe)
