"""Portfolios and holdings over HTTP: terms, versions, repeated requests and past states."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND

PORTFOLIOS = "/v1/ops/portfolios"
BODY: dict[str, Any] = {
    "name": "Infrastructure debt",
    "currency_code": "EUR",
    "fx_source": "ecb",
    "limits": [
        {"by": "country", "value": "ESP", "max_amount": "250000000.00"},
        {"by": "name", "max_share": "10"},
    ],
}


def create(client: httpx.Client, address: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(address, json=body)
    assert response.status_code == 201, response.text
    return {**response.json(), "address": response.headers["location"]}


def test_a_portfolio_is_created_once_for_a_key_and_amended_at_its_version(
    client: httpx.Client,
) -> None:
    key = {"Idempotency-Key": "portfolio-1"}
    first = client.post(PORTFOLIOS, json=BODY, headers=key)
    again = client.post(PORTFOLIOS, json=BODY, headers=key)
    assert (first.status_code, first.json()) == (201, again.json())
    assert first.headers["location"] == again.headers["location"]
    portfolio = first.json()
    assert portfolio["limits"] == [
        {"by": "country", "value": "ESP", "max_amount": "250000000.00", "max_share": None},
        {"by": "name", "value": None, "max_amount": None, "max_share": "10"},
    ]
    assert (portfolio["max_fx_age_days"], portfolio["version"]) == (7, 1)

    address, tag = first.headers["location"], first.headers["etag"]
    assert client.patch(address, json={"name": "Debt"}).status_code == 428
    patch: dict[str, Any] = {"fx_source": None, "limits": [], "max_fx_age_days": 3}
    amended = client.patch(address, json=patch, headers={"If-Match": tag})
    expected = {**portfolio, **patch, "version": 2, "updated_at": amended.json()["updated_at"]}
    assert amended.json() == expected
    unchanged = client.patch(address, json=patch, headers={"If-Match": amended.headers["etag"]})
    assert unchanged.json() == expected
    assert client.patch(address, json=patch, headers={"If-Match": tag}).status_code == 412
    assert client.get(address).json() == expected
    past = {"as_of": portfolio["updated_at"]}
    assert client.get(address, params=past).json() == portfolio
    listed = client.get(PORTFOLIOS, params={"limit": 500}).json()["items"]
    assert expected in listed
    assert portfolio in client.get(PORTFOLIOS, params={"limit": 500, **past}).json()["items"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"currency_code": "EUR"}, "/name"),
        ({**BODY, "name": None}, "/name"),
        ({**BODY, "currency_code": "eur"}, "/currency_code"),
        ({**BODY, "fx_source": "E C B"}, "/fx_source"),
        ({**BODY, "max_fx_age_days": 400}, "/max_fx_age_days"),
        ({**BODY, "limits": [{"by": "colour", "max_share": "10"}]}, "/limits/0/by"),
        ({**BODY, "limits": [{"by": "name", "max_share": "ten"}]}, "/limits/0/max_share"),
        ({**BODY, "owner": "me"}, "/owner"),
    ],
)
def test_an_invalid_portfolio_is_rejected_by_field(
    client: httpx.Client, body: dict[str, Any], pointer: str
) -> None:
    response = client.post(PORTFOLIOS, json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_holdings_share_an_exposure_of_at_most_the_whole(client: httpx.Client) -> None:
    project = create(client, "/v1/ops/projects", WIND)
    first, second = (create(client, PORTFOLIOS, BODY)["address"] for _ in range(2))
    stake = {"project_id": project["project_id"], "since": "2026-03-31"}
    one = create(client, f"{first}/holdings", {**stake, "share": "2/3"})
    assert (one["share"], one["exposure_kind"], one["until"]) == ("2/3", "equity", None)
    conflict = client.post(f"{second}/holdings", json={**stake, "share": "33.34"})
    assert (conflict.status_code, conflict.json()["code"]) == (409, "conflict")
    assert "2026-03-31" in conflict.json()["detail"]
    create(client, f"{second}/holdings", {**stake, "share": "1/3"})

    address = one["address"]
    shown = client.get(address)
    sold = client.patch(
        address, json={"until": "2027-01-01"}, headers={"If-Match": shown.headers["etag"]}
    )
    assert sold.json()["until"] == "2027-01-01"
    later = {**stake, "share": "50", "since": "2027-01-01"}
    create(client, f"{second}/holdings", later)
    assert client.patch(address, json={"until": None}, headers={"If-Match": "*"}).status_code == 409

    other = f"{second}/holdings/{address.rpartition('/')[2]}"
    assert client.get(other).status_code == 404
    assert client.delete(address).status_code == 428
    once = {"If-Match": sold.headers["etag"], "Idempotency-Key": address}
    removed = client.delete(address, headers=once)
    assert (removed.status_code, removed.json()["is_active"]) == (200, False)
    with_body = client.request("DELETE", address, headers=once, json={"reason": "another"})
    assert [one["code"] for one in with_body.json()["errors"]] == ["unexpected_body"]
    assert client.delete(address, headers=once).content == removed.content
    assert client.get(address).status_code == 404
    assert client.get(f"{first}/holdings").json()["items"] == []
    past = client.get(f"{first}/holdings", params={"as_of": shown.json()["updated_at"]}).json()
    assert past["items"] == [shown.json()]
    past_one = client.get(address, params={"as_of": shown.json()["updated_at"]})
    assert past_one.json() == shown.json()

    rows = client.get("/v1/data/holdings.json", params={"id": one["holding_id"]}).json()
    assert [(row["share"], row["is_active"], row["until"]) for row in rows] == [
        ("2/3", False, "2027-01-01")
    ]
    portfolio_id = first.rpartition("/")[2]
    (row,) = client.get("/v1/data/portfolios.json", params={"id": portfolio_id}).json()
    assert row["name"] == "Infrastructure debt"
    events = client.get("/v1/events", params={"subject": f"holdings/{one['holding_id']}"}).json()
    assert [event["type"] for event in events["events"]] == [
        f"spawn.holding.{verb}.v1" for verb in ("created", "amended", "removed")
    ]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"share": "0"}, "/share"),
        ({"share": 50}, "/share"),
        ({"share": None}, "/share"),
        ({"since": "soon"}, "/since"),
        ({"until": "2026-03-31"}, "/until"),
        ({"project_id": None}, "/facility_id"),
        ({"project_id": "P-1"}, "/project_id"),
        ({"holder": "x"}, "/holder"),
    ],
)
def test_an_invalid_holding_is_rejected_by_field(
    client: httpx.Client, changes: dict[str, Any], pointer: str
) -> None:
    project = create(client, "/v1/ops/projects", WIND)
    portfolio = create(client, PORTFOLIOS, BODY)
    body = {"project_id": project["project_id"], "since": "2026-03-31", "share": "1", **changes}
    response = client.post(f"{portfolio['address']}/holdings", json=body)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_an_unknown_portfolio_is_404(client: httpx.Client) -> None:
    unknown = f"{PORTFOLIOS}/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
    for address in (unknown, f"{unknown}/holdings"):
        assert client.get(address).status_code == 404
    body = {"project_id": "x", "since": "2026-03-31", "share": "1"}
    assert client.post(f"{unknown}/holdings", json=body).status_code == 404
    assert client.patch(unknown, json={}, headers={"If-Match": "*"}).status_code == 404
