"""Downloads of datasets: formats, selections, headers, and tables that are equal in each format."""

import csv
import gzip
import importlib
import importlib.util
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pytest
import python_calamine
import tenacity
from tests.http.conftest import WIND, Service, Start

from spawn.application.datasets import file_formats

arrow_csv: Any = importlib.import_module("pyarrow.csv")  # its stubs do not export the names
parquet: Any = importlib.import_module("pyarrow.parquet")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
AMOUNT = "123456789012345678.25"
EMPTY, FORMULA = "", '=1+1,"x"\r\n'


@contextmanager
def open_client(service: Service) -> Iterator[httpx.Client]:
    """Open a client of a service, in which it makes three projects."""
    with service.client() as client:
        for fields in (
            {"total_amount": AMOUNT, "description": EMPTY, "dscr": 1.35},
            {
                "description": FORMULA,
                "x_desk": "Lisbon",
                "sponsors": [{"name": "Á", "share": "100"}],
            },
            {"description": None, "country_code": "PRT"},
        ):
            client.post("/v1/ops/projects", json=WIND | fields).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def reader(discard_access_log: None) -> Iterator[httpx.Client]:  # noqa: ARG001  # set up first
    """Client of one service for the tests that only read."""
    service = Service().start()
    with open_client(service) as client:
        yield client
    service.stop()


@pytest.fixture
def client(start: Start) -> Iterator[httpx.Client]:
    with open_client(start()) as client:
        yield client


def read_parquet(client: httpx.Client, path: str) -> Any:
    return parquet.read_table(io.BytesIO(client.get(path).content))


def pointers(response: httpx.Response) -> list[str]:
    assert response.status_code == 422
    return [error["pointer"] for error in response.json()["errors"]]


