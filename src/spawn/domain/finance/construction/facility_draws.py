"""Draws of several facilities and equity, period by period, and their common fixed point.

Everything follows from one number, the funded cost U: commitments are amounts or shares of U, the
equity is the rest, draws follow from both, and interest and fees on the draws sum up to a cost
F(U). The funded cost is the fixed point F(U) = U. Where every source is a share and draws pro
rata, F is affine and the first step solves it; else the root is bracketed.

Sources of one draw order pay in proportion to what each has undrawn, the available commitment of
a facility agreement, so that no source runs out before the others of its order.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import fsum
from typing import Final, NamedTuple

from spawn.domain.errors import Infeasible
from spawn.domain.finance.facilities.facility_terms import FacilityKind
from spawn.domain.finance.facilities.fixed_point import find_fixed_point, refine_fixed_point
from spawn.domain.finance.limits import MAX_AMOUNT, ROUNDING_NOISE

EQUITY: Final = -1
"""The index of the equity in a group of sources."""

_NOISE: Final = 1e-14


class DrawSource(NamedTuple):
    """A facility with its rates and fees per period; it is drawn from `first` to `last`."""

    name: str
    kind: FacilityKind
    annual_rates: Sequence[float]
    period_rates: Sequence[float]
    fee_rates: Sequence[float]
    upfront_fee: float
    order: int
    first: int
    last: int
    capitalises: bool
    vat_rate: float = 0.0
    refund_periods: int = 0


class DrawInputs(NamedTuple):
    """Costs from period 0 and the sources, grouped by their order.

    `bridge` and `vat` are the indices of these facilities, None without one.
    """

    costs: tuple[float, ...]
    sources: tuple[DrawSource, ...]
    groups: tuple[tuple[int, ...], ...]
    bridge: int | None
    vat: int | None

    @classmethod
    def of_sources(
        cls, costs: tuple[float, ...], sources: tuple[DrawSource, ...], equity_order: int
    ) -> "DrawInputs":
        """Group the sources by order; the equity bridge stands behind the equity."""
        orders = {equity_order: [EQUITY]}
        for index, source in enumerate(sources):
            if source.kind not in {"equity_bridge", "vat"}:
                orders.setdefault(source.order, []).append(index)
        kinds = [source.kind for source in sources]
        return cls(
            costs,
            sources,
            tuple(tuple(orders[order]) for order in sorted(orders)),
            kinds.index("equity_bridge") if "equity_bridge" in kinds else None,
            kinds.index("vat") if "vat" in kinds else None,
        )

    def largest_vat(self) -> float:
        """Return the largest balance of the VAT facility: the VAT that is not refunded yet."""
        if self.vat is None:
            return 0.0
        source = self.sources[self.vat]
        sums = list(accumulate(self.costs, initial=0.0))
        width = source.refund_periods
        return source.vat_rate * max(
            sums[last] - sums[max(last - width, 0)] for last in range(1, len(sums))
        )


class FundingPlan(NamedTuple):
    """Commitments by facility, the equity beside them, and the reserve of the last period."""

    commitments: Sequence[float]
    equity: float
    reserve: float


class PeriodDraws(NamedTuple):
    """One period of the funding; the lists have one number per facility."""

    cost: float
    reserve: float
    uses: float
    vat: float
    refund: float
    equity_draw: float
    upfront: list[float]
    interest: list[float]
    fees: list[float]
    opening: list[float]
    draws: list[float]
    capitalised: list[float]
    repaid: list[float]
    closing: list[float]
    undrawn: list[float]


def run_draws(inputs: DrawInputs, plan: FundingPlan) -> list[PeriodDraws]:
    """Draw each period's uses from the sources; equity pays what they cannot."""
    run = _DrawRun(inputs, plan)
    return [run.fund_period(t) for t in range(len(inputs.costs))]


