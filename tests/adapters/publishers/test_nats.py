"""NATS publisher against a real server: acknowledgement, deduplication, reconnection."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from tests.adapters.publishers.nats_server import NatsServer, running_nats_server

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher
from spawn.adapters.publishers.nats.nats_connection import NatsConnection
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.ports.publishers import EventPublisher
from spawn.testing.publisher_contract import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.publisher_contract import SECRET, SOURCE, an_entry, event_id

STREAM = "SPAWN"


class StreamConsumer:
    """Messages of the stream."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server

    async def messages(self) -> list[Any]:
        client, context = await self._server.context()
        try:
            last = (await context.stream_info(STREAM)).state.last_seq
            return [await context.get_msg(STREAM, number) for number in range(1, last + 1)]
        finally:
            await client.close()

    async def events(self, number: int) -> list[dict[str, Any]]:
        # The publisher has the acknowledgement of the stream: no wait is needed.
        events = [msgspec.json.decode(message.data) for message in await self.messages()]
        assert len(events) >= number
        return events

    async def go_away(self) -> None:
        self._server.stop()

    async def come_back(self) -> None:
        self._server.start()
        client, _ = await self._server.context()
        await client.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with running_nats_server(tmp_path) as server:
        yield server


@pytest.fixture
async def consumer(server: NatsServer) -> StreamConsumer:
    client, _ = await server.context()
    await client.close()
    return StreamConsumer(server)


@pytest.fixture
def publisher_url(server: NatsServer) -> str:
    return f"{server.url}/desk.events#stream={STREAM}"


async def test_a_message_has_subject_id_and_media_type(
    publisher: EventPublisher, consumer: StreamConsumer
) -> None:
    await publisher.publish([an_entry(1), an_entry(2, version=2)])
    first, second = await consumer.messages()
    assert (first.subject, second.subject) == (
        "desk.events.project.created",
        "desk.events.project.amended",
    )
    assert first.headers["Nats-Msg-Id"] == event_id(1)
    assert first.headers["Content-Type"] == "application/cloudevents+json"


async def test_the_stream_stores_a_repeated_event_once(
    publisher: EventPublisher, consumer: StreamConsumer
) -> None:
    for _ in range(3):
        assert await publisher.publish([an_entry(1), an_entry(2, "p2")]) == []
    assert [event["id"] for event in await consumer.events(2)] == [event_id(1), event_id(2)]


async def test_an_existing_stream_is_not_changed(
    server: NatsServer, consumer: StreamConsumer, publisher: EventPublisher
) -> None:
    client, context = await server.context()
    await context.add_stream(StreamConfig(name=STREAM, subjects=["desk.>"], max_msgs=7))
    await publisher.publish([an_entry(1)])
    info = await context.stream_info(STREAM)
    assert (info.config.subjects, info.config.max_msgs, info.state.messages) == (["desk.>"], 7, 1)
    await client.close()
    del consumer


async def test_two_stores_with_one_source_lose_no_event(
    publisher_url: str, consumer: StreamConsumer
) -> None:
    for store_id in ("a" * 32, "b" * 32):
        envelope = EventEnvelope(SOURCE, "project_schema", store_id)
        options = PublisherOptions(envelope=envelope, timeout_s=2.0)
        publisher = await open_publisher(publisher_url, options=options)
        assert await publisher.publish([an_entry(1), an_entry(2, "p2")]) == []
        await publisher.close()
    ids = [event["id"] for event in await consumer.events(4)]
    assert ids == [f"1.{n}@{store * 32}" for store in "ab" for n in (1, 2)]


async def test_an_event_that_the_stream_takes_for_another_is_reported(
    publisher: EventPublisher, consumer: StreamConsumer
) -> None:
    """The first event is that of another service on a copy of this store."""
    await publisher.publish([an_entry(1)])
    other = an_entry(1, recorded_at=datetime(2026, 3, 1, 7, tzinfo=UTC))
    for _ in range(2):
        (failure,) = await publisher.publish([other])
        assert "another event under this id" in failure.reason
        assert not failure.is_rejected
    assert len(await consumer.events(1)) == 1


