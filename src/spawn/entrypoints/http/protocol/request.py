"""Requests read strictly: what is not understood is refused by name, never guessed."""

import hashlib
import re
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import parse_qsl

from litestar import Request
from litestar.datastructures.state import State

from spawn.application.dependencies import Services
from spawn.domain.errors import FieldError, InvalidInput, NotFound
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.principal import Principal
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.request_context import Context, context_of

if TYPE_CHECKING:
    # The surface holds the caches that routes share; it imports the wire, which needs nothing here.
    from spawn.entrypoints.http.state import Surface

JSON_TYPES: Final = frozenset({"application/json"})
MAX_QUERY_BYTES: Final = 32 * 1024
"""Room for 500 ids in one bulk get."""

MAX_QUERY_PARAMETERS: Final = 64
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_CHARSET: Final = re.compile(r'\s*charset\s*=\s*"?utf-8"?\s*', re.IGNORECASE)

LOCAL: Final = Principal(id="local")
"""Who acts until access control exists: the service is bound to loopback meanwhile."""


class StrictRequest(Request[Any, Any, State]):
    """Litestar's request with the service behind it and strict readers of its parts.

    Each application has a class of its own (`of`), which knows the ports behind the use cases and
    what all routes share: to ask Litestar's state for them takes longer than what they are for.
    """

    __slots__ = ()
    services: ClassVar[Services]
    surface: ClassVar["Surface"]

    @classmethod
    def of(cls, services: Services, surface: "Surface") -> type[Self]:
        """The class of the requests to one application."""
        members = {"__slots__": (), "services": services, "surface": surface}
        return type("ServiceRequest", (cls,), members)

    @property
    def principal(self) -> Principal:
        """Who acts."""
        return LOCAL

    @property
    def context(self) -> Context:
        """Request id, trace and headers, as the wrapper read them."""
        return context_of(self.scope)

    def field(self, name: bytes) -> str | None:
        """One header field by its lower-case name; None when absent."""
        value = self.context.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def path_id(self, name: str = "project_id") -> str:
        """A path parameter that is a canonical lower-case UUIDv7.

        Raises:
            NotFound: anything else; no such resource can exist.
        """
        return canonical_id(str(self.scope["path_params"][name]))

    def query(self, *allowed: str) -> dict[str, str]:
        """The query parameters, each allowed and given once.

        Raises:
            InvalidInput: an unknown or repeated parameter.
            Refusal: the query string is not well formed.
        """
        given = self.any_query()
        unknown = [name for name in given if name not in allowed]
        if unknown:
            known = ", ".join(allowed) or "none"
            raise InvalidInput(
                [
                    FieldError(
                        f"/{name}", "unknown_parameter", f"No such parameter; there are: {known}."
                    )
                    for name in unknown
                ]
            )
        return given

    def any_query(self) -> dict[str, str]:
        """The query parameters, each given once; names are for the caller to judge."""
        raw = self.scope["query_string"]
        if not raw:
            return {}
        return parse_query(raw)

    def accepts(self, *media_types: str) -> str:
        """The best of the media types for the Accept header; the first is the default.

        Raises:
            Refusal: 406, none is acceptable.
        """
        accept = self.context.headers.get(b"accept")
        if accept is None or accept == b"*/*":
            return media_types[0]
        chosen = negotiate(accept.decode("latin-1"), media_types)
        if chosen is None:
            raise Refusal("not_acceptable", f"This resource has: {', '.join(media_types)}.")
        return chosen

    async def bytes_of(
        self, media_types: Collection[str] = JSON_TYPES, *, limit: int | None = None
    ) -> bytes:
        """The whole body, if its content type is one of those; `limit` replaces the usual one.

        Raises:
            Refusal: 415, another content type or none; 413, too large.
        """
        self.content_media_type(media_types)
        return await self._whole_body(limit or self.surface.limits.body_bytes)

    async def _whole_body(self, limit: int) -> bytes:
        """The body, bounded while it arrives; Litestar's own way there costs as much as a route.

        Raises:
            Refusal: 413, it is larger than the service takes in one piece.
        """
        announced = self.context.headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limit:
            raise _too_large(limit)
        pieces: list[bytes] = []
        size = 0
        while True:
            message: Any = await self.receive()
            if message["type"] != "http.request":
                raise Refusal("request_timeout", "The client went away.")
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def content_media_type(self, media_types: Collection[str]) -> str:
        """The media type of the body, one of those.

        Raises:
            Refusal: 415, another content type, charset or coding, or none.
        """
        given = self.field(b"content-type") or ""
        name, _, parameters = given.partition(";")
        media_type = name.strip().lower()
        listed = ", ".join(sorted(media_types))
        if media_type not in media_types:
            raise Refusal(
                "unsupported_media_type",
                f"Content-Type must be one of: {listed}.",
                headers=((b"accept", listed.encode()),),
            )
        if parameters.strip() and not _charset_is_utf8(parameters):
            raise Refusal("unsupported_media_type", "The body must be in UTF-8.")
        if self.context.headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refusal("unsupported_media_type", "The body must not be compressed.")
        return media_type

    async def tokens(self, media_types: Collection[str] = JSON_TYPES) -> dict[str, Token]:
        """The body as one JSON object of exact tokens.

        Raises:
            Refusal: 415.
            MalformedBody, InvalidInput: it is not one well-formed object.
        """
        return read_object(await self.bytes_of(media_types))

    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header; None when absent.

        Raises:
            InvalidInput: it is empty, too long or has other than visible ASCII characters.
        """
        key = self.field(b"idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise InvalidInput.at(
                "/Idempotency-Key", "invalid_key", "A key is 1 to 255 visible ASCII characters."
            )
        return key


def _too_large(limit: int) -> Refusal:
    return Refusal(
        "body_too_large",
        f"A body has at most {limit} bytes here.",
        headers=((b"connection", b"close"),),
    )


def parse_query(raw: bytes) -> dict[str, str]:
    """A query string, strictly: UTF-8, no NUL, bounded, no name twice."""
    if len(raw) > MAX_QUERY_BYTES:
        raise Refusal("uri_too_long", f"A query string has at most {MAX_QUERY_BYTES} bytes.")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_QUERY_PARAMETERS,
        )
    except ValueError as failure:  # UnicodeDecodeError is one too
        raise Refusal("malformed_request", "The query string is not well formed.") from failure
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInput(
            [FieldError(f"/{name}", "repeated_parameter", "Give it once.") for name in repeated]
        )
    if any("\x00" in text for pair in pairs for text in pair):
        raise Refusal("malformed_request", "The query string holds a NUL character.")
    return given


def canonical_id(text: str) -> str:
    """The text, if it is a canonical UUIDv7.

    Raises:
        NotFound: it is not, so nothing has this id.
    """
    if not is_canonical_id(text):
        raise NotFound("There is nothing under this id; ids are canonical lower-case UUIDv7.")
    return text


def is_canonical_id(text: str) -> bool:
    """Whether the text is a canonical UUIDv7."""
    return _ID.fullmatch(text) is not None


def fingerprint(body: bytes, content_type: str) -> str:
    """What an idempotency key stands for: lower-case hex SHA-256 of body and content type."""
    return hashlib.sha256(body + b"\x00" + content_type.encode("latin-1")).hexdigest()


@lru_cache(maxsize=256)
def negotiate(accept: str, media_types: tuple[str, ...]) -> str | None:
    """The media type of highest quality that an Accept header takes; None if it takes none."""
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return media_types[0]
    scored = [(_quality(ranges, name), -index) for index, name in enumerate(media_types)]
    quality, index = max(scored)
    return media_types[-index] if quality > 0 else None


def _media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    return name, quality_value(parameters)


def quality_value(parameters: Collection[str]) -> float:
    """The `q` among header parameters; 1 when absent, 0 when senseless."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0


def _quality(ranges: list[tuple[str, float]], media_type: str) -> float:
    """The quality the most specific matching range gives."""
    by_name = dict(ranges)
    main = media_type.partition("/")[0]
    for name in (media_type, f"{main}/*", "*/*"):
        if name in by_name:
            return by_name[name]
    return 0.0


def _charset_is_utf8(parameters: str) -> bool:
    """Whether no parameter names another charset."""
    charsets = [p for p in parameters.split(";") if p.strip().lower().startswith("charset")]
    return all(_CHARSET.fullmatch(parameter) for parameter in charsets)
