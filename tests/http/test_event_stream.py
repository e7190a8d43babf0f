"""The live feed: server-sent events that a client may leave and come back to at any time."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import msgspec
import pytest
import tenacity
from tests.http.conftest import WIND, Service, Start

from spawn.entrypoints.http.middleware.limits import Limits

STREAM = "/v1/events/stream"
FOUND = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(AssertionError),
    wait=tenacity.wait_fixed(0.02),
    stop=tenacity.stop_after_delay(20),
    reraise=True,
)


class Follower:
    """A client of the stream; `position` is what it would come back with."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.position = ""
        self.comments: list[str] = []
        self._lines = answer.iter_lines()

    def blocks(self) -> Iterator[dict[str, str]]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                self.position = fields.get("id", self.position)
                yield fields
                fields = {}
                continue
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            else:
                self.comments.append(value)

    def events(self, number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < number:
            block = next(self.blocks())
            if "data" in block:
                event = msgspec.json.decode(block["data"])
                assert block["id"] == event["id"]
                found.append(event)
        return found


class Desk:
    """A service, projects in it, and clients that follow."""

    def __init__(self, service: Service, stack: ExitStack) -> None:
        self.service = service
        self.client = stack.enter_context(service.client())
        self._stack = stack

    def create(self, number: int = 1, **fields: Any) -> list[str]:
        made = [self.client.post("/v1/ops/projects", json=WIND | fields) for _ in range(number)]
        assert {answer.status_code for answer in made} == {201}
        return [answer.json()["project_id"] for answer in made]

    def follow(self, headers: dict[str, str] | None = None, **query: str) -> Follower:
        client = self._stack.enter_context(self.service.client())
        answer = self._stack.enter_context(
            client.stream("GET", STREAM, params=query, headers=headers)
        )
        assert answer.status_code == 200
        follower = Follower(answer)
        next(follower.blocks())
        return follower

    def metric(self, name: str) -> float:
        lines = self.client.get("/monitoring/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def desk(start: Start, stack: ExitStack) -> Desk:
    return Desk(start(), stack)


class TestFollowing:
    def test_events_come_as_they_happen(self, desk: Desk) -> None:
        before = desk.create()
        follower = desk.follow()
        assert follower.answer.headers["content-type"] == "text/event-stream"
        assert follower.answer.headers["cache-control"] == "no-store"
        made = desk.create(3)
        events = follower.events(3)
        assert [event["subject"] for event in events] == [f"projects/{key}" for key in made]
        assert before[0] not in {event["subject"] for event in events}

    def test_a_client_that_comes_back_misses_nothing(self, desk: Desk) -> None:
        first = desk.follow()
        made = desk.create(2)
        first.events(1)
        first.answer.close()
        made += desk.create(2)
        second = desk.follow({"last-event-id": first.position}, after="nonsense of long ago")
        assert [event["subject"] for event in second.events(3)] == [
            f"projects/{key}" for key in made[1:]
        ]

    def test_a_client_that_heard_nothing_yet_misses_nothing_either(self, desk: Desk) -> None:
        first = desk.follow()
        first.answer.close()
        made = desk.create()
        second = desk.follow({"last-event-id": first.position})
        assert second.events(1)[0]["subject"] == f"projects/{made[0]}"

    def test_the_whole_history_can_be_followed_from_a_page_of_the_feed(self, desk: Desk) -> None:
        made = desk.create(5)
        page = desk.client.get("/v1/events", params={"limit": 2}).json()
        follower = desk.follow(after=page["next"])
        made += desk.create()
        assert [event["subject"] for event in follower.events(4)] == [
            f"projects/{key}" for key in made[2:]
        ]

    def test_many_followers_get_the_same_bytes(self, desk: Desk) -> None:
        followers = [desk.follow() for _ in range(5)]
        desk.create(10)
        told = [follower.events(10) for follower in followers]
        assert all(events == told[0] for events in told)
        FOUND(self._sent, desk, 50)

    def _sent(self, desk: Desk, number: int) -> None:
        assert desk.metric("spawn_event_stream_messages_total") == number

    def test_types_and_subjects_are_filtered(self, desk: Desk) -> None:
        one, other = desk.create(2)
        amended = desk.follow(type="spawn.project.amended.v1,spawn.project.created.v1")
        mine = desk.follow(subject=f"projects/{one}")
        for key in (other, one, other):
            where = f"/v1/ops/projects/{key}"
            answer = desk.client.patch(where, json={"dscr": 2}, headers={"if-match": "*"})
            assert answer.status_code in {200, 204}
        desk.client.patch(f"/v1/ops/projects/{one}", json={"dscr": 3}, headers={"if-match": "*"})
        assert [event["sequence"] for event in mine.events(2)] == ["0000000002", "0000000003"]
        subjects = [event["subject"] for event in amended.events(3)]
        assert subjects[:2] == [f"projects/{other}", f"projects/{one}"]

    def test_a_filter_finds_the_few_far_back(self, desk: Desk) -> None:
        start = desk.client.get("/v1/events").json()["next"]
        key = desk.create()[0]
        desk.create(250)
        follower = desk.follow(after=start, subject=f"projects/{key}")
        assert follower.events(1)[0]["subject"] == f"projects/{key}"
        desk.client.patch(f"/v1/ops/projects/{key}", json={"dscr": 9}, headers={"if-match": "*"})
        assert follower.events(1)[0]["sequence"] == "0000000002"

    def test_silence_is_broken_by_heartbeats_that_carry_the_position(
        self, start: Start, stack: ExitStack
    ) -> None:
        desk = Desk(start(Limits(heartbeat_s=0.05)), stack)
        follower = desk.follow(type="spawn.project.transitioned.v1")
        desk.create()
        newest = desk.client.get("/v1/events").json()["next"]
        blocks = follower.blocks()
        while follower.position != newest:
            assert "data" not in next(blocks)
        assert follower.comments


class TestBounds:
    def test_only_so_many_may_follow_and_the_others_are_told_when_to_come(
        self, start: Start, stack: ExitStack
    ) -> None:
        desk = Desk(start(Limits(streams=2)), stack)
        first, _ = desk.follow(), desk.follow()
        refused = desk.client.get(STREAM)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "5"
        first.answer.close()
        FOUND(desk.follow)

    def test_followers_take_nothing_from_other_requests(
        self, start: Start, stack: ExitStack
    ) -> None:
        desk = Desk(start(Limits(concurrency=2)), stack)
        followers = [desk.follow() for _ in range(6)]
        assert desk.create()
        assert [len(follower.events(1)) for follower in followers] == [1] * 6
        assert desk.metric("http_server_active_requests") <= 1
        assert desk.metric("spawn_event_streams ") == 6

    def test_a_stream_counts_as_a_short_request(self, desk: Desk) -> None:
        desk.follow()
        series = 'http_server_request_duration_seconds_bucket{http_request_method="GET",'
        series += 'http_response_status_code="200",http_route="/v1/events/stream",le="0.5"}'
        assert desk.metric(series) == 1

    def test_a_follower_that_takes_nothing_is_cut_off_and_delays_nobody(
        self, start: Start, stack: ExitStack
    ) -> None:
        desk = Desk(start(Limits(stream_stall_s=0.3)), stack)
        sound = desk.follow()
        with socket.create_connection(("127.0.0.1", desk.service.port)) as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert stalled.recv(64)
            taking = threading.Thread(target=lambda: sound.events(80), daemon=True)
            taking.start()
            # More than the buffers of both ends take: the client's, the kernel's, the server's.
            desk.create(80, **{f"x_{number}": "x" * 4_000 for number in range(30)})
            taking.join(20)
            assert not taking.is_alive()
            FOUND(self._cut_off, desk)
            # It is not left to drain what the connection still holds, and then to wait for more.
            stalled.settimeout(5)
            with suppress(ConnectionResetError):
                while stalled.recv(65536):
                    pass
        assert desk.metric("spawn_event_streams ") == 1

    def _cut_off(self, desk: Desk) -> None:
        assert desk.metric("spawn_event_streams_cut_off_total") == 1

    def test_ending_the_service_ends_the_streams_at_once_and_cleanly(
        self, start: Start, stack: ExitStack
    ) -> None:
        service = start(Limits(heartbeat_s=3600))
        follower = Desk(service, stack).follow()
        service.stop()
        assert list(follower.blocks()) == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "headers", "status", "code"),
        [
            ({"after": "nonsense"}, {}, 400, "cursor_invalid"),
            ({}, {"last-event-id": "1"}, 400, "cursor_invalid"),
            ({"after": "0.1"}, {}, 410, "cursor_expired"),
            ({"type": "created"}, {}, 422, "invalid_input"),
            ({"subject": "x"}, {}, 422, "invalid_input"),
            ({"limit": "1"}, {}, 422, "invalid_input"),
            ({}, {"accept": "application/json"}, 406, "not_acceptable"),
        ],
    )
    def test_what_cannot_be_followed_is_refused_before_the_stream_begins(
        self,
        client: httpx.Client,
        query: dict[str, str],
        headers: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        answer = client.get(STREAM, params=query, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_the_head_of_a_stream_can_be_had_without_it(self, client: httpx.Client) -> None:
        answer = client.head(STREAM)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream"
        allowed = client.options(STREAM).headers["allow"]
        assert allowed == "GET, HEAD, OPTIONS"

    def test_events_below_the_floor_are_gone_and_the_oldest_position_is_told(
        self, start: Start, stack: ExitStack
    ) -> None:
        desk = Desk(start(event_retention_days=1e-6), stack)
        early = desk.client.get("/v1/events").json()["next"]
        desk.create(3)
        FOUND(self._hidden, desk, early)

    def _hidden(self, desk: Desk, early: str) -> None:
        for path in ("/v1/events", STREAM):
            answer = desk.client.get(path, params={"after": early})
            assert answer.status_code == 410
            assert answer.json()["code"] == "cursor_expired"
        oldest = answer.json()["oldest"]
        page = desk.client.get("/v1/events", params={"after": oldest})
        assert page.status_code == 200
        assert desk.client.get("/v1/events").json()["events"] == []
