"""Posting lineage: events of the standard, in order, patient, and without telling the key."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.adapters.publishers.receiver import Answer, Message, Receiver
from tests.lineage.oracle import check

from spawn.adapters.publishers.openlineage import OpenLineagePublisher
from spawn.domain.change import Entry
from spawn.domain.errors import InvalidInput, Unavailable
from spawn.domain.lineage.openlineage import Emitter
from spawn.domain.lineage.run import (
    EVENT_TYPES,
    KIND,
    Activity,
    Dataset,
    Moved,
    Run,
    RunState,
    ended,
    told,
)

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


def entry_of(run: Run, version: int, position: int) -> Entry:
    event = told(run)
    return Entry(
        position=f"1.{position}",
        kind=KIND,
        id=run.run_id,
        version=version,
        type=event.type,
        actor="anna",
        recorded_at=datetime(2026, 3, 1, 12, 0, position, tzinfo=UTC),
        schema_version=1,
        changed=event.changed,
        document=msgspec.json.encode(run),
    )


def entries() -> list[Entry]:
    over = ended(a_run(), RunState.COMPLETE, Moved(rows_out=3))
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


def rewrite(key_file: Path, text: str) -> None:
    key_file.write_text(text)


def answering(*statuses: int, **headers: str) -> Any:
    """Answers with one status after another, then with the last."""
    left = list(statuses)

    def answer(_message: Message) -> Answer:
        return (left.pop(0) if len(left) > 1 else left[0]), headers

    return answer


async def test_each_state_of_a_run_is_posted_as_an_event_of_the_standard(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    assert await publisher.publish(entries()) == ()
    begun, complete = [check(event) for event in await receiver.events(2)]
    assert (begun["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert complete["eventTime"] == "2026-03-01T12:00:02Z"
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3
    message = receiver.taken[0]
    assert message.path == "/api/v1/lineage"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["authorization"] == f"Bearer {KEY}"


async def test_a_path_of_its_own_is_kept_and_no_key_is_sent_without_one(receiver: Receiver) -> None:
    publisher = OpenLineagePublisher(receiver.url, EMITTER)
    await publisher.publish(entries())
    await publisher.close()
    assert receiver.taken[0].path == "/hooks"
    assert "authorization" not in receiver.taken[0].headers


async def test_only_lineage_is_asked_for_from_the_oldest_event_on(
    publisher: OpenLineagePublisher,
) -> None:
    terms = publisher.terms
    assert (terms.name, terms.durable, terms.from_oldest) == ("openlineage", True, True)
    assert terms.types == EVENT_TYPES


async def test_an_event_that_is_refused_comes_back_with_those_behind_it(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    receiver.answer = answering(422)
    first, second = await publisher.publish(entries())
    assert (first.entry.version, first.refused) == (1, True)
    assert first.reason == "The collector answered 422 Unprocessable Entity."
    assert (second.entry.version, second.refused) == (2, False)
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500, 503])
async def test_a_collector_that_takes_nothing_now_is_waited_for(
    publisher: OpenLineagePublisher, receiver: Receiver, status: int
) -> None:
    receiver.answer = answering(status, **{"retry-after": "7", "location": "http://127.0.0.1:1/"})
    with pytest.raises(Unavailable) as refused:
        await publisher.publish(entries())
    assert refused.value.retry_after_s == 7
    assert str(status) in refused.value.detail
    assert KEY not in refused.value.detail


async def test_an_answer_without_an_end_is_read_no_further_than_it_is_of_use(
    publisher: OpenLineagePublisher, receiver: Receiver
) -> None:
    receiver.answer, receiver.endless = answering(200), True
    assert await publisher.publish(entries()) == ()
    assert len(receiver.taken) == len(entries())
    await publisher.probe()


async def test_a_collector_that_is_away_is_told_of_and_found_again(
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


async def test_the_key_is_read_anew_and_never_told(
    publisher: OpenLineagePublisher, receiver: Receiver, key_file: Path
) -> None:
    rewrite(key_file, "another-key")
    await publisher.publish(entries()[:1])
    assert receiver.taken[-1].headers["authorization"] == "Bearer another-key"
    rewrite(key_file, "two keys")
    with pytest.raises(Unavailable) as refused:
        await publisher.publish(entries())
    assert refused.value.detail == "The key file key does not hold one key."


@pytest.mark.parametrize("text", ["", "two keys", "\x00", None])
def test_a_key_file_without_a_key_is_refused_at_the_start(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput):
        OpenLineagePublisher("http://127.0.0.1", EMITTER, key_file=path)
