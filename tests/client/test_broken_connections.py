"""Both clients on connections that break, and before servers that are not the service."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.client.conftest import FAST, Build, answering, problem

from spawn.client import (
    AsyncSpawnClient,
    ConnectionFailed,
    ForbiddenProblem,
    JobFailed,
    ProblemError,
    SpawnClient,
    UnauthenticatedProblem,
    UnavailableProblem,
    UnreadableResponse,
    UploadOptions,
)
from spawn.client.records import JobRecord

TOKEN = "t-1"  # noqa: S105 - no service knows it
PAGE = {"items": [{"project_id": "a", "version": 1}], "next": "c1"}
LAST_PAGE = {"items": [{"project_id": "b", "version": 1}], "next": None}
HTML = httpx.Response(200, html="<html>Sign in</html>")
STREAM_HEADERS = {"content-type": "text/event-stream"}


class BrokenStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks after its first chunk."""

    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk

    def __iter__(self) -> Iterator[bytes]:
        yield self._chunk
        raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._chunk
        raise httpx.ReadError("cut")


def breaking(chunk: bytes, **headers: str) -> httpx.MockTransport:
    """Return a transport whose responses break after a chunk."""
    return httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, stream=BrokenStream(chunk))
    )


def test_a_page_is_read_again_after_a_restart_of_the_service(build: Build) -> None:
    transport, requests = answering(
        httpx.Response(200, json=PAGE),
        httpx.ReadError("cut"),
        httpx.ConnectError("refused"),
        httpx.Response(200, json=LAST_PAGE),
    )
    ids = [one.project_id for one in build(transport=transport).iterate_projects()]
    assert ids == ["a", "b"]
    assert [request.url.params.get("after") for request in requests] == [None, "c1", "c1", "c1"]


def test_a_redirect_is_an_error_and_not_followed(build: Build) -> None:
    transport, requests = answering(
        httpx.Response(302, headers={"location": "http://evil.example"})
    )
    with pytest.raises(ProblemError) as redirected:
        build(transport=transport, token=TOKEN).count_projects()
    assert (redirected.value.status, len(requests)) == (302, 1)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "localhost:8000", "//host", "", "ftp://host", "http://"]
)
def test_an_address_without_a_scheme_or_a_host_is_an_error_at_once(url: str) -> None:
    for client_class in (SpawnClient, AsyncSpawnClient):
        with pytest.raises(ValueError, match="base_url begins with http"):
            client_class(url)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://256.1.1.1", {}, "base_url is malformed"),
        ("http://xn--a", {}, "base_url is malformed"),
        ("http://host/?x=1", {}, "no query"),
        ("http://host/#x", {}, "no fragment"),
        ("http://host", {"token": "abc\n"}, "line end"),
        ("http://host", {"token": ""}, "is empty"),
        ("http://host", {"timeout_s": 0}, "above 0"),
        ("http://host", {"timeout_s": float("nan")}, "above 0"),
    ],
)
def test_an_option_with_which_nothing_can_be_sent_is_an_error_at_once(
    url: str, options: dict[str, Any], message: str
) -> None:
    for client_class in (SpawnClient, AsyncSpawnClient):
        with pytest.raises(ValueError, match=message) as failure:
            client_class(url, **options)
        assert "abc" not in str(failure.value)


