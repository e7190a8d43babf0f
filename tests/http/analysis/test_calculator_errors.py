"""Bad input to the calculators over HTTP: rejected with 422 and a pointer to each field."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.http.conftest import Service

from spawn.application.analysis.calculation import MAX_CASES

Json = dict[str, Any]
SIZING: Json = {"cfads": [110.0, 120.0, 115.0], "annual_rates": 0.05, "target_dscr": 1.3}
DATED: Json = {
    **SIZING,
    "dates": ["2027-01-01", "2027-07-01", "2028-01-01", "2028-07-01"],
    "day_count": "ACT/360",
    "months_per_period": 6,
}
LOAN: Json = {
    "principal": 100.0,
    "annual_rates": 0.05,
    "profile": "straight_line",
    "dates": ["2027-01-01", "2028-01-01", "2029-01-01"],
}
WATERFALL: Json = {"cfads": [10.0, 9.0], "senior_interest": [2.0, 1.0], "senior_principal": [5, 5]}
FUNDING: Json = {"construction_cost": [50, 50], "gearing": 0.7, "rate_per_period": 0.02}
COVENANT: Json = {"lockup_below": 1.15, "default_below": 1.05, "ratios": [1.3, 1.1]}
COVERAGE: Json = {
    "debt": 100.0,
    "cfads": [70.0, 70.0],
    "interest": [5.0, 2.5],
    "principal": [50.0, 50.0],
    "period_rates": 0.05,
}
FLOWS: Json = {
    "flows": [
        {"date": "2027-01-01", "amount": -100.0, "currency_code": "EUR"},
        {"date": "2028-01-01", "amount": 110.0, "currency_code": "EUR"},
    ]
}
DAYS: Json = {"day_count": "ACT/360", "periods": [{"start": "2027-01-01", "end": "2027-07-01"}]}


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def post(client: httpx.Client, calculator: str, body: Any, **headers: str) -> httpx.Response:
    return client.post(f"/v1/analysis/{calculator}", json=body, headers=headers)


def error_codes(response: httpx.Response) -> dict[str, str]:
    """Return the code at each pointer of a 422 problem."""
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return {error["pointer"]: error["code"] for error in response.json()["errors"]}


@pytest.mark.parametrize(
    ("calculator", "base", "change", "pointer", "code"),
    [
        # dates out of order or equal
        (
            "debt-sizing",
            DATED,
            {"dates": ["2027-01-01", "2028-01-01", "2027-07-01", "2028-07-01"]},
            "/dates/2",
            "not_increasing",
        ),
        (
            "schedule",
            LOAN,
            {"dates": ["2027-01-01", "2027-01-01", "2028-01-01"]},
            "/dates/1",
            "not_increasing",
        ),
        ("schedule", {}, {"dates": ["2027-01-01", "2026-01-01"]}, "/dates/1", "not_increasing"),
        (
            "day-count",
            DAYS,
            {"periods": [{"start": "2027-07-01", "end": "2027-01-01"}]},
            "/periods/0/end",
            "before_start",
        ),
        # wrong lengths
        ("debt-sizing", SIZING, {"target_dscr": [1.3, 1.3]}, "/target_dscr", "wrong_length"),
        ("debt-sizing", SIZING, {"accruals": [0.5]}, "/accruals", "wrong_length"),
        ("debt-sizing", DATED, {"dates": ["2027-01-01"]}, "/dates", "wrong_length"),
        ("waterfall", WATERFALL, {"senior_interest": [1.0]}, "/senior_interest", "wrong_length"),
        (
            "construction-funding",
            FUNDING,
            {"rate_per_period": [0.1]},
            "/rate_per_period",
            "wrong_length",
        ),
        (
            "covenants",
            {"lockup_below": 1.1},
            {"coverage": {**COVERAGE, "interest": [5.0]}},
            "/coverage/interest",
            "wrong_length",
        ),
        # tenor beyond life
        ("debt-sizing", SIZING, {"tenor_periods": 4}, "/tenor_periods", "tenor_beyond_life"),
        (
            "covenants",
            {"lockup_below": 1.1},
            {"coverage": {**COVERAGE, "cfads": [70.0]}},
            "/coverage/cfads",
            "wrong_length",
        ),
        # impossible ratios
        ("debt-sizing", SIZING, {"target_dscr": 0}, "/target_dscr", "not_positive"),
        (
            "debt-sizing",
            SIZING,
            {"target_dscr": [1.3, -1.0, 1.3]},
            "/target_dscr/1",
            "not_positive",
        ),
        ("covenants", COVENANT, {"default_below": 1.2}, "/lockup_below", "out_of_order"),
        (
            "covenants",
            COVENANT,
            {"waivers": [{"first": 1, "last": 1}] * 201},
            "/waivers",
            "wrong_length",
        ),
        # names
        ("debt-sizing", DATED, {"day_count": "ACT/361"}, "/day_count", "unknown_day_count"),
        ("schedule", LOAN, {"day_count": "30/365"}, "/day_count", "unknown_day_count"),
        ("day-count", DAYS, {"day_count": "lunar"}, "/day_count", "unknown_day_count"),
        (
            "day-count",
            DAYS,
            {"day_count": "ACT/ACT ICMA", "frequency": 5},
            "/frequency",
            "out_of_range",
        ),
        ("returns", FLOWS, {"currency_code": "USD"}, "/flows/0/currency_code", "mixed_currencies"),
        ("schedule", LOAN, {"profile": "magic"}, "/profile", "not_in_enum"),
        ("schedule", LOAN, {"currency_code": "XXQ"}, "/currency_code", "unknown_currency"),
        ("schedule", LOAN, {"currency_code": "XAU"}, "/currency_code", "no_minor_unit"),
        (
            "covenants",
            {"lockup_below": 1.1, "coverage": COVERAGE},
            {"metric": "ICR"},
            "/metric",
            "not_in_enum",
        ),
        # mixed currencies
        (
            "returns",
            {},
            {"flows": [FLOWS["flows"][0], {**FLOWS["flows"][1], "currency_code": "USD"}]},
            "/flows/1/currency_code",
            "mixed_currencies",
        ),
        (
            "returns",
            {},
            {"flows": [{**FLOWS["flows"][0], "currency_code": "ABC"}]},
            "/flows/0/currency_code",
            "unknown_currency",
        ),
        ("returns", FLOWS, {"currency_code": "ABC"}, "/currency_code", "unknown_currency"),
        (
            "returns",
            {"cash_flows": [-1.0, 2.0]},
            {"finance_rate": 0.1},
            "/reinvest_rate",
            "incomplete",
        ),
        # fields that do not apply
        ("returns", FLOWS, {"periods_per_year": 4}, "/periods_per_year", "not_applicable"),
        ("schedule", {"dates": LOAN["dates"]}, {"cfads": [1, 2]}, "/cfads", "not_applicable"),
        ("debt-sizing", SIZING, {"tax_cash_flow": [0] * 4}, "/tax_cash_flow", "not_applicable"),
        (
            "debt-sizing",
            SIZING,
            {"reserve_interest_rate": 0.01},
            "/reserve_interest_rate",
            "not_applicable",
        ),
        # beyond float64 and beyond sense
        ("debt-sizing", SIZING, {"cfads": [1e308, 1e308, 1e308]}, "/cfads/0", "out_of_range"),
        ("returns", {}, {"cash_flows": [-1e308, 1e308]}, "/cash_flows/0", "out_of_range"),
        (
            "returns",
            {},
            {"flows": [{**FLOWS["flows"][0], "amount": -1e308}, FLOWS["flows"][1]]},
            "/flows/0/amount",
            "out_of_range",
        ),
        ("schedule", LOAN, {"principal": 1e308}, "/principal", "not_positive"),
        ("waterfall", WATERFALL, {"mezz_open": 1e308}, "/mezz_open", "out_of_range"),
        (
            "construction-funding",
            FUNDING,
            {"construction_cost": [1e308, 1]},
            "/construction_cost/0",
            "out_of_range",
        ),
        ("covenants", COVENANT, {"ratios": [1e17]}, "/ratios/0", "out_of_range"),
        (
            "returns",
            {"cash_flows": [-1.0, 2.0]},
            {"discount_rate": -1},
            "/discount_rate",
            "out_of_range",
        ),
        # nothing at all
        ("debt-sizing", SIZING, {"cfads": []}, "/cfads", "empty"),
        ("returns", {}, {"cash_flows": []}, "/cash_flows", "empty"),
        ("returns", {}, {"flows": []}, "/flows", "empty"),
        ("waterfall", WATERFALL, {"cfads": []}, "/cfads", "empty"),
        ("construction-funding", FUNDING, {"construction_cost": []}, "/construction_cost", "empty"),
        ("covenants", COVENANT, {"ratios": []}, "/ratios", "empty"),
        ("day-count", DAYS, {"periods": []}, "/periods", "empty"),
        ("returns", {}, {}, "/cash_flows", "ambiguous"),
        ("schedule", {}, {}, "/payment_dates", "ambiguous"),
        # too many periods
        (
            "debt-sizing",
            SIZING,
            {"tenor_periods": 1_000_000},
            "/tenor_periods",
            "tenor_beyond_life",
        ),
        ("debt-sizing", SIZING, {"cfads": [1] * 1_000_000}, "/cfads", "wrong_length"),
        ("returns", {}, {"cash_flows": [1] * 1_000_000}, "/cash_flows", "wrong_length"),
        (
            "schedule",
            {},
            {"payment_dates": {"start": "1001-01-01", "end": "8999-01-01", "frequency": "monthly"}},
            "/payment_dates/end",
            "too_many_periods",
        ),
        (
            "schedule",
            {},
            {"payment_dates": {"start": "2027-01-01", "end": "2027-01-01", "frequency": "monthly"}},
            "/payment_dates/end",
            "not_increasing",
        ),
        (
            "schedule",
            {},
            {
                "payment_dates": {
                    "start": "2027-01-01",
                    "end": "2028-01-01",
                    "frequency": "monthly",
                    "roll": 31,
                }
            },
            "/payment_dates/roll",
            "unknown_field",
        ),
        # types
        ("debt-sizing", SIZING, {"cfads": ["110"]}, "/cfads/0", "wrong_type"),
        ("debt-sizing", SIZING, {"cfads": None}, "/cfads", "wrong_type"),
        ("debt-sizing", SIZING, {"tenor_periods": 2.5}, "/tenor_periods", "wrong_type"),
        (
            "debt-sizing",
            SIZING,
            {"allow_negative_amortisation": 1},
            "/allow_negative_amortisation",
            "wrong_type",
        ),
        ("debt-sizing", DATED, {"dates": [20270101]}, "/dates/0", "wrong_type"),
        ("debt-sizing", DATED, {"dates": ["2027-02-30"]}, "/dates/0", "out_of_range"),
        ("covenants", COVENANT, {"ratios": ["NaN"]}, "/ratios/0", "invalid_value"),
        ("covenants", COVENANT, {"lockup_below": "1E+400000"}, "/lockup_below", "invalid_value"),
        ("debt-sizing", SIZING, {"colour": 1}, "/colour", "unknown_field"),
        ("debt-sizing", SIZING, {"uses": {"capex": 1, "a/b": 2}}, "/uses/a~1b", "unknown_field"),
        ("debt-sizing", SIZING, {"name": "x" * 201}, "/name", "too_long"),
        ("debt-sizing", SIZING, {"explain": "yes"}, "/explain", "wrong_type"),
    ],
)
def test_bad_input_is_rejected_with_a_pointer_to_its_field(
    desk: httpx.Client, calculator: str, base: Json, change: Json, pointer: str, code: str
) -> None:
    result = error_codes(post(desk, calculator, {**base, **change}))
    assert result.get(pointer) == code, result


def test_numbers_beyond_float64_and_invalid_constants_are_rejected(
    desk: httpx.Client,
) -> None:
    headers = {"content-type": "application/json"}
    huge = desk.post("/v1/analysis/returns", content=b'{"cash_flows":[-1,1e400]}', headers=headers)
    assert error_codes(huge) == {"/cash_flows/1": "out_of_range"}
    for text in (b'{"cash_flows":[-1,NaN]}', b'{"cash_flows":[-1],"cash_flows":[1]}', b"[1]x"):
        response = desk.post("/v1/analysis/returns", content=text, headers=headers)
        assert response.json()["code"] == "malformed_body"


def test_every_field_error_of_every_case_is_reported_at_once(desk: httpx.Client) -> None:
    wrong_types = [{**SIZING, "target_dscr": "high"}, {"cfads": [1, "2"], "uses": {}}, 3]
    assert error_codes(post(desk, "debt-sizing", {"cases": wrong_types})) == {
        "/cases/0/target_dscr": "wrong_type",
        "/cases/1/cfads/1": "wrong_type",
        "/cases/1/uses/capex": "missing",
        "/cases/2": "wrong_type",
    }
    wrong_values = [{**SIZING, "target_dscr": 0}, {**SIZING, "cfads": []}]
    assert error_codes(post(desk, "debt-sizing", {"cases": wrong_values})) == {
        "/cases/0/target_dscr": "not_positive",
        "/cases/1/cfads": "empty",
    }


def test_an_error_is_reported_once_where_construction_and_repayment_share_a_term(
    desk: httpx.Client,
) -> None:
    loan = {"name": "bank", "commitment": 0, "rate": {"base_rate": 0.05}}
    case = {"construction_cost": [10], "cfads": [3, 3], "facilities": [loan]}
    (error,) = post(desk, "deal", case).json()["errors"]
    assert (error["pointer"], error["code"]) == ("/facilities/0/commitment", "not_positive")


FAILURES: list[tuple[str, Json, Json, str, str]] = [
    ("debt-sizing", SIZING, {**SIZING, "target_dscr": 0}, "/target_dscr", "not_positive"),
    ("debt-sizing", SIZING, {**SIZING, "cfads": []}, "/cfads", "empty"),
    ("debt-sizing", SIZING, {**SIZING, "tenor_periods": 9}, "/tenor_periods", "tenor_beyond_life"),
    ("returns", {"cash_flows": [-1, 2]}, {"cash_flows": []}, "/cash_flows", "empty"),
    (
        "returns",
        {"cash_flows": [-1, 2]},
        {"cash_flows": [-1, 2], "currency_code": "XXQ"},
        "/currency_code",
        "unknown_currency",
    ),
    ("schedule", LOAN, {**LOAN, "annual_rates": 1e9}, "/annual_rates", "out_of_range"),
]
"""Readable cases that fail in calculation: limits, unknown codes, contradictions."""


@pytest.mark.parametrize(("name", "good", "bad", "pointer", "code"), FAILURES)
def test_a_case_that_fails_leaves_the_others_their_results(
    desk: httpx.Client, name: str, good: Json, bad: Json, pointer: str, code: str
) -> None:
    response = post(desk, name, {"cases": [good, bad, good]})
    assert response.status_code == 200, response.text
    first, failed, last = response.json()["results"]
    assert first == last == post(desk, name, good).json()
    assert [(e["pointer"], e["code"]) for e in failed["errors"]] == [(f"/cases/1{pointer}", code)]
    assert error_codes(post(desk, name, {"cases": [bad]})) == {f"/cases/0{pointer}": code}
    table = desk.post(
        f"/v1/analysis/{name}", json={"cases": [good, bad]}, headers={"Accept": "text/csv"}
    )
    assert error_codes(table) == {f"/cases/1{pointer}": code}


def test_a_case_that_cannot_be_read_hides_no_error_of_another(desk: httpx.Client) -> None:
    cases = [{"cash_flows": [-1, 1.1]}, {"cash_flows": []}, {"cash_flow": [1]}, {"flows": []}]
    response = post(desk, "returns", {"cases": cases})
    assert [error["pointer"] for error in response.json()["errors"]] == [
        "/cases/1/cash_flows",
        "/cases/2/cash_flow",
        "/cases/3/flows",
    ]


INFEASIBLE: list[tuple[str, Json, Json, str, str]] = [
    ("debt-sizing", SIZING, {**SIZING, "cfads": [-1, -2, 0]}, "/cfads", "no_debt_capacity"),
    (
        "schedule",
        {**LOAN, "profile": "sculpted", "cfads": [1, 2]},
        {**LOAN, "profile": "sculpted", "cfads": [0, 0]},
        "/cfads",
        "no_cash",
    ),
    (
        "construction-funding",
        {"construction_cost": [9, 9], "gearing": 0.5, "rate_per_period": 0.1},
        {"construction_cost": [9, 9], "gearing": 1.0, "rate_per_period": 0.1, "upfront_fee": 1.0},
        "/rate_per_period",
        "no_solution",
    ),
]


@pytest.mark.parametrize(("name", "good", "bad", "pointer", "code"), INFEASIBLE)
def test_a_case_that_no_result_meets_fails_alone_among_several(
    desk: httpx.Client, name: str, good: Json, bad: Json, pointer: str, code: str
) -> None:
    cases = {"cases": [{**bad, "name": "corner"}, good]}
    corner, centre = post(desk, name, cases).json()["results"]
    assert centre == post(desk, name, good).json()
    assert corner["name"] == "corner"
    assert [(e["pointer"], e["code"]) for e in corner["errors"]] == [(f"/cases/0{pointer}", code)]
    assert error_codes(post(desk, name, bad)) == {pointer: code}
    table = desk.post(f"/v1/analysis/{name}", json=cases, headers={"Accept": "text/csv"})
    assert error_codes(table) == {f"/cases/0{pointer}": code}
    invalid = {"cases": [bad, {**good, "surprise": 1}]}
    assert error_codes(post(desk, name, invalid)) == {
        f"/cases/0{pointer}": code,
        "/cases/1/surprise": "unknown_field",
    }


def test_errors_are_reported_up_to_a_limit(desk: httpx.Client) -> None:
    many = post(desk, "debt-sizing", {"cases": [{"a": 1}] * MAX_CASES})
    assert len(error_codes(many)) == 50


def test_the_number_of_cases_is_limited(desk: httpx.Client) -> None:
    too_many = post(desk, "debt-sizing", {"cases": [SIZING] * (MAX_CASES + 1)})
    assert error_codes(too_many) == {"/cases": "too_many"}
    assert error_codes(post(desk, "debt-sizing", {"cases": []})) == {"/cases": "empty"}
    assert error_codes(post(desk, "debt-sizing", {"cases": {}})) == {"/cases": "wrong_type"}
    periods = {"cash_flows": [-1.0, 2.0]}
    assert post(desk, "returns", {"cases": [periods] * MAX_CASES}).status_code == 200
    months = [{"start": "2027-01-01", "end": "2027-02-01"}] * 2_400
    too_long = post(desk, "day-count", {"cases": [{**DAYS, "periods": months}] * 42})
    assert error_codes(too_long) == {"/cases": "too_many"}
    extra_field = post(desk, "debt-sizing", {"cases": [SIZING], "cfads": [1]})
    assert error_codes(extra_field) == {"/cfads": "unknown_field"}


def test_a_series_longer_than_any_calculator_takes_is_rejected_before_it_is_read(
    desk: httpx.Client,
) -> None:
    response = post(desk, "returns", {"cash_flows": ["not a number"] * 20_001})
    assert error_codes(response) == {"/cash_flows": "wrong_length"}


def test_a_body_with_too_many_values_is_rejected(
    desk: httpx.Client,
) -> None:
    headers = {"content-type": "application/json"}
    body = b'{"cash_flows":[' + b"1," * 3_000_001 + b"1]}"
    response = desk.post("/v1/analysis/returns", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "values" in response.json()["detail"]


def test_a_loan_without_rate_and_time_names_both(desk: httpx.Client) -> None:
    assert error_codes(post(desk, "schedule", {"principal": 5})) == {
        "/annual_rates": "required",
        "/payment_dates": "ambiguous",
    }


def test_a_day_count_without_dates_says_what_to_do(desk: httpx.Client) -> None:
    response = post(desk, "debt-sizing", {**SIZING, "day_count": "ACT/360"})
    assert error_codes(response) == {"/day_count": "not_applicable"}
    detail = response.json()["errors"][0]["detail"]
    assert detail == "counts days between dates; give dates or payment_dates, or remove it"