@pytest.mark.parametrize(("age", "is_delivered"), [(-1, True), (1, False)])
async def test_a_repeated_event_that_was_consumed_counts_if_an_earlier_process_sent_it(
    publisher: EventPublisher,
    publisher_url: str,
    publisher_options: PublisherOptions,
    consumer: StreamConsumer,
    server: NatsServer,
    age: int,
    *,
    is_delivered: bool,
) -> None:
    del consumer
    entry = an_entry(1, recorded_at=datetime.now(UTC) + timedelta(hours=age))
    await publisher.publish([entry])
    client, context = await server.context()
    await context.purge_stream(STREAM)
    await client.close()
    next_publisher = await open_publisher(publisher_url, options=publisher_options)
    assert (await next_publisher.publish([entry]) == []) is is_delivered
    await next_publisher.close()


async def test_an_event_that_no_stream_accepts_is_not_delivered(
    server: NatsServer, consumer: StreamConsumer, publisher_options: PublisherOptions
) -> None:
    del consumer
    publisher = await open_publisher(f"{server.url}/lost", options=publisher_options)
    failures = await publisher.publish([an_entry(1), an_entry(2, version=2)])
    assert [str(failure.entry.position) for failure in failures] == ["1.1", "1.2"]
    assert failures[0].reason == "No stream accepts lost.project.created."
    assert not any(failure.is_rejected for failure in failures)
    with pytest.raises(Unavailable, match="no stream listens"):
        await publisher.probe()
    await publisher.close()


async def test_an_event_that_is_too_large_is_rejected(
    publisher: EventPublisher, consumer: StreamConsumer
) -> None:
    huge = an_entry(1, document=b'"' + b"x" * 1_100_000 + b'"')
    failures = await publisher.publish([huge, an_entry(2, version=2), an_entry(3, "p2")])
    assert [(str(failure.entry.position), failure.is_rejected) for failure in failures] == [
        ("1.1", True),
        ("1.2", False),
    ]
    assert [event["id"] for event in await consumer.events(1)] == [event_id(3)]


@pytest.mark.parametrize("stream", ["", f"#stream={STREAM}"])
async def test_the_headers_count_as_part_of_an_event(
    tmp_path: Path, publisher_options: PublisherOptions, stream: str
) -> None:
    """The server closes the connection, under the other events too, if they exceed its limit."""
    with running_nats_server(tmp_path, "max_payload: 3000") as server:
        client, context = await server.context()
        await context.add_stream(StreamConfig(name=STREAM, subjects=["desk.events.>"]))
        publisher = await open_publisher(
            f"{server.url}/desk.events{stream}", options=publisher_options
        )
        envelope = publisher_options.envelope

        def entry_of(size: int) -> Any:
            empty = len(envelope.encode_structured(an_entry(1, document=b'""')))
            return an_entry(1, document=b'"' + b"x" * (size - empty) + b'"')

        accepted = 0
        for size in (3001, 3000, 2990, 2800, 2700):
            entry = entry_of(size)
            assert len(envelope.encode_structured(entry)) == size
            failures = await publisher.publish([entry, an_entry(3, "p2")])
            if failures:
                (failure,) = failures
                assert failure.is_rejected
                assert "maximum payload violation" in failure.reason
                assert not accepted
            accepted += not failures
        assert accepted
        await publisher.close()
        await client.close()


async def test_an_event_that_is_too_large_for_the_stream_is_rejected(
    server: NatsServer, publisher: EventPublisher
) -> None:
    client, context = await server.context()
    config = StreamConfig(name=STREAM, subjects=["desk.events.>"], max_msg_size=2000)
    await context.add_stream(config)
    large = an_entry(1, document=b'"' + b"x" * 3000 + b'"')
    (failure,) = await publisher.publish([large, an_entry(3, "p2")])
    assert failure.is_rejected
    assert "message size exceeds maximum allowed" in failure.reason
    await client.close()


