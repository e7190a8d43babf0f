"""Sculpted debt: the largest balance that the cash carries, and its repayment.

With the debt service that the cash allows, S_t = CFADS_t / DSCR_t, the largest balance is, from
the end backwards, M_{t-1} = (M_t + S_t)/(1 + r_t) with M_n the balloon. A floor p under principal
adds M_{t-1} <= (S_t - p)/r_t: interest and floor must fit into S_t. Both bounds are exact, because
a smaller balance relaxes each later one. A smaller debt is repaid by one share of each S_t. Where
the target holds for all debt service, S_t = max(CFADS_t / DSCR_t - service ahead, 0), and the
share is one of CFADS_t / DSCR_t, so that the DSCR of all service remains level.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Final, NamedTuple

from spawn.domain.finance.facilities.fixed_point import find_root
from spawn.domain.finance.limits import MAX_AMOUNT

_NOISE: Final = 1e-15
_MAX_DOUBLINGS: Final = 100


class SculptingTerms(NamedTuple):
    """Debt service that the cash allows per period, rates per period, and the terms of the debt.

    `floor` is the least principal of a period, None for no bound. `ahead` is the debt service of
    others that is a part of `services`.
    """

    services: Sequence[float]
    period_rates: Sequence[float]
    grace: int
    balloon: float
    floor: float | None
    ahead: Sequence[float] | None = None

    def share_services(self, factor: float) -> Sequence[float]:
        """Return the debt service of this debt, with services times `factor`."""
        if self.ahead is None:
            return [service * factor for service in self.services]
        return [
            max(service * factor - other, 0.0)
            for service, other in zip(self.services, self.ahead, strict=True)
        ]


def carry_balances(terms: SculptingTerms, factor: float = 1.0) -> list[float]:
    """Return the largest balance before each payment and after the last, services times `factor`.

    During the grace only interest is paid, so that the balance does not change.
    """
    balance = terms.balloon
    balances = [balance]
    services = terms.share_services(factor)
    for t in range(len(terms.services) - 1, -1, -1):
        if t >= terms.grace:
            service, rate = services[t], terms.period_rates[t]
            balance = (balance + service) / (1.0 + rate)
            if terms.floor is not None:
                room = service - terms.floor
                if balance * rate > room:
                    balance = max(room / rate if rate > 0.0 else 0.0, 0.0)
        balances.append(balance)
    balances.reverse()
    return balances


class SculptedRepayment(NamedTuple):
    """Balances from the start to the end, and the factor on the services of the terms."""

    balances: list[float]
    factor: float


def repay_debt(
    terms: SculptingTerms, largest: Sequence[float], debt: float, factor: float
) -> SculptedRepayment:
    """Repay a debt that the services times `factor` carry; `largest` are the balances they carry.

    Without a floor they are the balances. With one, principal is what one factor on all services
    leaves after interest, and at least the floor.
    """
    floor = terms.floor
    if floor is None:
        return SculptedRepayment([debt, *largest[1:]], factor)

    def excess(trial: float) -> float:
        balance = debt
        services = terms.share_services(trial)
        for t in range(terms.grace, len(services)):
            interest = terms.period_rates[t] * balance
            balance -= max(services[t] - interest, floor)
        return balance - terms.balloon

    at_zero, at_factor = excess(0.0), excess(factor)
    level = 0.0
    if at_zero > 0.0:
        level = factor
        if at_factor < 0.0:
            level = find_root(excess, (0.0, at_zero), (factor, at_factor))
    balances = [debt]
    for t, service in enumerate(terms.share_services(level)):
        balance = balances[-1]
        if t >= terms.grace:
            interest = terms.period_rates[t] * balance
            balance -= max(service - interest, floor)
        balances.append(max(min(balance, largest[t + 1]), terms.balloon))
    balances[-1] = terms.balloon
    return SculptedRepayment(balances, level)


def find_service_factor(terms: SculptingTerms, debt: float, capacity: float) -> float | None:
    """Return the factor on the debt service at which the cash carries `debt`.

    Without a binding floor or service ahead the largest balance is affine in the factor. With a
    floor, any debt below the capacity is carried at 1. None where no factor carries the debt.
    """
    if debt == capacity or (terms.floor is not None and terms.balloon <= debt < capacity):
        return 1.0
    services, rates = terms.services[terms.grace :], terms.period_rates[terms.grace :]
    discounts = list(accumulate((1.0 / (1.0 + rate) for rate in rates), mul))
    value: float = sum(map(mul, services, discounts))
    base: float = terms.balloon * discounts[-1]
    if value <= 0.0:
        return None
    factor = (debt - base) / value
    if factor <= 0.0 or (terms.floor is None and terms.ahead is None):
        return factor

    def shortfall(factor: float) -> float:
        return debt - carry_balances(terms, factor)[0]

    # Floor and service ahead only lower balances: the factor without them is a lower bound.
    at_factor = shortfall(factor)
    if at_factor <= _NOISE * debt:
        return factor
    high = factor
    for _ in range(_MAX_DOUBLINGS):
        high *= 2.0
        at_high = shortfall(high)
        if at_high <= 0.0:
            return find_root(shortfall, (factor, at_factor), (high, at_high), noise=0.0)
        if not high <= MAX_AMOUNT:
            break
    return None
