"""Journal entries as CloudEvents 1.0, the one rendering for feed, stream, webhook and broker.

`id` is the entry's position in its store and the key for deduplication; `subject` is the aggregate
and `sequence` its version; the state in `data` is as encoded at commit, or the published part.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from spawn.domain.errors import CursorInvalid
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position, VersionCursor
from spawn.domain.events.published_states import publish_state
from spawn.domain.projects.project import PROJECT_KIND

MEDIA_TYPE = "application/cloudevents+json"
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
DATA_MEDIA_TYPE: Final = "application/json"

_TYPE = re.compile(r"spawn\.([a-z_]+\.[a-z_]+)\.v1")
_SUBJECT = re.compile(r"([a-z_]+)s/([\x21-\x7e]{1,256})")
_encoder = msgspec.json.Encoder()


class EventData(msgspec.Struct, frozen=True):
    """The event data: previous version, changed fields and new state of the aggregate."""

    before_version: Annotated[int, Meta(ge=0)]
    changed: tuple[str, ...]
    after: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


_Uri = Annotated[str, Meta(extra_json_schema={"format": "uri"})]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent in structured JSON form, attributes first."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(examples=["1.2041@9f86d081884c7d659a2feaa0c55ad015"])]
    source: _Uri
    type: Annotated[str, Meta(examples=["spawn.project.created.v1"])]
    subject: Annotated[str, Meta(examples=["projects/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"])]
    time: Annotated[datetime, Meta(tz=True)]
    datacontenttype: Literal["application/json"]
    dataschema: _Uri | UnsetType = UNSET
    sequence: Annotated[str, Meta(pattern=r"^[0-9]{10}$")]
    storeid: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
    traceparent: str | UnsetType = UNSET
    data: EventData


_ATTRIBUTES = tuple(
    name for name in CloudEvent.__struct_fields__ if name not in ("data", "datacontenttype")
)


class EventEnvelope(msgspec.Struct, frozen=True):
    """The attributes that all events of a service share: public URL, schema id, store's identity.

    Two services may have the same URL, one after the other or on two machines; the identity of the
    store keeps the ids of their events apart. With `names_versions` cursors and ids name the
    version of the aggregate instead of the position, whose number counts the rows of everybody.
    `schema_ids` are the schemas of governed kinds other than projects.
    """

    source: str
    schema_id: str
    store_id: str
    names_versions: bool = False
    schema_ids: Mapping[str, str] = msgspec.field(default_factory=dict)

    def format_cursor(self, entry: JournalEntry) -> str:
        """Return the cursor after an event."""
        if self.names_versions:
            return str(
                VersionCursor(entry.position.epoch, entry.version, entry.id, kind=entry.kind)
            )
        return str(entry.position)

    def split_cursor(self, text: str) -> str:
        """Return the cursor in a text, which may be the id of an event of this store.

        Raises:
            CursorInvalid: the event is another store's.
        """
        cursor, separator, store_id = text.partition("@")
        if separator and store_id != self.store_id:
            raise CursorInvalid("The event of this id is of another store.")
        return cursor

    def format_id(self, position: Position) -> str:
        """Return the id of the event at a position, unique among all stores."""
        return f"{position}@{self.store_id}"

    def parse_cursor(self, text: str) -> Position:
        """Parse a cursor of the feed, or the id of an event of this store.

        Raises:
            CursorInvalid: the text is neither, or the event is another store's.
        """
        return Position.parse(self.split_cursor(text))

    def to_cloudevent(self, entry: JournalEntry) -> CloudEvent:
        """Return the entry as a CloudEvent; only governed kinds have a `dataschema`."""
        schema: str | UnsetType = UNSET
        schema_id = (
            self.schema_id if entry.kind == PROJECT_KIND else self.schema_ids.get(entry.kind)
        )
        if schema_id is not None:
            versions = f"{self.source}/v1/governance/schemas/{schema_id}/versions"
            schema = f"{versions}/{entry.schema_version}"
        return CloudEvent(
            specversion="1.0",
            id=f"{self.format_cursor(entry)}@{self.store_id}",
            source=self.source,
            type=format_event_type(entry.type),
            subject=format_subject(entry.kind, entry.id),
            time=entry.recorded_at,
            datacontenttype=DATA_MEDIA_TYPE,
            dataschema=schema,
            sequence=f"{entry.version:010d}",
            storeid=self.store_id,
            traceparent=UNSET if entry.traceparent is None else entry.traceparent,
            data=EventData(
                entry.version - 1,
                entry.changed,
                msgspec.Raw(publish_state(entry.kind, entry.document)),
            ),
        )

    def encode_structured(self, entry: JournalEntry) -> bytes:
        """Encode the event as one JSON object."""
        return _encoder.encode(self.to_cloudevent(entry))

    def encode_binary(self, entry: JournalEntry) -> tuple[dict[str, str], bytes]:
        """Return the attributes as texts, without the media type, and the encoded data."""
        event = self.to_cloudevent(entry)
        values = ((name, getattr(event, name)) for name in _ATTRIBUTES)
        # Every value that is not a text is a time; its JSON text is its text here.
        attributes = {name: str(msgspec.to_builtins(value)) for name, value in values if value}
        return attributes, _encoder.encode(event.data)


def format_event_type(name: str) -> str:
    """Return the CloudEvents type of an event type, such as `spawn.project.created.v1`."""
    return f"spawn.{name}.v1"


def format_subject(kind: str, key: str) -> str:
    """Return the CloudEvents subject of an aggregate, such as `projects/{id}`."""
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"{plural}/{key}"


def parse_event_type(text: str) -> str | None:
    """Return the event type in a CloudEvents type, or None if there is none."""
    match = _TYPE.fullmatch(text)
    return match[1] if match else None


def parse_subject(text: str) -> tuple[str, str] | None:
    """Return kind and id of a CloudEvents subject, or None if it is not one."""
    match = _SUBJECT.fullmatch(text)
    if match is None:
        return None
    kind = f"{match[1][:-2]}y" if match[1].endswith("ie") else match[1]
    return (kind, match[2])
