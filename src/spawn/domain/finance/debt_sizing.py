"""Debt sizing: how much debt the cash flow carries, and what the funded cost allows.

Sculpting runs backwards, B_{t-1} = (B_t + CFADS_t / DSCR_t) / (1 + r_t tau_t) with B_n the
balloon, so that D = sum of (CFADS_t / DSCR_t) DF_t + balloon DF_n. Fees and the initial DSRA are
uses that depend on the debt; uses are affine in it, so that the debt at a gearing cap solves
D = g (a + b D), D = g a / (1 - g b), exactly and without iteration.

`cap_basis` "pre_estimate" reproduces the NREL System Advisor Model, which tests its cap on a cost
estimated before the debt is known (source: `cmod_singleowner.cpp` of NREL/ssc): with the fee on
the cost before financing and no DSRA when sculpting, and with the fee on the debt before the fee
when the debt is a share of cost.
"""

import math
from datetime import date
from itertools import accumulate, pairwise
from operator import mul
from typing import Literal, NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.coverage_ratios import dscr, life_cover, weighted_average_life
from spawn.domain.finance.debt_sizing_case import Frame, SizingCase, Uses, resolve
from spawn.domain.finance.limits import MAX_AMOUNT, NOISE, SMALLEST, refuse_overflow
from spawn.domain.finance.returns.rates_of_return import RateOutcome, irr, xirr

Binding = Literal["dscr", "gearing", "share_of_cost"]
_YEAR_DAYS = 365.0
_YEAR_MONTHS = 12


class SizingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period of the debt. `llcr` and `plcr` stand at its beginning, the DSRA at its end.

    `principal` includes the `balloon`, which falls due in the last period and is refinanced;
    `debt_service` is interest and principal without it, and what the DSCR divides by.
    """

    period: int
    date: date | None
    accrual_fraction: float
    annual_rate: float
    cfads: float
    opening_balance: float
    interest: float
    principal: float
    balloon: float
    debt_service: float
    closing_balance: float
    dscr: float | None
    llcr: float | None
    plcr: float | None
    dsra_balance: float


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """The debt, its schedule, and the figures of a term sheet.

    `achieved_dscr` is the target after a gearing cap re-sculpted it, per period. Uses and equity
    exist when `uses` were given; `equity_cash_flow` then runs from date 0 to the project's end.
    """

    debt: float
    binding: Binding
    dscr_capacity: float | None
    achieved_dscr: tuple[float, ...] | None
    rows: tuple[SizingRow, ...]
    min_dscr: float | None
    avg_dscr: float | None
    llcr: float | None
    plcr: float | None
    wal_years: float | None
    total_interest: float
    upfront_fee: float
    initial_dsra: float
    dsra_balance: tuple[float, ...]
    total_uses: float | None
    equity: float | None
    gearing: float | None
    equity_cash_flow: tuple[float, ...] = ()
    equity_irr: RateOutcome | None = None
    equity_cash_flow_after_tax: tuple[float, ...] = ()
    equity_irr_after_tax: RateOutcome | None = None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """Debt service as a line in the debt: regular service is `unit` times (debt - `base`).

    `base` is the present value of the balloon, `worth` that of the shape before scaling.
    """

    unit: tuple[float, ...]
    base: float
    worth: float


def size_debt(case: SizingCase) -> Sizing:
    """The largest debt that meets the targets and the cap, with its schedule.

    Raises:
        InvalidInput: each field that does not fit is named; also a balloon that alone exceeds the
            cap, CFADS that carry no debt, and negative amortisation unless the switch allows it.
    """
    frame = resolve(case)
    capacity = _capacity(frame) if case.repayment == "sculpted" else None
    debt, binding = _debt(frame, capacity)
    _check_balloon(frame, debt)
    principal = _principal(frame, debt)
    warnings = _check_amortisation(frame, debt, principal)
    return _result(frame, debt, binding, capacity, principal, warnings)


def _capacity(frame: Frame) -> float:
    """The sculpted debt: the present value of CFADS/DSCR and of the balloon."""
    balance = frame.case.balloon
    for t in range(frame.tenor - 1, frame.case.grace_periods - 1, -1):
        balance = (balance + frame.cfads[t] / frame.targets[t]) / (1.0 + frame.rates[t])
    # During the grace only interest is paid, so that the balance stands still.
    if not SMALLEST <= balance <= MAX_AMOUNT:
        raise InvalidInput.at("/cfads", "no_debt_capacity", "carries no debt at this target")
    return balance


def _plan(frame: Frame) -> _Plan:
    """Regular debt service per unit of debt: all profiles are affine in the debt.

    For the sculpted profile a smaller debt divides each regular payment by the same factor; the
    balloon and the interest of the grace are apart.
    """
    grace, tenor = frame.case.grace_periods, frame.tenor
    live = list(accumulate((1.0 / (1.0 + rate) for rate in frame.rates[grace:]), mul))
    shape = [1.0] * (tenor - grace)
    if frame.case.repayment == "sculpted":
        shape = [frame.cfads[t] / frame.targets[t] for t in range(grace, tenor)]
    worth = sum(map(mul, shape, live))
    if worth < SMALLEST:
        raise InvalidInput.at("/cfads", "no_debt_capacity", "carries no debt at this target")
    return _Plan(tuple(part / worth for part in shape), frame.case.balloon * live[-1], worth)


def _principal(frame: Frame, debt: float) -> list[float]:
    """Principal of each period for a debt; the last one takes balloon and remainder."""
    grace, tenor = frame.case.grace_periods, frame.tenor
    if frame.case.repayment == "straight_line":
        paid = [(debt - frame.case.balloon) / (tenor - grace)] * (tenor - grace)
        paid[-1] = debt - sum(paid[:-1])
        return [0.0] * grace + paid
    plan = _plan(frame)
    # Backwards, each step divides an error by 1 + rate; forwards it would multiply it.
    balances = [frame.case.balloon]
    for unit, rate in zip(reversed(plan.unit), reversed(frame.rates), strict=False):
        balances.append((balances[-1] + unit * (debt - plan.base)) / (1.0 + rate))
    balances[0], balances[-1] = 0.0, debt
    balances.reverse()
    return [0.0] * grace + [before - after for before, after in pairwise(balances)]


def _service(frame: Frame, debt: float, principal: list[float]) -> list[float]:
    """Regular debt service, the balloon apart, which refinancing pays and no reserve covers."""
    service, balance = [], debt
    for rate, paid in zip(frame.rates, principal, strict=True):
        service.append(balance * rate + paid)
        balance -= paid
    service[-1] -= frame.case.balloon
    return service


def _reserve(frame: Frame, service: list[float], after: int) -> float:
    """DSRA after payment `after`: the next months of debt service, part periods pro rata."""
    uses = frame.case.uses
    left = (uses.dsra_months if uses else 0.0) / frame.case.months_per_period
    total = 0.0
    for due in service[after : after + math.ceil(left)]:
        total += min(left, 1.0) * due
        left -= 1.0
    return total


def _debt(frame: Frame, capacity: float | None) -> tuple[float, Binding]:
    """The smaller of what the cash carries and what the funded cost allows."""
    case = frame.case
    if case.uses is None:
        if capacity is None:
            raise InvalidInput.at("/uses", "required", "a share of cost needs the uses")
        return capacity, "dscr"
    limits: list[tuple[float, Binding]] = [] if capacity is None else [(capacity, "dscr")]
    if case.share_of_cost is not None and capacity is None:
        limits.append((_at_share(frame, case.uses, case.share_of_cost, capacity), "share_of_cost"))
    if case.max_gearing is not None:
        limits.append((_at_share(frame, case.uses, case.max_gearing, capacity), "gearing"))
    return min(limits, key=lambda limit: limit[0])


def _check_balloon(frame: Frame, debt: float) -> None:
    """Refuse a balloon that leaves nothing to repay before it, or that the debt must grow into."""
    case = frame.case
    grows = debt < case.balloon * (1.0 - NOISE)
    if case.balloon and (
        debt <= _plan(frame).base or (grows and not case.allow_negative_amortisation)
    ):
        raise InvalidInput.at("/balloon", "exceeds_debt", "exceeds the debt that can be sized")


def _at_share(frame: Frame, uses: Uses, share: float, capacity: float | None) -> float:
    """The debt that is `share` of the funded cost: affine uses, solved exactly."""
    fixed = (
        uses.capex
        + uses.closing_cost
        + uses.other_financing_cost
        + uses.construction_financing_cost
    )
    fee = uses.upfront_fee_share
    if frame.case.pre_estimated_cost is not None:
        return share * frame.case.pre_estimated_cost
    if frame.case.cap_basis == "pre_estimate" and capacity is not None:
        return share * (fixed + fee * uses.capex)
    # The reserve is a line in the debt: two points on it give intercept and slope.
    scale = share * fixed
    at_scale = _reserve(frame, _service(frame, scale, _principal(frame, scale)), 0)
    at_double = _reserve(frame, _service(frame, 2.0 * scale, _principal(frame, 2.0 * scale)), 0)
    slope = (at_double - at_scale) / scale
    intercept = at_scale - slope * scale
    if frame.case.cap_basis == "pre_estimate":
        grown = share * (1.0 + share * fee)
        return grown * (fixed + intercept) / (1.0 - grown * slope)
    below = 1.0 - share * (fee + slope)
    if below <= 0.0:
        raise InvalidInput.at(
            "/uses", "no_solution", "each unit of debt adds more cost than it funds"
        )
    return share * (fixed + intercept) / below


def _check_amortisation(frame: Frame, debt: float, principal: list[float]) -> tuple[str, ...]:
    """Refuse a balance that grows, unless the switch allows it; then say so."""
    grows = [t + 1 for t, paid in enumerate(principal) if paid < -NOISE * debt]
    if not grows:
        return ()
    listed = ", ".join(map(str, grows[:8])) + ("…" if len(grows) > 8 else "")  # noqa: PLR2004 -
    # eight periods show where; the schedule shows the rest
    if not frame.case.allow_negative_amortisation:
        raise InvalidInput.at(
            "/allow_negative_amortisation",
            "negative_amortisation",
            f"the balance would grow in periods {listed}; set the switch to allow it",
        )
    return (f"negative amortisation in periods {listed}",)


def _result(
    frame: Frame,
    debt: float,
    binding: Binding,
    capacity: float | None,
    principal: list[float],
    warnings: tuple[str, ...],
) -> Sizing:
    case = frame.case
    regular = _service(frame, debt, principal)
    reserve = [_reserve(frame, regular, k) for k in range(frame.tenor)] + [0.0]
    rows = _rows(frame, debt, principal, reserve)
    refuse_overflow(
        "/cfads",
        (row.interest for row in rows),
        (row.closing_balance for row in rows),
        *((row.dscr, row.llcr, row.plcr) for row in rows),
    )
    tested = [row.dscr for row in rows if row.dscr is not None]
    uses = case.uses
    fee = uses.upfront_fee_share * debt if uses else 0.0
    total = _total_uses(uses, fee, reserve[0]) if uses else None
    life = len(frame.project)
    padded = tuple(reserve) + (0.0,) * (life - frame.tenor)
    sizing = Sizing(
        debt=debt,
        binding=binding,
        dscr_capacity=capacity,
        achieved_dscr=_achieved(frame, debt, capacity),
        rows=rows,
        min_dscr=min(tested, default=None),
        avg_dscr=sum(tested) / len(tested) if tested else None,
        llcr=rows[0].llcr,
        plcr=rows[0].plcr,
        wal_years=weighted_average_life(_times(frame), principal),
        total_interest=sum(row.interest for row in rows),
        upfront_fee=fee,
        initial_dsra=reserve[0],
        dsra_balance=padded,
        total_uses=total,
        equity=None if total is None else total - debt,
        gearing=None if total is None else debt / total,
        conventions=_conventions(frame),
        warnings=warnings + _cover_warnings(frame, rows),
    )
    return sizing if total is None else _with_equity(frame, sizing)


def _rows(
    frame: Frame, debt: float, principal: list[float], reserve: list[float]
) -> tuple[SizingRow, ...]:
    balances = [debt]
    for paid in principal:
        balances.append(balances[-1] - paid)
    balances[-1] = 0.0
    interest = [b * rate for b, rate in zip(balances, frame.rates, strict=False)]
    balloons = [0.0] * (frame.tenor - 1) + [frame.case.balloon]
    service = [i + p - b for i, p, b in zip(interest, principal, balloons, strict=True)]
    ratios = dscr(frame.cfads, service, debt)
    loan = life_cover(frame.cfads, frame.rates, balances[:-1])
    project = life_cover(frame.project, frame.rates, balances[:-1])
    dates = frame.case.dates
    return tuple(
        SizingRow(
            period=t + 1,
            date=dates[t + 1] if dates else None,
            accrual_fraction=frame.accruals[t],
            annual_rate=frame.annual[t],
            cfads=frame.cfads[t],
            opening_balance=balances[t],
            interest=interest[t],
            principal=principal[t],
            balloon=balloons[t],
            debt_service=service[t],
            closing_balance=balances[t + 1],
            dscr=ratios[t],
            llcr=loan[t],
            plcr=project[t],
            dsra_balance=reserve[t + 1],
        )
        for t in range(frame.tenor)
    )


def _times(frame: Frame) -> list[float]:
    """Years from the start to each payment: Act/365 for dates, otherwise sums of accruals."""
    dates = frame.case.dates
    if dates is not None:
        return [(day - dates[0]).days / _YEAR_DAYS for day in dates[1 : frame.tenor + 1]]
    return list(accumulate(frame.accruals))


def _achieved(frame: Frame, debt: float, capacity: float | None) -> tuple[float, ...] | None:
    """The targets divided by the factor that a smaller debt applies to each regular payment."""
    if capacity is None:
        return None
    plan = _plan(frame)
    factor = 1.0 if debt == capacity else (debt - plan.base) / plan.worth
    return tuple(target / factor for target in frame.targets)


def _total_uses(uses: Uses, fee: float, reserve: float) -> float:
    return (
        uses.capex
        + uses.closing_cost
        + uses.other_financing_cost
        + uses.construction_financing_cost
        + fee
        + reserve
    )


def _with_equity(frame: Frame, sizing: Sizing) -> Sizing:
    """Add what equity pays and receives: project cash less debt service, plus reserve moves.

    Sponsors pay the balloon too, out of a refinancing that is not part of this case.
    """
    life, reserve = len(frame.project), sizing.dsra_balance
    service = [row.interest + row.principal for row in sizing.rows]
    flows = [-(sizing.equity or 0.0)]
    for t in range(life):
        tau = frame.accruals[t] if t < frame.tenor else 0.0
        earned = frame.case.reserve_interest_rate * tau * reserve[t]
        released = reserve[t] - reserve[t + 1]
        due = service[t] if t < frame.tenor else 0.0
        flows.append(frame.project[t] - due + earned + released)
    tax = frame.case.tax_cash_flow or (0.0,) * (life + 1)
    after = [flow + taxed for flow, taxed in zip(flows, tax, strict=True)]
    return msgspec.structs.replace(
        sizing,
        equity_cash_flow=tuple(flows),
        equity_irr=_equity_irr(frame, flows),
        equity_cash_flow_after_tax=tuple(after),
        equity_irr_after_tax=_equity_irr(frame, after),
    )


def _equity_irr(frame: Frame, flows: list[float]) -> RateOutcome:
    """XIRR when every flow has its date, otherwise the periodic rate annualised."""
    for t, flow in enumerate(flows):
        if not abs(flow) <= MAX_AMOUNT:
            pointer = "/uses" if t == 0 else "/cfads"
            raise InvalidInput.at(pointer, "overflow", f"takes equity beyond {MAX_AMOUNT:g}")
    dates = frame.case.dates
    if dates is not None and len(dates) >= len(flows):
        return xirr(dates[: len(flows)], flows)
    return irr(flows, _YEAR_MONTHS // frame.case.months_per_period)


def _conventions(frame: Frame) -> dict[str, str]:
    case = frame.case
    return {
        "repayment": case.repayment,
        "timing": "flows at period end; date 0 is the start of the first period",
        "day_count": frame.rule,
        "interest": "annual rate x accrual fraction x opening balance",
        "dscr": "CFADS / (interest + principal), the balloon apart",
        "llcr": "PV of CFADS over the tenor at the loan rates / opening balance",
        "plcr": "PV of project cash flow at the loan rates / opening balance",
        "wal": "sum(t * principal) / sum(principal), years",
        "cap_basis": case.cap_basis,
        "dsra": "months of the next regular debt service, funded at the start, released at the end",
    }


def _cover_warnings(frame: Frame, rows: tuple[SizingRow, ...]) -> tuple[str, ...]:
    """Say where the schedule misses its own target or its cash, as in the grace."""
    found: list[str] = []
    if frame.case.repayment == "sculpted":
        short = [
            row.period
            for row, target in zip(rows, frame.targets, strict=True)
            if row.dscr is not None and row.dscr < target * (1.0 - NOISE)
        ]
        if short:
            found.append(f"the DSCR is below its target in period {short[0]}")
    if any(row.dscr is not None and row.dscr < 1.0 for row in rows):
        found.append("the DSCR is below 1: CFADS do not cover debt service in every period")
    return tuple(found)
