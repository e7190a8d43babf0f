"""`spawn facilities` and `spawn portfolios` read the financing of a running service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.http.conftest import Service, discard_access_log
from tests.http.facilities.ledger_client import LedgerClient

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
    assert "need a running service: set SPAWN_URL" in capsys.readouterr().err
