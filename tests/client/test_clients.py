"""Both clients against a real service, and against connections that fail."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.conftest import FAST, Build, answering, problem
from tests.http.conftest import WIND, Service

from spawn.client import (
    ConnectionFailed,
    InvalidInputProblem,
    MissingPackage,
    NotFoundProblem,
    ProjectRecord,
    SpawnClient,
    StaleVersionProblem,
    UnavailableProblem,
    mappings,
)
from spawn.client.calls import to_params
from spawn.client.tables import to_arrow, to_columns, to_polars
from spawn.client.uploads import EventParser, UploadOptions
from spawn.domain.text import split_list

MAPPING = {
    "key": {"source": "client", "column": "id"},
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "amount"},
        {"attribute": "currency_code", "constant": "EUR"},
    ],
}


@pytest.fixture
def client(build: Build, service: Service) -> Any:
    return build(service.url)


def test_a_project_is_created_read_amended_and_moved(client: Any) -> None:
    project = client.create_project({**WIND, "total_amount": "1.10", "x_mw": Decimal("12.50")})
    assert (project.version, project.total_amount, project["x_mw"]) == (1, Decimal("1.10"), 12.5)
    assert client.get_project(project.project_id) == project
    amended = client.update_project(project, {"sector": "solar"})
    assert (amended.version, amended.sector) == (2, "solar")
    key = uuid4().hex
    moved = client.transition_project(amended, key=key, to="MANDATED", reason="signed")
    assert (moved.version, moved.status) == (3, "MANDATED")
    again = client.transition_project(amended, key=key, to="MANDATED", reason="signed")
    assert again == moved
    newest = next(client.iterate_history(project.project_id, {"sort": "-version"}))
    assert (newest.version, newest.reason) == (3, "signed")
    assert client.get_project(project.project_id, as_of=project.updated_at).version == 1


def test_a_stale_change_is_resolved_by_the_callers_function_only(client: Any) -> None:
    first = client.create_project(WIND)
    client.update_project(first, {"sector": "solar"})
    with pytest.raises(StaleVersionProblem) as stale:
        client.update_project(first, {"description": "mine"})
    assert stale.value.code == "stale_version"

    def resolve(current: ProjectRecord) -> dict[str, Any]:
        return {"description": f"mine on {current.sector}"}

    resolved = client.update_project(first, {"description": "mine"}, resolve=resolve)
    assert (resolved.version, resolved.description) == (3, "mine on solar")
    with pytest.raises(StaleVersionProblem):
        client.update_project(first, {"description": "x"}, resolve=lambda _: None)


def test_a_project_of_a_list_is_changed_only_at_its_version(client: Any) -> None:
    sector = uuid4().hex
    client.create_project({**WIND, "sector": sector})
    (listed,) = client.iterate_projects({"sector": sector})
    assert listed.etag is None
    client.update_project(listed, {"description": "first"})
    with pytest.raises(StaleVersionProblem):
        client.update_project(listed, {"description": "second"})


def test_pages_hold_each_project_once(client: Any) -> None:
    sector = f"a, {uuid4().hex}"
    names = {client.create_project({**WIND, "sector": sector}).project_id for _ in range(5)}
    filters = {"sector[in]": [sector, 'b "c"']}
    found = [project.project_id for project in client.iterate_projects(filters, limit=2)]
    assert sorted(found) == sorted(names)
    assert client.count_projects(filters) == 5


def test_a_project_is_found_by_its_reference(client: Any) -> None:
    name = uuid4().hex
    project = client.create_project({**WIND, "external_ref": {"source": "erp", "id": name}})
    assert client.find_project("erp", name).project_id == project.project_id
    assert client.find_project("erp", "none") is None


def test_a_colon_in_a_source_finds_no_other_project(client: Any) -> None:
    name = uuid4().hex
    first = client.create_project({**WIND, "external_ref": {"source": name, "id": "a:b"}})
    other = client.create_project({**WIND, "external_ref": {"source": f"{name}:a", "id": "b"}})
    assert client.find_project(name, "a:b").project_id == first.project_id
    assert client.find_project(f"{name}:a", "b").project_id == other.project_id


def test_a_problem_names_each_invalid_field(client: Any) -> None:
    with pytest.raises(InvalidInputProblem) as invalid:
        client.create_project({"project_name": "", "total_amount": "1", "colour": 1})
    pointers = {error.pointer: error.code for error in invalid.value.errors}
    assert pointers == {"/project_name": "empty", "/colour": "unknown_field"}
    assert invalid.value.trace_id
    with pytest.raises(NotFoundProblem):
        client.get_project("nobody")
    with pytest.raises(InvalidInputProblem):
        list(client.iterate_projects({"colour": "red"}))


def test_a_case_is_calculated(client: Any) -> None:
    case = {"cfads": [9.8, 10.1], "annual_rates": 0.055, "target_dscr": 1.3}
    result = client.calculate("debt-sizing", case)
    assert float(result["debt"]) == pytest.approx(9.8 / 1.3 / 1.055 + 10.1 / 1.3 / 1.055**2)


def test_an_import_is_uploaded_and_followed_to_its_end(client: Any, tmp_path: Any) -> None:
    path, mark = tmp_path / "plants.csv", uuid4().hex
    path.write_text(f"id,name,amount\n1{mark},A,5\n2{mark},B,x\n", encoding="utf-8")
    client.put_mapping("client-test", MAPPING)
    sent: list[int] = []
    states: list[str] = []
    options = UploadOptions(
        mapping="client-test",
        report_upload=sent.append,
        report_job=lambda job: states.append(job.status),
        poll_interval_s=0.02,
    )
    finished = client.import_file(path, options)
    assert (finished.job.status, finished.result.accepted) == ("succeeded", 1)
    assert sent[-1] == path.stat().st_size
    (row,) = client.iterate_quarantine(finished.result.import_id)
    assert row["line"] == 3
    assert client.import_file(path.read_bytes(), options).result.unchanged == 1


def test_an_import_counts_what_is_no_longer_in_the_register(client: Any) -> None:
    source = f"register-{uuid4().hex[:8]}"
    mapping = {**MAPPING, "key": {"source": source, "column": "id"}, "vanished": "report"}
    client.put_mapping(source, mapping)
    options = UploadOptions(mapping=source, poll_interval_s=0.02)
    client.import_file(b"id,name,amount\n1,A,5\n2,B,6\n", options)
    result = client.import_file(b"id,name,amount\n1,A,5\n", options).result
    assert (result.kind, result.unchanged, result.vanished) == ("project", 1, 1)
    assert (result.is_correction, result.skipped, result.merged) == (False, 0, 0)


def test_a_file_is_tried_without_writing(client: Any) -> None:
    client.put_mapping("client-test", MAPPING)
    mark = uuid4().hex
    options = UploadOptions(mapping="client-test")
    trial = client.try_file(f"id,name,amount\n1{mark},{mark},5\n2,B,x\n".encode(), options)
    assert (trial.accepted, trial.quarantined, trial.complete) == (1, 1, True)
    assert [(reason["field"], reason["rows"]) for reason in trial.reasons] == [("amount", 1)]
    assert client.count_projects({"project_name": mark}) == 0


def test_a_download_is_filtered_and_saved_by_its_suffix(client: Any, tmp_path: Any) -> None:
    sector = uuid4().hex
    project = client.create_project({**WIND, "sector": sector, "maturity_years": 18.5})
    assert project.maturity_years == Decimal("18.5")
    options = {"sector": sector, "fields": ["project_name", "total_amount"]}
    target = tmp_path / "projects.csv"
    client.save_dataset(target, options=options)
    head, row = target.read_text().splitlines()
    assert head.endswith("project_name,total_amount")
    assert row.startswith(project.project_id)
    assert row.endswith("Sierra Wind II,125000000.00")
    lines = b"".join(client.download_dataset("projects", "application/x-ndjson", options=options))
    assert client.get_project(project.project_id).project_name in lines.decode()
    with pytest.raises(InvalidInputProblem):
        list(client.download_dataset("projects", options={"colour": "red"}))
    client.save_dataset(tmp_path / "history.parquet", "history")
    assert (tmp_path / "history.parquet").read_bytes()[:4] == b"PAR1"


def test_the_types_of_mappings_are_those_of_the_api(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    for name in (
        "ImportMapping",
        "ColumnMapping",
        "SumCheck",
        "RowKey",
        "RowCondition",
        "Choice",
        "SponsorColumns",
    ):
        declared, schema = getattr(mappings, f"{name}Document"), schemas[name]
        hints = get_type_hints(declared)
        assert hints.keys() == schema["properties"].keys(), name
        assert declared.__required_keys__ == set(schema.get("required", ())), name
        for member, part in schema["properties"].items():
            reference = part.get("$ref", "").rpartition("/")[2]
            values = part.get("enum") or schemas.get(reference, {}).get("enum")
            if values is not None:
                assert set(get_args(hints[member])) == set(values), f"{name}.{member}"


def test_events_are_read_by_cursor_and_followed(client: Any) -> None:
    *_, before = client.iterate_event_pages()
    project = client.create_project(WIND)
    subject = f"projects/{project.project_id}"
    pages = list(client.iterate_event_pages(subject=subject))
    assert [event["type"] for page in pages for event in page.events] == [
        "spawn.project.created.v1"
    ]
    stream = client.follow_events(after=before.next, subject=subject)
    followed = next(stream)
    stream.close()
    assert followed.event["subject"] == subject


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_state_is_not_sent_as_null(build: Build, number: float) -> None:
    transport, requests = answering(httpx.Response(201, json={}))
    with pytest.raises(ValueError, match="no number of JSON"):
        build(transport=transport).create_project({**WIND, "x_yields": [{"p90": number}]})
    assert not requests


def test_an_empty_id_requests_nothing(build: Build) -> None:
    transport, requests = answering(httpx.Response(200, json={}))
    with pytest.raises(ValueError, match="empty"):
        build(transport=transport).get_project("")
    assert not requests


def test_a_file_may_be_named_by_a_text(client: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").write_text(json.dumps(WIND) + "\n")
    options = UploadOptions(media_type="application/x-ndjson")
    tried = client.try_file(str(tmp_path / "rows.ndjson"), options)
    assert tried.accepted == 1


def test_a_read_is_repeated_after_503_and_a_cut_connection(build: Build) -> None:
    transport, requests = answering(
        problem(503, "overloaded", **{"Retry-After": "0"}),
        httpx.ReadError("cut"),
        httpx.Response(200, json={"count": 7}),
    )
    assert build(transport=transport).count_projects() == 7
    assert len(requests) == 3


def test_a_creation_is_repeated_with_its_key(build: Build) -> None:
    created = httpx.Response(201, json={"project_id": "p", "version": 1}, headers={"etag": '"1"'})
    transport, requests = answering(httpx.ReadError("cut"), created)
    assert build(transport=transport).create_project(WIND).etag == '"1"'
    keys = {request.headers["idempotency-key"] for request in requests}
    assert (len(requests), len(keys)) == (2, 1)


def test_the_last_failure_is_raised(build: Build) -> None:
    transport, requests = answering(problem(503, "overloaded"))
    with pytest.raises(UnavailableProblem):
        build(transport=transport).count_projects()
    assert len(requests) == FAST.attempts
    transport, requests = answering(httpx.ConnectError("no"))
    with pytest.raises(ConnectionFailed):
        build(transport=transport).count_projects()
    assert len(requests) == FAST.attempts


def test_a_long_retry_after_is_not_waited_for(build: Build) -> None:
    transport, requests = answering(problem(429, "rate_limited", **{"Retry-After": "60"}))
    with pytest.raises(UnavailableProblem) as limited:
        build(transport=transport).count_projects()
    assert (limited.value.retry_after_s, len(requests)) == (60.0, 1)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"code": 5}', b"\xff"])
def test_an_error_without_a_problem_document_is_an_exception_too(build: Build, body: bytes) -> None:
    transport, _ = answering(httpx.Response(404, content=body))
    with pytest.raises(NotFoundProblem):
        build(transport=transport).get_project("x")


def test_no_text_of_a_client_shows_its_secrets(build: Build) -> None:
    transport, _ = answering(httpx.ConnectError("no"))
    headers = {"Authorization": "Bearer secret-token"}
    client = build("http://user:secret-word@service", headers=headers, transport=transport)
    with pytest.raises(ConnectionFailed) as failed:
        client.count_projects()
    assert "secret" not in f"{client!r} {failed.value}"


def test_an_event_of_the_stream_has_its_position() -> None:
    parser = EventParser()
    lines = [": comment", "", "id: 1.2", 'data: {"a":', "data: 1}", "", "data: {}", ""]
    events = [event for line in lines if (event := parser.read_line(line)) is not None]
    assert [(event.position, event.event) for event in events] == [("1.2", {"a": 1}), ("1.2", {})]


def test_columns_are_exact_and_of_one_type() -> None:
    documents: list[dict[str, Any]] = [
        {"total_amount": "1.10", "dscr": 1, "cod_date": "2026-01-31", "x_a": {"b": 1}, "x_c": 1},
        {"total_amount": None, "dscr": Decimal("1.35"), "x_c": "one"},
    ]
    projects = [ProjectRecord(project_id="p", version=1, document=d) for d in documents]
    columns = to_columns(projects)
    assert columns["total_amount"] == [Decimal("1.10"), None]
    assert columns["dscr"] == [Decimal(1), Decimal("1.35")]
    assert (columns["x_a"], columns["x_c"]) == (['{"b": 1}', None], ["1", "one"])
    pyarrow = pytest.importorskip("pyarrow")
    table = to_arrow(projects)
    assert pyarrow.types.is_decimal(table.schema.field("total_amount").type)
    assert table.to_pydict()["total_amount"] == columns["total_amount"]


def test_a_table_of_no_project_has_columns() -> None:
    assert to_columns([])["project_id"] == []
    pyarrow = pytest.importorskip("pyarrow")
    names = ["project_id", "project_name", "total_amount", "created_at"]
    assert to_arrow([]).select(names).num_rows == 0
    document: dict[str, Any] = {"project_id": "p", "total_amount": "1.10"}
    (one, none) = (
        to_arrow([ProjectRecord(project_id="p", version=1, document=document)]),
        to_arrow([]),
    )
    assert pyarrow.concat_tables([none, one], promote_options="default").num_rows == 1


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(MissingPackage, match="polars"):
        to_polars([])


@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)
)
def test_a_list_of_values_is_quoted_as_the_service_reads_it(values: list[str]) -> None:
    assert split_list(to_params({"f[in]": values})["f[in]"], "/f") == values


def test_a_list_is_the_operand_of_in_and_an_absent_option_is_left_out() -> None:
    assert to_params({"sector": ["wind", "solar"], "as_of": None}) == {"sector[in]": "wind,solar"}
    assert to_params({"fields": ["sector", "dscr"]}) == {"fields": "sector,dscr"}


@pytest.mark.parametrize(
    "filters",
    [
        {"sector": None},
        {"sector[in]": []},
        {"sector[ne]": ["wind", "solar"]},
        {"sector": ["wind"], "sector[in]": ["solar"]},
    ],
)
def test_a_filter_that_would_find_other_projects_is_an_error(filters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sector"):
        to_params(filters)


@given(st.integers(0, 30), st.integers(1, 7))
def test_pages_yield_every_item_in_order(total: int, size: int) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params.get("after", "0"))
        items = [
            {"project_id": f"{n}", "version": 1} for n in range(start, min(start + size, total))
        ]
        following = str(start + size) if start + size < total else None
        return httpx.Response(200, json={"items": items, "next": following})

    with SpawnClient("http://service", transport=httpx.MockTransport(respond)) as client:
        ids = [int(project.project_id) for project in client.iterate_projects()]
    assert ids == list(range(total))


def test_threads_share_a_client(service: Service) -> None:
    with SpawnClient(service.url) as client, ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda _: client.create_project(WIND), range(16)))
    assert len({project.project_id for project in created}) == 16
