"""Every rate of every request is warned of above 100 %: someone typed a percentage."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.http.analysis.calculator_requests import Json
from tests.http.analysis.field_requests import BASES
from tests.http.analysis.test_field_use import CASES, list_fields, respond

RATE = re.compile(r"(rates?|margin|floor|fee|fee_share|per_period)(\[\])?$")
NO_RATES = re.compile(
    r"(principal_floor|level_per_period|months_per_period|rate_resets|\.rates|^cash_flow\.tax\..*)$"
)
"""Fields that are no rates, and the tax of a cash flow, which a deal has itself."""
PERCENT = 5.0

HEDGED: Json = {
    "base_rate": 0.05,
    "hedged_share": 0.1,
    "swap_rate": 0.04,
    "floor": 0.01,
    "margin": 0.01,
    "margin_steps": [{"from_period": 2, "margin": 0.02}],
}
DRAWN: Json = {"name": "loan", "commitment": 5, "upfront_fee": 0.02, "rate": HEDGED}
LOAN: Json = {**DRAWN, "profile": "straight_line"}
RESET: Json = {**LOAN, "rate_resets": [{"date": "2026-10-01", "annual_rate": 0.07}]}
DATED: Json = {"dates": ["2026-01-15", "2026-07-15", "2027-01-15"]}
DEBT: Json = {"cfads": [9, 9], "senior_interest": [1, 1], "senior_principal": [2, 2]}
LETTER: Json = {"dsra_form": "letter_of_credit", "dsra_fee_rate": 0.02, "dsra_draw_rate": 0.06}
MORE: list[tuple[str, Json]] = [
    ("debt-sizing", {"cfads": [90, 90], "facilities": [LOAN], **DATED}),
    (
        "debt-sizing",
        {"cfads": [90, 90], "facilities": [{**RESET, "rate": {"base_rate": 0.05}}], **DATED},
    ),
    ("deal", {"construction_cost": [10], "cfads": [90, 90], "facilities": [LOAN]}),
    ("construction-funding", {"construction_cost": [5, 5], "facilities": [DRAWN]}),
    ("waterfall", {**DEBT, "dsra_target": 3, **LETTER}),
    ("waterfall", {**DEBT, "dsra_target": 3, "dsra_open": 3, "dsra_income_rate": 0.02}),
]

BOUNDED = {
    "tax.rate",
    "tax.assets[].declining_rate",
    "facilities[].vat_rate",
    "facilities[].upfront_fee",
    "uses.upfront_fee_share",
    "upfront_fee",
}
"""Shares and rates that the request limits to 100 %."""


def list_rates(name: str) -> list[str]:
    paths = list(list_fields(CASES[name]))
    parents = {path.rpartition(".")[0].removesuffix("[]") for path in paths}
    return [
        path
        for path in paths
        if RATE.search(path) and not NO_RATES.search(path) and path not in parents
    ]


def raise_rate(request: Json, path: str) -> Iterator[tuple[Json, str]]:
    """Yield the request with a percentage in place of a rate, and the pointer to it."""
    changed = copy.deepcopy(request)
    holder: Any = changed
    pointer = ""
    *parents, last = path.split(".")
    for step in parents:
        step_name = step.removesuffix("[]")
        holder = holder.get(step_name) if isinstance(holder, dict) else None
        pointer += f"/{step_name}"
        if step.endswith("[]") and holder:
            pointer += f"/{len(holder) - 1}"
            holder = holder[-1]
    if isinstance(holder, dict) and holder.get(last) is not None:
        before = holder[last]
        holder[last] = [PERCENT] * len(before) if isinstance(before, list) else PERCENT
        yield changed, f"{pointer}/{last}"


def find_verdicts(name: str, path: str) -> set[str]:
    verdicts: set[str] = set()
    for base_name, request in [*BASES, *MORE]:
        if base_name != name:
            continue
        for changed, pointer in raise_rate(request, path):
            result = respond(name, changed)
            if isinstance(result, list):
                is_bound = any(each[0] == pointer for each in result)
                verdicts |= {"bounded"} if is_bound else set()
                continue
            texts = [text for text in result["warnings"] if "rates are fractions" in text]
            verdicts.add("warned" if any(pointer in text for text in texts) else "silent")
    return verdicts


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_rate_of_every_request_is_warned_of_above_one_hundred_percent(name: str) -> None:
    verdicts = {path: find_verdicts(name, path) for path in list_rates(name)}
    open_paths = {
        path: found
        for path, found in verdicts.items()
        if "silent" in found or not found & {"warned", "bounded"}
    }
    assert open_paths == {}
    bounded = {
        path.removeprefix("cash_flow.") for path, found in verdicts.items() if found == {"bounded"}
    }
    assert bounded <= BOUNDED


def test_a_rate_of_parts_below_one_hundred_percent_is_warned_of_as_their_sum() -> None:
    steps = [{"from_period": 2, "margin": 0.6}]
    loan = {**LOAN, "rate": {"base_rate": 0.6, "margin": 0.01, "margin_steps": steps}}
    warnings = respond("debt-sizing", {"cfads": [90, 90], "facilities": [loan], **DATED})
    assert isinstance(warnings, dict)
    texts = [text for text in warnings["warnings"] if "rates are fractions" in text]
    assert texts == [
        "/facilities/0/rate is above 100 % in period 2: rates are fractions, 0.05 is 5 %"
    ]