def test_each_format_has_the_same_rows(reader: httpx.Client) -> None:
    listed = reader.get("/v1/ops/projects").json()["items"]
    lines = reader.get("/v1/data/projects.ndjson?nested=json").text.splitlines()
    assert [json.loads(line) for line in lines] == listed
    assert reader.get("/v1/data/projects.json").json() == listed
    events = reader.get("/v1/data/events.ndjson").text.splitlines()
    assert [json.loads(event)["data"]["after"]["project_id"] for event in events] == [
        item["project_id"] for item in listed
    ]
    table = read_parquet(reader, "/v1/data/projects.parquet")
    stream = reader.get("/v1/data/projects?format=arrow").content
    assert pa.ipc.open_stream(stream).read_all().equals(table.combine_chunks())
    cells = list(csv.reader(io.StringIO(reader.get("/v1/data/projects.csv").text, newline="")))
    assert cells[0] == table.column_names
    by_name = [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    rows = table.to_pylist()
    assert [row["project_id"] for row in rows] == [row["project_id"] for row in by_name]
    assert [json.loads(row["sponsors"] or "[]") for row in rows] == [
        item["sponsors"] for item in listed
    ]
    assert [row["sponsors"] or "" for row in rows] == [row["sponsors"] for row in by_name]
    assert [row["extensions"] for row in rows] == [None, '{"x_desk":"Lisbon"}', None]


def test_a_workbook_has_the_rows_of_the_table(reader: httpx.Client, tmp_path: Path) -> None:
    response = reader.get("/v1/data/projects.xlsx?sort=-total_amount")
    assert response.headers["content-type"] == XLSX
    assert response.headers["content-disposition"] == 'attachment; filename="projects.xlsx"'
    (tmp_path / "a.xlsx").write_bytes(response.content)
    book = python_calamine.CalamineWorkbook.from_path(tmp_path / "a.xlsx")
    assert book.sheet_names == ["projects"]
    header, *rows = book.get_sheet_by_index(0).to_python()
    table = read_parquet(reader, "/v1/data/projects.parquet?sort=-total_amount")
    assert header == table.column_names
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert cells[0]["total_amount"] == AMOUNT
    assert [row["description"] for row in cells] == ["", FORMULA, ""]
    assert cells[0]["dscr"] == 1.35
    assert cells[1]["extensions"] == '{"x_desk":"Lisbon"}'
    by_format = reader.get("/v1/data/quality?format=xlsx")
    by_accept = reader.get("/v1/data/quality", headers={"Accept": XLSX})
    assert by_format.headers["content-type"] == by_accept.headers["content-type"] == XLSX


def test_a_workbook_of_too_many_rows_is_rejected_before_it_is_written(
    reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_formats, "MAX_WORKBOOK_ROWS", 2)
    for path in ("projects.xlsx", "events.xlsx", "history?format=xlsx"):
        response = reader.get(f"/v1/data/{path}")
        assert pointers(response) == ["/format"]
        assert response.json()["errors"][0]["code"] == "too_large"
    assert reader.get("/v1/data/projects.xlsx?country_code=PRT").status_code == 200
    assert reader.get("/v1/data/projects.csv").status_code == 200


def test_an_arrow_stream_needs_no_pyarrow(
    reader: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pa.ipc.open_stream(reader.get("/v1/data/projects.arrow").content).read_all()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pyarrow" else find_spec(name)
    )
    plain = pa.ipc.open_stream(reader.get("/v1/data/projects.arrow").content).read_all()
    assert plain.schema == whole.schema
    assert plain.to_pylist() == whole.to_pylist()


def test_decimals_are_exact_in_columns_and_as_requested_in_json(reader: httpx.Client) -> None:
    table = read_parquet(reader, "/v1/data/projects.parquet?fields=total_amount,dscr")
    assert table.column_names == ["project_id", "version", "total_amount", "dscr"]
    assert table.schema.field("total_amount").type == pa.decimal128(22, 4)
    assert table["total_amount"][0].as_py() == Decimal(AMOUNT)
    texts = read_parquet(reader, "/v1/data/projects.parquet?fields=dscr&decimals=string")
    assert texts["dscr"].to_pylist() == ["1.35"] * 3
    path = "/v1/data/projects?fields=total_amount,dscr&decimals="
    number, text = (reader.get(path + form).text.splitlines()[0] for form in ("number", "string"))
    assert number.endswith(f'"total_amount":{AMOUNT},"dscr":1.35}}')
    assert text.endswith(f'"total_amount":"{AMOUNT}","dscr":"1.35"}}')


OPTIONAL_VALUES: dict[str, Any] = {
    "description": "",
    "sector": "007",
    "country_code": "ESP",
    "maturity_years": 17.5,
    "expected_irr": 0.095,
    "dscr": 1.35,
    "financial_close_date": "1899-12-31",
    "cod_date": "2028-01-31",
    "end_date": "2050-12-31",
    "external_ref": {},
    "spv": {"name": "Alpha SL"},
    "sponsors": [{"name": "Ocean, LP", "share": "60"}, {"name": "Á", "share": "40"}],
    "milestones": [
        {"milestone_id": "ntp", "title": "NTP", "kind": "MILESTONE", "due_date": "2026-05-01"}
    ],
    "x_desk": "null",
}


def test_each_cell_of_the_tables_is_equal(start: Start) -> None:
    """Also where a value is null, an empty text, or a text that looks like null or a number."""
    with start().client() as client:
        for absent in (*OPTIONAL_VALUES, None):
            values = {n: v for n, v in OPTIONAL_VALUES.items() if n != absent}
            if "external_ref" in values:
                values["external_ref"] = {"source": absent or "NA", "id": "1"}
            project = {"project_name": "NA", "total_amount": AMOUNT, **values}
            client.post("/v1/ops/projects", json=project).raise_for_status()
        client.post("/v1/ops/projects", json=WIND | {"x_late": 1}).raise_for_status()
        for dataset in ("projects", "history", "events"):
            table = read_parquet(client, f"/v1/data/{dataset}.parquet")
            arrow = pa.ipc.open_stream(client.get(f"/v1/data/{dataset}.arrow").content).read_all()
            assert arrow.equals(table.combine_chunks())
            expected = [list(map(_text_of, row.values())) for row in table.to_pylist()]
            path = f"/v1/data/{dataset}.json?nested=text&decimals=string"
            rows = client.get(path).json()
            lines = client.get(path.replace(".json", ".ndjson")).text.splitlines()
            assert [json.loads(line) for line in lines] == rows
            assert {tuple(row) for row in rows} == {tuple(table.column_names)}
            assert [list(map(_text_of, row.values())) for row in rows] == expected
            text = io.BytesIO(client.get(f"/v1/data/{dataset}.csv").content)
            cells = arrow_csv.read_csv(
                text,
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(table.column_names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
            assert cells.column_names == table.column_names
            assert [list(map(_text_of, row.values())) for row in cells.to_pylist()] == expected


def test_lines_of_json_are_the_table_of_the_other_formats(start: Start, tmp_path: Path) -> None:
    """Also for readers that infer columns and types from the first lines."""
    late = OPTIONAL_VALUES | {"maturity_years": 18.5, "dscr": 1.25, "x_late": {"a": 1}}
    early = late | {"maturity_years": 20, "dscr": 2, "x_desk": "Lisbon", "x_late": None}
    with start().client() as client:
        for number, fields in enumerate((early, early, early, late)):
            project = WIND | fields | {"external_ref": {"source": "desk", "id": str(number)}}
            client.post("/v1/ops/projects", json=project).raise_for_status()
        text = client.get("/v1/data/projects.ndjson").text
        table = read_parquet(client, "/v1/data/projects.parquet")
    with duckdb.connect() as connection:
        (path := tmp_path / "projects.ndjson").write_text(text)
        connection.execute("set TimeZone = 'UTC'")
        relation = connection.read_json(str(path), sample_size=2)
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        rows = relation.fetchall()
    assert relation.columns == table.column_names
    moments = [relation.columns.index(name) for name in ("created_at", "updated_at")]
    cells = [[v.replace(tzinfo=UTC) if i in moments else v for i, v in enumerate(r)] for r in rows]
    assert [list(map(_text_of, row)) for row in cells] == [
        list(map(_text_of, row.values())) for row in table.to_pylist()
    ]
    assert (kinds["maturity_years"], kinds["dscr"]) == ("DOUBLE", "DOUBLE")
    assert json.loads(text.splitlines()[0])["maturity_years"] == 20


def _text_of(value: object) -> str | None:
    """Return a cell as a text that is equal for equal values of any format."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", text):
        return datetime.fromisoformat(text).isoformat()
    return f"{Decimal(text).normalize():f}" if re.fullmatch(r"\d+\.\d+", text) else text


def test_the_fields_of_clients_are_selected_as_one_column(reader: httpx.Client) -> None:
    names = ["project_id", "version", "extensions"]
    table = read_parquet(reader, "/v1/data/projects.parquet?fields=extensions")
    assert table.column_names == names
    assert table["extensions"].to_pylist() == [None, '{"x_desk":"Lisbon"}', None]
    for query in ("fields=extensions", "fields=x_desk,extensions,x_absent"):
        lines = reader.get(f"/v1/data/projects.ndjson?{query}").text.splitlines()
        assert [list(json.loads(line)) for line in lines] == [names] * 3
        _, row, _ = reader.get(f"/v1/data/projects.json?{query}").json()
        assert row == row | {"x_desk": "Lisbon"}
        assert len(row) == 3


def test_csv_tells_an_empty_text_from_null_and_escapes_formulas(reader: httpx.Client) -> None:
    response = reader.get("/v1/data/projects.csv?fields=description&bom=true")
    assert response.content.startswith(b"\xef\xbb\xbfproject_id,version,description\r\n")
    first, rest = response.text.split("\r\n", 1)[1].split("\r\n", 1)
    assert first.endswith(',1,""')
    assert rest.endswith(',1,"\'=1+1,""x""\r\n"\r\n' + rest.split("\r\n")[-2] + "\r\n")
    assert rest.endswith(",1,\r\n")
    options = arrow_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    table = arrow_csv.read_csv(
        io.BytesIO(response.content), convert_options=options, parse_options=parse
    )
    assert table["description"].to_pylist() == [EMPTY, "'" + FORMULA, None]


def test_rows_are_filtered_and_sorted_as_in_the_list(reader: httpx.Client) -> None:
    query = "country_code[in]=ESP,PRT&total_amount[lt]=1000000000&sort=-country_code"
    listed = reader.get(f"/v1/ops/projects?{query}").json()["items"]
    assert [item["country_code"] for item in listed] == ["PRT", "ESP"]
    assert reader.get(f"/v1/data/projects.json?{query}").json() == listed
    table = read_parquet(reader, f"/v1/data/projects.parquet?{query}")
    assert table["project_id"].to_pylist() == [item["project_id"] for item in listed]


def test_projects_are_as_recorded_at_an_instant_and_found_by_fields_of_lists(
    client: httpx.Client,
) -> None:
    *_, last = client.get("/v1/ops/projects").json()["items"]
    path = f"/v1/ops/projects/{last['project_id']}"
    client.patch(path, json={"sector": "solar"}, headers={"if-match": "*"}).raise_for_status()
    client.post("/v1/ops/projects", json=WIND).raise_for_status()
    moment = {"as_of": last["updated_at"]}
    assert client.get("/v1/data/projects.json", params=moment).json()[-1] == last
    assert len(client.get("/v1/data/projects.json?as_of=2000-01-01").json()) == 0
    (row,) = client.get("/v1/data/projects.json?x_desk=Lisbon").json()
    assert row["description"] == FORMULA


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("projects?total_amout=1&fields=nothing", ["/total_amout", "/fields"]),
        ("projects.csv?decimals=float&bom=1&nested=1", ["/decimals", "/bom", "/nested"]),
        ("projects.csv?format=json", ["/format"]),
        ("projects?format=xls", ["/format"]),
        ("projects?schema_version=one", ["/schema_version"]),
        ("projects?as_of=yesterday&schema_versio=1", ["/schema_versio", "/as_of"]),
        ("quality?status=OPERATION&fields=valu", ["/status", "/fields"]),
        ("events?type=nothing&sort=time", ["/sort", "/type"]),
        ("projects?total_amount[gt]=much&cod_date=soon", ["/total_amount[gt]", "/cod_date"]),
        ("projects.csv?limit=10&offset=5", ["/limit", "/offset"]),
    ],
)
def test_invalid_parameters_are_named(reader: httpx.Client, path: str, expected: list[str]) -> None:
    assert pointers(reader.get(f"/v1/data/{path}")) == expected


def test_a_misspelt_name_is_suggested_and_an_unknown_suffix_is_not_found(
    reader: httpx.Client,
) -> None:
    for path in ("projects.csv?total_amount[gt]=1,000", "holdings.csv?version=1.5"):
        (error,) = reader.get(f"/v1/data/{path}").json()["errors"]
        assert (error["code"], error["detail"][:8]) == ("wrong_type", "must be ")
        assert "not a string" not in error["detail"]
    assert "Only the dataset projects has it" in reader.get("/v1/data/history?sort=version").text
    assert "one file of all rows" in reader.get("/v1/data/quality?limit=10").text
    assert "Did you mean 'value'" in reader.get("/v1/data/quality?fields=valu").text
    assert reader.get("/v1/data/projects.xls").status_code == 404
    older = reader.get("/v1/data/projects?schema_version=7")
    assert (older.status_code, older.json()["code"]) == (404, "not_found")


def test_head_has_the_headers_of_get(reader: httpx.Client) -> None:
    for path in ("projects.csv", "projects.parquet", "events", "imports.json"):
        head, response = reader.head(f"/v1/data/{path}"), reader.get(f"/v1/data/{path}")
        for name in ("content-type", "content-disposition", "content-encoding"):
            assert head.headers.get(name) == response.headers.get(name)
        assert head.content == b""


def test_headers_name_the_file_its_coding_and_the_position_of_its_rows(
    client: httpx.Client,
) -> None:
    with client.stream("GET", "/v1/data/projects.csv") as response:
        compressed = b"".join(response.iter_raw())
    assert response.headers["content-disposition"] == 'attachment; filename="projects.csv"'
    assert response.headers["accept-ranges"] == "none"
    assert response.headers["content-encoding"] == "gzip"
    plain = client.get("/v1/data/projects.csv", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(compressed) == plain.content
    position = plain.headers["spawn-position"]
    client.post("/v1/ops/projects", json=WIND).raise_for_status()
    later = client.get("/v1/events", params={"after": position}).json()["events"]
    assert [event["type"] for event in later] == ["spawn.project.created.v1"]


def test_history_and_events_follow_the_feed(client: httpx.Client) -> None:
    project = client.get("/v1/ops/projects?limit=1").json()["items"][0]
    path = f"/v1/ops/projects/{project['project_id']}"
    client.patch(path, json={"sector": "solar"}, headers={"if-match": "*"}).raise_for_status()
    subject = f"projects/{project['project_id']}"
    rows = client.get(f"/v1/data/history.json?subject={subject}").json()
    history = client.get(f"{path}/history").json()["items"]
    assert [row["document"] for row in rows] == [entry["document"] for entry in history]
    assert [(row["version"], row["changed"][-1:]) for row in rows][1] == (2, ["sector"])
    kind = "spawn.project.amended.v1"
    feed = client.get(f"/v1/events?type={kind}").json()["events"]
    exported = client.get(f"/v1/data/events.json?type={kind}").json()
    assert [{n: v for n, v in row.items() if v is not None} for row in exported] == feed
    table = read_parquet(client, f"/v1/data/events.parquet?type={kind}&fields=id,data")
    assert json.loads(table["data"][0].as_py()) == feed[0]["data"]


def test_quality_and_imports_have_their_results(client: httpx.Client) -> None:
    client.post("/v1/governance/quality/runs").raise_for_status()
    rows = read_parquet(client, "/v1/data/quality.parquet").to_pylist()
    rule = next(row for row in rows if row["rule_id"] == "completeness.project_name")
    assert (rule["threshold"], rule["passed"]) == (Decimal(1), True)
    lines = b'{"project_name":"A","total_amount":"1"}\n{"project_name":""}\n'
    headers = {"content-type": "application/x-ndjson"}
    job = client.post("/v1/ops/imports", content=lines, headers=headers).json()["job_id"]
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
    ):
        with attempt:
            assert client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"
    (row,) = csv.DictReader(io.StringIO(client.get("/v1/data/imports.csv").text))
    assert (row["import_id"], row["rows"], row["quarantined"]) == (job, "2", "1")
    listed = client.get(f"/v1/ops/imports/{job}").json()
    counts = {name for name, value in listed.items() if isinstance(value, int | dict)}
    assert counts | {"kind"} <= row.keys()
    assert (row["currency_assumed"], row["vanished"], row["kind"]) == ("1", "0", "project")
    assert json.loads(row["by_reason"]) == listed["by_reason"] != {}


def test_a_client_that_leaves_frees_the_encoder(start: Start) -> None:
    service: Service = start()
    with service.client() as client:
        _read_partly(service, client)


def _read_partly(service: Service, client: httpx.Client) -> None:
    rows = b"".join(
        b'{"project_name":"P%d","total_amount":"1","description":"%b"}\n'
        % (number, os.urandom(1_500).hex().encode())
        for number in range(1_000)
    )
    headers = {"content-type": "application/x-ndjson"}
    job = client.post("/v1/ops/imports", content=rows, headers=headers).json()["job_id"]
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(40),
    ):
        with attempt:
            assert client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(b"GET /v1/data/projects.arrow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 200")
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AssertionError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(20),
        ):
            with attempt:
                head = client.get("/v1/data/imports.parquet")
                assert head.status_code == 200
    assert read_parquet(client, "/v1/data/projects.parquet").num_rows == 1_000
