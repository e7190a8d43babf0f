"""The description of the events: which there are, and where they are read and sent."""

import json

from tests.entrypoints.documents.conftest import Viewer

from spawn.application.product.asyncapi import asyncapi
from spawn.entrypoints.http.product.identity import product_of
from spawn.entrypoints.settings import Settings

EVENTS = (
    "https://risk.example/hook?token=hidden#name=risk",
    "nats://user:hidden@nats.example:4222/desk.events#stream=DESK",
    "nats+tls://other.example",
    "log://",
)


def test_events_are_read_from_feed_and_stream_and_sent_where_configured(viewer: Viewer) -> None:
    plain = asyncapi(viewer.of())
    assert set(plain["channels"]) == {"feed", "stream"}
    assert set(plain["servers"]) == {"api"}
    product = product_of(Settings(public_url="https://spawn.example", events_url=EVENTS))
    document = asyncapi(viewer.of(product=product))
    assert set(document["channels"]) == {"feed", "stream", "webhook", "nats1", "nats2"}
    assert document["servers"]["nats1"]["host"] == "nats.example:4222"
    assert document["channels"]["nats1"]["address"] == "desk.events.{event}"
    assert document["channels"]["nats2"]["address"] == "spawn.events.{event}"
    assert document["channels"]["webhook"]["address"] is None
    assert set(document["operations"]) == {
        *("pullEvents", "followEvents", "callReceivers", "publishToNats1", "publishToNats2")
    }


def test_receivers_and_credentials_are_told_to_nobody(viewer: Viewer) -> None:
    product = product_of(Settings(public_url="https://spawn.example", events_url=EVENTS))
    text = json.dumps(asyncapi(viewer.of(product=product)))
    assert "nats.example" in text
    for secret in ("hidden", "user", "risk.example", "DESK"):
        assert secret not in text


def test_every_message_refers_to_schemas_that_are_there(viewer: Viewer) -> None:
    document = asyncapi(viewer.of())
    schemas = document["components"]["schemas"]
    assert {"CloudEvent", "Project", "Standing", "SchemaStanding", "Run"} <= set(schemas)
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert {"spawn.project.created.v1", "spawn.schema.adopted.v1"} <= names
    assert {"spawn.quality.breached.v1", "spawn.lineage.completed.v1"} <= names
