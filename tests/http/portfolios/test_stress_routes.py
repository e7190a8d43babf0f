"""The stress of a portfolio over HTTP: figures, repetition, and errors by field."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.portfolios.test_exposure_routes import FACILITY
from tests.http.portfolios.test_portfolio_routes import PORTFOLIOS, create

QUERY = {"on": "2026-03-31"}
PERIODS = [
    {
        "starts_on": f"{year}-04-01",
        "ends_on": f"{year + 1}-03-31",
        "cfads": "8000000.00",
    }
    for year in range(2026, 2036)
]
SHOCKS: dict[str, Any] = {
    "cfads": {
        "distribution": "lognormal",
        "median": 1.0,
        "sigma": 0.3,
        "loadings": {"global": 0.5, "country": 0.5},
    },
    "cfads_noise_sigma": 0.1,
}


@pytest.fixture
def portfolio(client: httpx.Client) -> str:
    """Return the address of a portfolio with two drawn loans, and one without a case."""
    address: str = create(client, PORTFOLIOS, {"name": "Debt", "currency_code": "EUR"})["address"]
    for number in range(3):
        project = create(client, "/v1/ops/projects", {**WIND, "project_name": f"Farm {number}"})
        resource = f"/v1/ops/projects/{project['project_id']}"
        terms = {**FACILITY, "rate": {"fixed_rate": "0"}}
        facility = create(client, f"{resource}/facilities", terms)
        entries = f"/v1/ops/facilities/{facility['facility_id']}/entries"
        draw = {"kind": "draw", "value_date": "2026-03-31", "amount": "60000000.00"}
        headers = {"If-Match": "*", "Idempotency-Key": f"draw-{number}"}
        response = client.post(entries, json=draw, headers=headers)
        assert response.status_code == 201, response.text
        holding = {"facility_id": facility["facility_id"], "share": "1/3", "since": "2026-03-31"}
        create(client, f"{address}/holdings", holding)
        if number:
            case = {"name": "Base", "kind": "BASE", "currency_code": "EUR", "periods": PERIODS}
            create(client, f"{resource}/cases", case)
    return address


def test_a_stress_repeats_by_its_seed_and_names_what_it_leaves_out(
    client: httpx.Client, portfolio: str
) -> None:
    calm = client.post(f"{portfolio}/stress", params=QUERY, json={"scenarios": 10}).json()
    # 8 million of CFADS a year on 6 of debt service.
    assert calm["total"]["base_min_dscr"] == pytest.approx(4 / 3, rel=1e-12)
    assert calm["total"]["min_dscr"]["p1"] == calm["total"]["base_min_dscr"]
    assert calm["total"]["uncovered_probability"] == 0
    assert calm["total"]["shortfall"]["p99"] == "0.00"
    (gap,) = calm["left_out"]
    assert (gap["name"], gap["reason"]) == ("Farm 0", "no_case")
    assert [one["periods"] for one in calm["projects"]] == [10, 10]

    body = {"scenarios": 500, "seed": 11, "shocks": SHOCKS}
    response = client.post(f"{portfolio}/stress", params=QUERY, json=body)
    stress = response.json()
    assert stress["total"]["uncovered_probability"] > 0.1
    means = [float(one["figures"]["shortfall"]["mean"]) for one in stress["projects"]]
    assert f"{sum(means):.2f}" == stress["total"]["shortfall"]["mean"]
    query = {**QUERY, "as_of": stress["as_of"]}
    assert client.post(f"{portfolio}/stress", params=query, json=body).content == response.content
    other = client.post(f"{portfolio}/stress", params=QUERY, json={**body, "seed": 12}).json()
    assert other["total"]["min_dscr"] != stress["total"]["min_dscr"]


@pytest.mark.parametrize(
    ("query", "body", "pointer", "code"),
    [
        ({}, {"scenarios": 10_001}, "/scenarios", "out_of_range"),
        ({}, {"scenarios": "many"}, "/scenarios", "wrong_type"),
        ({}, {"runs": 10}, "/runs", "unknown_field"),
        ({}, {"shocks": {"delay": {}}}, "/shocks/delay", "unknown_field"),
        ({}, {"shocks": {"cfads_noise_sigma": -1}}, "/shocks/cfads_noise_sigma", "out_of_range"),
        ({}, {"case_kind": "WORST"}, "/case_kind", "not_in_enum"),
        ({"on": "soon"}, {}, "/on", "not_a_date"),
        ({"currency": "brl"}, {}, "/currency", "unknown_currency"),
    ],
)
def test_an_invalid_stress_is_rejected_by_field(
    client: httpx.Client,
    portfolio: str,
    query: dict[str, str],
    body: dict[str, Any],
    pointer: str,
    code: str,
) -> None:
    response = client.post(f"{portfolio}/stress", params={**QUERY, **query}, json=body)
    assert response.status_code == 422, response.text
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [(pointer, code)]


def test_a_stress_of_an_unknown_portfolio_is_not_found(client: httpx.Client) -> None:
    unknown = f"{PORTFOLIOS}/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b/stress"
    assert client.post(unknown, json={}).status_code == 404