@pytest.mark.parametrize("stream", ["", f"#stream={STREAM}"])
async def test_a_stream_that_acknowledges_nothing_gets_no_event(
    server: NatsServer, publisher_options: PublisherOptions, stream: str
) -> None:
    client, context = await server.context()
    config = StreamConfig(name=STREAM, subjects=["desk.events.>"], no_ack=True)
    await context.add_stream(config)
    publisher = await open_publisher(f"{server.url}/desk.events{stream}", options=publisher_options)
    with pytest.raises(Unavailable, match="no_ack"):
        await publisher.probe()
    with pytest.raises(Unavailable, match="acknowledges nothing"):
        await publisher.publish([an_entry(1)])
    assert (await context.stream_info(STREAM)).state.messages == 0
    await publisher.close()
    await client.close()


async def test_a_stream_that_is_deleted_while_it_is_used_is_created_again(
    server: NatsServer, publisher_options: PublisherOptions
) -> None:
    client, context = await server.context()
    url = f"{server.url}/desk.events#stream={STREAM}"
    publisher = await open_publisher(url, options=publisher_options)
    assert not await publisher.publish([an_entry(1)])
    await context.delete_stream(STREAM)
    (failure,) = await publisher.publish([an_entry(2)])
    assert "No stream accepts" in failure.reason
    assert not await publisher.publish([an_entry(2)])
    assert (await context.stream_info(STREAM)).state.messages == 1
    await publisher.close()
    await client.close()


@pytest.mark.parametrize("stream", ["", f"#stream={STREAM}"])
async def test_a_stream_that_ends_to_acknowledge_gets_an_event_once(
    server: NatsServer, publisher_options: PublisherOptions, stream: str
) -> None:
    client, context = await server.context()
    config = StreamConfig(name=STREAM, subjects=["desk.events.>"])
    await context.add_stream(config)
    publisher = await open_publisher(f"{server.url}/desk.events{stream}", options=publisher_options)
    assert not await publisher.publish([an_entry(1)])
    await context.update_stream(config.evolve(no_ack=True))
    (failure,) = await publisher.publish([an_entry(2)])
    assert "no response within" in failure.reason
    with pytest.raises(Unavailable, match="acknowledges nothing"):
        await publisher.publish([an_entry(2)])
    await context.update_stream(config.evolve(no_ack=False))
    assert not await publisher.publish([an_entry(2)])
    assert (await context.stream_info(STREAM)).state.messages == 2
    await publisher.close()
    await client.close()


@pytest.mark.parametrize(
    ("members", "risk"),
    [
        ({}, ""),
        ({"max_msgs": 7}, "; it drops the oldest events beyond max_msgs (discard old)"),
        ({"max_msgs": 7, "discard": "new"}, ""),
        (
            {"retention": "interest"},
            "; it drops every event, since its retention is interest and it has no consumer",
        ),
    ],
)
async def test_a_probe_names_how_the_stream_may_lose_events(
    server: NatsServer, publisher: EventPublisher, members: dict[str, Any], risk: str
) -> None:
    client, context = await server.context()
    await context.add_stream(StreamConfig(name=STREAM, subjects=["desk.events.>"], **members))
    assert await publisher.probe() == f"published to desk.events.> of stream {STREAM}{risk}"
    await client.close()


async def test_a_wrong_password_is_reported_as_unavailable(
    server: NatsServer, consumer: StreamConsumer, publisher_options: PublisherOptions
) -> None:
    del consumer
    url = server.url.replace(SECRET, "wrong")
    publisher = await open_publisher(url, options=publisher_options)
    with pytest.raises(Unavailable) as failure:
        await publisher.publish([an_entry(1)])
    assert "wrong" not in failure.value.detail
    await publisher.close()


