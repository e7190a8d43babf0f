"""Multiples of money, payback and levelised cost.

MOIC, also called TVPI, is everything received and the residual value over everything paid in; DPI
leaves the residual value out. Source: the Global Investment Performance Standards (GIPS).
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.returns.discounting import DiscountCurve, compute_present_value


class MoneyMultiples(msgspec.Struct, frozen=True, kw_only=True):
    """Multiples of the money paid in; None without any, or beyond float64."""

    moic: float | None
    dpi: float | None


def compute_multiples(amounts: Sequence[float], residual_value: float) -> MoneyMultiples:
    """Return the multiples of flows and a residual value that is not among them."""
    paid_in = -sum(amount for amount in amounts if amount < 0.0)
    received = sum(amount for amount in amounts if amount > 0.0)
    if not paid_in:
        return MoneyMultiples(moic=None, dpi=None)
    moic, dpi = (received + residual_value) / paid_in, received / paid_in
    return MoneyMultiples(
        moic=moic if math.isfinite(moic) else None, dpi=dpi if math.isfinite(dpi) else None
    )


class PaybackSpan(NamedTuple):
    """The two flows between which the sum of flows turns positive, and the sums after each."""

    years_before: float
    years_after: float
    sum_before: float
    sum_after: float

    @property
    def years(self) -> float:
        """The years until the sum is zero; within a period its flow counts as even."""
        share = -self.sum_before / (self.sum_after - self.sum_before)
        return self.years_before + (self.years_after - self.years_before) * share


def find_payback(times_years: Sequence[float], amounts: Sequence[float]) -> PaybackSpan | None:
    """Find where the sum of ordered flows is no longer negative, for good.

    None where the sum never turns positive, or was never negative.
    """
    sums = list(accumulate(amounts))
    last_deficit = max((index for index, total in enumerate(sums) if total < 0.0), default=None)
    if last_deficit is None or last_deficit == len(sums) - 1:
        return None
    return PaybackSpan(
        times_years[last_deficit],
        times_years[last_deficit + 1],
        sums[last_deficit],
        sums[last_deficit + 1],
    )


def compute_levelised_cost(
    curve: DiscountCurve,
    times_years: Sequence[float],
    costs: Sequence[float],
    energy: Sequence[float],
) -> float:
    """Return the present value of costs over that of energy (LCOE).

    Raises:
        InvalidInput: no energy, or a value beyond float64.
    """
    discounted_energy = compute_present_value(curve, times_years, energy)
    if not discounted_energy > 0.0:
        raise InvalidInput.at("/energy", "all_zero", "has no energy to bear the costs")
    cost = compute_present_value(curve, times_years, costs) / discounted_energy
    if not math.isfinite(cost):
        raise InvalidInput.at("/energy", "overflow", "has too little energy for the costs")
    return cost
