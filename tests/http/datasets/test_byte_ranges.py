"""Lengths and byte ranges of datasets: parts of one file while the data change."""

import importlib
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start

from spawn.adapters.local import file_copies
from spawn.entrypoints.http.datasets import copied_file

parquet: Any = importlib.import_module("pyarrow.parquet")  # its stubs do not export the names
PLAIN = {"accept-encoding": "identity"}
PARQUET = "/v1/data/projects.parquet"


@pytest.fixture
def client(start: Start) -> Iterator[httpx.Client]:
    """Client of a service with two projects."""
    with start().client() as client:
        for _ in range(2):
            add_project(client)
        yield client


@pytest.fixture(scope="module")
def reader(discard_access_log: None) -> Iterator[httpx.Client]:  # noqa: ARG001  # set up first
    """Client of one service with two projects, for the tests that only read."""
    service = Service().start()
    with service.client() as client:
        for _ in range(2):
            add_project(client)
        yield client
    service.stop()


def add_project(client: httpx.Client) -> None:
    client.post("/v1/ops/projects", json=WIND).raise_for_status()


def read_part(client: httpx.Client, path: str, part: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(path, headers={"range": f"bytes={part}", **PLAIN, **names})


def read_in_parts(client: httpx.Client, path: str, size: int, step: int) -> bytes:
    """Read a file as lazy readers do: the end first, then the rest in parts."""
    parts: dict[int, bytes] = {}
    for start in reversed(range(0, size, step)):
        response = read_part(client, path, f"{start}-{start + step - 1}")
        assert response.status_code == 206, response.text
        stop = min(start + step, size)
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        parts[start] = response.content
    return b"".join(parts[start] for start in sorted(parts))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson", "json"])
def test_head_has_the_length_and_parts_make_the_file_of_a_stream(
    reader: httpx.Client, suffix: str
) -> None:
    path = f"/v1/data/projects.{suffix}?sort=-project_name"
    head = reader.head(path, headers=PLAIN)
    whole = reader.get(path, headers=PLAIN)
    size = int(head.headers["content-length"])
    assert (size, head.content) == (len(whole.content), b"")
    assert head.headers["accept-ranges"] == whole.headers["accept-ranges"] == "bytes"
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert read_in_parts(reader, path, size, 700) == whole.content


def test_a_writer_does_not_tear_a_file_that_is_read_in_parts(client: httpx.Client) -> None:
    size = int(client.head(PARQUET).headers["content-length"])
    last = read_part(client, PARQUET, f"{size - 500}-{size - 1}").content
    add_project(client)
    first = read_part(client, PARQUET, f"0-{size - 501}").content
    assert parquet.read_table(io.BytesIO(first + last)).num_rows == 2
    assert client.get(PARQUET).headers.get("content-length") is None
    assert parquet.read_table(io.BytesIO(client.get(PARQUET).content)).num_rows == 3


def test_a_head_reads_what_was_written_and_its_parts_are_of_that_edition(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.2)
    first = client.head(PARQUET)
    assert client.head(PARQUET).headers["etag"] == first.headers["etag"]
    add_project(client)
    second = client.head(PARQUET)
    assert second.headers["etag"] != first.headers["etag"]
    assert second.headers["spawn-position"] > first.headers["spawn-position"]
    part = read_part(client, PARQUET, "4-99")
    assert part.headers["etag"] == second.headers["etag"]
    for head in (first, second):
        part = read_part(client, PARQUET, "4-99", if_match=head.headers["etag"])
        assert part.headers["content-range"] == f"bytes 4-99/{head.headers['content-length']}"
    stale = read_part(client, PARQUET, "4-99", if_match='"another"')
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    whole = client.get(PARQUET, headers={"if-match": head.headers["etag"]})
    assert (whole.status_code, whole.headers["etag"]) == (200, head.headers["etag"])
    assert whole.content[4:100] == part.content
    for method in ("GET", "HEAD"):
        changed = client.request(method, PARQUET, headers={"if-match": '"another"'})
        assert changed.status_code == 412, method


def test_a_new_edition_waits_for_the_readers_of_the_last(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "ACTIVE_S", 600.0)  # however slow the machine is
    size = int(client.head(PARQUET).headers["content-length"])
    last = read_part(client, PARQUET, f"{size - 500}-{size - 1}").content
    add_project(client)
    monkeypatch.setattr(file_copies, "READERS_S", 0.1)
    waiting = client.head(PARQUET)
    assert waiting.status_code == 503
    assert int(waiting.headers["retry-after"]) >= 1
    first = read_part(client, PARQUET, f"0-{size - 501}").content
    assert parquet.read_table(io.BytesIO(first + last)).num_rows == 2
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.0)
    assert client.head(PARQUET).headers["content-length"] != str(size)


