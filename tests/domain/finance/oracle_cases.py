"""Oracle cases read as inputs of the engine.

Some conventions of a case are only in its description, and some dates only in its rows; they are
read from there, so that every case of a kind can be run and not only the present ones.
"""

import json
import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spawn.domain.finance.covenants import CovenantTerms
from spawn.domain.finance.debt_sizing_case import FundingUses, SizingCase
from spawn.domain.finance.loans.loan_terms import LoanTerms, RepaymentProfile
from spawn.domain.finance.time_base.business_calendar import (
    BusinessCalendar,
    BusinessDayRule,
)
from spawn.domain.finance.time_base.day_count import (
    AccrualPeriod,
    add_months,
    count_days,
    parse_day_count,
)
from spawn.domain.finance.time_base.payment_dates import (
    PaymentDateTerms,
    PaymentFrequency,
    StubKind,
)

Case = dict[str, Any]
_FOLDER = Path(__file__).parent / "oracles"
CASES: list[Case] = [json.loads(path.read_text()) for path in sorted(_FOLDER.glob("*.json"))]

_FREQUENCIES = {
    "monthly": PaymentFrequency.MONTHLY,
    "quarterly": PaymentFrequency.QUARTERLY,
    "semi-annual": PaymentFrequency.SEMI_ANNUAL,
    "annual": PaymentFrequency.ANNUAL,
}
_RULES = {
    "modified following": BusinessDayRule.MODIFIED_FOLLOWING,
    "modified preceding": BusinessDayRule.MODIFIED_PRECEDING,
    "following": BusinessDayRule.FOLLOWING,
    "preceding": BusinessDayRule.PRECEDING,
    "unadjusted": BusinessDayRule.UNADJUSTED,
}
_ANNUAL_PROFILES = {"equal_principal": "straight_line"}


def of_kind(*kinds: str) -> pytest.MarkDecorator:
    """Parametrize a test over the cases of some kinds."""
    cases = [case for case in CASES if case["kind"] in kinds]
    assert cases, kinds
    return pytest.mark.parametrize("case", cases, ids=[case["case_id"] for case in cases])


def parse_date(text: str) -> date:
    return date.fromisoformat(text)


def description_text(case: Case) -> str:
    """Return the description in lower case, with one spelling of its compound words."""
    text = case["description"].lower().replace("semiannual", "semi-annual")
    return re.sub(r"(modified)[ _-]?(following|preceding)", r"\1 \2", text)


def payment_frequency(case: Case) -> PaymentFrequency | None:
    text = description_text(case)
    return next((value for word, value in _FREQUENCIES.items() if word in text), None)


def payment_date_terms(case: Case) -> PaymentDateTerms:
    """Read payment-date terms: all but start and end are in the description."""
    text = description_text(case)
    names_month_end = re.search(r"\beom\b|end[- ]of[- ]month", text) is not None
    negation = re.search(r"(eom|end[- ]of[- ]month)( rule)?[ :=]*(false|off|no\b)", text)
    is_front = re.search(r"\b(front|initial|first|backward)", text) is not None
    stub: StubKind = "short_front" if is_front else "short_back"
    if "long" in text:
        stub = "long_front" if is_front else "long_back"
    frequency = payment_frequency(case)
    assert frequency is not None, text
    return PaymentDateTerms(
        start=parse_date(case["inputs"]["start"]),
        end=parse_date(case["inputs"]["end"]),
        frequency=frequency,
        stub=stub,
        rule=next(value for word, value in _RULES.items() if word in text),
        end_of_month=names_month_end and negation is None,
        calendar=BusinessCalendar(
            base="target" if "target" in text else "none",
            holidays=frozenset(map(parse_date, case["inputs"].get("holidays", ()))),
        ),
    )


def accrual_periods(case: Case) -> list[AccrualPeriod]:
    """Read the periods to count; ACT/ACT ICMA takes its frequency from the description."""
    frequency = payment_frequency(case)
    months = frequency.months if frequency else 12
    return [
        AccrualPeriod(
            start=parse_date(start),
            end=parse_date(end),
            reference_start=parse_date(row["ref_start"]) if "ref_start" in row else None,
            reference_end=parse_date(row["ref_end"]) if "ref_end" in row else None,
            frequency=12 // months if frequency and "ref_start" not in row else None,
        )
        for (start, end), row in zip(case["inputs"]["periods"], case["expected"], strict=True)
    ]


