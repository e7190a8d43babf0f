"""Exposure and concentration over HTTP: sums, limits, rates, and the same bytes later."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.portfolios.test_portfolio_routes import PORTFOLIOS, create

FACILITY: dict[str, Any] = {
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "90000000.00",
    "availability_start": "2026-03-31",
    "availability_end": "2027-12-31",
    "lenders": [{"lender": "First Bank", "share": "100"}],
    "rate": {"fixed_rate": "0.045"},
    "payment_dates": {"start": "2026-03-31", "end": "2036-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "straight_line"},
}


@pytest.fixture
def portfolio(client: httpx.Client) -> str:
    """Return the address of a portfolio with two facilities in two currencies."""
    client.post(
        "/v1/ops/fx-rate-sets",
        json={
            "on": "2026-09-29",
            "source": "walk",
            "base_currency": "EUR",
            "rates": {"USD": "1.25"},
        },
    )
    body = {
        "name": "Debt",
        "currency_code": "EUR",
        "fx_source": "walk",
        "limits": [
            {"by": "country", "value": "ESP", "max_amount": "29999999.99"},
            {"by": "name", "max_share": "60"},
            {"by": "currency", "max_share": "90"},
        ],
    }
    address: str = create(client, PORTFOLIOS, body)["address"]
    for country, currency, share in (("ESP", "EUR", "1/3"), ("PRT", "USD", "50")):
        project = create(client, "/v1/ops/projects", {**WIND, "country_code": country})
        facilities = f"/v1/ops/projects/{project['project_id']}/facilities"
        facility = create(client, facilities, {**FACILITY, "currency_code": currency})
        holding = {"facility_id": facility["facility_id"], "share": share, "since": "2026-03-31"}
        create(client, f"{address}/holdings", holding)
    return address


def test_exposure_adds_up_and_every_breach_is_reported(
    client: httpx.Client, portfolio: str
) -> None:
    query = {"by": "country,currency", "on": "2026-09-30"}
    response = client.get(f"{portfolio}/exposure", params=query)
    exposure = response.json()
    assert exposure["total"] == {
        "outstanding": "0.00",
        "undrawn": "66000000.00",
        "exposure": "66000000.00",
    }
    rows = [(g["level"], g["keys"], g["exposure"], g["share"]) for g in exposure["groups"]]
    assert rows == [
        (1, {"country": "PRT"}, "36000000.00", "54.5455"),
        (2, {"country": "PRT", "currency": "USD"}, "36000000.00", "54.5455"),
        (1, {"country": "ESP"}, "30000000.00", "45.4545"),
        (2, {"country": "ESP", "currency": "EUR"}, "30000000.00", "45.4545"),
    ]
    limits = [
        (one["is_breached"], one["headroom"], len(one["breaches"])) for one in exposure["limits"]
    ]
    assert limits == [
        (True, "-0.01", 1),
        (False, "3600000.00", 0),
        (False, "23400000.00", 0),
    ]
    (breach,) = exposure["limits"][0]["breaches"]
    assert breach == {"value": "ESP", "exposure": "30000000.00", "share": "45.4545"}
    fx = exposure["fx"]
    assert (fx["set_id"], fx["age_days"], exposure["holdings"]) == ("2026-09-29.walk", 1, 2)

    again = client.get(f"{portfolio}/exposure", params={**query, "as_of": exposure["as_of"]})
    assert again.content == response.content
    (item, *_) = client.get(f"{portfolio}/holdings").json()["items"]
    holding = f"{portfolio}/holdings/{item['holding_id']}"
    client.patch(holding, json={"share": "10"}, headers={"If-Match": "*"})
    assert client.get(f"{portfolio}/exposure", params=query).json()["total"] != exposure["total"]
    again = client.get(f"{portfolio}/exposure", params={**query, "as_of": exposure["as_of"]})
    assert again.content == response.content


def test_concentration_has_an_index_and_the_largest_groups(
    client: httpx.Client, portfolio: str
) -> None:
    query = {"by": "country,kind", "on": "2026-09-30", "top": "1", "currency": "USD"}
    response = client.get(f"{portfolio}/concentration", params=query).json()
    assert response["total"]["exposure"] == "82500000.00"
    country, kind = response["concentration"]
    assert (country["hhi"], country["groups"], country["largest_share"]) == (
        "5041.32",
        2,
        "54.5455",
    )
    assert country["largest"] == [{"value": "PRT", "exposure": "45000000.00", "share": "54.5455"}]
    assert (kind["hhi"], kind["largest"][0]["value"]) == ("10000.00", "senior")


@pytest.mark.parametrize(
    ("path", "query", "pointer", "code"),
    [
        ("exposure", {"by": "colour"}, "/by", "not_in_enum"),
        ("exposure", {"by": ""}, "/by", "not_in_enum"),
        ("exposure", {"by": "country,country"}, "/by", "duplicate"),
        ("exposure", {"by": "country,sector,sponsor,rating,name"}, "/by", "too_many"),
        ("exposure", {"on": "soon"}, "/on", "not_a_date"),
        ("exposure", {"as_of": "9999-12-31"}, "/as_of", "in_the_future"),
        ("exposure", {"currency": "BRL"}, "/currency", "missing_rate"),
        ("exposure", {"currency": "brl"}, "/currency", "unknown_currency"),
        ("exposure", {"currency": ""}, "/currency", "unknown_currency"),
        ("forecast", {"currency": ""}, "/currency", "unknown_currency"),
        ("exposure", {"on": "2026-12-30"}, "/on", "missing_rates"),
        ("concentration", {"top": "0"}, "/top", "out_of_range"),
        ("concentration", {"top": "101"}, "/top", "out_of_range"),
    ],
)
def test_an_invalid_report_is_rejected_by_parameter(
    client: httpx.Client, portfolio: str, path: str, query: dict[str, str], pointer: str, code: str
) -> None:
    response = client.get(f"{portfolio}/{path}", params={"on": "2026-09-30", **query})
    assert response.status_code == 422
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [(pointer, code)]


def test_a_portfolio_without_holdings_has_no_exposure(client: httpx.Client) -> None:
    body = {"name": "Empty", "currency_code": "JPY", "limits": [{"by": "name", "max_share": "1"}]}
    address = create(client, PORTFOLIOS, body)["address"]
    exposure = client.get(f"{address}/exposure").json()
    assert (exposure["total"]["exposure"], exposure["groups"], exposure["fx"]) == ("0", [], None)
    assert exposure["limits"][0]["largest"] is None
    concentration = client.get(f"{address}/concentration").json()["concentration"]
    assert concentration[0]["hhi"] == "0.00"
    unknown = f"{PORTFOLIOS}/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
    assert client.get(f"{unknown}/exposure").status_code == 404
