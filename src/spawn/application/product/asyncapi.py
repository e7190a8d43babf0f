"""The event interface, by AsyncAPI 3.0: where events are read and where they are sent."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from spawn import __version__
from spawn.application.product.event_messages import MESSAGES, messages, schemas
from spawn.application.product.links import CONTRACT, DOCS
from spawn.application.product.snapshot import TITLE, Broker, Json, Product, View, stated
from spawn.domain.events.cloudevents import MEDIA_TYPE

_CHOICE: Final[Json] = {
    "after": {"type": "string", "description": "A position; events after it are given."},
    "type": {"type": "string", "description": "Comma-separated types."},
    "subject": {"type": "string", "description": "One aggregate only."},
}


def asyncapi(view: View) -> Json:
    """The document at `/asyncapi.json`."""
    product = view.product
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:spawn:{product.id}:events",
        "info": _info(view),
        "defaultContentType": MEDIA_TYPE,
        "servers": _servers(product),
        "channels": _channels(product),
        "operations": _operations(product),
        "components": {
            "messages": {**messages(view), "eventPage": _PAGE},
            "schemas": schemas(view),
        },
    }


def _info(view: View) -> Json:
    product = view.product
    return stated(
        {
            "title": f"{TITLE}: events",
            "version": view.version,
            "description": (
                "Every change of a project, of the schema in force, and of whether a promise "
                "about the data is kept, in the order of the journal, at least once. The state in "
                "an event is as it was encoded at commit, under the schema version that "
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


def _servers(product: Product) -> Json:
    """The service itself, and the brokers it publishes to."""
    parts = urlsplit(product.base_url)
    service = {
        "host": parts.netloc,
        "pathname": parts.path,
        "protocol": parts.scheme,
        "description": "The HTTP interface of the service.",
    }
    brokers = {
        name: {
            "host": broker.host,
            "protocol": broker.protocol,
            "description": "A NATS server with JetStream.",
        }
        for name, broker in _named(product.brokers)
    }
    return {"api": stated(service), **brokers}


def _named(brokers: Iterable[Broker]) -> Iterable[tuple[str, Broker]]:
    return ((f"nats{number}", broker) for number, broker in enumerate(brokers, start=1))


def _channels(product: Product) -> Json:
    """Where events come from; the ways that nobody configured are left out."""
    channels: Json = {
        "feed": {
            "address": "/v1/events",
            "title": "Pull feed",
            "description": (
                "Pages of events after a position. Keep `next` and ask again with it in `after`; "
                "an empty page with the same `next` means level with the journal."
            ),
            "servers": [{"$ref": "#/servers/api"}],
            "messages": {"eventPage": {"$ref": "#/components/messages/eventPage"}},
        },
        "stream": {
            "address": "/v1/events/stream",
            "title": "Live stream",
            "description": (
                "Server-sent events: the CloudEvent is the `data`, its position the `id`. A client "
                "that comes back with `Last-Event-ID` misses nothing."
            ),
            "servers": [{"$ref": "#/servers/api"}],
            "messages": _every_message(),
        },
    }
    if product.webhooks:
        channels["webhook"] = {
            "address": None,
            "title": "Webhooks",
            "description": (
                "One POST per event to each receiver that the operator configured, signed after "
                "Standard Webhooks, tried again until it is taken."
            ),
            "messages": _every_message(),
        }
    for name, broker in _named(product.brokers):
        channels[name] = _subjects(name, broker)
    return channels


def _subjects(server: str, broker: Broker) -> Json:
    return {
        "address": f"{broker.prefix}.{{event}}",
        "title": "NATS JetStream",
        "description": "Each event once in the stream; `Nats-Msg-Id` keeps a repetition out.",
        "servers": [{"$ref": f"#/servers/{server}"}],
        "parameters": {
            "event": {
                "description": "What happened.",
                "enum": [told.name for told in MESSAGES.values()],
            }
        },
        "messages": _every_message(),
    }


def _every_message() -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in MESSAGES}


def _operations(product: Product) -> Json:
    """What the service does: it sends, whoever asked for it."""
    operations = {
        "pullEvents": _operation(
            "feed",
            "Answers with the events after a position.",
            {"method": "GET", "query": _query(**_CHOICE, limit={"type": "integer", "minimum": 1})},
        ),
        "followEvents": _operation(
            "stream",
            "Sends each event as it happens.",
            {"method": "GET", "query": _query(**_CHOICE)},
        ),
    }
    if product.webhooks:
        operations["callReceivers"] = _operation(
            "webhook", "Posts each event to the receivers.", {"method": "POST"}
        )
    for name, _ in _named(product.brokers):
        operations[f"publishTo{name.capitalize()}"] = _operation(
            name, "Publishes each event to the broker.", None
        )
    return operations


def _operation(channel: str, summary: str, http: Json | None) -> Json:
    found: Json = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "title": summary.removesuffix("."),
        "summary": summary,
    }
    if http is not None:
        found["bindings"] = {"http": {**http, "bindingVersion": "0.3.0"}}
    return found


def _query(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_PAGE: Final[Json] = {
    "name": "eventPage",
    "title": "A page of events",
    "summary": "Events in order, and where to go on.",
    "contentType": "application/json",
    "payload": {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": f"#/components/messages/{name}/payload"} for name in MESSAGES
                    ]
                },
            },
            "next": {"type": "string", "description": "The position to go on after."},
        },
        "required": ["events", "next"],
    },
}
