"""Level-payment functions with the signs of the spreadsheet: money received is positive.

All solve pv (1+i)^n + pmt (1 + i due) ((1+i)^n - 1)/i + fv = 0, with `rate_per_period` i, `periods`
n, and `due` 1 for payments at the beginning of each period, 0 at the end. A rate of zero takes
the limit (P/n). Source: the documented formula of the spreadsheet functions of the same names.
"""

import math
from typing import Literal

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.bounds import MAX_AMOUNT, MAX_PERIODS, Checker

Due = Literal[0, 1]


def pmt(rate_per_period: float, periods: int, pv: float, fv: float = 0.0, due: Due = 0) -> float:
    """The level payment that turns `pv` into `-fv` over `periods`.

    Raises:
        InvalidInput: a rate not above -1, periods outside 1..2400, or a non-finite amount.
    """
    _check(rate_per_period, periods, pv, fv)
    return _pmt(rate_per_period, periods, pv, fv, due)


def ipmt(
    rate_per_period: float, period: int, periods: int, pv: float, fv: float = 0.0, due: Due = 0
) -> float:
    """The interest part of payment number `period`, counted from 1.

    Raises:
        InvalidInput: as `pmt`, or a period outside 1..periods.
    """
    _check(rate_per_period, periods, pv, fv)
    _check_period("/period", period, 1, periods)
    return _ipmt(rate_per_period, period, _pmt(rate_per_period, periods, pv, fv, due), pv, due)


def ppmt(
    rate_per_period: float, period: int, periods: int, pv: float, fv: float = 0.0, due: Due = 0
) -> float:
    """The principal part of payment number `period`: the payment less its interest.

    Raises:
        InvalidInput: as `ipmt`.
    """
    interest = ipmt(rate_per_period, period, periods, pv, fv, due)
    return _pmt(rate_per_period, periods, pv, fv, due) - interest


def cumipmt(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: Due = 0
) -> float:
    """The interest paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `pmt`, or an empty range of payments.
    """
    _check(rate_per_period, periods, pv, 0.0)
    _check_period("/first", first, 1, periods)
    _check_period("/last", last, first, periods)
    payment = _pmt(rate_per_period, periods, pv, 0.0, due)
    return math.fsum(_ipmt(rate_per_period, k, payment, pv, due) for k in range(first, last + 1))


def cumprinc(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: Due = 0
) -> float:
    """The principal paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `cumipmt`.
    """
    interest = cumipmt(rate_per_period, periods, pv, first, last, due)
    return _pmt(rate_per_period, periods, pv, 0.0, due) * (last - first + 1) - interest


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


def _ipmt(rate: float, period: int, payment: float, pv: float, due: Due) -> float:
    """Interest on the balance before the payment; a payment at once bears none."""
    if due == 1:
        if period == 1:
            return 0.0
        return -rate * (_balance(rate, period - 2, payment, pv, 1) + payment)
    return -rate * _balance(rate, period - 1, payment, pv, 0)


def _balance(rate: float, paid: int, payment: float, pv: float, due: Due) -> float:
    """What is owed after `paid` whole periods."""
    if rate == 0.0:
        return pv + payment * paid
    growth = math.expm1(paid * math.log1p(rate))
    return pv * (1.0 + growth) + payment * (1.0 + rate * due) * growth / rate


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