@pytest.mark.parametrize(
    "url",
    [
        "nats://",
        "nats://h/two words",
        "nats://h/a..b",
        "nats://h/a.*",
        "nats://h/a#stream=x.y",
        "nats://h/a#stream=",
        "nats://h/a?x=1",
        "nats://h/a#colour=red",
    ],
)
async def test_a_malformed_nats_url_is_rejected(
    url: str, publisher_options: PublisherOptions
) -> None:
    with pytest.raises(InvalidInput):
        await open_publisher(url, options=publisher_options)


async def test_another_server_is_tried_after_one_whose_streams_do_not_respond(
    server: NatsServer,
    consumer: StreamConsumer,
    publisher_options: PublisherOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder := tmp_path / "without streams").mkdir()
    with running_nats_server(folder, "jetstream: disabled") as other:
        await other.wait_until_listening()
        addresses = [other.address, server.address]
        orders = iter([addresses, addresses[::-1]])
        sample = f"{NatsConnection.__module__}.random.sample"
        monkeypatch.setattr(sample, lambda _servers, _count: next(orders))
        url = f"nats://spawn:{SECRET}@{','.join(addresses)}/desk.events#stream={STREAM}"
        publisher = await open_publisher(url, options=publisher_options)
        with pytest.raises(Unavailable):
            await publisher.publish([an_entry(1)])
        assert await publisher.publish([an_entry(1)]) == []
        assert [event["id"] for event in await consumer.events(1)] == [event_id(1)]
        await publisher.close()


async def test_a_server_that_greets_with_nonsense_does_not_hide_the_others(
    server: NatsServer,
    consumer: StreamConsumer,
    publisher_options: PublisherOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greetings = [
        b"INFO []\r\n",
        b"INFO {" + b" " * 100_000 + b"}\r\n",
        b'INFO {"max_payload": "x"}\r\nPONG\r\n',
    ]

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop())
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    monkeypatch.setattr(
        f"{NatsConnection.__module__}.random.sample", lambda servers, _count: servers
    )
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        address = f"127.0.0.1:{other.sockets[0].getsockname()[1]}"
        waiting = list(greetings)
        servers = ",".join([address] * len(greetings))
        url = f"nats://spawn:{SECRET}@{servers},{server.address}/desk.events#stream={STREAM}"
        publisher = await open_publisher(url, options=publisher_options)
        assert await publisher.publish([an_entry(1)]) == []
        assert (waiting, len(await consumer.events(1))) == ([], 1)
        await publisher.close()
        for greeting in greetings:
            waiting = [greeting]
            alone = await open_publisher(f"nats://{address}/desk", options=publisher_options)
            with pytest.raises(Unavailable, match="the server's greeting is malformed"):
                await alone.publish([an_entry(1)])
            await alone.close()


@pytest.mark.parametrize(
    "response",
    [
        b"thanks",
        b"[]",
        b"{}",
        b'{"stream": "OTHER", "seq": 1}',
        b'{"stream": "DESK", "seq": "1"}',
        b'{"stream": "DESK", "seq": 0}',
        b'{"error": {}}',
        b'{"error": null}',
        b'{"error": {"code": 400, "err_code": 10071, "description": 5}}',
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
    ],
    ids=range(11),
)
async def test_a_response_of_a_subscriber_is_no_acknowledgement(
    server: NatsServer, publisher_options: PublisherOptions, response: bytes
) -> None:
    """It may be there before that of the stream, and the event would count as delivered."""
    client, context = await server.context()
    await context.add_stream(StreamConfig(name="DESK", subjects=["elsewhere.>"]))

    async def respond(message: Msg) -> None:
        await message.respond(response)

    await client.subscribe("desk.>", cb=respond)
    await client.flush()
    publisher = await open_publisher(f"{server.url}/desk#stream=DESK", options=publisher_options)
    (failure,) = await publisher.publish([an_entry(1)])
    assert failure.reason == (
        "The stream did not accept the event: the response is no acknowledgement of the stream"
        " DESK, but of a subscriber."
    )
    assert not failure.is_rejected
    with pytest.raises(Unavailable, match="the response is no acknowledgement"):
        await publisher.probe()
    await publisher.close()
    await client.close()
