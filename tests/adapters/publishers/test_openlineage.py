"""OpenLineage publisher: standard events, order, retries, and a key that never leaks."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.adapters.publishers.receiver import CannedResponse, Message, Receiver
from tests.lineage.standard_client import validate_event

from spawn.adapters.publishers.openlineage import OpenLineagePublisher
from spawn.domain.errors import Unavailable
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.lineage.openlineage import Emitter
from spawn.domain.lineage.run import (
    EVENT_TYPES,
    RUN_KIND,
    Activity,
    Dataset,
    DataVolume,
    Run,
    RunState,
    build_domain_event,
    end_run,
)
from spawn.testing.expected_errors import expect_invalid

EMITTER = Emitter(namespace="spawn-projects", producer="http://127.0.0.1:8000", version="0.1.0")
KEY = "a-key-of-nobody"


def a_run(number: int = 1) -> Run:
    return Run(
        run_id=f"0190b5a0-0000-7000-8000-{number:012d}",
        activity=Activity.EXPORT,
        job="export.projects.csv",
        description="Every project as CSV.",
        inputs=(Dataset(name="projects", description="Every project."),),
        outputs=(Dataset(name="exports/projects.csv", description="An export."),),
    )


def entry_of(run: Run, version: int, position: int) -> JournalEntry:
    event = build_domain_event(run)
    return JournalEntry(
        position=Position(1, position),
        kind=RUN_KIND,
        id=run.run_id,
        version=version,
        type=event.type,
        actor="anna",
        recorded_at=datetime(2026, 3, 1, 12, 0, position, tzinfo=UTC),
        schema_version=1,
        changed=event.changed,
        document=msgspec.json.encode(run),
    )


def entries() -> list[JournalEntry]:
    over = end_run(a_run(), RunState.COMPLETE, DataVolume(rows_out=3))
    return [entry_of(a_run(), 1, 1), entry_of(over, 2, 2)]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


@pytest.fixture
async def publisher(receiver: Receiver, key_file: Path) -> AsyncIterator[OpenLineagePublisher]:
    base = receiver.url.removesuffix("/hooks")
    publisher = OpenLineagePublisher(base, EMITTER, key_file=key_file, timeout_s=2.0)
    yield publisher
    await publisher.close()


def write_key(key_file: Path, text: str) -> None:
    key_file.write_text(text)


def respond_with(*statuses: int, **headers: str) -> Any:
    """Respond with one status after another, and then always with the last."""
    remaining = list(statuses)

    def respond(_message: Message) -> CannedResponse:
        return (remaining.pop(0) if len(remaining) > 1 else remaining[0]), headers

    return respond


async def test_each_state_of_a_run_is_posted_as_a_standard_event(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    assert await publisher.publish(entries()) == ()
    start, complete = [validate_event(event) for event in await receiver.events(2)]
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert complete["eventTime"] == "2026-03-01T12:00:02Z"
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    message = receiver.accepted_messages[0]
    assert message.path == "/api/v1/lineage"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["authorization"] == f"Bearer {KEY}"


async def test_a_path_in_the_url_is_used_and_no_key_is_sent_without_one(receiver: Receiver) -> None:
    publisher = OpenLineagePublisher(receiver.url, EMITTER)
    await publisher.publish(entries())
    await publisher.close()
    assert receiver.accepted_messages[0].path == "/hooks"
    assert "authorization" not in receiver.accepted_messages[0].headers


async def test_only_lineage_is_delivered_from_the_oldest_event_on(
    publisher: OpenLineagePublisher,
) -> None:
    options = publisher.delivery_options
    assert (options.name, options.durable, options.from_oldest) == ("openlineage", True, True)
    assert options.types == EVENT_TYPES


async def test_a_rejected_event_is_returned_with_those_behind_it(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    receiver.respond = respond_with(422)
    first, second = await publisher.publish(entries())
    assert (first.entry.version, first.is_rejected) == (1, True)
    assert first.reason == "The collector responded with 422 Unprocessable Entity."
    assert (second.entry.version, second.is_rejected) == (2, False)
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500, 503])
async def test_a_collector_that_accepts_nothing_now_is_retried_later(
    publisher: OpenLineagePublisher, receiver: Receiver, status: int
) -> None:
    receiver.respond = respond_with(
        status, **{"retry-after": "7", "location": "http://127.0.0.1:1/"}
    )
    with pytest.raises(Unavailable) as failure:
        await publisher.publish(entries())
    assert failure.value.retry_after_s == 7
    assert str(status) in failure.value.detail
    assert KEY not in failure.value.detail


async def test_an_endless_response_is_read_up_to_a_limit(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    receiver.respond, receiver.has_endless_body = respond_with(200), True
    assert await publisher.publish(entries()) == ()
    assert len(receiver.accepted_messages) == len(entries())
    await publisher.probe()


async def test_an_unreachable_collector_is_reported_and_used_again_later(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    assert await publisher.probe() == "posted to 127.0.0.1"
    await receiver.go_away()
    with pytest.raises(Unavailable):
        await publisher.publish(entries())
    with pytest.raises(Unavailable):
        await publisher.probe()
    await receiver.come_back()
    assert await publisher.publish(entries()) == ()


async def test_the_key_is_reread_and_never_quoted(
    publisher: OpenLineagePublisher, receiver: Receiver, key_file: Path
) -> None:
    write_key(key_file, "another-key")
    await publisher.publish(entries()[:1])
    assert receiver.accepted_messages[-1].headers["authorization"] == "Bearer another-key"
    write_key(key_file, "two keys")
    with pytest.raises(Unavailable) as failure:
        await publisher.publish(entries())
    assert failure.value.detail == "The key file key does not hold one key."


@pytest.mark.parametrize("text", ["", "two keys", "\x00", None])
def test_a_key_file_without_a_key_is_rejected_at_the_start(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with expect_invalid(("", "secrets_unusable")):
        OpenLineagePublisher("http://127.0.0.1", EMITTER, key_file=path)
