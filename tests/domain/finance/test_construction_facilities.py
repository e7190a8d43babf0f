"""Construction with several facilities: equal to fractions, sources equal uses, nothing is lost."""

import random
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.domain.finance.exact_construction import fund
from tests.searches import scale

from spawn.domain.finance.construction.construction_case import (
    ConstructionCase,
    ConstructionFacility,
)
from spawn.domain.finance.construction.construction_funding import fund_construction
from spawn.domain.finance.construction.construction_result import ConstructionFunding, FacilityDraws
from spawn.domain.finance.facilities.rate_terms import MarginStep, RateTerms, expand_annual_rates

pytestmark = pytest.mark.core

RATE = RateTerms(base_rate=0.05)
COSTS = (22.0, 38.0, 41.0, 27.0)
KIND_OF = {
    "debt": "senior",
    "loan": "shareholder_loan",
    "bridge": "equity_bridge",
    "vat": "vat",
    "grant": "grant",
}


def facility(name: str, **terms: Any) -> ConstructionFacility:
    return ConstructionFacility(**{"name": name, "rate": RATE, **terms})


def construct(*facilities: ConstructionFacility, **changes: Any) -> ConstructionFunding:
    case = ConstructionCase(
        construction_cost=COSTS, months_per_period=6, facilities=facilities, **changes
    )
    return fund_construction(case)


def draw_case(seed: int) -> dict[str, Any]:
    """Return a random case in exact numbers of few digits."""
    rng = random.Random(seed)
    periods = rng.randint(1, 6)

    def number(low: int, high: int, scale: int) -> Fraction:
        return Fraction(rng.randint(low, high), scale)

    kinds = ["debt", *rng.choices(["debt", "debt", "loan", "grant"], k=rng.randint(0, 3))]
    kinds += [kind for kind in ("bridge", "vat") if rng.random() < 0.4]
    costs = [number(0, 40, 1), *(number(30, 600, 10) for _ in range(periods))]
    facilities = []
    for index, kind in enumerate(kinds):
        has_window = kind != "vat" and rng.random() < 0.3
        first = rng.randint(0, periods) if has_window else 0
        share = number(1, 22, 100) if kind != "bridge" else number(1, 100, 100)
        is_amount = rng.random() < 0.4
        facilities.append(
            {
                "name": f"{kind} {index}",
                "kind": kind,
                "amount": round(sum(costs) * number(1, 20, 100), 2) if is_amount else None,
                "share": None if is_amount else share,
                "rate": [number(0, 60, 1000) if kind != "grant" else Fraction(0)] * periods,
                "fee": number(0, 10, 1000) if kind != "grant" else Fraction(0),
                "upfront": number(0, 30, 1000) if kind != "grant" else Fraction(0),
                "order": rng.randint(1, 3),
                "from": first,
                "until": rng.randint(first, periods) if has_window else periods,
                "pik": kind == "loan" or (kind == "debt" and rng.random() < 0.2),
                "vat": number(5, 25, 100),
                "delay": rng.randint(1, 4),
            }
        )
    return {
        "costs": costs,
        "facilities": facilities,
        "equity_order": rng.randint(1, 3),
        "reserve": number(0, 40, 10),
        "reserve_share": number(0, 6, 100),
    }


def to_engine(case: dict[str, Any]) -> ConstructionCase:
    facilities = []
    for each in case["facilities"]:
        kind = each["kind"]
        terms: dict[str, Any] = {"name": each["name"], "kind": KIND_OF[kind]}
        if kind == "vat":
            terms |= {"vat_rate": float(each["vat"]), "refund_periods": each["delay"]}
        else:
            size = "share" if each["amount"] is None else "commitment"
            terms[size] = float(each["share"] if each["amount"] is None else each["amount"])
            terms |= {"available_from": each["from"], "available_until": each["until"]}
        if kind not in {"bridge", "vat"}:
            terms["draw_order"] = each["order"]
        if kind == "debt":
            terms["capitalises_interest"] = each["pik"]
        if kind != "grant":
            terms["rate"] = RateTerms(base_rate=tuple(map(float, each["rate"])))
            terms |= {"commitment_fee": float(each["fee"]), "upfront_fee": float(each["upfront"])}
        facilities.append(ConstructionFacility(**terms))
    return ConstructionCase(
        construction_cost=tuple(map(float, case["costs"][1:])),
        cost_at_close=float(case["costs"][0]),
        facilities=tuple(facilities),
        equity_draw_order=case["equity_order"],
        dsra_funding_at_end=float(case["reserve"]),
        dsra_share_of_debt=float(case["reserve_share"]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 300, 50))
