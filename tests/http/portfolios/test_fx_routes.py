"""Exchange rates over HTTP: sets, corrections, conversions, the dataset and the events."""

from typing import Any

import httpx
import pytest

SETS = "/v1/ops/fx-rate-sets"
BODY: dict[str, Any] = {
    "on": "2026-11-27",
    "source": "ecb",
    "base_currency": "EUR",
    "rates": {"USD": "1.0573", "JPY": 160.94},
}


def test_a_set_is_published_corrected_and_readable_in_each_revision(client: httpx.Client) -> None:
    created = client.post(SETS, json=BODY)
    assert (created.status_code, created.headers["location"]) == (201, f"{SETS}/2026-11-27.ecb")
    first = created.json()
    assert first["rates"] == {"JPY": "160.94", "USD": "1.0573"}
    assert client.post(SETS, json=BODY).status_code == 200

    other = {**BODY, "rates": {"USD": "1.0574"}}
    conflict = client.post(SETS, json=other)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "duplicate")
    correction = {"revision": 1, "reason": "a misprint"}
    second = client.post(SETS, json={**other, "correction": correction}).json()
    assert (second["revision"], second["reason"]) == (2, "a misprint")
    third = {**other, "rates": {"USD": "1.0575"}, "correction": correction}
    stale = client.post(SETS, json=third)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")

    address = f"{SETS}/2026-11-27.ecb"
    assert client.get(address).json() == second
    assert client.get(address, params={"revision": 1}).json() == first
    assert client.get(address, params={"as_of": first["recorded_at"]}).json() == first
    assert client.get(address, params={"revision": 3}).status_code == 404
    assert client.get(f"{SETS}/2026-11-28.ecb").status_code == 404
    listed = client.get(SETS, params={"source": "ecb", "on": "2026-11-27"}).json()
    assert listed["items"] == [second]
    past = client.get(SETS, params={"source": "ecb", "as_of": first["recorded_at"]}).json()
    assert past["items"] == [first]
    assert client.get(SETS, params={"source": "fed"}).json()["items"] == []

    (row, *_) = client.get("/v1/data/fx_rates.json", params={"set_id": "2026-11-27.ecb"}).json()
    assert (row["currency_code"], row["rate"], row["revision"]) == ("USD", 1.0574, 2)
    events = client.get("/v1/events", params={"subject": "fx_rate_sets/2026-11-27.ecb"}).json()
    assert [(e["type"], e["data"]["changed"]) for e in events["events"]] == [
        ("spawn.fx_rate_set.published.v1", ["on", "source", "base_currency", "rates"]),
        ("spawn.fx_rate_set.corrected.v1", ["rates", "reason"]),
    ]


def test_an_amount_is_converted_by_a_stated_set(client: httpx.Client) -> None:
    client.post(SETS, json={**BODY, "source": "desk"})
    query = {"amount": "105.73", "from": "USD", "to": "EUR", "source": "desk", "on": "2026-11-30"}
    converted = client.get("/v1/ops/fx-conversion", params=query).json()
    assert (converted["converted_amount"], converted["rate"]) == ("100.00", "0.945805353258")
    assert converted["fx"] == {
        "set_id": "2026-11-27.desk",
        "on": "2026-11-27",
        "source": "desk",
        "revision": 1,
        "base_currency": "EUR",
        "age_days": 3,
        "max_age_days": 7,
    }


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"to": "BRL"}, "/to", "missing_rate"),
        ({"to": "brl"}, "/to", "missing_rate"),
        ({"from": "XXA"}, "/amount", "unknown_currency"),
        ({"amount": "1e3"}, "/amount", "not_an_amount"),
        ({"amount": "0.001"}, "/amount", "too_precise"),
        ({"on": "2026-12-24"}, "/on", "missing_rates"),
        ({"on": "2026-11-26"}, "/on", "missing_rates"),
        ({"on": "soon"}, "/on", "not_a_date"),
        ({"max_age_days": "2"}, "/on", "missing_rates"),
        ({"max_age_days": "-1"}, "/max_age_days", "out_of_range"),
        ({"max_age_days": "367"}, "/max_age_days", "out_of_range"),
        ({"source": "nobody"}, "/on", "missing_rates"),
        ({"source": "No Body"}, "/source", "invalid_name"),
    ],
)
def test_a_conversion_without_a_rate_is_an_error(
    client: httpx.Client, changes: dict[str, str], pointer: str, code: str
) -> None:
    client.post(SETS, json={**BODY, "source": "other"})
    query = {"amount": "100", "from": "USD", "to": "EUR", "source": "other", "on": "2026-11-30"}
    response = client.get("/v1/ops/fx-conversion", params=query | changes)
    assert response.status_code == 422
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [(pointer, code)]


def test_a_conversion_without_its_parameters_names_them(client: httpx.Client) -> None:
    response = client.get("/v1/ops/fx-conversion", params={"amount": "1", "to": "EUR"})
    assert {e["pointer"] for e in response.json()["errors"]} == {"/from", "/source", "/on"}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"rates": {"USD": "one"}}, "/rates/USD"),
        ({"rates": {"USD": None}}, "/rates/USD"),
        ({"rates": {"U/SD": "1"}}, "/rates/U~1SD"),
        ({"rates": ["USD"]}, "/rates"),
        ({"on": "27.11.2026"}, "/on"),
        ({"source": "ECB"}, "/source"),
        ({"correction": {"revision": 1}}, "/correction/reason"),
        ({"correction": {"revision": 1, "reason": "\n "}}, "/correction/reason"),
        ({"correction": {"revision": 0, "reason": "x"}}, "/correction/revision"),
        ({"revision": 2}, "/revision"),
    ],
)
def test_an_invalid_set_is_rejected_by_field(
    client: httpx.Client, changes: dict[str, Any], pointer: str
) -> None:
    response = client.post(SETS, json={**BODY, "source": "wrong", **changes})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
