"""What every command over HTTP shares: idempotency keys, preconditions, stored answers."""

from collections.abc import Callable

import msgspec

from spawn.application.projects.commands import Call, Idempotency
from spawn.domain.change import Answer, Head, Stored
from spawn.domain.errors import Stale
from spawn.domain.projects.project import Project
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.http.protocol.request import StrictRequest, fingerprint
from spawn.entrypoints.http.protocol.response import Reply
from spawn.entrypoints.http.wire import check_tags, matches


class Keyed(msgspec.Struct, frozen=True, kw_only=True):
    """A request with an idempotency key: what the key was used for, and by whom."""

    scope: str
    key: str
    fingerprint: str

    def answered(self, render: Callable[[Stored[Project]], Reply]) -> Idempotency:
        """The key as a command takes it along, with the answer that is to be kept."""
        return Idempotency(
            scope=self.scope,
            key=self.key,
            fingerprint=self.fingerprint,
            answer=lambda stored: answer_of(render(stored)),
        )


def keyed(request: StrictRequest, path: str, body: bytes) -> Keyed | None:
    """The request's idempotency key, if it has one.

    `path` is the canonical path: with principal and method it is the scope of the key.

    Raises:
        InvalidInput: the key is outside its grammar.
    """
    key = request.idempotency_key()
    if key is None:
        return None
    return Keyed(
        scope=f"{request.principal.id} {request.method} {path}",
        key=key,
        fingerprint=fingerprint(body, request.field(b"content-type") or ""),
    )


async def kept_answer(request: StrictRequest, use: Keyed | None) -> Reply | None:
    """The stored answer of a request that is repeated; None if this is the first.

    Raises:
        IdempotencyMismatch: the key was used for another request.
    """
    if use is None:
        return None
    answer = await request.services.commands.receipt(use.scope, use.key, use.fingerprint)
    return None if answer is None else reply_of(answer)


def answer_of(reply: Reply) -> Answer:
    """A reply as it is kept with its receipt."""
    headers = tuple((n.decode(), v.decode("latin-1")) for n, v in reply.start["headers"])
    return Answer(reply.status, headers, reply.payload)


def reply_of(answer: Answer) -> Reply:
    """The very reply that was kept."""
    reply = Reply(answer.status, answer.body)
    reply.start["headers"] = [(n.encode(), v.encode("latin-1")) for n, v in answer.headers]
    return reply


def required_match(request: StrictRequest) -> str:
    """The If-Match header.

    Raises:
        Refusal: 428, it is absent.
    """
    header = request.field(b"if-match")
    if not header:
        raise Refusal("precondition_required", "Send the ETag you decided on in If-Match.")
    check_tags("If-Match", header)
    return header


async def expected_version(request: StrictRequest, kind: str, key: str) -> int | None:
    """The version that If-Match expects, None if any existing one will do (`*`).

    Raises:
        Refusal: 428, there is no If-Match.
        NotFound: no such aggregate.
        Stale: If-Match names other versions than the present one.
    """
    header = required_match(request)
    head: Head = await request.services.reads.head(kind, key)
    if header == "*":
        return None
    if not matches(header, head.version, head.epoch):
        raise Stale(f"The current version is {head.version}.", current=head.version)
    return head.version


def call_of(
    request: StrictRequest,
    idempotency: Idempotency | None,
    version: int | None,
    schema_version: int,
) -> Call:
    """The circumstances of a command that is read and answered under a version of the schema."""
    return Call(
        expected_version=version,
        schema_version=schema_version,
        idempotency=idempotency,
        traceparent=request.context.traceparent,
    )
