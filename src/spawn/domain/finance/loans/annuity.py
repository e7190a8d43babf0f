"""Annuity functions PMT, IPMT, PPMT, CUMIPMT and CUMPRINC, with the signs of a spreadsheet.

Money received is positive. All solve pv (1+i)^n + pmt (1 + i due) ((1+i)^n - 1)/i + fv = 0, with
`rate_per_period` i, `periods` n, and `due` 1 for payments at the beginning of each period, 0 at
the end. A rate of zero takes the limit (P/n). Source: the documented formula of the spreadsheet
functions of the same names.
"""

import math
from typing import Literal, NamedTuple

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_PERIODS, FieldChecker

PaymentTiming = Literal[0, 1]


class _LevelPayment(NamedTuple):
    """A level payment and its inputs."""

    rate: float
    periods: int
    pv: float
    fv: float
    due: PaymentTiming
    payment: float


def pmt(
    rate_per_period: float, periods: int, pv: float, fv: float = 0.0, due: PaymentTiming = 0
) -> float:
    """Return the level payment that turns `pv` into `-fv` over `periods`.

    Raises:
        InvalidInput: a rate not above -1, periods outside 1..2400, or a non-finite amount.
    """
    return _solve_level_payment(rate_per_period, periods, pv, fv, due).payment


def ipmt(
    rate_per_period: float,
    period: int,
    periods: int,
    pv: float,
    fv: float = 0.0,
    due: PaymentTiming = 0,
) -> float:
    """Return the interest part of payment number `period`, counted from 1.

    Raises:
        InvalidInput: as `pmt`, or a period outside 1..periods.
    """
    annuity = _solve_level_payment(rate_per_period, periods, pv, fv, due)
    _check_period("/period", period, 1, periods)
    return _interest(annuity, period)


def ppmt(
    rate_per_period: float,
    period: int,
    periods: int,
    pv: float,
    fv: float = 0.0,
    due: PaymentTiming = 0,
) -> float:
    """Return the principal part of payment number `period`: the payment less its interest.

    Raises:
        InvalidInput: as `ipmt`.
    """
    annuity = _solve_level_payment(rate_per_period, periods, pv, fv, due)
    _check_period("/period", period, 1, periods)
    return annuity.payment - _interest(annuity, period)


def cumipmt(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: PaymentTiming = 0
) -> float:
    """Return the interest paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `pmt`, or an empty range of payments.
    """
    annuity = _solve_level_payment(rate_per_period, periods, pv, 0.0, due)
    _check_period("/first", first, 1, periods)
    _check_period("/last", last, first, periods)
    return math.fsum(_interest(annuity, k) for k in range(first, last + 1))


def cumprinc(
    rate_per_period: float, periods: int, pv: float, first: int, last: int, due: PaymentTiming = 0
) -> float:
    """Return the principal paid in payments `first` to `last`, both included.

    Raises:
        InvalidInput: as `cumipmt`.
    """
    annuity = _solve_level_payment(rate_per_period, periods, pv, 0.0, due)
    _check_period("/first", first, 1, periods)
    _check_period("/last", last, first, periods)
    return math.fsum(annuity.payment - _interest(annuity, k) for k in range(first, last + 1))


def _solve_level_payment(
    rate: float, periods: int, pv: float, fv: float, due: PaymentTiming
) -> _LevelPayment:
    _check_inputs(rate, periods, pv, fv)
    return _LevelPayment(rate, periods, pv, fv, due, _pmt(rate, periods, pv, fv, due))


def _pmt(rate: float, periods: int, pv: float, fv: float, due: PaymentTiming) -> float:
    if rate == 0.0:
        return -(pv + fv) / periods
    log_growth = periods * math.log1p(rate)
    if log_growth > 0.0:  # discount, so that a long loan cannot overflow
        discount = math.exp(-log_growth)
        payment = -rate * (pv + fv * discount) / -math.expm1(-log_growth)
    else:
        payment = -rate * (pv * math.exp(log_growth) + fv) / math.expm1(log_growth)
    return payment / (1.0 + rate * due)


def _interest(annuity: _LevelPayment, period: int) -> float:
    """Return interest on the balance before the payment; an immediate payment bears none."""
    if annuity.due == 0:
        return -annuity.rate * _balance(annuity, period - 1)
    if period == 1:
        return 0.0
    return -annuity.rate * (_balance(annuity, period - 2) + annuity.payment)


def _balance(annuity: _LevelPayment, paid_periods: int) -> float:
    """Return the balance after `paid_periods` whole periods, with the sign of `pv`.

    At a positive rate it is the present value of the remaining payments: summing the past payments
    would multiply rounding by the growth. At a negative rate that sum shrinks rounding instead.
    """
    rate = annuity.rate
    if rate == 0.0:
        return annuity.pv + annuity.payment * paid_periods
    payment_at_end = annuity.payment * (1.0 + rate * annuity.due)
    if rate < 0.0:
        growth = math.expm1(paid_periods * math.log1p(rate))
        return annuity.pv * (1.0 + growth) + payment_at_end * (growth / rate)
    shrink = math.expm1(-(annuity.periods - paid_periods) * math.log1p(rate))
    return payment_at_end * (shrink / rate) - annuity.fv * (1.0 + shrink)


def _check_inputs(rate: float, periods: int, pv: float, fv: float) -> None:
    checker = FieldChecker()
    if not -1.0 < rate <= MAX_AMOUNT:
        checker.reject("/rate_per_period", "out_of_range", "must be a finite rate above -1")
    checker.require_number("/periods", periods, 1, MAX_PERIODS)
    checker.require_amount("/pv", pv)
    checker.require_amount("/fv", fv)
    checker.raise_errors()
    if abs(math.log1p(rate)) * periods > _MAX_LOG_GROWTH:
        raise InvalidInput.at(
            "/rate_per_period",
            "overflow",
            "compounds beyond float64; lower the rate or the periods",
        )


_MAX_LOG_GROWTH = 600.0


def _check_period(pointer: str, period: int, low: int, high: int) -> None:
    checker = FieldChecker()
    checker.require_number(pointer, period, low, high)
    checker.raise_errors()