def test_random_cases_equal_exact_fractions(first: int) -> None:
    for seed in range(first, first + 50):
        case = draw_case(seed)
        total, ledger = fund(case)
        result = fund_construction(to_engine(case))
        close = pytest.approx
        noise = 1e-9 * float(total)
        assert result.total_uses == close(float(total), rel=1e-9), seed
        assert result.equity == close(float(ledger.total("equity", "cash")), abs=noise), seed
        for each in result.facilities:
            for row in each.rows:
                t = row.period
                assert row.draw == close(float(ledger.posted(each.name, "draw", t)), abs=noise), (
                    seed
                )
                assert row.closing_balance == close(
                    float(ledger.owed(each.name, t + 1)), abs=noise
                ), seed
                assert row.interest == close(
                    float(ledger.posted(each.name, "interest", t)), abs=noise
                ), seed


def assert_lawful(result: ConstructionFunding) -> None:
    scale = result.total_uses
    for row in result.rows:
        sources = row.debt_draw + row.grant_draw + row.equity_draw + row.vat_refund
        assert sources == pytest.approx(row.uses + row.vat + row.repaid, abs=1e-12 * scale)
        costs = row.cost + row.upfront_fee + row.interest + row.commitment_fee + row.dsra_funding
        assert costs == pytest.approx(row.uses, abs=1e-12 * scale)
    for each in result.facilities:
        assert_facility_adds_up(each, scale)
    assert sum(row.uses for row in result.rows) == pytest.approx(scale, rel=1e-12)


def assert_facility_adds_up(each: FacilityDraws, scale: float) -> None:
    balance = 0.0
    for row in each.rows:
        assert row.opening_balance == balance
        balance = row.closing_balance
        moved = row.opening_balance + row.draw + row.capitalised - row.repaid
        assert balance == pytest.approx(moved, abs=1e-12 * scale)
        assert min(balance, row.draw, row.undrawn, row.repaid) >= -1e-12 * scale
    assert each.drawn_total <= each.commitment * (1.0 + 1e-9) or each.kind == "vat"


@given(st.integers(300, 10**9))
@settings(max_examples=scale(60), deadline=None)
def test_sources_equal_uses_and_balances_add_up(seed: int) -> None:
    assert_lawful(fund_construction(to_engine(draw_case(seed))))


def test_a_debt_of_a_given_amount_leaves_the_rest_to_the_equity() -> None:
    case = ConstructionCase(
        construction_cost=COSTS,
        debt_commitment=80.0,
        rate_per_period=0.0275,
        commitment_fee_per_period=0.004,
        upfront_fee=0.02,
    )
    level = fund_construction(case)
    assert sum(row.debt_draw for row in level.rows) == pytest.approx(80.0, rel=1e-13)
    for row in level.rows:
        assert row.debt_draw == pytest.approx(level.gearing * row.uses, rel=1e-12)
    # the same debt by its gearing: the two ways to state it agree
    by_gearing = msgspec.structs.replace(case, debt_commitment=None, gearing=level.gearing)
    assert fund_construction(by_gearing).debt_commitment == pytest.approx(80.0, rel=1e-12)
    first = fund_construction(msgspec.structs.replace(case, funding="equity_first"))
    assert first.idc_total < level.idc_total
    spent = [row.equity_draw > 0.0 for row in first.rows]
    assert spent == sorted(spent, reverse=True)


def test_one_facility_equals_the_debt_of_a_given_gearing() -> None:
    debt = fund_construction(
        ConstructionCase(
            construction_cost=COSTS,
            gearing=0.7,
            rate_per_period=0.0275,
            commitment_fee_per_period=0.004,
            upfront_fee=0.02,
        )
    )
    rate = RateTerms(base_rate=0.035, margin=0.02)
    one = construct(facility("term", share=0.7, rate=rate, commitment_fee=0.008, upfront_fee=0.02))
    for name in ("debt_commitment", "equity", "total_uses", "idc_total", "fees_total"):
        assert getattr(one, name) == pytest.approx(getattr(debt, name), rel=1e-12)


def test_equity_first_means_a_lower_order() -> None:
    result = construct(facility("term", share=0.6, draw_order=2), facility("mezz", share=0.1))
    assert_lawful(result)
    rows = result.facilities[0].rows
    assert [row.draw > 0.0 for row in rows] == [False, False, True, True, True]


def test_a_bridge_stands_in_for_equity_until_the_end() -> None:
    bridge = facility("bridge", kind="equity_bridge", share=1.0)
    result = construct(facility("term", share=0.7), bridge)
    assert_lawful(result)
    assert [row.equity_draw for row in result.rows[:-1]] == [0.0] * 4
    assert result.rows[-1].equity_draw == pytest.approx(result.equity)
    drawn = result.facilities[1]
    assert drawn.rows[-1].repaid == pytest.approx(drawn.drawn_total)
    assert drawn.closing_balance == pytest.approx(0.0, abs=1e-12)


