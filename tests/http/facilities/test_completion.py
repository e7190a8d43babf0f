"""A project is completed once all of its debt is repaid, and not while a draw is recorded."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.http.facilities.ledger_client import LedgerClient

DAY = "2020-06-01"
DRAW = {"kind": "draw", "value_date": DAY, "amount": "100000.00"}


@pytest.fixture
def ledger(client: httpx.Client) -> LedgerClient:
    """The ledger of a facility of a project in operation."""
    return LedgerClient(client, project={"status": "OPERATION"})


def complete(ledger: LedgerClient, on: str = DAY) -> httpx.Response:
    body = {"to": "COMPLETED", "reason": "repaid", "effective_on": on}
    path = f"{ledger.project}/transitions"
    return ledger.client.post(path, json=body, headers={"if-match": "*"})


def test_completion_waits_until_all_debt_is_repaid(ledger: LedgerClient) -> None:
    ledger.record("draw", DAY, "100000.00")
    stopped = complete(ledger)
    assert stopped.status_code == 409
    assert "100000" in stopped.json()["detail"]
    assert "EUR is outstanding" in stopped.json()["detail"]
    ledger.record("prepayment", DAY, "99999.99")
    assert "0.01" in complete(ledger).json()["detail"]
    ledger.record("prepayment", DAY, "0.01")
    done = complete(ledger)
    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert ledger.send(DRAW).status_code == 409


def test_debt_counts_on_the_day_of_completion(ledger: LedgerClient) -> None:
    ledger.record("draw", DAY, "100000.00")
    ledger.record("prepayment", "2020-06-30", "100000.00")
    assert complete(ledger, on="2020-06-29").status_code == 409
    # The interest since the draw is owed, although the principal is repaid.
    assert complete(ledger, on="2020-07-01").status_code == 409


def test_a_project_without_debt_is_completed(ledger: LedgerClient) -> None:
    assert complete(ledger).status_code == 200


def test_no_draw_is_recorded_in_a_project_that_is_completed_meanwhile(
    ledger: LedgerClient,
) -> None:
    def act(number: int) -> int:
        response = ledger.send(DRAW) if number % 2 else complete(ledger)
        return response.status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(act, range(16)))
    status = ledger.client.get(ledger.project).json()["status"]
    drawn = ledger.read("balance", on=DAY).json()["drawn"]
    assert set(statuses) <= {200, 201, 409}
    assert (status, drawn != "0.00") in {("COMPLETED", False), ("OPERATION", True)}


def test_no_debt_comes_back_after_completion(ledger: LedgerClient) -> None:
    ledger.record("draw", DAY, "100000.00")
    repaid = ledger.record("prepayment", DAY, "100000.00")
    assert complete(ledger).status_code == 200
    assert ledger.reverse(repaid["number"]).status_code == 409
    fee = ledger.send({"kind": "fee", "value_date": DAY, "amount": "5.00"})
    assert fee.status_code == 409
    closing = ledger.send({"kind": "closing", "value_date": "2020-06-30"})
    assert closing.status_code == 201, closing.text


def test_no_debt_begins_after_the_day_of_completion(ledger: LedgerClient) -> None:
    ledger.record("draw", "2021-06-01", "100000.00")
    stopped = complete(ledger, on="2021-05-31")
    assert stopped.status_code == 409
    assert "100000" in stopped.json()["detail"]


def test_terms_and_fixings_of_a_completed_project_stay(client: httpx.Client) -> None:
    rate = {"curve": "EURIBOR-6M", "margin": "0.01"}
    ledger = LedgerClient(client, project={"status": "OPERATION"}, rate=rate)
    assert complete(ledger).status_code == 200
    fees = {"fees": {"upfront_fee": "0.01"}}
    assert client.patch(ledger.path, json=fees, headers={"if-match": "*"}).status_code == 409
    fixing = {"kind": "rate_fixing", "value_date": DAY, "rate": "0.03"}
    assert ledger.send(fixing).status_code == 409
    assert ledger.read("balance").json()["fees_due"] == "0.00"


def test_the_debt_of_a_cancelled_project_is_served(client: httpx.Client) -> None:
    rate = {"curve": "EURIBOR-6M", "margin": "0.01"}
    ledger = LedgerClient(client, project={"status": "CONSTRUCTION"}, rate=rate)
    ledger.record("rate_fixing", DAY, rate="0.03")
    ledger.record("draw", DAY, "100000.00")
    cancel = {"to": "CANCELLED", "reason": "sponsor withdrew"}
    done = client.post(f"{ledger.project}/transitions", json=cancel, headers={"if-match": "*"})
    assert done.status_code == 200, done.text
    assert ledger.send(DRAW).status_code == 409
    ledger.record("rate_fixing", "2020-09-30", rate="0.02")
    paid = ledger.record("prepayment", DAY, "40000.00")
    assert ledger.reverse(paid["number"]).status_code == 201
    assert ledger.read("balance", on=DAY).json()["balance"] == "100000.00"


def test_completion_and_the_reversal_of_a_repayment_never_both_succeed(
    client: httpx.Client,
) -> None:
    for _ in range(6):
        ledger = LedgerClient(client, project={"status": "OPERATION"})
        ledger.record("draw", DAY, "100000.00")
        repaid = ledger.record("prepayment", DAY, "100000.00")
        with ThreadPoolExecutor(2) as pool:
            reversal = pool.submit(ledger.reverse, repaid["number"])
            completion = pool.submit(complete, ledger)
        statuses = {reversal.result().status_code, completion.result().status_code}
        assert statuses in ({409, 200}, {201, 409})


def test_a_project_with_fees_to_come_is_not_completed(client: httpx.Client) -> None:
    fees = {"agency_fee": "100.00", "commitment_fee": "0.01"}
    ledger = LedgerClient(client, project={"status": "OPERATION"}, fees=fees)
    ledger.record("payment", "2020-03-31", "100.00")
    # 10,000.00 a year on the commitment for 640 days, and nine further agency fees.
    assert "18434.25 EUR is outstanding" in complete(ledger, on="2020-03-31").json()["detail"]
    ledger.record("cancellation", "2020-03-31", "1000000.00")
    assert "900.00 EUR is outstanding" in complete(ledger, on="2020-03-31").json()["detail"]
    body = {
        "availability_end": "2020-04-30",
        "payment_dates": {"end": "2021-03-31"},
        "maturity_date": None,
        "repayment": {"grace_periods": 1},
    }
    etag = client.get(ledger.path).headers["etag"]
    amended = client.patch(ledger.path, json=body, headers={"if-match": etag})
    assert amended.status_code == 200, amended.text
    assert complete(ledger, on="2020-03-31").status_code == 200
