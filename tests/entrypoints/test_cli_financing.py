"""`spawn facilities`, `covenants` and `portfolios` use the financing of a running service."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.http.conftest import Service, discard_access_log
from tests.http.covenants.conftest import case_body
from tests.http.facilities.ledger_client import TERMS, LedgerClient

from spawn.entrypoints.cli.parser import main

__all__ = ["discard_access_log"]

Output = pytest.CaptureFixture[str]


@pytest.fixture
def ledger(discard_access_log: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerClient]:  # noqa: ARG001  # set up first
    """Return a facility with two draws, at the service of the environment."""
    service = Service().start()
    monkeypatch.setenv("SPAWN_URL", service.url)
    with service.client() as client:
        ledger = LedgerClient(client, project={"country_code": "ESP"})
        ledger.record("draw", "2020-04-15", "250000.10")
        ledger.record("draw", "2020-05-15", "100.00")
        yield ledger
    service.stop()


def read_json(capsys: Output) -> Any:
    return json.loads(capsys.readouterr().out)


def test_facilities_are_listed_and_shown(ledger: LedgerClient, capsys: Output) -> None:
    project_id, facility_id = (path.rpartition("/")[2] for path in (ledger.project, ledger.path))
    assert main(["facilities", "list", project_id]) == 0
    line = capsys.readouterr().out
    assert line.split() == [facility_id, "senior", "1000000.00", "EUR", "Term", "loan"]
    assert main(["facilities", "list", project_id, "--json"]) == 0
    assert read_json(capsys)["facility_id"] == facility_id
    assert main(["facilities", "get", facility_id]) == 0
    fields = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert fields["commitment"] == "1000000.00"


def test_a_balance_and_a_statement_are_those_of_a_day(ledger: LedgerClient, capsys: Output) -> None:
    facility_id = ledger.path.rpartition("/")[2]
    assert main(["facilities", "balance", facility_id, "--on", "2020-04-30"]) == 0
    fields = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:9])
    assert fields["drawn"] == "250000.10"
    assert main(["facilities", "balance", facility_id, "--on", "2020-05-31", "--json"]) == 0
    assert read_json(capsys)["drawn"] == "250100.10"
    statement = ["facilities", "statement", facility_id]
    assert main([*statement, "--on", "2020-04-30"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["2020-03-31", "opening", "balance", "0.00", "EUR"],
        ["2020-04-15", "draw", "250000.10", "250000.10", "EUR"],
        ["2020-04-30", "closing", "balance", "250000.10", "EUR"],
    ]
    assert main([*statement, "--from", "2020-05-01", "--on", "2020-05-31", "--json"]) == 0
    (line,) = read_json(capsys)["lines"]
    assert (line["amount"], line["balance"]) == ("100.00", "250100.10")
    assert main([*statement, "--on", "May"]) == 1
    assert "/to" in capsys.readouterr().err
    assert main(["facilities", "get", "nothing"]) == 1
    assert "not_found" in capsys.readouterr().err


def test_the_exposure_of_a_portfolio_is_grouped(ledger: LedgerClient, capsys: Output) -> None:
    limits = [{"by": "country", "max_amount": "1.00"}]
    body = {"name": "Debt", "currency_code": "EUR", "limits": limits}
    portfolio_id = ledger.client.post("/v1/ops/portfolios", json=body).json()["portfolio_id"]
    facility_id = ledger.path.rpartition("/")[2]
    holding = {"facility_id": facility_id, "share": "50", "since": "2020-03-31"}
    added = ledger.client.post(f"/v1/ops/portfolios/{portfolio_id}/holdings", json=holding)
    assert added.status_code == 201, added.text
    assert main(["portfolios", "list"]) == 0
    assert capsys.readouterr().out == f"{portfolio_id}  EUR  Debt\n"
    exposure = ["portfolios", "exposure", portfolio_id, "--on", "2020-05-31"]
    assert main([*exposure, "--by", "country,kind"]) == 0
    output = capsys.readouterr()
    assert [line.split() for line in output.out.splitlines()] == [
        ["ESP", "125050.05", "374949.95", "100.0000"],
        ["senior", "125050.05", "374949.95", "100.0000"],
        ["total", "EUR", "125050.05", "374949.95"],
    ]
    assert output.err == "limit breached: country ESP, 500000.00\n"
    assert main([*exposure, "--json"]) == 0
    assert read_json(capsys)["by"] == ["country"]
    assert main([*exposure, "--by", "colour"]) == 1
    assert "/by" in capsys.readouterr().err


def test_the_financing_of_a_file_needs_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    Service(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb").start().stop()
    assert main(["portfolios", "list"]) == 1
    assert (
        "need a running service: start one with spawn serve, or set SPAWN_URL"
        in capsys.readouterr().err
    )


def test_a_facility_is_created_and_its_entries_are_recorded_and_reversed(
    ledger: LedgerClient, tmp_path: Path, capsys: Output
) -> None:
    terms = tmp_path / "terms.json"
    terms.write_text(json.dumps({**TERMS, "name": "Loan B"}))
    project_id = ledger.project.rpartition("/")[2]
    create = ["facilities", "create", project_id, str(terms)]
    assert main([*create, "--dry-run"]) == 0
    assert '/name: null -> "Loan B"' in capsys.readouterr().out
    assert main([*create, "--idempotency-key", "loan-b"]) == 0
    facility_id = capsys.readouterr().out.strip()
    assert main([*create, "--idempotency-key", "loan-b"]) == 0
    assert capsys.readouterr().out.strip() == facility_id
    record = ["facilities", "record", facility_id]
    draw = [*record, "draw", "2020-04-15", "1000.10", "--external-key", "DR-1"]
    assert main([*draw, "--dry-run"]) == 0
    assert '"1000.10"' in capsys.readouterr().out
    for _ in range(2):
        assert main([*draw, "--idempotency-key", "d-1"]) == 0
        line = capsys.readouterr().out
        assert line.split() == ["1", "2020-04-15", "draw", "1000.10", "EUR", "DR-1"]
    assert main([*record, "draw", "2020-04-16", "5", "--idempotency-key", "d-1"]) == 1
    assert "idempotency_key_reused" in capsys.readouterr().err
    assert main([*record, "draw", "2020-04-16", "9e9"]) == 1
    assert "/amount" in capsys.readouterr().err
    reverse = ["facilities", "reverse", facility_id, "1", "--reason", "mistaken", "--json"]
    assert main(reverse) == 0
    assert read_json(capsys)["reverses"] == 1
    assert main(["facilities", "entries", facility_id, "--limit", "1"]) == 0
    assert "--after" in capsys.readouterr().err
    assert main(["facilities", "entries", facility_id]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        *("2", "2020-04-15", "reversal", "-1000.10", "EUR", "reverses", "1")
    ]


def test_a_schedule_is_printed_by_period(ledger: LedgerClient, capsys: Output) -> None:
    schedule = ["facilities", "schedule", ledger.path.rpartition("/")[2], "--on", "2020-05-31"]
    assert main(schedule) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["payment", "interest", "principal", "balance"]
    assert lines[-1].split()[-2:] == ["0.00", "EUR"]
    assert main([*schedule, "--json"]) == 0
    rows = read_json(capsys)["rows"]
    assert len(rows) == len(lines) - 1
    assert lines[3].split()[3] == rows[2]["principal"]


def test_a_portfolio_is_forecast_and_stressed(
    ledger: LedgerClient, tmp_path: Path, capsys: Output
) -> None:
    body = {"name": "Debt", "currency_code": "EUR"}
    portfolio_id = ledger.client.post("/v1/ops/portfolios", json=body).json()["portfolio_id"]
    facility_id = ledger.path.rpartition("/")[2]
    holding = {"facility_id": facility_id, "share": "50", "since": "2020-03-31"}
    ledger.client.post(f"/v1/ops/portfolios/{portfolio_id}/holdings", json=holding)
    day = ["--on", "2020-05-31"]
    concentration = ["portfolios", "concentration", portfolio_id, "--by", "kind", "--top", "1"]
    assert main([*concentration, *day]) == 0
    assert capsys.readouterr().out.split() == [
        *("kind", "HHI", "10000.00", "1", "groups", "senior", "500000.00", "100.0000")
    ]
    assert main(["portfolios", "forecast", portfolio_id, "--interval", "year", *day]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == ["outstanding", "125050.05", "EUR"]
    assert sum(Decimal(line[3]) for line in lines if line[1] == "to") == Decimal("125050.05")
    terms = tmp_path / "stress.json"
    terms.write_text('{"scenarios": 100, "seed": 7}')
    stress = ["portfolios", "stress", portfolio_id, str(terms), *day]
    assert main(stress) == 0
    assert "left out" in capsys.readouterr().err
    path = f"{ledger.project}/cases"
    years = [
        {"starts_on": f"{year}-04-01", "ends_on": f"{year + 1}-03-31", "cfads": "50000.00"}
        for year in range(2020, 2030)
    ]
    case = {"name": "Bank", "kind": "BASE", "currency_code": "EUR", "periods": years}
    assert ledger.client.post(path, json=case).status_code == 201
    assert main(stress) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert main([*stress, "--json"]) == 0
    figures = read_json(capsys)["total"]
    assert total[:3] == ["total", "EUR", f"{figures['base_min_dscr']:.3f}"]
    assert total[-1] == figures["shortfall"]["mean"]
    assert main(["portfolios", "stress", portfolio_id, str(tmp_path / "absent")]) == 1


def test_covenants_are_listed_and_certified(ledger: LedgerClient, capsys: Output) -> None:
    project_id = ledger.project.rpartition("/")[2]
    case = ledger.client.post(f"{ledger.project}/cases", json=case_body()).json()
    terms = {"name": "Senior DSCR", "metric": "DSCR", "default_level": "1.05"}
    covenant = ledger.client.post(
        f"{ledger.project}/covenants", json={**terms, "test_dates": ["2027-06-30"]}
    ).json()
    certificate = ["covenants", "certificate", project_id, "--on", "2027-06-30"]
    assert main(certificate) == 0
    assert "not complete" in capsys.readouterr().err
    test = {"tested_on": "2027-06-30", "figures": "CASE", "case_id": case["case_id"]}
    tested = ledger.client.post(f"/v1/ops/covenants/{covenant['covenant_id']}/tests", json=test)
    assert tested.status_code == 201, tested.text
    assert main(certificate) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DSCR", tested.json()["printed_ratio"], "DEFAULT", "Senior", "DSCR"]
    assert lines[1] == "distributions on 2027-06-30: not allowed"
    assert main(["covenants", "list", project_id]) == 0
    assert capsys.readouterr().out.split()[1:4] == ["DSCR", "-", "1.05"]


def test_a_command_without_a_response_names_the_key_to_repeat_it(
    discard_access_log: None,  # noqa: ARG001  # set up first
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("SPAWN_URL", f"http://127.0.0.1:{server.getsockname()[1]}")

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(65536)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        code = main(["facilities", "record", "x", "draw", "2020-04-15", "1"])
        thread.join()
    assert code == 3
    assert re.search(r"repeat it with --idempotency-key [0-9a-f]{32}", capsys.readouterr().err)
