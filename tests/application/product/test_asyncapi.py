"""The AsyncAPI document lists the event types and the channels that are configured."""

from tests.application.product.conftest import SnapshotFactory

from spawn.application.product.asyncapi import build_asyncapi
from spawn.entrypoints.http.product.identity import product_from_settings
from spawn.entrypoints.settings import Settings

EVENTS = (
    "https://risk.example/hook?token=hidden#name=risk",
    "nats://user:hidden@nats.example:4222/desk.events#stream=DESK",
    "nats+tls://other.example",
    "log://",
)


def test_channels_are_feed_stream_and_configured_publishers(snapshots: SnapshotFactory) -> None:
    plain = build_asyncapi(snapshots.build())
    assert set(plain["channels"]) == {"feed", "stream"}
    assert set(plain["servers"]) == {"api"}
    product = product_from_settings(Settings(public_url="https://spawn.example", events_url=EVENTS))
    document = build_asyncapi(snapshots.build(product=product))
    assert set(document["channels"]) == {"feed", "stream", "webhook", "nats1", "nats2"}
    assert document["servers"]["nats1"]["host"] == "nats.example:4222"
    assert document["channels"]["nats1"]["address"] == "desk.events.{event}"
    assert document["channels"]["nats2"]["address"] == "spawn.events.{event}"
    assert document["channels"]["webhook"]["address"] is None
    assert set(document["operations"]) == {
        *("pullEvents", "followEvents", "callReceivers", "publishToNats1", "publishToNats2")
    }


def test_a_broker_has_every_server_and_the_parameters_of_its_subjects(
    snapshots: SnapshotFactory,
) -> None:
    url = "nats://user:hidden@a.example,b.example:4333/desk.events#subject=type.id"
    product = product_from_settings(Settings(public_url="https://spawn.example", events_url=(url,)))
    document = build_asyncapi(snapshots.build(product=product))
    servers = {name: server["host"] for name, server in document["servers"].items()}
    assert servers | {"api": ""} == {
        "api": "",
        "nats1": "a.example:4222",
        "nats1-2": "b.example:4333",
    }
    channel = document["channels"]["nats1"]
    assert channel["address"] == "desk.events.{event}.{id}"
    assert set(channel["parameters"]) == {"event", "id"}
    assert channel["servers"] == [{"$ref": f"#/servers/{n}"} for n in ("nats1", "nats1-2")]


def test_receivers_and_credentials_are_not_published(snapshots: SnapshotFactory) -> None:
    product = product_from_settings(Settings(public_url="https://spawn.example", events_url=EVENTS))
    text = str(build_asyncapi(snapshots.build(product=product)))
    assert "nats.example" in text
    for secret in ("hidden", "user", "risk.example", "DESK"):
        assert secret not in text


def test_every_message_refers_to_a_schema_in_the_document(snapshots: SnapshotFactory) -> None:
    document = build_asyncapi(snapshots.build())
    schemas = document["components"]["schemas"]
    assert {"CloudEvent", "Project", "ServiceLevelStatus", "SchemaStatus", "Run"} <= set(schemas)
    text = str(document)
    for name in {part.partition("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert {"spawn.project.created.v1", "spawn.schema.adopted.v1"} <= names
    assert {"spawn.quality.breached.v1", "spawn.lineage.completed.v1"} <= names
