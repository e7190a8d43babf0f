"""The event interface, by AsyncAPI 3.0: channels, CloudEvents messages, payloads by the schema."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from spawn import __version__
from spawn.domain.quality import BREACHED, RECOVERED
from spawn.domain.schema.conformance import compile_schema
from spawn.entrypoints.http.product.links import CONTRACT, DOCS
from spawn.entrypoints.http.product.view import TITLE, Json, Product, View, stated

CLOUD_EVENT: Final = "application/cloudevents+json"


class Told(msgspec.Struct, frozen=True):
    """A kind of event: its CloudEvents type, what it tells, and the schema of the state in it."""

    type: str
    text: str
    state: str = "Project"


MESSAGES: Final[Mapping[str, Told]] = {
    "projectCreated": Told("spawn.project.created.v1", "A project was entered or imported."),
    "projectAmended": Told("spawn.project.amended.v1", "Fields of a project were changed."),
    "projectTransitioned": Told(
        "spawn.project.transitioned.v1", "A project took a step in its life."
    ),
    "qualityBreached": Told(
        f"spawn.{BREACHED}.v1", "A service level of the data is broken.", "Standing"
    ),
    "qualityRecovered": Told(
        f"spawn.{RECOVERED}.v1", "A service level of the data is kept again.", "Standing"
    ),
}
"""Every event by the name of its message."""

_NOT_IN_EVENTS: Final = frozenset({"version", "created_at", "updated_at"})
"""What the envelope says, and the state in an event does not repeat."""


def asyncapi(view: View) -> Json:
    """The document at `/asyncapi.json`."""
    product = view.product
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:spawn:{product.id}:events",
        "info": _info(view),
        "defaultContentType": CLOUD_EVENT,
        "servers": {"api": _server(product)},
        "channels": {"feed": _feed()},
        "operations": {"pullEvents": _pull()},
        "components": {
            "messages": {
                **{name: _message(name, view) for name in MESSAGES},
                "eventPage": _page(),
            },
            "schemas": {
                "CloudEvent": _ENVELOPE,
                "Project": _project(view),
                "Standing": _STANDING,
            },
        },
    }


def _info(view: View) -> Json:
    product = view.product
    return stated(
        {
            "title": f"{TITLE}: events",
            "version": view.version,
            "description": (
                "Every change of a project, and of whether a promise about the data is kept, in "
                "the order of the journal, at least once. The state in an event is as it was "
                "encoded at commit, under the schema version that "
                f"`dataschema` names; the active one is `{view.schema.id}` version "
                f"{view.schema.version}."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "contact": product.contact_object,
            "tags": [{"name": "project-finance"}, {"name": "cloudevents"}],
            "externalDocs": {
                "description": "The API, for people",
                "url": product.url(DOCS.path),
            },
            "x-contract": product.url(CONTRACT.path),
            "x-service-version": __version__,
        }
    )


def _server(product: Product) -> Json:
    parts = urlsplit(product.base_url)
    return stated(
        {
            "host": parts.netloc,
            "pathname": parts.path,
            "protocol": parts.scheme,
            "description": "The HTTP interface of the service.",
        }
    )


def _feed() -> Json:
    return {
        "address": "/v1/events",
        "title": "Pull feed",
        "description": (
            "Pages of events after a position. Keep `next` and ask again with it in `after`; an "
            "empty page means level with the journal."
        ),
        "servers": [{"$ref": "#/servers/api"}],
        "messages": {"eventPage": {"$ref": "#/components/messages/eventPage"}},
    }


def _pull() -> Json:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/feed"},
        "title": "Pull events",
        "summary": "Answers with the events after a position.",
        "messages": [{"$ref": "#/channels/feed/messages/eventPage"}],
        "bindings": {
            "http": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {
                        "after": {"type": "string", "description": "The next of the page before."},
                        "limit": {"type": "integer", "minimum": 1},
                        "type": {"type": "string", "description": "Comma-separated types."},
                        "subject": {"type": "string", "description": "One aggregate only."},
                    },
                    "additionalProperties": False,
                },
                "bindingVersion": "0.3.0",
            }
        },
    }


def _page() -> Json:
    one_of = [{"$ref": f"#/components/messages/{name}/payload"} for name in MESSAGES]
    return {
        "name": "eventPage",
        "title": "A page of events",
        "summary": "Events in order, and where to go on.",
        "contentType": "application/json",
        "payload": {
            "type": "object",
            "properties": {
                "events": {"type": "array", "items": {"anyOf": one_of}},
                "next": {"type": "string", "description": "The position to go on after."},
            },
            "required": ["events", "next"],
        },
    }


def _message(name: str, view: View) -> Json:
    told = MESSAGES[name]
    data = {
        **_CHANGE,
        "properties": {**_CHANGE["properties"], "after": _schema(told.state)},
    }
    return {
        "name": told.type,
        "title": told.text.removesuffix("."),
        "summary": told.text,
        "contentType": CLOUD_EVENT,
        "payload": {
            "allOf": [
                _schema("CloudEvent"),
                {"type": "object", "properties": {"type": {"const": told.type}, "data": data}},
            ]
        },
        "tags": [{"name": view.schema.id}],
    }


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


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
    "description": "CloudEvents 1.0, structured. `id` is what to recognise a repetition by.",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _TEXT,
        "source": {"type": "string", "format": "uri", "description": "This service."},
        "type": _TEXT,
        "subject": {"type": "string", "description": "The aggregate: projects/{id}."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "sequence": {"type": "string", "description": "The version of the aggregate."},
        "traceparent": {"type": "string", "description": "The W3C trace of the command."},
        "data": {"type": "object"},
    },
    "required": ["specversion", "id", "source", "type", "subject", "time", "sequence", "data"],
}
_CHANGE: Final[Json] = {
    "type": "object",
    "properties": {
        "before_version": {"type": "integer", "minimum": 0},
        "changed": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["before_version", "changed", "after"],
}
_STANDING: Final[Json] = {
    "type": "object",
    "description": "Whether the service level of a rule is kept, as of its last change.",
    "properties": {
        "rule_id": _TEXT,
        "kept": {"type": "boolean"},
        "result": {
            "type": "object",
            "description": "The measurement that showed it.",
            "properties": {
                "value": {"type": ["number", "null"]},
                "passed": {"type": ["boolean", "null"]},
                "measured_at": {"type": "string", "format": "date-time"},
                "position": _TEXT,
            },
            "required": ["value", "passed", "measured_at", "position"],
        },
    },
    "required": ["rule_id", "kept", "result"],
}
