"""The event stream: server-sent events that a client can leave and resume at any time."""

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

from spawn.application.traffic.traffic_control import TrafficLimits
from spawn.entrypoints.http.limits import HttpLimits

STREAM = "/v1/events/stream"
EVENTUALLY = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(AssertionError),
    wait=tenacity.wait_fixed(0.02),
    stop=tenacity.stop_after_delay(20),
    reraise=True,
)


class Follower:
    """A client of the stream; `position` is where it would resume."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.position = ""
        self.comments: list[str] = []
        self._lines = response.iter_lines()

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
        events: list[dict[str, Any]] = []
        while len(events) < number:
            block = next(self.blocks())
            if "data" in block:
                event = msgspec.json.decode(block["data"])
                assert event["id"] == f"{block['id']}@{event['storeid']}"
                events.append(event)
        return events


class Workspace:
    """A service, its projects, and clients that follow its events."""

    def __init__(self, service: Service, stack: ExitStack) -> None:
        self.service = service
        self.client = stack.enter_context(service.client())
        self._stack = stack

    def create(self, number: int = 1, **fields: Any) -> list[str]:
        responses = [
            self.client.post("/v1/ops/projects", json=WIND | fields) for _ in range(number)
        ]
        assert {response.status_code for response in responses} == {201}
        return [response.json()["project_id"] for response in responses]

    def follow(self, headers: dict[str, str] | None = None, **query: str) -> Follower:
        client = self._stack.enter_context(self.service.client())
        response = self._stack.enter_context(
            client.stream("GET", STREAM, params=query, headers=headers)
        )
        assert response.status_code == 200
        follower = Follower(response)
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
def workspace(start: Start, stack: ExitStack) -> Workspace:
    return Workspace(start(), stack)


class TestFollowing:
    def test_events_are_streamed_as_they_are_recorded(self, workspace: Workspace) -> None:
        before = workspace.create()
        follower = workspace.follow()
        assert follower.response.headers["content-type"] == "text/event-stream"
        assert follower.response.headers["cache-control"] == "no-store"
        project_ids = workspace.create(3)
        events = follower.events(3)
        assert [event["subject"] for event in events] == [f"projects/{key}" for key in project_ids]
        assert before[0] not in {event["subject"] for event in events}

    def test_a_client_that_reconnects_misses_nothing(self, workspace: Workspace) -> None:
        first = workspace.follow()
        project_ids = workspace.create(2)
        first.events(1)
        first.response.close()
        project_ids += workspace.create(2)
        second = workspace.follow({"last-event-id": first.position}, after="an older position")
        assert [event["subject"] for event in second.events(3)] == [
            f"projects/{key}" for key in project_ids[1:]
        ]

    def test_a_client_without_an_event_yet_misses_nothing_either(
        self, workspace: Workspace
    ) -> None:
        first = workspace.follow()
        first.response.close()
        project_ids = workspace.create()
        second = workspace.follow({"last-event-id": first.position})
        assert second.events(1)[0]["subject"] == f"projects/{project_ids[0]}"

    def test_the_whole_history_can_be_followed_from_a_page_of_the_feed(
        self, workspace: Workspace
    ) -> None:
        project_ids = workspace.create(5)
        page = workspace.client.get("/v1/events", params={"limit": 2}).json()
        follower = workspace.follow(after=page["next"])
        project_ids += workspace.create()
        assert [event["subject"] for event in follower.events(4)] == [
            f"projects/{key}" for key in project_ids[2:]
        ]

    def test_many_followers_get_the_same_bytes(self, workspace: Workspace) -> None:
        followers = [workspace.follow() for _ in range(5)]
        workspace.create(10)
        streams = [follower.events(10) for follower in followers]
        assert all(events == streams[0] for events in streams)
        EVENTUALLY(self._assert_sent, workspace, 50)

    def _assert_sent(self, workspace: Workspace, number: int) -> None:
        assert workspace.metric("spawn_event_stream_messages_total") == number

    def test_types_and_subjects_are_filtered(self, workspace: Workspace) -> None:
        one, other = workspace.create(2)
        amended = workspace.follow(type="spawn.project.amended.v1,spawn.project.created.v1")
        mine = workspace.follow(subject=f"projects/{one}")
        for key in (other, one, other):
            where = f"/v1/ops/projects/{key}"
            response = workspace.client.patch(where, json={"dscr": 2}, headers={"if-match": "*"})
            assert response.status_code == 200
        workspace.client.patch(
            f"/v1/ops/projects/{one}", json={"dscr": 3}, headers={"if-match": "*"}
        )
        assert [event["sequence"] for event in mine.events(2)] == ["0000000002", "0000000003"]
        subjects = [event["subject"] for event in amended.events(3)]
        assert subjects[:2] == [f"projects/{other}", f"projects/{one}"]

    def test_a_filter_finds_rare_events_far_back(self, workspace: Workspace) -> None:
        start = workspace.client.get("/v1/events").json()["next"]
        key = workspace.create()[0]
        workspace.create(250)
        follower = workspace.follow(after=start, subject=f"projects/{key}")
        assert follower.events(1)[0]["subject"] == f"projects/{key}"
        workspace.client.patch(
            f"/v1/ops/projects/{key}", json={"dscr": 9}, headers={"if-match": "*"}
        )
        assert follower.events(1)[0]["sequence"] == "0000000002"

    def test_heartbeats_between_events_carry_the_position(
        self, start: Start, stack: ExitStack
    ) -> None:
        workspace = Workspace(start(HttpLimits(heartbeat_s=0.05)), stack)
        follower = workspace.follow(type="spawn.project.transitioned.v1")
        workspace.create()
        newest = workspace.client.get("/v1/events").json()["next"]
        blocks = follower.blocks()
        while follower.position != newest:
            assert "data" not in next(blocks)
        assert follower.comments


class TestBounds:
    def test_streams_beyond_the_limit_are_503_with_retry_after(
        self, start: Start, stack: ExitStack
    ) -> None:
        workspace = Workspace(start(HttpLimits(streams=2)), stack)
        first, _ = workspace.follow(), workspace.follow()
        rejected = workspace.client.get(STREAM)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert rejected.headers["retry-after"] == "5"
        first.response.close()
        EVENTUALLY(workspace.follow)

    def test_streams_do_not_count_towards_the_concurrency(
        self, start: Start, stack: ExitStack
    ) -> None:
        workspace = Workspace(start(HttpLimits(traffic=TrafficLimits(concurrency=2))), stack)
        followers = [workspace.follow() for _ in range(6)]
        assert workspace.create()
        assert [len(follower.events(1)) for follower in followers] == [1] * 6
        assert workspace.metric("http_server_active_requests") <= 1
        assert workspace.metric("spawn_event_streams ") == 6

    def test_a_stream_counts_as_a_short_request(self, workspace: Workspace) -> None:
        workspace.follow()
        series = 'http_server_request_duration_seconds_bucket{http_request_method="GET",'
        series += 'http_response_status_code="200",http_route="/v1/events/stream",le="0.5"}'
        assert workspace.metric(series) == 1

    def test_a_stalled_client_is_disconnected_and_delays_nobody(
        self, start: Start, stack: ExitStack
    ) -> None:
        workspace = Workspace(start(HttpLimits(stream_stall_s=0.3)), stack)
        healthy = workspace.follow()
        with socket.create_connection(("127.0.0.1", workspace.service.port)) as stalled:
            stalled.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert stalled.recv(64)
            reader = threading.Thread(target=lambda: healthy.events(80), daemon=True)
            reader.start()
            # More than the buffers of client, kernel and server hold.
            workspace.create(80, **{f"x_{number}": "x" * 4_000 for number in range(30)})
            reader.join(20)
            assert not reader.is_alive()
            EVENTUALLY(self._assert_disconnected, workspace)
            # The connection is aborted rather than drained and left open.
            stalled.settimeout(5)
            with suppress(ConnectionResetError):
                while stalled.recv(65536):
                    pass
        assert workspace.metric("spawn_event_streams ") == 1

    def _assert_disconnected(self, workspace: Workspace) -> None:
        assert workspace.metric("spawn_event_streams_cut_off_total") == 1

    def test_ending_the_service_ends_the_streams_at_once_and_cleanly(
        self, start: Start, stack: ExitStack
    ) -> None:
        service = start(HttpLimits(heartbeat_s=3600))
        follower = Workspace(service, stack).follow()
        service.stop()
        assert list(follower.blocks()) == []


class TestRejections:
    @pytest.mark.parametrize(
        ("query", "headers", "status", "code"),
        [
            ({"after": "nonsense"}, {}, 400, "cursor_invalid"),
            ({}, {"last-event-id": "1"}, 400, "cursor_invalid"),
            ({"after": "0.1"}, {}, 410, "cursor_expired"),
            ({}, {"last-event-id": "1.1@" + "0" * 32}, 400, "cursor_invalid"),
            ({"type": "created"}, {}, 422, "invalid_input"),
            ({"subject": "x"}, {}, 422, "invalid_input"),
            ({"limit": "1"}, {}, 422, "invalid_input"),
            ({}, {"accept": "application/json"}, 406, "not_acceptable"),
        ],
    )
    def test_invalid_requests_are_rejected_before_the_stream_begins(
        self,
        client: httpx.Client,
        query: dict[str, str],
        headers: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        response = client.get(STREAM, params=query, headers=headers)
        assert (response.status_code, response.json()["code"]) == (status, code)

    def test_head_of_a_stream_has_no_body(self, client: httpx.Client) -> None:
        response = client.head(STREAM)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"] == "text/event-stream"
        allowed = client.options(STREAM).headers["allow"]
        assert allowed == "GET, HEAD, OPTIONS"

    def test_events_beyond_the_retention_are_gone_and_oldest_is_returned(
        self, start: Start, stack: ExitStack
    ) -> None:
        workspace = Workspace(start(event_retention_days=1e-6), stack)
        early = workspace.client.get("/v1/events").json()["next"]
        workspace.create(3)
        EVENTUALLY(self._assert_expired, workspace, early)

    def _assert_expired(self, workspace: Workspace, early: str) -> None:
        for path in ("/v1/events", STREAM):
            response = workspace.client.get(path, params={"after": early})
            assert response.status_code == 410
            assert response.json()["code"] == "cursor_expired"
        oldest = response.json()["oldest"]
        page = workspace.client.get("/v1/events", params={"after": oldest})
        assert page.status_code == 200
        assert workspace.client.get("/v1/events").json()["events"] == []