class _DrawRun:
    """Balances and undrawn commitments on their way from period to period."""

    def __init__(self, inputs: DrawInputs, plan: FundingPlan) -> None:
        self._inputs = inputs
        self._plan = plan
        self._balances = [0.0] * len(inputs.sources)
        self._undrawn = list(plan.commitments)
        self._equity = plan.equity
        self._noise = ROUNDING_NOISE * (plan.equity + sum(plan.commitments))

    def fund_period(self, t: int) -> PeriodDraws:
        """Accrue interest and fees, and draw the uses of a period."""
        inputs, is_last = self._inputs, t == len(self._inputs.costs) - 1
        opening, count = self._balances, len(inputs.sources)
        upfront, interest, fees = self._accrue(t)
        capitalised = [
            amount if source.capitalises else 0.0
            for source, amount in zip(inputs.sources, interest, strict=True)
        ]
        cost, reserve = inputs.costs[t], self._plan.reserve if is_last else 0.0
        uses = cost + sum(upfront) + sum(interest) - sum(capitalised) + sum(fees) + reserve
        draws, repaid = [0.0] * count, [0.0] * count
        vat = refund = 0.0
        if inputs.vat is not None:
            vat, refund = self._vat_of(t)
            draws[inputs.vat], repaid[inputs.vat] = vat, refund
            self._undrawn[inputs.vat] += refund - vat
        equity = self._draw_sources(t, uses, draws)
        if inputs.bridge is not None:
            equity = self._bridge_equity(t, equity, draws, repaid, is_last=is_last)
        self._balances = [
            before + draw + joined - back
            for before, draw, joined, back in zip(opening, draws, capitalised, repaid, strict=True)
        ]
        return PeriodDraws(
            cost=cost,
            reserve=reserve,
            uses=uses,
            vat=vat,
            refund=refund,
            equity_draw=equity,
            upfront=upfront,
            interest=interest,
            fees=fees,
            opening=opening,
            draws=draws,
            capitalised=capitalised,
            repaid=repaid,
            closing=self._balances,
            undrawn=list(self._undrawn),
        )

    def _accrue(self, t: int) -> tuple[list[float], list[float], list[float]]:
        """Return upfront fees, interest and commitment fees of a period."""
        sources = self._inputs.sources
        nothing = [0.0] * len(sources)
        if t == 0:
            commitments = self._plan.commitments
            upfront = [s.upfront_fee * c for s, c in zip(sources, commitments, strict=True)]
            return upfront, nothing, nothing
        return (
            nothing,
            [s.period_rates[t - 1] * b for s, b in zip(sources, self._balances, strict=True)],
            [
                s.fee_rates[t - 1] * u if t <= s.last else 0.0
                for s, u in zip(sources, self._undrawn, strict=True)
            ],
        )

    def _vat_of(self, t: int) -> tuple[float, float]:
        """Return the VAT on the cost of a period, and the refund of an earlier one."""
        source = self._inputs.sources[self._inputs.vat or 0]
        earlier = t - source.refund_periods
        refund = source.vat_rate * self._inputs.costs[earlier] if earlier >= 0 else 0.0
        return source.vat_rate * self._inputs.costs[t], refund

    def _draw_sources(self, t: int, uses: float, draws: list[float]) -> float:
        """Draw the uses by order, and return the equity's part."""
        sources, undrawn = self._inputs.sources, self._undrawn
        equity_part = 0.0
        for group in self._inputs.groups:
            if uses <= 0.0:
                break
            rooms = [
                max(self._equity, 0.0)
                if index == EQUITY
                else max(undrawn[index], 0.0)
                if sources[index].first <= t <= sources[index].last
                else 0.0
                for index in group
            ]
            total = sum(rooms)
            if total <= 0.0:
                continue
            part = min(uses / total, 1.0)
            for index, room in zip(group, rooms, strict=True):
                if index == EQUITY:
                    equity_part = part * room
                else:
                    draws[index] = part * room
                    undrawn[index] -= part * room
            uses -= part * total
        largest = max(range(len(draws)), key=draws.__getitem__)
        if 0.0 < uses <= self._noise and draws[largest] > 0.0:  # rounding, not equity
            draws[largest] += uses
            undrawn[largest] -= uses
            uses = 0.0
        equity_part += max(uses, 0.0)
        self._equity -= equity_part
        return equity_part

    def _bridge_equity(
        self, t: int, equity: float, draws: list[float], repaid: list[float], *, is_last: bool
    ) -> float:
        """Draw the bridge in place of equity, or repay it in the last period; return the equity."""
        index = self._inputs.bridge or 0
        if is_last:
            repaid[index] = self._balances[index]
            return equity + repaid[index]
        source = self._inputs.sources[index]
        if source.first <= t <= source.last:
            draws[index] = min(equity, max(self._undrawn[index], 0.0))
            self._undrawn[index] -= draws[index]
        return equity - draws[index]


def solve_funded_cost(
    inputs: DrawInputs,
    plan_of: Callable[[float], FundingPlan],
    *,
    pointer: str,
    guess: float | None = None,
) -> float:
    """Return the funded cost U that equals the uses at the plan of U, near a guess if there is one.

    Raises:
        InvalidInput: each unit of debt costs more than it funds.
    """

    def sum_uses(total: float) -> float:
        return fsum(period.uses for period in run_draws(inputs, plan_of(total)))

    if guess is not None:
        near_total = refine_fixed_point(sum_uses, guess, noise=_NOISE)
        if near_total is not None:
            return near_total
    total = find_fixed_point(sum_uses, fsum(inputs.costs), MAX_AMOUNT, noise=_NOISE)
    if total is None:
        detail = "each unit of debt costs more than it funds; lower rates, fees or debt"
        raise Infeasible.at(pointer, "no_solution", detail)
    return total