def test_a_reader_without_a_head_begins_with_the_end_or_the_first_bytes(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer readers of Parquet take the length of the response to a suffix."""
    for part in ("-65536", "0-"):
        with monkeypatch.context() as patch:
            read_part(client, PARQUET, "0-3")
            add_project(client)
            patch.setattr(file_copies, "ACTIVE_S", 0.0)
            patch.setattr(copied_file, "ACTIVE_S", 0.0)
            begin = read_part(client, PARQUET, part)
            count = client.get("/v1/ops/projects/count").json()["count"]
            assert parquet.read_table(io.BytesIO(begin.content)).num_rows == count
    size = begin.headers["content-range"].partition("/")[2]
    assert read_part(client, PARQUET, "4-9").headers["content-range"] == f"bytes 4-9/{size}"


def test_a_past_instant_is_one_file_even_if_others_write(client: httpx.Client) -> None:
    moment = client.get("/v1/ops/projects").json()["items"][-1]["updated_at"]
    path = f"{PARQUET}?as_of={moment}"
    tags = set()
    for _ in range(2):
        tags.add(client.head(path).headers["etag"])
        add_project(client)
    assert len(tags) == 1
    assert read_part(client, path, "0-3").content == b"PAR1"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("0-3", (206, slice(0, 4))),
        ("-4", (206, slice(-4, None))),
        ("4-", (206, slice(4, None))),
        ("0-999999999999", (206, slice(0, None))),
        ("-999999999999", (206, slice(0, None))),
        ("0-1,4-5", (200, slice(None))),
        ("5-4", (200, slice(None))),
        ("x", (200, slice(None))),
    ],
)
def test_a_range_is_a_part_and_what_is_none_is_the_whole(
    reader: httpx.Client, part: str, expected: tuple[int, slice]
) -> None:
    whole = reader.get(PARQUET).content
    reader.head(PARQUET)
    response = read_part(reader, PARQUET, part)
    assert (response.status_code, response.content) == (expected[0], whole[expected[1]])
    assert int(response.headers["content-length"]) == len(response.content)


def test_a_range_that_cannot_be_served_says_why(client: httpx.Client) -> None:
    unknown = read_part(client, PARQUET, "100-199")
    assert (unknown.status_code, unknown.json()["code"]) == (409, "conflict")
    size = len(read_part(client, PARQUET, "0-").content)
    for part in (f"{size}-", f"{size}-{size + 5}", "-0"):
        beyond = read_part(client, PARQUET, part)
        assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
        assert beyond.headers["content-range"] == f"bytes */{size}"


def test_if_range_gives_the_whole_of_a_file_that_changed(reader: httpx.Client) -> None:
    tag = reader.head(PARQUET).headers["etag"]
    assert read_part(reader, PARQUET, "0-3", if_range=tag).status_code == 206
    for other in ('"another"', "Sun, 29 Nov 2026 21:37:32 GMT"):
        response = read_part(reader, PARQUET, "0-3", if_range=other)
        assert (response.status_code, response.content[:4]) == (200, b"PAR1")


def test_a_compressed_stream_has_neither_length_nor_ranges(reader: httpx.Client) -> None:
    gzip = {"accept-encoding": "gzip"}
    head = reader.head("/v1/data/projects.csv", headers=gzip)
    assert (head.headers["content-encoding"], head.headers["accept-ranges"]) == ("gzip", "none")
    assert "content-length" not in head.headers
    part = reader.get("/v1/data/projects.csv", headers={**gzip, "range": "bytes=0-9"})
    assert (part.status_code, part.text) == (206, "project_id")
    assert "content-encoding" not in part.headers


def test_quality_and_imports_have_a_new_copy_only_if_they_differ(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/v1/governance/quality/runs").raise_for_status()
    tags = {client.head("/v1/data/quality.csv", headers=PLAIN).headers["etag"] for _ in range(2)}
    assert len(tags) == 1
    client.post("/v1/governance/quality/runs").raise_for_status()
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.0)
    assert client.head("/v1/data/quality.csv", headers=PLAIN).headers["etag"] not in tags


def test_a_client_reads_parts_only_of_its_own_copies(start: Start) -> None:
    service: Service = start(auth="keys")
    owner: dict[str, Any] = {"authorization": f"Bearer {service.key}"}
    with service.client() as client:
        body = {"name": "reader", "scopes": ["data:export"]}
        made = client.post("/v1/admin/clients", json=body, headers=owner).json()
        reader = {"authorization": f"Bearer {made['key']}", "range": "bytes=4-9"}
        assert client.head(PARQUET, headers=owner).status_code == 200
        assert client.get(PARQUET, headers=reader).status_code == 409
        assert client.head(PARQUET, headers={"range": "bytes=0-1"}).status_code == 401


def test_later_parts_count_against_the_budget_of_reads_and_a_head_against_that_of_exports(
    start: Start,
) -> None:
    with start(rate_limit=40.0, rate_limit_exports=0.1).client() as client:
        client.head(PARQUET, headers=PLAIN).raise_for_status()
        statuses = [read_part(client, PARQUET, "1-").status_code for _ in range(20)]
        assert statuses == [206] * 20
        assert any(client.head(PARQUET).status_code == 429 for _ in range(20))


@pytest.mark.parametrize(
    "byte_range",
    ["x", "bytes=0-", "bytes=000-9", "bytes=-4", "bytes=9-,4-5", "bytes=9-8", ""],
)
def test_what_may_write_a_copy_or_sends_the_whole_counts_as_an_export(
    start: Start, byte_range: str
) -> None:
    with start(rate_limit=40.0, rate_limit_exports=0.1).client() as client:
        headers = {"range": byte_range, **PLAIN}
        # The first 429 ends it: the server pauses before it reads more of that connection.
        assert any(client.get(PARQUET, headers=headers).status_code == 429 for _ in range(20))


def test_a_part_of_an_edition_that_may_be_the_whole_counts_as_an_export(start: Start) -> None:
    with start(rate_limit=40.0, rate_limit_exports=0.1).client() as client:
        client.head(PARQUET, headers=PLAIN).raise_for_status()
        headers = {"range": "bytes=1-", "if-range": '"other"', **PLAIN}
        assert client.get(PARQUET, headers=headers).status_code == 429


@pytest.mark.parametrize("ranges", [{}, {"range": "bytes=0-1"}, {"range": "bytes=-3,5-9"}])
def test_an_if_match_without_a_tag_names_no_edition(
    client: httpx.Client, ranges: dict[str, str]
) -> None:
    response = client.get("/v1/data/projects", headers={"if-match": "", **ranges})
    assert (response.status_code, response.json()["code"]) == (412, "stale_version")


@pytest.mark.parametrize("path", ["/v1/data/projects.csv", PARQUET, "/v1/data/facilities.csv"])
def test_a_client_that_has_the_bytes_does_not_get_them_again(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.0)
    tag = client.head(path, headers=PLAIN).headers["etag"]
    for method in ("GET", "HEAD"):
        for tags in (tag, f'"other", W/{tag}', "*"):
            known = client.request(method, path, headers={"if-none-match": tags})
            assert (known.status_code, known.content) == (304, b""), (method, tags)
            assert known.headers["etag"] == tag
            assert "content-type" not in known.headers
    part = read_part(client, path, "0-9", if_none_match=tag)
    assert part.status_code == 304
    other = client.get(path, headers={"if-none-match": '"other"', **PLAIN})
    assert (other.status_code, other.headers["etag"]) == (200, tag)
    assert len(other.content) == int(other.headers["content-length"])


def test_a_client_gets_the_file_again_once_it_has_changed(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copies, "ACTIVE_S", 0.0)
    instant = client.get("/v1/ops/projects").json()["items"][-1]["created_at"]
    past = f"{PARQUET}?as_of={instant}"
    tags = {path: client.head(path).headers["etag"] for path in (PARQUET, past)}
    add_project(client)
    statuses = [
        client.get(path, headers={"if-none-match": tag}).status_code for path, tag in tags.items()
    ]
    assert statuses == [200, 304]
    malformed = client.get(PARQUET, headers={"if-none-match": "projects"})
    assert malformed.status_code == 400


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("projects.json?bom=true", "/bom"),
        ("projects.parquet?bom=true", "/bom"),
        ("projects.csv?nested=json", "/nested"),
        ("history.arrow?nested=json", "/nested"),
    ],
)
def test_the_form_of_one_format_is_an_error_of_another(
    reader: httpx.Client, path: str, pointer: str
) -> None:
    response = reader.get(f"/v1/data/{path}")
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "not_applicable")
