"""Exact cover ratios of periods: DSCR, LLCR and gearing as quotients, with the figures in them.

Nothing is rounded: a ratio is a quotient of amounts, and its text is cut after six decimals, so
that a ratio below a level never prints as the level. A ratio that does not exist says why.
Source of the definitions: E. R. Yescombe, Principles of Project Finance.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from spawn.domain.covenants.cash_periods import (
    CashPeriod,
    add_exactly,
    forward_window,
    trailing_window,
)
from spawn.domain.money import DECIMAL_CONTEXT, get_exponent

PRINTED_DECIMALS: Final = 6
"""Decimals of the text of a ratio, which is cut and not rounded."""

DEFINITION_VERSION: Final = 1
"""Version of the definitions of the metrics below."""


class CoverMetric(StrEnum):
    """A metric of a covenant; gearing may not rise above its levels, the others not fall below."""

    DSCR = "DSCR"
    LLCR = "LLCR"
    GEARING = "GEARING"


class WindowDirection(StrEnum):
    """Side of the test date on which the window of months lies."""

    TRAILING = "TRAILING"
    FORWARD = "FORWARD"


_UNPAID_ROUNDING: Final = Decimal("1E-6")
"""Share of the highest debt that the rounded repayments of a case may leave unpaid."""


class UntestedReason(StrEnum):
    """The reason for which there is no ratio."""

    NO_DEBT_SERVICE = "NO_DEBT_SERVICE"
    NO_DEBT = "NO_DEBT"
    WINDOW_NOT_FULL = "WINDOW_NOT_FULL"
    NO_FIGURES = "NO_FIGURES"
    CASE_TOO_SHORT = "CASE_TOO_SHORT"


class Quotient(msgspec.Struct, frozen=True):
    """An exact quotient of whole numbers, perhaps not in lowest terms; the denominator is above 0.

    A present value over forty years of months has thousands of digits. A `Fraction` would reduce
    it in each step, which takes seconds for the dates of a covenant.
    """

    numerator: int
    denominator: int = 1

    @classmethod
    def of(cls, amount: Decimal | int) -> "Quotient":
        """Return the quotient of a finite amount."""
        return cls(*amount.as_integer_ratio())

    def __add__(self, other: "Quotient") -> "Quotient":
        return Quotient(
            self.numerator * other.denominator + other.numerator * self.denominator,
            self.denominator * other.denominator,
        )

    def __sub__(self, other: "Quotient") -> "Quotient":
        return self + Quotient(-other.numerator, other.denominator)

    def __mul__(self, other: "Quotient") -> "Quotient":
        return Quotient(self.numerator * other.numerator, self.denominator * other.denominator)

    def __truediv__(self, other: "Quotient") -> "Quotient":
        if other.numerator < 0:
            raise ValueError("a ratio is of a positive denominator")
        return Quotient(self.numerator * other.denominator, self.denominator * other.numerator)

    def __bool__(self) -> bool:
        return self.numerator != 0

    def to_fraction(self) -> Fraction:
        """Return the quotient in lowest terms."""
        return Fraction(self.numerator, self.denominator)


class ExactRatio(msgspec.Struct, frozen=True, kw_only=True):
    """A ratio, or the reason for which there is none, with the figures that it is computed of.

    `numerator` and `denominator` are what the formula divides; both are None without figures.
    """

    formula: str
    numerator: Quotient | None = None
    denominator: Quotient | None = None
    untested_reason: UntestedReason | None = None
    inputs: Mapping[str, Quotient] = msgspec.field(default_factory=dict)
    window: tuple[date, date] | None = None

    @property
    def value(self) -> Quotient | None:
        """The ratio; None where it is not tested."""
        if self.untested_reason is not None or self.numerator is None or not self.denominator:
            return None
        return self.numerator / self.denominator


_FORMULAS: Final[Mapping[CoverMetric, str]] = {
    CoverMetric.DSCR: "(cfads + equity_cure) / (interest + principal)",
    CoverMetric.LLCR: "present_value / balance",
    CoverMetric.GEARING: "balance / (balance + equity)",
}


def compute_dscr(
    periods: Sequence[CashPeriod],
    on: date,
    *,
    months: int | None,
    direction: WindowDirection = WindowDirection.TRAILING,
    equity_cure: Decimal = Decimal(0),
) -> ExactRatio:
    """Return the DSCR of the window at a date; without months, of the period that ends on it.

    (Σ CFADS + equity cure) / Σ (interest + principal) over the periods of the window.
    """
    formula = _FORMULAS[CoverMetric.DSCR]
    if months is None:
        window: Sequence[CashPeriod] | None = [p for p in periods if p.ends_on == on] or None
    elif direction is WindowDirection.TRAILING:
        window = trailing_window(periods, on, months)
    else:
        window = forward_window(periods, on, months)
    if window is None:
        return ExactRatio(formula=formula, untested_reason=UntestedReason.WINDOW_NOT_FULL)
    inputs = {
        "cfads": _sum(period.cfads for period in window),
        "equity_cure": Quotient.of(equity_cure),
        "interest": _sum(period.interest or Decimal(0) for period in window),
        "principal": _sum(period.principal or Decimal(0) for period in window),
    }
    service = inputs["interest"] + inputs["principal"]
    return ExactRatio(
        formula=formula,
        numerator=inputs["cfads"] + inputs["equity_cure"],
        denominator=service,
        untested_reason=None if service else UntestedReason.NO_DEBT_SERVICE,
        inputs=inputs,
        window=(window[0].starts_on, window[-1].ends_on),
    )


class LoanLife:
    """The balances and present values of a case with debt, for ratios at each of its dates.

    The rate of a period is its interest / its opening balance, so that the discount factor is the
    product of balance / (balance + interest). Maturity is the last period with a balance. A later
    period without a figure of interest has no rate, so that there is no ratio; neither is there
    one if the case ends while debt is owed, since the cash flow until maturity is unknown.
    """

    def __init__(self, periods: Sequence[CashPeriod], opening_debt: Decimal) -> None:
        self._periods = periods
        self._index = {period.ends_on: number for number, period in enumerate(periods)}
        self._balances = [opening_debt]
        for period in periods:
            repaid = period.principal or Decimal(0)
            self._balances.append(add_exactly((self._balances[-1], -repaid)))
        self._values = self._discount()

    def _discount(self) -> dict[int, Quotient]:
        """Return the present value of the CFADS from each period to maturity, at its start.

        One backward pass over whole numbers, none of which is reduced.
        """
        values: dict[int, Quotient] = {}
        value = Quotient(0)
        periods = list(enumerate(zip(self._periods, self._balances, strict=False)))
        for number, (period, balance) in reversed(periods):
            if not balance:
                value = Quotient(0)
                continue
            if period.interest is None:
                break
            growth = Quotient.of(add_exactly((balance, period.interest))) / Quotient.of(balance)
            value = (value + Quotient.of(period.cfads)) / growth
            values[number] = value
        return values

    def compute_llcr(self, on: date) -> ExactRatio:
        """Return the LLCR at a date: PV of the CFADS until maturity / debt, after the payment."""
        formula = _FORMULAS[CoverMetric.LLCR]
        number = self._index.get(on)
        if number is None:
            return ExactRatio(formula=formula, untested_reason=UntestedReason.WINDOW_NOT_FULL)
        balance = Quotient.of(self._balances[number + 1])
        if not balance:
            return ExactRatio(formula=formula, untested_reason=UntestedReason.NO_DEBT)
        value = self._values.get(number + 1)
        if value is None:
            return ExactRatio(formula=formula, untested_reason=UntestedReason.NO_FIGURES)
        if self._balances[-1] > max(self._balances) * _UNPAID_ROUNDING:
            return ExactRatio(formula=formula, untested_reason=UntestedReason.CASE_TOO_SHORT)
        return ExactRatio(
            formula=formula,
            numerator=value,
            denominator=balance,
            inputs={"present_value": value, "balance": balance},
            window=(self._periods[number + 1].starts_on, self._find_maturity(number)),
        )

    def _find_maturity(self, number: int) -> date:
        last = number + 1
        while last + 1 < len(self._periods) and self._balances[last + 1]:
            last += 1
        return self._periods[last].ends_on

    def compute_gearing(self, equity: Decimal, on: date) -> ExactRatio:
        """Return the gearing at a date, after the payment: debt / (debt + funded equity)."""
        formula = _FORMULAS[CoverMetric.GEARING]
        number = self._index.get(on)
        if number is None:
            return ExactRatio(formula=formula, untested_reason=UntestedReason.WINDOW_NOT_FULL)
        balance = Quotient.of(self._balances[number + 1])
        total = balance + Quotient.of(equity)
        return ExactRatio(
            formula=formula,
            numerator=balance,
            denominator=total,
            untested_reason=None if total else UntestedReason.NO_DEBT,
            inputs={"balance": balance, "equity": Quotient.of(equity)},
        )


def _sum(amounts: Iterable[Decimal]) -> Quotient:
    return Quotient.of(add_exactly(tuple(amounts)))


def format_fraction(value: Quotient) -> str:
    """Return `p/q` in lowest terms; of any number of digits, which `str` of an int is not."""
    fraction = value.to_fraction()
    return f"{Decimal(fraction.numerator):f}/{Decimal(fraction.denominator):f}"


def parse_fraction(text: str) -> Quotient:
    """Return the quotient that `format_fraction` wrote."""
    numerator, _, denominator = text.partition("/")
    return Quotient(int(Decimal(numerator)), int(Decimal(denominator)))


def format_ratio(value: Quotient, decimals: int = PRINTED_DECIMALS) -> str:
    """Return the decimal text of a value, cut towards minus infinity after some decimals."""
    units = value.numerator * 10**decimals // value.denominator
    return f"{DECIMAL_CONTEXT.scaleb(Decimal(units), -decimals):f}"


def floor_amount(value: Quotient, currency_code: str) -> Decimal:
    """Return an amount cut towards minus infinity to the minor unit of its currency."""
    exponent = get_exponent(currency_code)
    units = value.numerator * 10**exponent // value.denominator
    return DECIMAL_CONTEXT.scaleb(Decimal(units), -exponent)
