"""AsyncAPI 3.0 document of the event interface: channels to read from and publishers."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from spawn import __version__
from spawn.application.product.event_messages import (
    EVENTS_BY_MESSAGE,
    build_messages,
    build_schemas,
)
from spawn.application.product.links import CONTRACT, DOCS
from spawn.application.product.snapshot import (
    TITLE,
    Broker,
    Json,
    Product,
    ProductSnapshot,
    omit_empty,
)
from spawn.application.schemas.version_selection import VERSION_SELECTION
from spawn.domain.events.cloudevents import MEDIA_TYPE

_FILTER_PARAMETERS: Final[Json] = {
    "after": {"type": "string", "description": "Position; the response has the events after it."},
    "type": {"type": "string", "description": "Event types, separated by commas."},
    "subject": {"type": "string", "description": "Events of this aggregate only."},
    "schema_version": {
        "type": "string",
        "pattern": f"^{VERSION_SELECTION}$",
        "description": (
            "States of a governed kind in the fields of this adopted schema version, until its "
            "Sunset; without it as they were stored. A number alone is a version of the schema of "
            "projects, `schema_id@number` one of any; with a comma they are one for each kind."
        ),
    },
}


def build_asyncapi(snapshot: ProductSnapshot) -> Json:
    """Build the document at `/asyncapi.json`."""
    product = snapshot.product
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:spawn:{product.id}:events",
        "info": _info(snapshot),
        "defaultContentType": MEDIA_TYPE,
        "servers": _servers(product),
        "channels": _channels(product),
        "operations": _operations(product),
        "components": {
            "messages": {**build_messages(snapshot), "eventPage": _PAGE},
            "schemas": build_schemas(snapshot),
        },
    }


def _info(snapshot: ProductSnapshot) -> Json:
    product = snapshot.product
    versions = " and ".join(
        f"`{one.schema.id}` version {one.schema.version}" for one in snapshot.all_datasets
    )
    return omit_empty(
        {
            "title": f"{TITLE}: events",
            "version": snapshot.version,
            "description": (
                "Every change of a project and of its financing, of the active schemas and of a "
                "service level, in journal order, delivered at least once. The state in an event "
                "is as it was stored, under the schema version that `dataschema` names. The "
                f"states of governed kinds below are those of {versions}."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "contact": product.contact_object,
            "tags": [{"name": "project-finance"}, {"name": "cloudevents"}],
            "externalDocs": {
                "description": "API documentation",
                "url": product.url(DOCS.path),
            },
            "x-contract": product.url(CONTRACT.path),
            "x-service-version": __version__,
        }
    )


def _servers(product: Product) -> Json:
    """Return the service itself, and the brokers it publishes to."""
    parts = urlsplit(product.base_url)
    service = {
        "host": parts.netloc,
        "pathname": parts.path,
        "protocol": parts.scheme,
        "description": "The HTTP interface of the service.",
    }
    brokers = {
        server: {
            "host": host,
            "protocol": broker.protocol,
            "description": "A NATS server with JetStream.",
        }
        for name, broker in _name_brokers(product.brokers)
        for server, host in _name_servers(name, broker)
    }
    return {"api": omit_empty(service), **brokers}


def _name_brokers(brokers: Iterable[Broker]) -> Iterable[tuple[str, Broker]]:
    return ((f"nats{number}", broker) for number, broker in enumerate(brokers, start=1))


def _name_servers(name: str, broker: Broker) -> Iterable[tuple[str, str]]:
    """Yield the servers of a broker by name; the first has the name of the broker."""
    for number, host in enumerate(broker.hosts, start=1):
        yield (name if number == 1 else f"{name}-{number}"), host


def _channels(product: Product) -> Json:
    """Return the channels of events, without publishers that are not configured."""
    channels: Json = {
        "feed": {
            "address": "/v1/events",
            "title": "Pull feed",
            "description": (
                "Pages of events after a position. Send the `next` of a page as `after` to get "
                "the next one; an empty page with the same `next` is the end of the journal."
            ),
            "servers": [{"$ref": "#/servers/api"}],
            "messages": {"eventPage": {"$ref": "#/components/messages/eventPage"}},
        },
        "stream": {
            "address": "/v1/events/stream",
            "title": "Live stream",
            "description": (
                "Server-sent events: the CloudEvent is the `data`, its position the `id`. A client "
                "that reconnects with `Last-Event-ID` misses no event."
            ),
            "servers": [{"$ref": "#/servers/api"}],
            "messages": _all_messages(),
        },
    }
    if product.webhooks:
        channels["webhook"] = {
            "address": None,
            "title": "Webhooks",
            "description": (
                "One POST per event to each configured receiver, signed according to Standard "
                "Webhooks, retried until the receiver accepts it."
            ),
            "messages": _all_messages(),
        }
    for name, broker in _name_brokers(product.brokers):
        channels[name] = _broker_channel(name, broker)
    return channels


def _broker_channel(name: str, broker: Broker) -> Json:
    parameters: Json = {
        "event": {
            "description": "Event type.",
            "enum": [event.name for event in EVENTS_BY_MESSAGE.values()],
        }
    }
    if broker.has_id_in_subject:
        parameters["id"] = {
            "description": (
                "Id of the aggregate; characters other than letters, digits, - and _ are "
                "percent-encoded."
            )
        }
    return {
        "address": ".".join((broker.prefix, *(f"{{{parameter}}}" for parameter in parameters))),
        "title": "NATS JetStream",
        "description": "Each event once in the stream, deduplicated by `Nats-Msg-Id`.",
        "servers": [{"$ref": f"#/servers/{server}"} for server, _ in _name_servers(name, broker)],
        "parameters": parameters,
        "messages": _all_messages(),
    }


def _all_messages() -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in EVENTS_BY_MESSAGE}


def _operations(product: Product) -> Json:
    """Return the operations; the service is the sender in all of them."""
    operations = {
        "pullEvents": _operation(
            "feed",
            "Returns the events after a position.",
            {
                "method": "GET",
                "query": _query_schema(
                    **_FILTER_PARAMETERS, limit={"type": "integer", "minimum": 1}
                ),
            },
        ),
        "followEvents": _operation(
            "stream",
            "Sends each event as it happens.",
            {"method": "GET", "query": _query_schema(**_FILTER_PARAMETERS)},
        ),
    }
    if product.webhooks:
        operations["callReceivers"] = _operation(
            "webhook", "Posts each event to the receivers.", {"method": "POST"}
        )
    for name, _ in _name_brokers(product.brokers):
        operations[f"publishTo{name.capitalize()}"] = _operation(
            name, "Publishes each event to the broker.", None
        )
    return operations


def _operation(channel: str, summary: str, http: Json | None) -> Json:
    operation: Json = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "title": summary.removesuffix("."),
        "summary": summary,
    }
    if http is not None:
        operation["bindings"] = {"http": {**http, "bindingVersion": "0.3.0"}}
    return operation


def _query_schema(**properties: Any) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_PAGE: Final[Json] = {
    "name": "eventPage",
    "title": "A page of events",
    "summary": "Events in order, and the position to continue from.",
    "contentType": "application/json",
    "payload": {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": f"#/components/messages/{name}/payload"}
                        for name in EVENTS_BY_MESSAGE
                    ]
                },
            },
            "next": {"type": "string", "description": "Position to continue after."},
        },
        "required": ["events", "next"],
    },
}