def test_vat_is_drawn_with_the_costs_and_refunded_later() -> None:
    vat = facility("vat", kind="vat", vat_rate=0.2, refund_periods=2)
    result = construct(facility("term", share=0.7), vat)
    assert_lawful(result)
    facility_rows = result.facilities[1].rows
    assert [row.draw for row in facility_rows] == pytest.approx([0, 4.4, 7.6, 8.2, 5.4])
    assert [row.repaid for row in facility_rows] == pytest.approx([0, 0, 0, 4.4, 7.6])
    assert result.facilities[1].commitment == pytest.approx(0.2 * (38 + 41))
    assert "vat: 13.6 is refunded and repaid after construction" in result.warnings
    without = construct(facility("term", share=0.7))
    interest = 0.025 * sum(row.opening_balance for row in facility_rows[1:])
    assert result.total_uses > without.total_uses + interest


def test_a_shareholder_loan_capitalises_and_a_grant_costs_nothing() -> None:
    result = construct(
        facility("term", share=0.6),
        facility("loan", kind="shareholder_loan", commitment=10.0, draw_order=2),
        ConstructionFacility(name="grant", kind="grant", commitment=8.0),
    )
    assert_lawful(result)
    loan, grant = result.facilities[1:]
    assert loan.closing_balance == pytest.approx(10.0 + loan.interest_total)
    assert (grant.interest_total, grant.fees_total) == (0.0, 0.0)
    assert sum(row.grant_draw for row in result.rows) == pytest.approx(8.0)
    assert result.gearing == pytest.approx(0.6, rel=1e-12)


def test_a_closed_window_leaves_a_commitment_undrawn() -> None:
    result = construct(facility("term", commitment=60.0, available_until=1))
    assert_lawful(result)
    term = result.facilities[0]
    assert term.rows[2].commitment_fee == 0.0
    (warning,) = result.warnings
    assert warning.startswith(f"term: {60.0 - term.drawn_total:.10g} of the commitment")


def test_the_rate_is_a_curve_with_floor_hedge_and_margin() -> None:
    rate = RateTerms(
        base_rate=(-0.01, 0.02, 0.03),
        floor=0.0,
        hedged_share=0.75,
        swap_rate=0.025,
        margin=0.02,
        margin_steps=(MarginStep(from_period=3, margin=0.0225),),
    )
    assert expand_annual_rates(rate, 3) == pytest.approx((0.03875, 0.04375, 0.04875))


def test_invalid_facilities_name_each_field() -> None:
    def codes(*facilities: ConstructionFacility, **changes: Any) -> dict[str, str]:
        return error_codes(lambda: construct(*facilities, **changes))

    assert codes() == {"/facilities": "empty"}
    assert codes(facility("a", share=0.5), gearing=0.5) == {"/facilities": "ambiguous"}
    assert codes(facility("a", share=0.5), facility("a", commitment=0.0)) == {
        "/facilities/1/name": "duplicate",
        "/facilities/1/commitment": "not_positive",
    }
    assert codes(facility("a"), facility("b", share=0.1, commitment=5.0)) == {
        "/facilities/0/commitment": "ambiguous",
        "/facilities/1/share": "ambiguous",
    }
    assert codes(facility("a", share=0.9), facility("b", commitment=90.0)) == {
        "/facilities": "exceeds_debt"
    }
    assert codes(facility("a", share=0.5, rate=RateTerms(base_rate=-0.01))) == {
        "/facilities/0/rate": "out_of_range"
    }
    assert codes(facility("a", share=0.5, rate=RateTerms(base_rate=0.1, hedged_share=0.5))) == {
        "/facilities/0/rate/swap_rate": "required"
    }
    assert codes(facility("v", kind="vat", share=0.5)) == {
        "/facilities/0/share": "not_applicable",
        "/facilities/0/vat_rate": "required",
        "/facilities/0/refund_periods": "required",
    }
    assert codes(facility("a", share=0.5, available_from=3, available_until=2)) == {
        "/facilities/0/available_until": "out_of_order"
    }
    assert codes(facility("a", share=1.0, upfront_fee=1.0)) == {"/facilities": "no_solution"}


def test_one_debt_is_stated_once() -> None:
    def codes(**terms: Any) -> dict[str, str]:
        case = ConstructionCase(construction_cost=COSTS, **terms)
        return error_codes(lambda: fund_construction(case))

    assert codes(rate_per_period=0.02) == {"/gearing": "required"}
    assert codes(gearing=0.5, debt_commitment=10.0, rate_per_period=0.02) == {
        "/debt_commitment": "ambiguous"
    }
    assert codes(gearing=0.5) == {"/rate_per_period": "required"}
    assert codes(gearing=0.5, rate_per_period=0.02, months_per_period=6) == {
        "/months_per_period": "not_applicable"
    }
    assert codes(debt_commitment=200.0, rate_per_period=0.02) == {
        "/debt_commitment": "exceeds_debt"
    }
