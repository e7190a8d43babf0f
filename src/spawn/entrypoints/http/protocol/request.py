"""Strict reading of requests: unknown input is rejected by name, never guessed."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import zip_longest
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from litestar import Request
from litestar.datastructures.state import State

from spawn.application.access.row_access import limit_to_rows, require_all_rows
from spawn.application.dependencies import Dependencies, require
from spawn.domain.approvals.approval import CommandPreview
from spawn.domain.errors import FieldError, InvalidInput, NotFound
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.principal import Principal, PrincipalKind
from spawn.domain.text import MAX_SUGGESTIONS, has_credential, suggest_name
from spawn.entrypoints.http.protocol.negotiation import select_media_type
from spawn.entrypoints.http.protocol.operation import Operation
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.state import HttpState
from spawn.entrypoints.request_context import RequestContext
from spawn.ports.access import Authentication

T = TypeVar("T")

MAX_QUERY_BYTES: Final = 32 * 1024
"""Bytes of a query string at most: enough for 500 ids in one bulk get."""

MAX_QUERY_PARAMETERS: Final = 64

MAX_BODY_VALUES: Final = 32_768
"""Commas in a body that is read on the event loop: 1 MiB of numbers held it for 0.6 s, these 9 ms.

The largest case has 22,000. Bodies of a size of their own or of many values are read on threads.
"""

LARGE_DOCUMENT_BYTES: Final = 64 * 1024
"""Size beyond which a document is read on a thread: the largest case held the loop for 74 ms."""

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_INVALID_TOKEN: Final = (
    b', error="invalid_token", error_description="The credentials are not valid"'
)
RESOURCE_METADATA: Final = "/.well-known/oauth-protected-resource"
"""Path of the metadata that 401 names (RFC 9728)."""

_TOO_LARGE: Final = "body_too_large"
_CHARSET: Final = re.compile(r'\s*charset\s*=\s*"?utf-8"?\s*', re.IGNORECASE)


async def read_document(read: Callable[[bytes], T], document: bytes) -> T:
    """Apply a reader to a document, on a thread if it is large."""
    if len(document) <= LARGE_DOCUMENT_BYTES:
        return read(document)
    return await asyncio.to_thread(read, document)


class StrictRequest(Request[Any, Any, State]):
    """A Litestar request with the shared state and strict readers of its parts.

    Its route sets the context that the edge middleware made (request id, trace, headers), the
    state, the ports, the operation, the query parameters and the negotiated media type.
    `complete_body` is a body that was read before the handler, and `checked_preview` is what the
    checker of an approved command has seen.
    """

    __slots__ = (
        "base_dependencies",
        "checked_preview",
        "complete_body",
        "context",
        "http_state",
        "media_type",
        "operation",
        "query",
    )
    base_dependencies: Dependencies
    checked_preview: CommandPreview | None
    complete_body: bytes | None
    context: RequestContext
    http_state: HttpState
    operation: Operation
    query: Mapping[str, str]
    media_type: str

    @property
    def dependencies(self) -> Dependencies:
        """Dependencies of the use cases, limited to the rows of the caller."""
        return limit_to_rows(self.base_dependencies, self.principal)

    @property
    def principal(self) -> Principal:
        """The caller."""
        return self.context.authentication.principal

    async def is_still_permitted(self) -> bool:
        """Whether the credentials are valid yet, and permit what they did at the beginning."""
        authorization = self.context.headers.get(b"authorization")
        current = await self.http_state.authenticator.authenticate(authorization)
        return current.principal == self.principal

    def header(self, name: bytes) -> str | None:
        """Return one header field by its lower-case name; None when absent."""
        value = self.context.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def negotiate_media_type(self, media_types: tuple[str, ...]) -> str:
        """Return the best of the media types for the Accept header; the first is the default.

        Raises:
            RequestProblem: 406, the header accepts none of them.
        """
        accept = self.context.headers.get(b"accept")
        if accept is None or accept == b"*/*":
            return media_types[0]
        media_type = select_media_type(accept.decode("latin-1"), media_types)
        if media_type is None:
            listed = ", ".join(media_types)
            raise RequestProblem("not_acceptable", f"Accept excludes every media type: {listed}.")
        return media_type

    async def read_body(self) -> bytes:
        """Return the whole body, of a media type and within the size that its operation declares.

        Raises:
            RequestProblem: 415, another content type or none; 413, the body is too large, or has
                more values than the event loop reads at once.
        """
        body = self.operation.body
        if body is None:
            raise RuntimeError(f"{self.operation.id} declares no body")
        self.content_media_type(body.media_types)
        if self.complete_body is not None:
            return self.complete_body
        if body.max_bytes is not None:
            return await self._read_bounded_body(body.max_bytes)
        document = await self._read_bounded_body(self.http_state.limits.body_bytes)
        if not body.has_many_values and _has_too_many_values(document):
            raise RequestProblem(
                _TOO_LARGE,
                f"The body has more than {MAX_BODY_VALUES} values: send fewer in each request.",
            )
        return document

    async def require_no_body(self) -> None:
        """Check that a command whose operation declares no body came without one.

        A body that is ignored could be another request under the same idempotency key.

        Raises:
            InvalidInput: it has a body.
            RequestProblem: 408, the client disconnected.
        """
        headers = self.context.headers
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return
        try:
            await self._read_bounded_body(0)
        except RequestProblem as problem:
            if problem.code != _TOO_LARGE:
                raise
            detail = "the operation takes no body: send the request without"
            raise InvalidInput.at("", "unexpected_body", detail) from None

    async def _read_bounded_body(self, limit: int) -> bytes:
        """Return the body, bounded while it arrives.

        Litestar's own reader costs as much as a route.

        Raises:
            RequestProblem: 413, the body exceeds the limit; 408, the client disconnected.
        """
        content_length = self.context.headers.get(b"content-length", b"")
        if content_length.isdigit() and int(content_length) > limit:
            raise _body_too_large(limit)
        chunks: list[bytes] = []
        size = 0
        while True:
            message: Any = await self.receive()
            if message["type"] != "http.request":
                raise RequestProblem(
                    "request_timeout", "The client disconnected before the body was complete."
                )
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _body_too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def content_media_type(self, media_types: Collection[str]) -> str:
        """Return the media type of the body, which is one of `media_types`.

        Raises:
            RequestProblem: 415, another content type, charset or coding, or none.
        """
        content_type = self.header(b"content-type") or ""
        name, _, parameters = content_type.partition(";")
        media_type = name.strip().lower()
        if media_type not in media_types:
            listed = ", ".join(sorted(media_types))
            raise RequestProblem(
                "unsupported_media_type",
                f"Content-Type must be one of: {listed}.",
                headers=((b"accept", listed.encode()),),
            )
        if parameters.strip() and not _charset_is_utf8(parameters):
            raise RequestProblem("unsupported_media_type", "The body must be in UTF-8.")
        if self.context.headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestProblem("unsupported_media_type", "The body must not be compressed.")
        return media_type

    async def read_json_object(self) -> dict[str, Token]:
        """Return the body as one JSON object of exact tokens.

        Raises:
            RequestProblem: 415, another content type.
            MalformedBody, InvalidInput: the body is not one well-formed object.
        """
        return await read_document(parse_object, await self.read_body())

    def idempotency_key(self) -> str | None:
        """Return the Idempotency-Key header; None when absent.

        Raises:
            InvalidInput: it is empty, too long, has other than visible ASCII characters, or is a
                credential, which no store shall have.
        """
        key = self.header(b"idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidInput.at(
                "/Idempotency-Key", "invalid_key", "A key is 1 to 255 visible ASCII characters."
            )
        if key is not None and has_credential(key):
            detail = "An API key or a token is no key of a request: it would be stored. Use a UUID."
            raise InvalidInput.at("/Idempotency-Key", "invalid_key", detail)
        return key


def _has_too_many_values(document: bytes) -> bool:
    """Whether a document has more values than the event loop reads; commas in texts are none."""
    if document.count(b",") <= MAX_BODY_VALUES:
        return False
    # Without escapes every other part between quotes is a text. A regular expression took 0.2 s.
    plain = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2]).count(b",") > MAX_BODY_VALUES


def _body_too_large(limit: int) -> RequestProblem:
    return RequestProblem(
        _TOO_LARGE,
        f"The body exceeds the limit of {limit} bytes.",
        headers=((b"connection", b"close"),),
    )


def check_access(authentication: Authentication, operation: Operation, base_url: str) -> None:
    """Check that the caller may call an operation; without scopes everybody may.

    Raises:
        RequestProblem: 401, no credentials or invalid ones (RFC 6750).
        Forbidden: 403, the principal has none of the scopes, or a row scope that the operation
            cannot apply.
        Unavailable: the credentials cannot be checked now.
    """
    principal, scopes = authentication.principal, operation.scopes
    if not scopes:
        return
    if not principal.scopes.isdisjoint(scopes):
        if not operation.serves_row_scopes:
            require_all_rows(principal)
        return
    if authentication.failure is not None:
        raise authentication.failure
    if principal.kind is PrincipalKind.ANONYMOUS:
        rejection = authentication.rejection
        metadata = f', resource_metadata="{base_url}{RESOURCE_METADATA}"'.encode()
        challenge = b'Bearer realm="spawn"' + metadata + (_INVALID_TOKEN if rejection else b"")
        raise RequestProblem(
            "unauthenticated",
            rejection or "Send an API key or a token in the header Authorization: Bearer.",
            headers=((b"www-authenticate", challenge),),
        )
    require(principal, *scopes)


def check_preconditions(headers: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> None:
    """Check that a request has none of the preconditions which its operation would ignore.

    Raises:
        RequestProblem: 400, it has one.
    """
    for name in names:
        if name in headers:
            title = name.decode().title()
            raise RequestProblem(
                "unsupported_precondition",
                f"This operation does not evaluate {title}: send the request without it.",
            )


def check_parameter_names(parameters: Iterable[str], allowed: Collection[str]) -> None:
    """Raise unless every parameter is allowed.

    Raises:
        InvalidInput: naming each unknown parameter.
    """
    unknown_names = [name for name in parameters if name not in allowed]
    if not unknown_names:
        return
    detail = f"Unknown parameter; the parameters are: {', '.join(allowed) or 'none'}."
    hints = [suggest_name(name, allowed) for name in unknown_names[:MAX_SUGGESTIONS]]
    raise InvalidInput(
        [
            FieldError(f"/{name}", "unknown_parameter", f"{detail}{hint}")
            for name, hint in zip_longest(unknown_names, hints, fillvalue="")
        ]
    )


def parse_query(raw: bytes) -> dict[str, str]:
    """Parse a query string strictly: UTF-8, no NUL, bounded, no name twice.

    Raises:
        RequestProblem: 400, it is malformed; 414, it is too long.
        InvalidInput: a parameter is repeated.
    """
    if len(raw) > MAX_QUERY_BYTES:
        raise RequestProblem("uri_too_long", f"The query string exceeds {MAX_QUERY_BYTES} bytes.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_QUERY_PARAMETERS,
        )
    except ValueError as error:  # UnicodeDecodeError is one too
        raise RequestProblem("malformed_request", "The query string is malformed.") from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(
            [
                FieldError(
                    f"/{name}", "repeated_parameter", "The parameter is repeated; send it once."
                )
                for name in repeated
            ]
        )
    if any("\x00" in text for pair in pairs for text in pair):
        raise RequestProblem("malformed_request", "The query string contains a NUL character.")
    return parameters


def require_canonical_id(text: str) -> str:
    """Return the text if it is a canonical UUIDv7.

    Raises:
        NotFound: it is not, so no resource has this id.
    """
    if not is_canonical_id(text):
        raise NotFound("No resource has this id; ids are canonical lower-case UUIDv7.")
    return text


def is_canonical_id(text: str) -> bool:
    """Whether the text is a canonical UUIDv7."""
    return _ID.fullmatch(text) is not None


def _charset_is_utf8(parameters: str) -> bool:
    """Whether no parameter names a charset other than UTF-8."""
    charsets = [p for p in parameters.split(";") if p.strip().lower().startswith("charset")]
    return all(_CHARSET.fullmatch(parameter) for parameter in charsets)
