"""The events that the service tells, and the JSON Schemas of the states in them.

The states of what no schema governs are described by the very types that are encoded.
"""

import inspect
from collections.abc import Mapping
from typing import Final

import msgspec

from spawn.application.product.snapshot import Json, View
from spawn.domain.events.cloudevents import MEDIA_TYPE, type_of
from spawn.domain.lineage.run import ENDED, STARTED, Run, RunState
from spawn.domain.quality.rules import BREACHED, RECOVERED, Standing
from spawn.domain.schemas.schema_status import SchemaStanding
from spawn.domain.schemas.validator import compile_schema

_REFERENCE: Final = "#/components/schemas/{name}"


class Told(msgspec.Struct, frozen=True):
    """A kind of event: its name in the journal, what it tells, the schema of the state in it."""

    name: str
    text: str
    state: str = "Project"

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return type_of(self.name)


MESSAGES: Final[Mapping[str, Told]] = {
    "projectCreated": Told("project.created", "A project was entered or imported."),
    "projectAmended": Told("project.amended", "Fields of a project were changed."),
    "projectTransitioned": Told("project.transitioned", "A project took a step in its life."),
    "schemaAdopted": Told(
        "schema.adopted", "Another version of the schema is in force.", "SchemaStanding"
    ),
    "schemaQuarantined": Told(
        "schema.quarantined", "A version of the schema is held back, and why.", "SchemaStanding"
    ),
    "schemaRejected": Told(
        "schema.rejected", "Someone rejected a version of the schema.", "SchemaStanding"
    ),
    "qualityBreached": Told(BREACHED, "A service level of the data is broken.", "Standing"),
    "qualityRecovered": Told(RECOVERED, "A service level of the data is kept again.", "Standing"),
    "lineageStarted": Told(STARTED, "An import, export or migration began.", "Run"),
    "lineageCompleted": Told(ENDED[RunState.COMPLETE], "It ended well.", "Run"),
    "lineageFailed": Told(ENDED[RunState.FAILED], "It failed, and why.", "Run"),
    "lineageAborted": Told(ENDED[RunState.ABORTED], "It was stopped.", "Run"),
}
"""Every event by the name of its message. Those of lineage are told to who names them."""

_NOT_IN_EVENTS: Final = frozenset({"version", "created_at", "updated_at"})
"""What the envelope says, and the state in an event does not repeat."""


def messages(view: View) -> Json:
    """Every event as an AsyncAPI message."""
    return {name: _message(told, view) for name, told in MESSAGES.items()}


def schemas(view: View) -> Json:
    """The schemas that the messages refer to."""
    states = (Standing, SchemaStanding, Run)
    _, components = msgspec.json.schema_components(states, ref_template=_REFERENCE)
    for component in components.values():
        # A docstring is laid out for the source; here it is one text.
        component["description"] = inspect.cleandoc(component.get("description", ""))
    return {**components, "CloudEvent": _ENVELOPE, "Project": _project(view)}


def reference(name: str) -> Json:
    """A reference to a schema."""
    return {"$ref": _REFERENCE.format(name=name)}


def _message(told: Told, view: View) -> Json:
    data = {
        "type": "object",
        "properties": {
            "before_version": {"type": "integer", "minimum": 0},
            "changed": {"type": "array", "items": {"type": "string"}},
            "after": reference(told.state),
        },
        "required": ["before_version", "changed", "after"],
    }
    fixed = {"type": {"const": told.type}, "data": data}
    return {
        "name": told.type,
        "title": told.text.removesuffix("."),
        "summary": told.text,
        "contentType": MEDIA_TYPE,
        "payload": {"allOf": [reference("CloudEvent"), {"type": "object", "properties": fixed}]},
        "tags": [{"name": view.schema.id if told.state == "Project" else told.state}],
    }


def _project(view: View) -> Json:
    """The state of a project as an event of the active schema carries it."""
    served = compile_schema(view.schema).json_schema(for_input=False)
    properties = {n: shape for n, shape in served["properties"].items() if n not in _NOT_IN_EVENTS}
    return {
        **served,
        "description": f"A project under {view.schema.id} version {view.schema.version}.",
        "properties": properties,
        "required": [name for name in served["required"] if name not in _NOT_IN_EVENTS],
    }


_TEXT: Final[Json] = {"type": "string", "minLength": 1}
_ENVELOPE: Final[Json] = {
    "type": "object",
    "description": "CloudEvents 1.0, structured. `source` and `id` tell a repetition.",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_TEXT, "description": "The position in the feed."},
        "source": {"type": "string", "format": "uri", "description": "This service."},
        "type": _TEXT,
        "subject": {"type": "string", "description": "The aggregate: projects/{id}."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {
            "type": "string",
            "format": "uri",
            "description": "The schema version that a project's state is under.",
        },
        "sequence": {"type": "string", "description": "The version of the aggregate."},
        "traceparent": {"type": "string", "description": "The W3C trace of the command."},
        "data": {"type": "object"},
    },
    "required": ["specversion", "id", "source", "type", "subject", "time", "sequence", "data"],
}
