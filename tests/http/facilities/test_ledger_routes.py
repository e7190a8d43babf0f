"""HTTP routes of ledgers, on a real server."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.http.conftest import Service, Start
from tests.http.facilities.ledger_client import LedgerClient

DRAW = {"kind": "draw", "value_date": "2020-06-01", "amount": "100000.00"}


@pytest.fixture
def ledger(client: httpx.Client) -> LedgerClient:
    """The ledger of a new facility of 1,000,000 at 4 %."""
    return LedgerClient(client)


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_recorded_entry_is_at_its_location_with_the_tag_of_the_ledger(
    ledger: LedgerClient,
) -> None:
    recorded = ledger.send({**DRAW, "external_key": "D-1", "evidence": "notice"})
    assert recorded.status_code == 201, recorded.text
    read = ledger.client.get(recorded.headers["location"])
    assert read.json() == recorded.json()
    assert (read.json()["number"], read.json()["amount"]) == (1, "100000.00")
    assert ledger.read("entries").headers["etag"] == recorded.headers["etag"]
    missing = ledger.client.get(f"{ledger.path}/entries/2")
    assert problem(missing) == (404, "not_found")


def test_the_tag_of_the_ledger_makes_a_double_draw_impossible(ledger: LedgerClient) -> None:
    empty = ledger.read("balance").headers["etag"]
    first = ledger.send(DRAW, **{"if-match": empty})
    assert first.status_code == 201, first.text
    again = ledger.send(DRAW, **{"if-match": empty})
    assert problem(again) == (412, "stale_version")
    tag = ledger.read("balance", on="2020-07-01").headers["etag"]
    assert ledger.send(DRAW, **{"if-match": tag}).status_code == 201
    assert ledger.read("balance").json()["drawn"] == "200000.00"


def test_a_command_on_money_needs_an_idempotency_key_and_a_precondition(
    ledger: LedgerClient,
) -> None:
    path = f"{ledger.path}/entries"
    without_key = ledger.client.post(path, json=DRAW, headers={"if-match": "*"})
    assert problem(without_key) == (422, "invalid_input")
    assert without_key.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    without_tag = ledger.client.post(path, json=DRAW, headers={"idempotency-key": "k"})
    assert problem(without_tag) == (428, "precondition_required")
    assert ledger.read("entries").json()["items"] == []


def test_a_repeated_command_returns_the_first_response(ledger: LedgerClient) -> None:
    headers = {"idempotency-key": str(uuid4()), "if-match": ledger.read("balance").headers["etag"]}
    responses = [ledger.send(DRAW, **headers) for _ in range(2)]
    assert responses[0].content == responses[1].content
    for name in ("etag", "location"):
        assert responses[0].headers[name] == responses[1].headers[name]
    assert len(ledger.read("entries").json()["items"]) == 1
    other = ledger.send({**DRAW, "amount": "1"}, **headers)
    assert problem(other) == (422, "idempotency_key_reused")
    reversal = {"idempotency-key": str(uuid4())}
    undone = [ledger.send({"reason": "x"}, to="entries/1/reversal", **reversal) for _ in range(2)]
    assert [response.status_code for response in undone] == [201, 201]
    assert undone[0].content == undone[1].content


def test_the_same_dates_give_the_same_bytes_at_any_later_time(ledger: LedgerClient) -> None:
    ledger.record("draw", "2020-06-01", "100000.00")
    ledger.record("payment", "2020-12-01", "5000.00")
    as_of = ledger.read("balance").json()["as_of"]
    question: dict[str, str] = {"on": "2021-01-01", "as_of": as_of}
    parts: dict[str, dict[str, str]] = {
        "balance": question,
        "schedule": question,
        "statement": {"from": "2020-01-01", "to": "2021-01-01", "as_of": as_of},
    }
    before = {part: ledger.read(part, **query).content for part, query in parts.items()}
    ledger.record("draw", "2020-05-01", "1.00")
    assert ledger.reverse(2).status_code == 201
    change = {"rate": {"fixed_rate": "0.09"}}
    amended = ledger.client.patch(ledger.path, json=change, headers={"if-match": "*"})
    assert amended.status_code == 200, amended.text
    assert {part: ledger.read(part, **query).content for part, query in parts.items()} == before
    assert ledger.read("balance", on="2021-01-01").content != before["balance"]


def test_what_is_known_in_the_future_cannot_be_asked(ledger: LedgerClient) -> None:
    response = ledger.client.get(f"{ledger.path}/balance", params={"as_of": "2999-01-01"})
    assert response.json()["errors"][0]["code"] == "in_the_future"


def test_a_conditional_read_gets_304_until_the_ledger_changes(ledger: LedgerClient) -> None:
    first = ledger.read("balance", on="2021-01-01")
    headers = {"if-none-match": first.headers["etag"]}
    address, query = f"{ledger.path}/balance", {"on": "2021-01-01"}
    assert ledger.client.get(address, params=query, headers=headers).status_code == 304
    other = ledger.client.get(address, params={"on": "2021-01-02"}, headers=headers)
    assert other.status_code == 200
    ledger.record("draw", "2020-06-01", "1.00")
    assert ledger.client.get(address, params=query, headers=headers).status_code == 200


def test_a_missed_payment_is_in_arrears_until_it_is_paid(ledger: LedgerClient) -> None:
    ledger.record("draw", "2020-03-31", "180000.00")
    balance = ledger.read("balance", on="2021-10-01").json()
    # Three half-years of interest; one of 18 instalments after two periods of grace.
    assert (balance["principal_arrears"], balance["interest_due"]) == ("10000.00", "10809.86")
    ledger.record("payment", "2021-10-01", "20809.86")
    paid = ledger.read("balance", on="2021-10-01").json()
    assert (paid["principal_arrears"], paid["interest_due"]) == ("0.00", "0.00")
    assert paid["balance"] == "170000.00"


def test_a_statement_allocates_each_payment_to_the_lenders_exactly(ledger: LedgerClient) -> None:
    ledger.record("draw", "2020-03-31", "180000.01")
    ledger.record("fee", "2020-04-01", "99.99")
    ledger.record("payment", "2020-10-01", "3000.01")
    ledger.record("payment", "2021-03-31", "20000.03")
    statement = ledger.read("statement", **{"from": "2020-03-31", "to": "2021-03-31"}).json()
    payments = [line for line in statement["lines"] if line["kind"] == "payment"]
    assert len(payments) == 2
    for line in payments:
        parts = line["lenders"]
        for name in ("fees", "principal", "amount"):
            assert sum(Decimal(part[name]) for part in parts) == Decimal(line[name])
        interest = Decimal(line["interest"]) + Decimal(line["overdue_interest"])
        assert sum(Decimal(part["interest"]) for part in parts) == interest
    assert (payments[0]["fees"], payments[0]["overdue_interest"]) == ("99.99", "2900.02")
    for period in statement["periods"]:
        moved = Decimal(period["drawn"]) + Decimal(period["capitalised"])
        moved -= Decimal(period["repaid"]) + Decimal(period["forgiven"])
        assert Decimal(period["opening_balance"]) + moved == Decimal(period["closing_balance"])
    assert [(p["start"], p["end"]) for p in statement["periods"]] == [
        ("2020-03-31", "2020-09-30"),
        ("2020-10-01", "2021-03-31"),
    ]
    assert statement["periods"][0]["interest_arrears"] == "3609.86"
    assert statement["closing_balance"] == ledger.read("balance", on="2021-03-31").json()["balance"]


def test_the_schedule_follows_draws_fixings_and_prepayments(client: httpx.Client) -> None:
    rate = {"curve": "EURIBOR-6M", "margin": "0.02"}
    ledger = LedgerClient(client, rate=rate, repayment={"profile": "annuity"})
    assert ledger.read("schedule").json()["rows"] == []
    ledger.record("rate_fixing", "2020-03-31", rate="0.01")
    ledger.record("draw", "2020-05-15", "500000.00")
    ledger.record("rate_fixing", "2021-03-31", rate="0.02")
    ledger.record("prepayment", "2022-03-31", "100000.00", effect="shorten")
    schedule = ledger.read("schedule").json()
    rows = schedule["rows"]
    assert rows[0]["opening_balance"] == "500000.00"
    assert rows[-1]["closing_balance"] == "0.00"
    kinds = {event["kind"] for event in schedule["events"]}
    assert {"draw", "interest", "principal", "rate_reset", "prepayment"} <= kinds
    for row in rows:
        opening, drawn = Decimal(row["opening_balance"]), Decimal(row["drawn"])
        assert opening + drawn - Decimal(row["principal"]) == Decimal(row["closing_balance"])
    earlier = ledger.read("schedule", on="2020-12-31").json()
    assert {event["annual_rate"] for event in earlier["events"]} == {0.03}


def test_a_restatement_needs_its_scope_and_is_listed(start: Start) -> None:
    service = start(auth="keys")
    with service.client() as client:
        client.headers["authorization"] = f"Bearer {service.key}"
        ledger = LedgerClient(client)
        ledger.record("draw", "2020-06-01", "100.00")
        ledger.record("closing", "2020-12-31")
        late = {**DRAW, "amount": "7.00", "reason": "late notice"}
        for scopes, status in (
            (["finance:write"], 403),
            (["restate"], 201),
            (["finance:read"], 403),
        ):
            body = {"name": f"desk-{scopes[0].replace(':', '-')}", "scopes": scopes}
            key = client.post("/v1/admin/clients", json=body).json()["key"]
            response = ledger.send(late, authorization=f"Bearer {key}")
            assert response.status_code == status, response.text
            open_period = {**DRAW, "value_date": "2021-01-04"}
            response = ledger.send(open_period, authorization=f"Bearer {key}")
            assert response.status_code == (201 if scopes == ["finance:write"] else 403)
        restated = ledger.read("entries", restated_since="2020-01-01").json()["items"]
        assert [(e["amount"], e["is_restatement"]) for e in restated] == [("7.00", True)]
        future = ledger.read("entries", restated_since="2990-01-01").json()["items"]
        assert future == []


def test_entries_are_listed_by_kind_in_pages(ledger: LedgerClient) -> None:
    for number in range(1, 6):
        ledger.record("draw", f"2020-06-0{number}", f"{number}.00")
        ledger.record("fee", "2020-06-01", "1.00")
    first = ledger.read("entries", kind="draw", limit="3").json()
    rest = ledger.read("entries", kind="draw", limit="3", after=first["next"]).json()
    assert [e["number"] for e in (*first["items"], *rest["items"])] == [1, 3, 5, 7, 9]
    assert rest["next"] is None
    wrong = ledger.client.get(f"{ledger.path}/entries", params={"after": first["next"]})
    assert problem(wrong) == (400, "cursor_invalid")


def test_entries_are_a_dataset_and_events(ledger: LedgerClient) -> None:
    entry = ledger.record("draw", "2020-06-01", "12.34", external_key="D-77")
    query = {"facility_id": entry["facility_id"]}
    rows = ledger.client.get("/v1/data/entries.json", params=query).json()
    assert [(r["number"], r["amount"], r["value_date"]) for r in rows] == [
        (1, "12.34", "2020-06-01")
    ]
    subject = {"subject": f"entries/{entry['entry_id']}"}
    events = ledger.client.get("/v1/events", params=subject).json()["events"]
    assert [event["type"] for event in events] == ["spawn.entry.recorded.v1"]
    assert events[0]["data"]["after"]["external_key"] == "D-77"


WRITERS = 16


def draw_at_once(ledger: LedgerClient, amount: str, count: int) -> list[int]:
    """Draw from many threads at once; return the statuses."""
    body = {**DRAW, "amount": amount}
    with ThreadPoolExecutor(count) as pool:
        responses = pool.map(lambda _: ledger.send(body).status_code, range(count))
        return list(responses)


@pytest.mark.parametrize("engine", ["memory", "duckdb"])
def test_writers_at_once_never_exceed_the_commitment(
    start: Start, tmp_path: Path, engine: str
) -> None:
    url = "memory://" if engine == "memory" else f"duckdb:///{tmp_path}/store.duckdb"
    service = start(storage_url=url)
    with httpx.Client(base_url=service.url, timeout=60) as client:
        ledger = LedgerClient(client)
        statuses = draw_at_once(ledger, "90000.00", WRITERS)
        drawn = Decimal(ledger.read("balance").json()["drawn"])
        assert drawn == 90_000 * statuses.count(201) == 990_000
        assert set(statuses) <= {201, 409, 422}
        entries = ledger.read("entries").json()["items"]
        assert [e["number"] for e in entries] == list(range(1, 12))


def test_writers_with_one_tag_draw_once(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        ledger = LedgerClient(client)
        tag = ledger.read("balance").headers["etag"]

        def draw(_: int) -> int:
            return ledger.send(DRAW, **{"if-match": tag}).status_code

        with ThreadPoolExecutor(WRITERS) as pool:
            statuses = list(pool.map(draw, range(WRITERS)))
        assert sorted(statuses) == [201, *[412] * (WRITERS - 1)]
        assert ledger.read("balance").json()["drawn"] == "100000.00"


DRAW_STOP = {"milestones": [{"milestone_id": "permit", "title": "Permit", "draw_stop": True}]}


def test_an_open_milestone_stops_draws_and_nothing_else(client: httpx.Client) -> None:
    ledger = LedgerClient(client, project=DRAW_STOP)
    stopped = ledger.send(DRAW)
    assert problem(stopped) == (409, "conflict")
    assert "'permit'" in stopped.json()["detail"]
    ledger.record("fee", "2020-06-01", "1.00")

    def decide(**decision: str) -> None:
        path, body = f"{ledger.project}/milestones/decisions", {"milestone_id": "permit"}
        response = client.post(path, json={**body, **decision}, headers={"if-match": "*"})
        assert response.status_code == 200, response.text

    decide(decision="MET", on="2020-05-01")
    ledger.record("draw", "2020-06-01", "1.00")
    decide(decision="REOPENED", reason="appeal")
    assert problem(ledger.send(DRAW)) == (409, "conflict")


def test_the_balance_of_a_loan_that_is_drawn_below_its_balloon_can_be_read(
    client: httpx.Client,
) -> None:
    ledger = LedgerClient(client, repayment={"profile": "straight_line", "balloon": "500000.00"})
    ledger.record("draw", "2020-03-31", "100000.00")
    balance = ledger.read("balance", on="2021-03-31").json()
    assert (balance["balance"], balance["principal_arrears"]) == ("100000.00", "0.00")
    principal = [
        row["principal"] for row in ledger.read("schedule", on="2021-03-31").json()["rows"]
    ]
    assert principal == ["0.00"] * 19 + ["100000.00"]


def test_the_schedule_has_the_accrued_interest_of_the_opening_position(
    client: httpx.Client,
) -> None:
    ledger = LedgerClient(client, repayment={"profile": "straight_line"})
    ledger.record("opening", "2020-06-30", "900000.00", accrued_interest="8000.00")
    rows = ledger.read("schedule", on="2020-06-30").json()["rows"]
    assert [row["accrued_interest"] for row in rows] == ["8000.00"] + ["0.00"] * (len(rows) - 1)
    for row in rows:
        parts = (Decimal(row[name]) for name in ("interest", "accrued_interest", "principal"))
        assert Decimal(row["payment"]) == sum(parts)


def test_a_balance_needs_no_schedule(client: httpx.Client) -> None:
    ledger = LedgerClient(client, repayment={"profile": "annuity"})
    ledger.record("opening", "2020-06-30", "900000.00", accrued_interest="80000.00")
    balance = ledger.read("balance", on="2020-12-31").json()
    assert (balance["balance"], balance["principal_arrears"]) == ("900000.00", None)
    # 80,000 brought along, and 92 days of 365 at 4 % on 900,000.
    assert balance["interest_due"] == "89073.97"
    assert balance["no_schedule_reason"].startswith("/repayment/allow_negative_amortisation: ")
    assert ledger.read("balance", on="2020-09-29").json()["principal_arrears"] == "0.00"
    days = {"from": "2020-04-01", "to": "2020-12-31"}
    statement = ledger.read("statement", **days).json()
    assert [one["principal_arrears"] for one in statement["periods"]] == [None, None]
    assert statement["no_schedule_reason"] == balance["no_schedule_reason"]
    page = ledger.read("statement", **days, format="html").text
    assert "at least 89,073.97" in page
    assert "does not cover its interest" in page
    project_page = client.get(ledger.project.replace("/v1/ops", "/pages"))
    assert "at least " in project_page.text
    schedule = client.get(f"{ledger.path}/schedule", params={"on": "2020-12-31"})
    assert problem(schedule) == (422, "invalid_input")


def test_a_statement_begins_and_ends_at_the_ends_of_the_calendar(client: httpx.Client) -> None:
    ledger = LedgerClient(client)
    days = {"from": "9999-01-01", "to": "9999-12-31"}
    assert ledger.read("statement", **days).json()["closing_balance"] == "0.00"
    days = {"from": "0001-01-01", "to": "0001-12-31"}
    response = client.get(f"{ledger.path}/statement", params=days)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/from"


def test_principal_paid_early_is_not_scheduled_again(ledger: LedgerClient) -> None:
    ledger.record("draw", "2020-03-31", "180000.00")
    ledger.record("payment", "2020-05-01", "170000.00")
    events = ledger.read("schedule", on="2020-05-02").json()["events"]
    later = [each for each in events if each["date"] > "2020-05-02"]
    # 17 of 18 instalments of 10,000 are paid.
    principal = {each["date"]: each["cash_flow"] for each in later if each["kind"] == "principal"}
    assert principal == {"2030-03-31": 10_000}
    due = ledger.read("balance", on="2020-09-30").json()["interest_due"]
    (first, *_) = [each for each in later if each["kind"] == "interest"]
    assert (first["date"], f"{first['cash_flow']:.2f}") == ("2020-09-30", due)


def test_a_closing_in_the_future_is_rejected(ledger: LedgerClient) -> None:
    closing = ledger.send({"kind": "closing", "value_date": "2999-12-31"})
    assert problem(closing) == (422, "invalid_input")
    assert closing.json()["errors"][0]["code"] == "in_the_future"


def test_terms_do_not_change_the_arrears_of_a_closed_period(ledger: LedgerClient) -> None:
    ledger.record("draw", "2020-03-31", "180000.00")
    ledger.record("closing", "2021-12-31")
    period = {"from": "2020-03-31", "to": "2021-12-31"}
    before = ledger.read("statement", **period).json()["periods"][-1]["principal_arrears"]
    assert before == "10000.00"
    amended = ledger.client.patch(
        ledger.path, json={"repayment": {"profile": "bullet"}}, headers={"if-match": "*"}
    )
    assert amended.status_code in {409, 422}, amended.text
    bullet = {"repayment": {"profile": "bullet", "grace_periods": None}}
    amended = ledger.client.patch(ledger.path, json=bullet, headers={"if-match": "*"})
    assert problem(amended) == (409, "conflict")
    after = ledger.read("statement", **period).json()["periods"][-1]["principal_arrears"]
    assert after == before
