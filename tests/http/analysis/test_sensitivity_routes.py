"""Goal seek and data tables over HTTP: examples, formats, problems and fairness."""

import contextlib
import csv
import io
import json
import select
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service, Start

from spawn.application.analysis.calculators import CALCULATORS
from spawn.entrypoints.http.analysis.wire import GOAL_EXAMPLES, TABLE_EXAMPLES

Json = dict[str, Any]
SIZING: Json = {"cfads": [13.0, 13.0, 13.0], "annual_rates": 0.06, "target_dscr": 1.3}
TABLE: Json = {
    "case": SIZING,
    "rows": {"vary": "/cfads", "values": [0.9, 1.0], "change": "factor"},
    "outputs": ["/debt"],
}


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def solve(desk: httpx.Client, **fields: Any) -> httpx.Response:
    request: Json = {
        "case": {**SIZING, "name": "base", "explain": True},
        "vary": "/target_dscr",
        "between": [1, 2],
        "target": {"output": "/debt", "value": 25},
        **fields,
    }
    return desk.post("/v1/analysis/debt-sizing/solve", json=request)


def tabulate(desk: httpx.Client, body: Json, **headers: str) -> httpx.Response:
    return desk.post("/v1/analysis/debt-sizing/table", json=body, headers=headers)


def test_a_solution_is_a_case_that_the_calculator_confirms(desk: httpx.Client) -> None:
    outcome = solve(desk, explain=True).json()
    assert outcome["status"] == "unique"
    (solution,) = outcome["solutions"]
    alone = {**SIZING, "target_dscr": solution["number"], "explain": True}
    assert solution["result"] == desk.post("/v1/analysis/debt-sizing", json=alone).json()
    assert solution["result"]["debt"] == pytest.approx(25.0, rel=1e-13)


def test_a_search_of_flows_with_a_double_rate_ends_before_its_deadline(desk: httpx.Client) -> None:
    request: Json = {
        "case": {"cash_flows": [-100, 220, -121], "discount_rate": 0.2},
        "vary": "/discount_rate",
        "between": [0, 0.5],
        "target": {"output": "/npv", "value": 0},
    }
    response = desk.post("/v1/analysis/returns/solve", json=request)
    assert response.status_code == 200
    outcome = response.json()
    assert outcome["status"] == "unique"
    # 220 / q - 121 / q^2 = 100 has the double root q = 1.1, where the NPV only touches zero
    assert outcome["solutions"][0]["number"] == pytest.approx(0.1, abs=1e-6)


def test_the_field_of_an_error_is_named_by_its_pointer(desk: httpx.Client) -> None:
    response = solve(desk, vary="/target_dscrs", tolerance=1)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/tolerance", "unknown_field")
    (error,) = solve(desk, vary="/target_dscrs").json()["errors"]
    assert error["pointer"] == "/vary"
    assert "did you mean /target_dscr?" in error["detail"]
    (error,) = solve(desk, case=[]).json()["errors"]
    assert (error["pointer"], error["code"]) == ("/case", "wrong_type")
    missing = desk.post("/v1/analysis/debt-sizing/solve", json={"case": SIZING}).json()["errors"]
    assert {e["pointer"] for e in missing} == {"/vary", "/between", "/target"}


def test_a_body_beyond_the_limit_is_rejected(desk: httpx.Client) -> None:
    response = solve(desk, case={"cfads": [1.0] * 400_000})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["solve", "table"])
def test_every_calculator_has_an_example_that_the_service_repeats(
    desk: httpx.Client, kind: str
) -> None:
    examples = GOAL_EXAMPLES if kind == "solve" else TABLE_EXAMPLES
    assert set(examples) <= set(CALCULATORS)
    paths = desk.get("/openapi.json").json()["paths"]
    for name, example in examples.items():
        operation = paths[f"/v1/analysis/{name}/{kind}"]["post"]
        response = desk.post(f"/v1/analysis/{name}/{kind}", json=example)
        assert response.status_code == 200, response.text
        content = operation["responses"]["200"]["content"]["application/json"]
        assert content["examples"]["typical"]["value"] == response.json()
        if kind == "solve":
            assert response.json()["solutions"], name
        else:
            assert response.json()["problems"] == 0, name


def test_a_cell_has_its_own_errors_and_the_others_their_values(desk: httpx.Client) -> None:
    columns = {"vary": "/target_dscr", "values": [1.3, -1]}
    table = tabulate(desk, {**TABLE, "columns": columns}).json()
    good, bad = table["cells"][1]
    assert good["values"] == [desk.post("/v1/analysis/debt-sizing", json=SIZING).json()["debt"]]
    assert bad["values"] is None
    assert [error["pointer"] for error in bad["errors"]] == ["/case/target_dscr"]
    assert table["problems"] == 2


def test_a_table_comes_as_csv(desk: httpx.Client) -> None:
    columns = {"vary": "/target_dscr", "values": [1.3, -1]}
    response = tabulate(desk, {**TABLE, "columns": columns}, accept="text/csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [(line["row"], line["column"]) for line in lines] == [
        ("0.9", "1.3"), ("0.9", "-1.0"), ("1.0", "1.3"), ("1.0", "-1.0")
    ]  # fmt: skip
    assert float(lines[2]["/debt"]) == pytest.approx(13 / 1.3 * (1 - 1.06**-3) / 0.06)
    assert lines[3]["/debt"] == ""
    assert lines[3]["error"].startswith("/case/target_dscr: must be above 0")


@pytest.mark.slow
def test_a_large_table_holds_up_neither_the_loop_nor_another_calculation(start: Start) -> None:
    """Requests sent after the table get their responses first, a calculation on a thread too."""
    service = start()
    flows = [(-1.0) ** k * (1.0 + (k * k) % 7) for k in range(80)]
    axis = {"vary": "/cash_flows/3", "values": [1 + 0.01 * n for n in range(1_000)]}
    body = json.dumps({"case": {"cash_flows": flows}, "rows": axis, "outputs": ["/rates/0"]})
    headers = {"content-type": "application/json"}
    tables = [HTTPConnection("127.0.0.1", service.port, timeout=60)]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(service.client())
        for table in tables:
            stack.enter_context(contextlib.closing(table))
            table.request("POST", "/v1/analysis/returns/table", body, headers)
        for _ in range(2):
            assert client.get("/monitoring/live").status_code == 200
            short = client.post("/v1/analysis/returns", json={"cash_flows": [-1, 1.1]})
            assert short.json()["rates"] == [pytest.approx(0.1)]
        readable_sockets, _, _ = select.select([table.sock for table in tables], [], [], 0)
        assert readable_sockets == []
        for table in tables:
            response = table.getresponse()
            assert response.status in {200, 503}
            response.read()
