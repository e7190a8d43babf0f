"""Entity → wire: the one mapping of projects to what clients see, with tags and caches."""

import base64
import hashlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from spawn.domain import serialization
from spawn.domain.change import Stored
from spawn.domain.errors import FieldError
from spawn.domain.projects.project import Project
from spawn.domain.schemas.model import Schema
from spawn.entrypoints.http.middleware.compression import SUFFIX
from spawn.entrypoints.http.protocol.problems import Refusal
from spawn.entrypoints.http.protocol.response import Header, Reply, encode

_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")
MAX_WARNINGS: Final = 20
ALWAYS_SHOWN: Final = ("project_id", "version")
_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
_ONE_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rf"\*|{_ONE_TAG}(?:[ \t]*,[ \t]*{_ONE_TAG})*")
_VERSION_EPOCH: Final = re.compile(r"(\d{1,18})-(\d{1,18})-\d{1,18}(?:-[A-Za-z0-9_-]+)?")
V = TypeVar("V")


class Bounded(Generic[V]):
    """A mapping that forgets its oldest entries; entries are immutable and never invalidated.

    It keeps as many as `capacity`, and no more than `capacity_bytes` of what `size_of` says they
    take.
    """

    def __init__(
        self,
        capacity: int,
        capacity_bytes: int = sys.maxsize,
        size_of: Callable[[V], int] = lambda _: 0,
    ) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._size_of = size_of
        self._entries: OrderedDict[Any, V] = OrderedDict()
        self._bytes = 0

    def get(self, key: Any) -> V | None:
        """The entry, if it is still here."""
        return self._entries.get(key)

    def put(self, key: Any, value: V) -> V:
        """Keep an entry, for as long as there is room."""
        entries = self._entries
        known = entries.get(key)
        self._bytes += self._size_of(value) - (0 if known is None else self._size_of(known))
        entries[key] = value
        while len(entries) > self._capacity or self._bytes > self._capacity_bytes:
            self._bytes -= self._size_of(entries.popitem(last=False)[1])
        return value


class Document(msgspec.Struct, frozen=True, gc=False):
    """A project as sent: its JSON and its tag.

    Bytes and texts, and headers that all documents of a view share, so that tens of thousands of
    them cost the garbage collector nothing; the answers are put together when sent.
    """

    project_id: str
    body: bytes
    tag: str
    notices: tuple[Header, ...]

    @property
    def headers(self) -> list[Header]:
        """Tag, caching, the schema it is under and what will go of that."""
        return [(b"etag", self.tag.encode()), _NO_CACHE, *self.notices]

    def reply(self, status: int = 200, *more: Header) -> Reply:
        """The whole project, with further headers."""
        return Reply(status, self.body, headers=[*more, *self.headers])

    def unchanged(self) -> Reply:
        """304."""
        return Reply(304, headers=self.headers)


def project_fields(stored: Stored[Project], schema: Schema) -> dict[str, Any]:
    """The wire fields of a stored project in document order."""
    fields = serialization.render(stored.state, schema)
    shown: dict[str, Any] = {"project_id": fields.pop("project_id"), "version": stored.version}
    shown.update(fields)
    shown["created_at"] = stored.created_at
    shown["updated_at"] = stored.updated_at
    return shown


def selected(fields: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The named fields, with id and version; `x_` fields that a project lacks are left out."""
    if not names:
        return fields
    wanted = {*ALWAYS_SHOWN, *names}
    return {name: value for name, value in fields.items() if name in wanted}


def build_document(
    stored: Stored[Project],
    schema: Schema,
    tag: str,
    headers: tuple[Header, ...],
    names: tuple[str, ...] = (),
) -> Document:
    """The project as sent under a schema whose shape it has, some fields of it or (empty) all."""
    body = encode(selected(project_fields(stored, schema), names))
    return Document(stored.id, body, tag, headers)


def warned(warnings: Sequence[FieldError]) -> tuple[Header, ...]:
    """What is odd about a body that was accepted, as one structured field (RFC 9651), if anything.

    A list of JSON Pointers, each with a code and a sentence:
    `"/sector";code=deprecated;detail="is deprecated and may go"`.
    """
    if not warnings:
        return ()
    shown = (
        f"{_quoted(w.pointer)};code={w.code};detail={_quoted(w.detail)}"
        for w in warnings[:MAX_WARNINGS]
    )
    return ((b"spawn-warnings", ", ".join(shown).encode()),)


def _quoted(text: str) -> str:
    """A text as a string of a structured field: visible ASCII, the rest as question marks."""
    plain = re.sub(r"[^ -~]", "?", text)
    return '"' + plain.replace("\\", r"\\").replace('"', r"\"") + '"'


def entity_tag(version: int, epoch: int, generation: int, names: tuple[str, ...] = ()) -> str:
    """The strong tag of a project's representation: version, epoch, schema generation, view."""
    view = f"-{view_digest(names)}" if names else ""
    return f'"{version}-{epoch}-{generation}{view}"'


def view_digest(names: Iterable[str]) -> str:
    """A short name of a selection of fields."""
    return hashlib.blake2b(",".join(names).encode(), digest_size=6).hexdigest()


def content_tag(body: bytes) -> str:
    """A strong tag from the bytes, for what has no version."""
    digest = hashlib.blake2b(body, digest_size=12).digest()
    return f'"{base64.urlsafe_b64encode(digest).decode()}"'


def check_tags(name: str, header: str) -> None:
    """Let a list of entity tags, or `*`, pass.

    Raises:
        Refusal: 400, it is neither.
    """
    if _TAGS.fullmatch(header) is None:
        raise Refusal("malformed_request", f'{name} is "*" or a list of quoted entity tags.')


def none_match(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this representation, so that 304 is the answer.

    Raises:
        Refusal: 400, it is no list of entity tags.
    """
    if header is None:
        return False
    if header in {tag, "*"}:
        return True
    check_tags("If-None-Match", header)
    plain = tag.strip('"')
    return any(found[2].removesuffix(SUFFIX) == plain for found in _TAG.finditer(header))


def matches(header: str, version: int, epoch: int) -> bool:
    """Whether If-Match names this version and epoch, in whatever view or coding."""
    for weak, text in _TAG.findall(header):
        found = _VERSION_EPOCH.fullmatch(text)
        if not weak and found and (int(found[1]), int(found[2])) == (version, epoch):
            return True
    return False


def epoch_of(position: str) -> int:
    """The epoch part of a feed position `{epoch}.{n}`."""
    return int(position.partition(".")[0])