def loan_dates(case: Case) -> tuple[date, ...]:
    """Read the start of a loan and its payment dates.

    Without a start in the case, it is the date one period before the first payment that gives
    the stated accrual fraction.
    """
    rows = case["expected"]["rows"]
    ends = [parse_date(row["date"]) for row in rows]
    if "start" in case["inputs"]:
        return (parse_date(case["inputs"]["start"]), *ends)
    rule = parse_day_count(case["inputs"]["day_count"])
    for start in _candidate_starts(ends):
        period = AccrualPeriod(start=start, end=ends[0], maturity=ends[-1], frequency=1)
        if abs(count_days(rule, period).year_fraction - rows[0]["accrual_fraction"]) < 1e-12:
            return (start, *ends)
    raise AssertionError(f"no start of {case['case_id']} gives its first accrual fraction")


def _candidate_starts(ends: list[date]) -> Iterator[date]:
    """Yield the first date moved back by the months between payments, on each likely day."""
    months = 12
    if len(ends) > 1:
        months = 12 * (ends[1].year - ends[0].year) + ends[1].month - ends[0].month
    month_start = add_months(ends[0].replace(day=1), -months)
    last = monthrange(month_start.year, month_start.month)[1]
    usual_day = max(end.day for end in ends)
    for day in dict.fromkeys((min(usual_day, last), last, *range(1, last + 1))):
        yield month_start.replace(day=day)


def loan_terms(case: Case) -> LoanTerms:
    """Read a loan; its profile is in its name and description."""
    inputs = case["inputs"]
    text = f"{case['case_id']} {description_text(case)}"
    profile: RepaymentProfile = "bullet" if "bullet" in text else "straight_line"
    if "annuity" in text or "level payment" in text:
        profile = "annuity"
    rates = inputs.get("rates_by_period")
    frequency = payment_frequency(case)
    return LoanTerms(
        principal=inputs["principal"],
        annual_rates=tuple(rates) if rates else inputs["nominal_rate"],
        profile=profile,
        dates=loan_dates(case),
        day_count=inputs["day_count"],
        frequency=12 // frequency.months if frequency else None,
        balloon_share=inputs.get("balloon_pct", 0.0),
        grace_periods=inputs.get("grace_periods", 0),
    )


def dated_sizing(case: Case) -> SizingCase:
    """Read a debt sculpted on dates."""
    inputs = case["inputs"]
    return SizingCase(
        cfads=tuple(inputs["cfads"]),
        annual_rates=tuple(inputs["annual_rate_by_period"]),
        target_dscr=tuple(inputs["target_dscr_by_period"]),
        dates=tuple(map(parse_date, inputs["dates"])),
        day_count=inputs["day_count"],
        balloon=inputs["balloon_at_maturity"],
        allow_negative_amortisation=True,
    )


def annual_sizing(case: Case) -> SizingCase:
    """Read a debt sized by year, with the cap that SAM tests on an estimate of the cost."""
    inputs = case["inputs"]
    estimate = next((value for name, value in inputs.items() if "estimate" in name), None)
    return SizingCase(
        cfads=tuple(inputs["cfads"]),
        annual_rates=inputs["debt_rate"],
        repayment=_ANNUAL_PROFILES.get(inputs["repayment"], inputs["repayment"]),
        target_dscr=inputs["target_dscr"],
        share_of_cost=inputs["debt_percent_of_total_cost"],
        tenor_periods=inputs["debt_tenor_years"],
        grace_periods=inputs["grace_years_principal"],
        uses=FundingUses(
            capex=inputs["capex_before_financing"],
            closing_cost=inputs["closing_cost"],
            other_financing_cost=inputs["other_financing_cost"],
            construction_financing_cost=inputs["idc_or_construction_financing_cost"],
            upfront_fee_share=inputs["upfront_fee_pct_of_debt"],
            dsra_months=inputs["dsra_months_of_next_debt_service"],
        ),
        max_gearing=inputs["max_gearing"],
        cap_basis="pre_estimate",
        pre_estimated_cost=None if inputs["max_gearing"] is None else estimate,
        reserve_interest_rate=inputs["reserve_interest_rate"],
        allow_negative_amortisation=True,
        project_cash_flow=tuple(inputs["project_cash_flow_pre_debt"]),
        tax_cash_flow=tuple(inputs["tax_cash_flow"]),
    )


def covenant_terms(case: Case) -> CovenantTerms:
    """Read the levels of a covenant as exact decimals."""
    inputs = case["inputs"]
    release, default = inputs.get("lockup_release_at_or_above"), inputs.get("default_below")
    return CovenantTerms(
        lockup_below=Decimal(str(inputs["lockup_below"])),
        lockup_release_at_or_above=None if release is None else Decimal(str(release)),
        default_below=None if default is None else Decimal(str(default)),
    )


def covenant_ratios(case: Case) -> tuple[Decimal | None, ...]:
    """Read ratios as exact decimals; None where no debt service is due."""
    return tuple(None if ratio is None else Decimal(str(ratio)) for ratio in case["inputs"]["dscr"])
