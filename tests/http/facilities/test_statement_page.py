"""The statement of a facility as a page: figures of the JSON, a chart with its text."""

import re

import httpx
from tests.http.covenants.test_certificate_routes import Texts
from tests.http.facilities.ledger_client import LedgerClient

HTML = {"accept": "text/html"}
DAYS = {"from": "2020-03-31", "to": "2021-03-31"}
HOSTILE = "Loan <script>alert(1)</script> & Co"


def read_page(ledger: LedgerClient, **query: str) -> str:
    response = ledger.client.get(f"{ledger.path}/statement", params=DAYS | query, headers=HTML)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def test_the_page_has_every_figure_of_the_statement_and_no_script(client: httpx.Client) -> None:
    ledger = LedgerClient(client, name=HOSTILE)
    ledger.record("draw", "2020-03-31", "180000.01")
    ledger.record("payment", "2020-10-01", "3000.01")
    text = read_page(ledger)
    page = Texts(text)
    statement = ledger.read("statement", **DAYS).json()
    for period in statement["periods"]:
        for name in ("opening_balance", "drawn", "repaid", "closing_balance", "interest"):
            assert f"{float(period[name]):,.2f}" in page.texts
    for line in statement["lines"]:
        assert f"{float(line['amount']):,.2f}" in page.texts
        for part in line["lenders"]:
            assert part["lender"] in page.texts
    assert HOSTILE in page.texts
    assert "In arrears" in page.texts  # less was paid than the interest due
    assert "script" not in page.elements
    assert page.elements.count("h1") == page.elements.count("main") == 1
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_the_curve_steps_from_movement_to_movement(client: httpx.Client) -> None:
    ledger = LedgerClient(client)
    ledger.record("draw", "2020-03-31", "100000.00")
    ledger.record("draw", "2020-09-29", "100000.00")
    text = read_page(ledger)
    curve = re.search(r'class="curve" d="([^"]+)"', text)
    assert curve is not None
    # 182 of 365 days at half of the highest balance, the rest at the top of the drawing.
    assert curve[1].startswith("M45 180 H45 V95 H289.8 V10")
    assert curve[1].endswith("H536 V10")
    assert "Balance of each day, EUR thousand" in text
    empty = read_page(LedgerClient(client), format="html")
    assert 'class="curve" d="M' in empty
    assert "No arrears" in empty


def test_the_page_has_the_errors_of_the_statement(client: httpx.Client) -> None:
    ledger = LedgerClient(client)
    response = ledger.client.get(f"{ledger.path}/statement", headers=HTML)
    assert response.status_code == 422
    assert "<code>/from</code>" in response.text
    path = ledger.path[:-12] + "000000000000"
    assert ledger.client.get(f"{path}/statement", params=DAYS, headers=HTML).status_code == 404
