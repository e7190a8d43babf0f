"""Limits of a sized debt beside its DSCR and its gearing: life cover ratios and average life.

A cover ratio of at least x limits the debt to PV(cash) / x, at every date at which the balance is
tested. An average life of at most x years limits sum t P to x sum P. As sum t P is the sum of each
balance times its time, both sides are linear in debt service, and the most debt under a limit of
debt service in each period pays early service in full, one period in part, and nothing after it.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import mul

from spawn.domain.errors import Infeasible
from spawn.domain.finance.coverage_ratios import (
    compute_life_cover_ratios,
    compute_opening_balances,
)
from spawn.domain.finance.limits import ROUNDING_NOISE


def cut_service_to_average_life(
    service: Sequence[float],
    period_rates: Sequence[float],
    times_years: Sequence[float],
    *,
    balloon: float,
    max_average_life_years: float,
) -> list[float]:
    """Return the debt service of the most debt whose average life is at most the limit.

    `service` is the most of each period after the grace, `period_rates` and `times_years` those of
    all periods. Interest alone is paid in the grace.

    Raises:
        Infeasible: no debt service is early enough.
    """
    grace = len(period_rates) - len(service)
    discounts = list(accumulate((1.0 / (1.0 + rate) for rate in period_rates[grace:]), mul))
    grace_years = times_years[grace - 1] if grace else 0.0
    lives = _list_lives(discounts, (grace_years, *times_years[grace:]))
    slack = balloon * discounts[-1] * (max_average_life_years - lives[-1])
    parts = list(service)
    for t, (due, discount, life) in enumerate(zip(service, discounts, lives, strict=True)):
        excess = due * discount * (life - max_average_life_years)
        # Lives increase, so that what lengthens the average comes after all that shortens it.
        if excess > max(slack, 0.0):
            parts[t:] = [max(slack, 0.0) / excess * due, *[0.0] * (len(service) - t - 1)]
            break
        slack -= excess
    if slack < 0.0 or not any(parts):
        raise Infeasible.at(
            "/max_average_life_years",
            "no_debt_capacity",
            "no debt is repaid that early; give more years, a shorter grace or less balloon",
        )
    return parts


def _list_lives(discounts: Sequence[float], times_years: Sequence[float]) -> list[float]:
    """Return the time of each payment weighted by the balance that it services.

    A payment S services a balance of S x DF_t / DF_k in each period k up to its own.
    """
    lives, life = [], times_years[0]
    openings = (1.0, *discounts[:-1])
    for (start, end), opening in zip(pairwise(times_years), openings, strict=True):
        life += (end - start) / opening
        lives.append(life)
    return lives


def limit_debt_by_cover(
    cash: Sequence[float],
    period_rates: Sequence[float],
    principal: Sequence[float],
    *,
    debt: float,
    min_ratio: float,
    is_first_date_only: bool,
) -> float:
    """Return the debt at which the least life cover ratio is `min_ratio`.

    The balances scale with the debt whose `principal` is given; with a balloon they do not, and the
    ratio is tested at the first date only, because a refinancing pays the balloon.
    """
    balances = compute_opening_balances(debt, principal)
    ratios = compute_life_cover_ratios(cash, period_rates, balances)
    tested_ratios = [
        ratio for ratio in ratios[: 1 if is_first_date_only else None] if ratio is not None
    ]
    return debt * min(tested_ratios, default=0.0) / min_ratio


def check_average_life(wal_years: float | None, max_average_life_years: float) -> None:
    """Reject a schedule whose average life no smaller debt shortens.

    Raises:
        Infeasible: the average life exceeds the limit.
    """
    if wal_years is None or wal_years <= max_average_life_years * (1.0 + 1e3 * ROUNDING_NOISE):
        return
    detail = (
        f"the schedule has an average life of {wal_years:.6g} years, and less debt does not "
        "shorten it; shorten the tenor or the grace, or lower the balloon"
    )
    raise Infeasible.at("/max_average_life_years", "average_life_exceeded", detail)
