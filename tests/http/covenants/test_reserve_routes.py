"""Reserve accounts over HTTP: targets, balances with value dates, shortfalls."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.http.covenants.conftest import Create, Json
from tests.http.covenants.test_case_routes import ANY

DSRA: Json = {"name": "DSRA", "kind": "DSRA", "currency_code": "EUR", "target_months": 6}


@pytest.fixture
def account(client: httpx.Client, project_id: str) -> str:
    response = client.post(f"/v1/ops/projects/{project_id}/reserve-accounts", json=DSRA)
    assert response.status_code == 201, response.text
    return response.headers["location"]


def record(client: httpx.Client, account: str, day: str, **members: Any) -> httpx.Response:
    return client.post(f"{account}/balances", json={"value_date": day, **members})


def pointers(response: httpx.Response) -> list[str]:
    assert response.status_code == 422, response.text
    return [error["pointer"] for error in response.json()["errors"]]


def test_the_shortfall_is_the_target_of_the_next_months_less_the_balance(
    client: httpx.Client, account: str, create_case: Create
) -> None:
    case_id = create_case().json()["case_id"]
    query = {"on": "2027-12-31", "case_id": case_id}
    empty = client.get(account, params=query).json()
    assert (empty["target"], empty["balance"], empty["shortfall"]) == ("40.00", None, None)
    assert record(client, account, "2027-12-30", amount="31.50").status_code == 201
    now = client.get(account, params=query).json()
    assert (now["balance"]["amount"], now["shortfall"]) == ("31.50", "8.50")
    assert (now["case_id"], now["case_version"]) == (case_id, 1)
    record(client, account, "2028-01-01", amount="50")
    assert client.get(account, params=query).json()["shortfall"] == "8.50"
    later = client.get(account, params={**query, "on": "2028-06-30"}).json()
    assert (later["balance"]["value_date"], later["shortfall"]) == ("2028-01-01", "0.00")
    beyond = client.get(account, params={**query, "on": "2031-12-31"}).json()
    assert (beyond["target"], beyond["shortfall"]) == (None, None)
    assert client.get(account, params={"on": "2027-12-31"}).json()["target"] is None
    dollars = create_case(currency_code="USD").json()["case_id"]
    assert pointers(client.get(account, params={"case_id": dollars})) == ["/case_id"]


def test_a_balance_is_corrected_for_a_reason_and_read_as_of_a_time(
    client: httpx.Client, account: str
) -> None:
    first = record(client, account, "2027-12-31", amount="30", evidence="statement")
    assert pointers(record(client, account, "2027-12-31", amount="31")) == ["/reason"]
    second = record(client, account, "2027-12-31", amount="31", reason="late booking")
    assert second.json()["version"] == 3
    query = {"on": "2028-01-01"}
    assert client.get(account, params=query).json()["balance"]["amount"] == "31.00"
    known = {**query, "as_of": first.json()["updated_at"]}
    assert client.get(account, params=known).json()["balance"]["amount"] == "30.00"
    assert pointers(record(client, account, "2028-01-01", amount="-0.01")) == ["/amount"]
    assert pointers(record(client, account, "2028-01-01", amount="1.001")) == ["/amount"]


@pytest.mark.parametrize(
    ("terms", "pointer"),
    [
        ({"target_amount": "5"}, "/target_amount"),
        ({"target_months": None}, "/target_amount"),
        ({"target_months": 0}, "/target_months"),
        ({"kind": "OTHER"}, "/target_months"),
        ({"target_months": None, "target_amount": "-5"}, "/target_amount"),
        ({"currency_code": "XAU"}, "/currency_code"),
        ({"name": ""}, "/name"),
        ({"name": "DS\u200bRA"}, "/name"),
    ],
)
def test_terms_that_break_a_rule_name_their_field(
    client: httpx.Client, project_id: str, account: str, terms: Json, pointer: str
) -> None:
    path = f"/v1/ops/projects/{project_id}/reserve-accounts"
    assert pointer in pointers(client.post(path, json={**DSRA, **terms}))
    assert pointer in pointers(client.patch(account, json=terms, headers=ANY))
    assert len(client.get(path).json()["items"]) == 1


def test_an_amended_account_keeps_its_balances_and_their_currency(
    client: httpx.Client, account: str
) -> None:
    record(client, account, "2027-12-31", amount="30")
    assert client.patch(account, json={"name": "New"}).status_code == 428
    fixed = {"kind": "MAINTENANCE", "target_months": None, "target_amount": "100"}
    amended = client.patch(account, json=fixed, headers=ANY)
    assert (amended.json()["target_amount"], len(amended.json()["balances"])) == ("100.00", 1)
    state = client.get(account, params={"on": "2027-12-31"}).json()
    assert (state["target"], state["shortfall"]) == ("100.00", "70.00")
    dollars = client.patch(account, json={"currency_code": "USD"}, headers=ANY)
    assert pointers(dollars) == ["/currency_code"]


def test_of_sixteen_balances_of_a_day_one_is_the_first(client: httpx.Client, account: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(
            pool.map(lambda n: record(client, account, "2027-12-31", amount=str(n)), range(16))
        )
    assert [response.status_code for response in responses].count(201) == 1
    assert client.get(account).json()["account"]["version"] == 2


def test_reserve_accounts_have_events_and_a_dataset(
    client: httpx.Client, project_id: str, account: str
) -> None:
    record(client, account, "2027-12-31", amount="30")
    key = account.rpartition("/")[2]
    query = {"subject": f"reserve_accounts/{key}"}
    events = client.get("/v1/events", params=query).json()["events"]
    types = ["reserve_account.opened", "reserve_account.balanced"]
    assert [event["type"] for event in events] == [f"spawn.{name}.v1" for name in types]
    rows = client.get("/v1/data/reserve_accounts.json", params={"project_id": project_id}).json()
    assert [(row["id"], row["target_months"]) for row in rows] == [(key, 6)]
