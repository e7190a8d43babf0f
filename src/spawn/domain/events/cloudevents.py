"""Journal entries as CloudEvents 1.0: the one rendering for feed, stream, webhook and broker.

`id` is the entry's position and the key to tell a repetition by; `subject` is the aggregate and
`sequence` its version; the state in `data` is as it was encoded at commit.
"""

import re
from datetime import datetime

import msgspec

from spawn.domain.change import Entry

MEDIA_TYPE = "application/cloudevents+json"
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
DATA_MEDIA_TYPE = "application/json"

_GOVERNED = "project"
_TYPE = re.compile(r"spawn\.([a-z_]+\.[a-z_]+)\.v1")
_SUBJECT = re.compile(r"([a-z_]+)s/([\x21-\x7e]{1,256})")
_encoder = msgspec.json.Encoder()


class Data(msgspec.Struct, frozen=True):
    """What happened to the aggregate: the version before, the fields that changed, the state."""

    before_version: int
    changed: tuple[str, ...]
    after: msgspec.Raw


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A CloudEvent in the JSON format's structured form, attributes first."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    dataschema: str | None = None
    sequence: str
    traceparent: str | None = None
    data: Data


_ATTRIBUTES = tuple(
    name for name in CloudEvent.__struct_fields__ if name not in ("data", "datacontenttype")
)


class Envelope(msgspec.Struct, frozen=True):
    """What all events of a service share: its public URL, and the id of the schema it serves."""

    source: str
    schema_id: str

    def event(self, entry: Entry) -> CloudEvent:
        """The entry as a CloudEvent; one of a kind that no schema governs names none."""
        schema = None
        if entry.kind == _GOVERNED:
            versions = f"{self.source}/v1/governance/schemas/{self.schema_id}/versions"
            schema = f"{versions}/{entry.schema_version}"
        return CloudEvent(
            specversion="1.0",
            id=entry.position,
            source=self.source,
            type=type_of(entry.type),
            subject=subject_of(entry.kind, entry.id),
            time=entry.recorded_at,
            datacontenttype=DATA_MEDIA_TYPE,
            dataschema=schema,
            sequence=f"{entry.version:010d}",
            traceparent=entry.traceparent,
            data=Data(entry.version - 1, entry.changed, msgspec.Raw(entry.document)),
        )

    def structured(self, entry: Entry) -> bytes:
        """The event as one JSON object."""
        return _encoder.encode(self.event(entry))

    def binary(self, entry: Entry) -> tuple[dict[str, str], bytes]:
        """The event's attributes but for the data's media type, as texts; and its data."""
        event = self.event(entry)
        values = ((name, getattr(event, name)) for name in _ATTRIBUTES)
        # What is no text is a time, and its text in JSON is its text here.
        attributes = {name: str(msgspec.to_builtins(value)) for name, value in values if value}
        return attributes, _encoder.encode(event.data)


def type_of(name: str) -> str:
    """The type on the wire of a domain event: `spawn.project.created.v1`."""
    return f"spawn.{name}.v1"


def subject_of(kind: str, key: str) -> str:
    """An aggregate as the subject of its events: `projects/{id}`."""
    return f"{kind}s/{key}"


def read_type(text: str) -> str | None:
    """The domain event's name in a type on the wire; None if it is none."""
    found = _TYPE.fullmatch(text)
    return found[1] if found else None


def read_subject(text: str) -> tuple[str, str] | None:
    """Kind and id of the aggregate that a subject names; None if it names none."""
    found = _SUBJECT.fullmatch(text)
    return (found[1], found[2]) if found else None
