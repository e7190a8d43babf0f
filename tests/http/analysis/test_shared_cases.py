"""Every case of the desk is put over HTTP and gives what it expects.

The cases lie beside the repository. An expectation is a path into the response with its figure; one
in words has a check here. `FIELDS` adds what a case had no field for.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import httpx
import pytest
from tests.application.analysis.formula_evaluator import evaluate
from tests.http.conftest import Service
from tests.shared_material import find_shared

Json = Any
FOLDER = find_shared("cases", "finance")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="no cases beside the repository: none is put"
)

FIELDS: Final[dict[str, Json]] = {
    "09-mezz-pik-never-repaid": {"mezz_catch_up": True},
    "20-roll-missing-day-to-next-month": {
        "payment_dates": {
            "start": "2025-01-31",
            "end": "2025-05-01",
            "frequency": "monthly",
            "missing_day": "next_month",
        }
    },
    "24-bus-252": {"calendar": {"base": "weekends", "holidays": ["2026-04-03"]}},
    "45-waterfall-lockup-on-12-months": {"lockup_periods_back": 2},
    "50-p99-of-dscr": {"percentiles": [1, 99]},
}
"""Fields for what a case could not say."""

REQUESTS: Final[dict[str, tuple[str, Json]]] = {
    "38-p50-p99-two-case-sizing": (
        "/v1/analysis/debt-sizing",
        {
            "cfads": [10, 10, 10, 10, 10],
            "annual_rates": 0.06,
            "sizing_scenarios": [
                {"name": "P50", "target_dscr": 1.3},
                {"name": "P99", "target_dscr": 1.0, "cfads": [7, 7.4, 7.9, 8, 8]},
            ],
        },
    ),
    "48-cpi-index-of-tariff": (
        "/v1/analysis/cash-flow",
        {
            "dates": ["2022-12-31", "2023-12-31", "2024-12-31", "2025-12-31"],
            "indices": [
                {"name": "CPI", "annual_rate": 0.05, "base_date": "2020-12-31", "step": "year"}
            ],
            "revenues": [{"name": "tariff", "volume_pa": 1, "price": 100, "index": "CPI"}],
        },
    ),
}
"""Requests that say what a case meant, where it has a path or a form of its own now."""

PROSE: Final = frozenset({"needs", "or"})
"""Members of an expectation that explain it."""


def read_case(name: str) -> Json:
    assert FOLDER is not None
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


NAMES: Final = sorted(path.stem for path in FOLDER.glob("*.json")) if FOLDER else []


@pytest.fixture(scope="module")
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def put(desk: httpx.Client, name: str) -> tuple[int, Json]:
    """Send a case and return status and response; of a simulation those of its result."""
    request = read_case(name)["request"]
    default = (request["path"], {**request["body"], **FIELDS.get(name, {})})
    path, body = REQUESTS.get(name, default)
    response = desk.post(path, json=body)
    if response.status_code != 202:
        return response.status_code, response.json()
    job: Json = {"status": "queued"}
    deadline_s = time.monotonic() + 60
    while job["status"] in {"queued", "running"} and time.monotonic() < deadline_s:
        job = desk.get(response.headers["location"]).json()
    return 200, desk.get(job["result_url"]).json()


def find(response: Json, path: str) -> Json:
    """Return the value at a dotted path; `[1]` and `.1` are an item, `-1` the last."""
    value = response
    for part in re.sub(r"\[(-?\d+)\]", r".\1", path).split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def expect(case: Json, figure: Json) -> Json:
    """Return a figure, or several, within the tolerance of a case."""
    given = case["tolerance"]
    absolute = given.get("abs", given.get("rate_abs", 0.0))
    return pytest.approx(figure, rel=given.get("rel", 0.0), abs=absolute)


def check_figures(case: Json, response: Json, expected: Json, status: int) -> None:
    for path, figure in expected.items():
        if path in PROSE:
            continue
        is_http = path == "status" and isinstance(figure, int)
        value = status if is_http else find(response, path)
        if isinstance(figure, list):
            numeric = all(isinstance(item, float) for item in figure)
            assert value == (expect(case, figure) if numeric else figure), path
        elif isinstance(figure, float):
            assert value == expect(case, figure), path
        else:
            assert value == figure, path


def check_swept_loan(_case: Json, response: Json) -> None:
    paid = sum(row["senior_principal_paid"] for row in response["rows"])
    assert paid + response["total_sweep"] == pytest.approx(90.0, abs=1e-9)


def check_mortgage(_case: Json, response: Json) -> None:
    rows = response["settled_rows"]
    assert {row["payment"] for row in rows[:359]} == {"1199.10"}
    for row in rows:
        exact = Decimal(row["opening_balance"]) * Decimal("0.005")
        assert Decimal(row["interest"]) == exact.quantize(Decimal("0.01"))


def check_business_days(_case: Json, response: Json) -> None:
    (row,) = response["rows"]
    assert (row["days"], row["year_fraction"]) == (127, 127 / 252)


def check_grid(_case: Json, response: Json) -> None:
    base, low = response["results"]
    assert base["debt"] == pytest.approx(32.4028, abs=1e-3)
    assert [error["code"] for error in low["errors"]] == ["no_debt_capacity"]


def check_scenarios(case: Json, response: Json) -> None:
    assert response["debt"] == pytest.approx(case["expected"]["debt"], rel=1e-9)
    assert response["binding_scenarios"] == case["expected"]["binding"]


def check_indexed_tariff(_case: Json, response: Json) -> None:
    assert response["rows"][0]["revenue"] == pytest.approx(115.7625)


def check_no_lock_up(case: Json, response: Json) -> None:
    assert [row["locked_up"] for row in response["rows"]] == case["expected"]["locked_up"]


def check_percentiles(_case: Json, response: Json) -> None:
    ratio = response["result"]["portfolio"]["min_dscr"]
    assert ratio["p1"] < ratio["p5"] == pytest.approx(1.1541, abs=1e-4)
    assert ratio["p99"] > ratio["p95"]


def check_annualisation(_case: Json, response: Json) -> None:
    irr = response["equity_irr"]
    assert irr["effective_pa"][0] == pytest.approx((1 + irr["rates"][0]) ** 2 - 1, abs=1e-9)


def check_explanation(_case: Json, response: Json) -> None:
    debt = response["explain"]["debt"]
    assert debt["value"] == pytest.approx(54.464960587409564, rel=1e-9)
    assert evaluate(debt["formula"], debt["inputs"]) == pytest.approx(debt["value"], rel=1e-9)


def check_gearing_warning(_case: Json, response: Json) -> None:
    assert any("equity is negative" in warning for warning in response["warnings"])


def check_no_negative_principal(_case: Json, response: Json) -> None:
    assert Decimal(response["settled_rows"][-1]["principal"]) >= 0


def check_period_warning(_case: Json, response: Json) -> None:
    assert any("periods 1, 2" in warning for warning in response["warnings"])


def check_independence(_case: Json, response: Json) -> None:
    worth = response["result"]["portfolio"]["npv"]
    assert worth["p95"] - worth["p5"] == pytest.approx(39, rel=0.1)


def check_named_cases(case: Json, response: Json) -> None:
    assert [error["pointer"] for error in response["errors"]] == case["expected"]["errors"]


CHECKS: Final[dict[str, Callable[[Json, Json], None]]] = {
    "06-half-sweep-repays-more-than-owed": check_swept_loan,
    "18-emi-30-years-level": check_mortgage,
    "24-bus-252": check_business_days,
    "38-p50-p99-two-case-sizing": check_scenarios,
    "48-cpi-index-of-tariff": check_indexed_tariff,
    "45-waterfall-lockup-on-12-months": check_no_lock_up,
    "46-one-infeasible-case-refuses-grid": check_grid,
    "50-p99-of-dscr": check_percentiles,
    "x05-semi-annual-irr-called-effective": check_annualisation,
    "x07-explain-grace-does-not-evaluate": check_explanation,
    "x09-gearing-above-one-without-warning": check_gearing_warning,
    "x11-settled-last-payment-negative-large-loan": check_no_negative_principal,
    "x15-unpaid-warning-names-one-period": check_period_warning,
    "x17-simulation-blank-sector-is-one-sector": check_independence,
    "x21-batch-names-not-every-bad-case": check_named_cases,
}
"""Checks of expectations in words."""


def test_all_cases_of_the_desk_are_put() -> None:
    assert len(NAMES) == 33
    assert {*CHECKS, *FIELDS, *REQUESTS} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_case_of_the_desk_gives_what_it_expects(desk: httpx.Client, name: str) -> None:
    case = read_case(name)
    status, response = put(desk, name)
    if name in CHECKS:
        CHECKS[name](case, response)
        return
    expected = case["expected"]
    wanted = expected.get("any_of", [expected])
    if len(wanted) > 1:
        wanted = [each for each in wanted if ("status" in each) == (status != 200)]
    for each in wanted:
        check_figures(case, response, each, status)