def test_a_file_without_a_known_suffix_is_an_error_at_once(tmp_path: Path) -> None:
    client = SpawnClient("http://127.0.0.1:9")
    for name in ("p.txt", "p.csv.gz", "p"):
        with pytest.raises(ValueError, match="none of the suffixes"):
            client.save_dataset(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


READS: list[Callable[[Any], Any]] = [
    lambda client: client.get_project("p"),
    lambda client: client.count_projects(),
    lambda client: list(client.iterate_projects()),
    lambda client: list(client.iterate_history("p")),
    lambda client: list(client.iterate_event_pages()),
    lambda client: list(client.iterate_quarantine("i")),
    lambda client: client.get_job("j"),
    lambda client: client.get_import("i"),
    lambda client: client.calculate("returns", {}),
    lambda client: client.import_file(b"", UploadOptions()),
    lambda client: client.try_file(b"", UploadOptions()),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "response",
    [HTML, httpx.Response(200, json={"items": 5, "count": "x"}), httpx.Response(200, content=b"")],
)
def test_a_response_of_another_server_is_unreadable(
    build: Build, read: Callable[[Any], Any], response: httpx.Response
) -> None:
    client = build(transport=answering(response)[0])
    if not response.content and read is READS[5]:
        assert read(client) == []  # no quarantined rows
        return
    if response.content.startswith(b"{") and read in {READS[5], READS[8]}:
        return  # rows and results are any objects
    with pytest.raises(UnreadableResponse):
        read(client)


def test_ids_are_quoted_in_paths(build: Build) -> None:
    transport, requests = answering(httpx.Response(404, json={"code": "not_found"}))
    client = build("http://service/data-hub", transport=transport)
    for read in (
        lambda: client.get_project("../a?b"),
        lambda: list(client.iterate_history("../a?b")),
        lambda: list(client.iterate_quarantine("../a?b")),
        lambda: list(client.download_dataset("../a?b")),
    ):
        with pytest.raises(ProblemError):
            read()
    targets = [request.url.raw_path for request in requests]
    assert all(b"%2Fa%3Fb" in target for target in targets)
    assert all(target.startswith(b"/data-hub/v1/") for target in targets)


def test_a_token_is_sent_and_its_rejections_have_classes(build: Build) -> None:
    transport, requests = answering(problem(401, "unauthenticated"), problem(403, "forbidden"))
    client = build(transport=transport, token=TOKEN)
    with pytest.raises(UnauthenticatedProblem):
        client.count_projects()
    with pytest.raises(ForbiddenProblem):
        client.count_projects()
    assert {request.headers["authorization"] for request in requests} == {f"Bearer {TOKEN}"}


def test_a_retry_after_may_be_a_date(build: Build) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    transport, _ = answering(problem(503, "overloaded", **{"Retry-After": moment}))
    with pytest.raises(UnavailableProblem) as unavailable:
        build(transport=transport).count_projects()
    assert 85 < (unavailable.value.retry_after_s or 0) <= 90
    transport, requests = answering(problem(503, "overloaded", **{"Retry-After": "soon"}))
    with pytest.raises(UnavailableProblem):
        build(transport=transport).count_projects()
    assert len(requests) == FAST.attempts


def test_a_job_is_read_when_the_service_advises() -> None:
    job = JobRecord(job_id="j", status="running", retry_after_s=7.0)
    assert UploadOptions().wait_s(job) == 7.0
    assert UploadOptions(poll_interval_s=0.1).wait_s(job) == 0.1
    assert UploadOptions().wait_s(JobRecord(job_id="j", status="running")) == 0.5


def test_a_failed_job_is_an_exception_with_its_error(build: Build) -> None:
    running = httpx.Response(
        202, json={"job_id": "j", "status": "queued"}, headers={"retry-after": "0"}
    )
    failed = httpx.Response(200, json={"job_id": "j", "status": "failed", "error": "no column id"})
    transport, _ = answering(running, failed)
    with pytest.raises(JobFailed, match="no column id") as failure:
        build(transport=transport).import_file(b"a\n1\n", UploadOptions(mapping="m"))
    assert (failure.value.job_id, failure.value.status) == ("j", "failed")


def test_a_stream_continues_after_the_last_message_not_the_last_event(build: Build) -> None:
    event = b'id: 1.3\ndata: {"id": "e"}\n\n'
    transport, requests = answering(
        httpx.Response(200, headers=STREAM_HEADERS, content=b"retry: 2000\nid: 1.1\n\n"),
        problem(503, "overloaded"),
        httpx.ConnectError("refused"),
        httpx.Response(200, headers=STREAM_HEADERS, content=b"id: 1.2\n\n" + event + b"id: 9.9"),
        httpx.Response(200, headers=STREAM_HEADERS, content=event),
    )
    stream = build(transport=transport).follow_events(types="x")
    assert [next(stream).position, next(stream).position] == ["1.3", "1.3"]
    stream.close()
    positions = [request.url.params.get("after") for request in requests]
    assert positions == [None, "1.1", "1.1", "1.1", "1.3"]


def test_a_stream_that_cannot_be_opened_is_given_up(build: Build) -> None:
    transport, requests = answering(httpx.ConnectError("refused"))
    with pytest.raises(ConnectionFailed):
        next(build(transport=transport).follow_events())
    assert len(requests) == FAST.attempts**2
    transport, _ = answering(problem(410, "cursor_expired"))
    with pytest.raises(ProblemError, match="cursor_expired"):
        next(build(transport=transport).follow_events(after="1.1"))


def test_a_broken_download_leaves_the_earlier_file(build: Build, tmp_path: Path) -> None:
    target = tmp_path / "projects.csv"
    target.write_text("before")
    with pytest.raises(ConnectionFailed):
        build(transport=breaking(b"half")).save_dataset(target)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(ConnectionFailed):
        list(build(transport=breaking(b"{}\n")).iterate_quarantine("i"))
    with pytest.raises(ConnectionFailed):
        list(
            build(
                transport=breaking(b"not gzip", **{"content-encoding": "gzip"})
            ).iterate_projects()
        )
