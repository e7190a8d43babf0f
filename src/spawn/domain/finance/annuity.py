"""Level-payment functions with the signs of the spreadsheet: money received is positive.

All solve pv (1+i)^n + pmt (1 + i due) ((1+i)^n - 1)/i + fv = 0, with `rate_per_period` i, `periods`
n, and `due` 1 for payments at the beginning of each period, 0 at the end. A rate of zero takes
the limit (P/n). Source: the documented formula of the spreadsheet functions of the same names.
"""

import math
from typing import Literal, NamedTuple

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_PERIODS, Checker

Due = Literal[0, 1]


class _Level(NamedTuple):
    """A level payment with what it was computed from."""

    rate: float
    periods: int
    pv: float
    fv: float
    due: Due
    payment: float


def pmt(rate_per_period: float, periods: int, pv: float, fv: float = 0.0, due: Due = 0) -> float:
    """The level payment that turns `pv` into `-fv` over `periods`.

    Raises:
        InvalidInput: a rate not above -1, periods outside 1..2400, or a non-finite amount.
    """
    return _level(rate_per_period, periods, pv, fv, due).payment


def ipmt(
    rate_per_period: float, period: int, periods: int, pv: float, fv: float = 0.0, due: Due = 0
) -> float:
    """The interest part of payment number `period`, counted from 1.

    Raises:
        InvalidInput: as `pmt`, or a period outside 1..periods.
    """
    level = _level(rate_per_period, periods, pv, fv, due)
    _check_period("/period", period, 1, periods)
    return _interest(level, period)


def ppmt(
    rate_per_period: float, period: int, periods: int, pv: float, fv: float = 0.0, due: Due = 0
) -> float:
    """The principal part of payment number `period`: the payment less its interest.

    Raises:
        InvalidInput: as `ipmt`.
    """
    level = _level(rate_per_period, periods, pv, fv, due)
    _check_period("/period", period, 1, periods)
    return level.payment - _interest(level, period)


def cumipmt(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: Due = 0
) -> float:
    """The interest paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `pmt`, or an empty range of payments.
    """
    level = _level(rate_per_period, periods, pv, 0.0, due)
    _check_period("/first", first, 1, periods)
    _check_period("/last", last, first, periods)
    return math.fsum(_interest(level, k) for k in range(first, last + 1))


def cumprinc(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: Due = 0
) -> float:
    """The principal paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `cumipmt`.
    """
    level = _level(rate_per_period, periods, pv, 0.0, due)
    _check_period("/first", first, 1, periods)
    _check_period("/last", last, first, periods)
    return math.fsum(level.payment - _interest(level, k) for k in range(first, last + 1))


def _level(rate: float, periods: int, pv: float, fv: float, due: Due) -> _Level:
    _check(rate, periods, pv, fv)
    return _Level(rate, periods, pv, fv, due, _pmt(rate, periods, pv, fv, due))


def _pmt(rate: float, periods: int, pv: float, fv: float, due: Due) -> float:
    if rate == 0.0:
        return -(pv + fv) / periods
    log_growth = periods * math.log1p(rate)
    if log_growth > 0.0:  # discount, so that a long loan cannot overflow
        discount = math.exp(-log_growth)
        payment = -rate * (pv + fv * discount) / -math.expm1(-log_growth)
    else:
        payment = -rate * (pv * math.exp(log_growth) + fv) / math.expm1(log_growth)
    return payment / (1.0 + rate * due)


def _interest(level: _Level, period: int) -> float:
    """Interest on the balance before the payment; a payment at once bears none."""
    if level.due == 0:
        return -level.rate * _balance(level, period - 1)
    if period == 1:
        return 0.0
    return -level.rate * (_balance(level, period - 2) + level.payment)


def _balance(level: _Level, paid: int) -> float:
    """What is owed after `paid` whole periods, with the sign of `pv`.

    At a positive rate it is what the payments still to come are worth, for there the account of
    the payments made would multiply its rounding by the growth; at a negative rate it shrinks it.
    """
    rate = level.rate
    if rate == 0.0:
        return level.pv + level.payment * paid
    each = level.payment * (1.0 + rate * level.due)
    if rate < 0.0:
        growth = math.expm1(paid * math.log1p(rate))
        return level.pv * (1.0 + growth) + each * (growth / rate)
    shrink = math.expm1(-(level.periods - paid) * math.log1p(rate))
    return each * (shrink / rate) - level.fv * (1.0 + shrink)


def _check(rate: float, periods: int, pv: float, fv: float) -> None:
    check = Checker()
    if not -1.0 < rate <= MAX_AMOUNT:
        check.refuse("/rate_per_period", "out_of_range", "must be a finite rate above -1")
    check.number("/periods", periods, 1, MAX_PERIODS)
    check.amount("/pv", pv)
    check.amount("/fv", fv)
    check.done()
    if abs(math.log1p(rate)) * periods > _LOG_GROWTH_TOP:
        raise InvalidInput.at("/rate_per_period", "overflow", "compounds beyond float64")


_LOG_GROWTH_TOP = 600.0


def _check_period(pointer: str, period: int, low: int, high: int) -> None:
    check = Checker()
    check.number(pointer, period, low, high)
    check.done()
