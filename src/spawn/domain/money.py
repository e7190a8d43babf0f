"""Exact amounts in ISO 4217 currencies, never floats, never rounded silently.

Every amount is checked in one order: finite, then magnitude, then scale. An amount that is finer
than its currency is rejected unless the caller names a rounding. Arithmetic does not depend on the
thread's decimal context.
"""

import decimal
import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.iso.currencies import ACTIVE_CURRENCIES, WITHDRAWN_CURRENCIES

DECIMAL_CONTEXT = decimal.Context(
    prec=80, rounding=decimal.ROUND_HALF_EVEN, traps=[decimal.InvalidOperation]
)
"""The decimal context of the domain, so wide that no sum or scaling of amounts rounds."""

AMOUNT_LIMIT = Decimal(10) ** 18
"""Every amount lies strictly between -LIMIT and LIMIT, in major units."""

MAX_WEIGHTS = 10_000
"""Parts of one allocation, at most."""

_LOWER = -AMOUNT_LIMIT
_QUANTA = tuple(Decimal(1).scaleb(-exponent) for exponent in range(5))
_ZEROS = tuple(Decimal(0).scaleb(-exponent) for exponent in range(5))
_WIRE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?")
_NUMERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf|infinity)", re.IGNORECASE)
_WIRE_SCALE = 4
_MAX_WEIGHT_POWER = 60


class Rounding(StrEnum):
    """A rounding mode."""

    HALF_EVEN = "half_even"
    HALF_UP = "half_up"
    DOWN = "down"
    UP = "up"
    FLOOR = "floor"
    CEILING = "ceiling"


_DECIMAL_MODES = {rounding: f"ROUND_{rounding.name}" for rounding in Rounding}


class Currency(msgspec.Struct, frozen=True):
    """An ISO 4217 currency; `exponent` counts its decimals, None without a minor unit."""

    code: str
    exponent: int | None
    name: str


def _read_table(table: str) -> dict[str, Currency]:
    rows = (line.split(" ", 2) for line in table.strip().splitlines())
    return {
        code: Currency(code, None if exponent == "-" else int(exponent), name)
        for code, exponent, name in rows
    }


CURRENCIES: MappingProxyType[str, Currency] = MappingProxyType(
    _read_table(ACTIVE_CURRENCIES) | _read_table(WITHDRAWN_CURRENCIES)
)
"""ISO 4217 currencies by code."""

_EXPONENTS = {code: currency.exponent for code, currency in CURRENCIES.items()}


def get_currency(code: str, *, pointer: str = "") -> Currency:
    """Return the currency of a code in upper case.

    Raises:
        InvalidInput: `unknown_currency` at `pointer`.
    """
    currency = CURRENCIES.get(code)
    if currency is None:
        raise InvalidInput.at(
            pointer, "unknown_currency", f"{code[:20]!r} is not an ISO 4217 currency code"
        )
    return currency


def get_exponent(code: str, *, pointer: str = "") -> int:
    """Return the number of decimals of an amount in this currency.

    Raises:
        InvalidInput: `unknown_currency`, or `no_minor_unit` for a metal, fund or test code.
    """
    exponent = get_currency(code, pointer=pointer).exponent
    if exponent is None:
        raise InvalidInput.at(
            pointer, "no_minor_unit", f"amounts cannot be stated in {code}: it has no minor unit"
        )
    return exponent


def fit_amount(
    amount: Decimal,
    currency_code: str,
    *,
    rounding: Rounding | None = None,
    pointer: str = "",
    currency_pointer: str | None = None,
) -> Decimal:
    """Return the amount at exactly the scale of its currency; a negative zero becomes zero.

    `currency_pointer` locates an error of the currency, `pointer` by default.

    Raises:
        InvalidInput: in this order `not_decimal`, `not_finite`, `out_of_range`,
            `unknown_currency` or `no_minor_unit`, and `too_precise` unless a rounding is named.
    """
    if amount.__class__ is not Decimal:
        raise InvalidInput.at(pointer, "not_decimal", "an amount is a decimal, never a float")
    if not amount.is_finite():
        raise InvalidInput.at(pointer, "not_finite", "an amount is a finite number")
    if not _LOWER < amount < AMOUNT_LIMIT:
        raise _too_large(pointer)
    exponent = _EXPONENTS.get(currency_code)
    if exponent is None:
        code_pointer = pointer if currency_pointer is None else currency_pointer
        exponent = get_exponent(currency_code, pointer=code_pointer)
    mode = decimal.ROUND_HALF_EVEN if rounding is None else _DECIMAL_MODES[rounding]
    scaled = amount.quantize(_QUANTA[exponent], mode, DECIMAL_CONTEXT)
    if scaled != amount:
        if rounding is None:
            raise _too_precise(pointer, currency_code, exponent)
        if not _LOWER < scaled < AMOUNT_LIMIT:
            raise _too_large(pointer)
    # Zero is falsy, and so is negative zero.
    return scaled or _ZEROS[exponent]


def parse_amount(
    text: str, currency_code: str, *, rounding: Rounding | None = None, pointer: str = ""
) -> Decimal:
    """Parse an amount in the wire grammar, at the scale of its currency.

    The grammar is `-?(0|[1-9][0-9]{0,17})(.[0-9]{1,4})?`; up to 30 decimals if a rounding is named.

    Raises:
        InvalidInput: `not_an_amount` for other texts, and the errors of `fit_amount`.
    """
    if _WIRE.fullmatch(text) is None:
        raise _unparsable(text, pointer)
    decimals = len(text.partition(".")[2])
    if rounding is None and decimals > _WIRE_SCALE:
        raise InvalidInput.at(
            pointer, "too_precise", f"an amount has at most {_WIRE_SCALE} decimals"
        )
    return fit_amount(Decimal(text), currency_code, rounding=rounding, pointer=pointer)


def format_amount(amount: Decimal, currency_code: str) -> str:
    """Return the wire text of an amount, at the scale of its currency, without exponent.

    Raises:
        InvalidInput: the errors of `fit_amount`; nothing is rounded.
    """
    # At a scale of at most four, str() never writes an exponent.
    return str(fit_amount(amount, currency_code))


Weight = int | Decimal | Fraction | float
"""A proportion; it is not money, so a float is allowed and read as its exact ratio."""


class Money(msgspec.Struct, frozen=True):
    """An exact amount of one currency, at the currency's scale.

    Raises:
        InvalidInput: on construction, the errors of `fit_amount`; on arithmetic or comparison
            across currencies, `currency_mismatch`.
    """

    amount: Decimal
    currency_code: str

    def __post_init__(self) -> None:
        """Check the amount and set it to the currency's scale."""
        msgspec.structs.force_setattr(self, "amount", fit_amount(self.amount, self.currency_code))

    @classmethod
    def from_unrounded(cls, amount: Decimal, currency_code: str, rounding: Rounding) -> "Money":
        """Round an over-precise amount to the currency's scale."""
        return cls(fit_amount(amount, currency_code, rounding=rounding), currency_code)

    def __add__(self, other: "Money") -> "Money":
        return Money(DECIMAL_CONTEXT.add(self.amount, self._amount_of(other)), self.currency_code)

    def __sub__(self, other: "Money") -> "Money":
        return Money(
            DECIMAL_CONTEXT.subtract(self.amount, self._amount_of(other)), self.currency_code
        )

    def __neg__(self) -> "Money":
        return Money(DECIMAL_CONTEXT.minus(self.amount), self.currency_code)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._amount_of(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._amount_of(other)

    def multiply(self, factor: Decimal | int, rounding: Rounding) -> "Money":
        """Return this money times a factor, rounded once."""
        exact = DECIMAL_CONTEXT.multiply(self.amount, Decimal(factor))
        return Money.from_unrounded(exact, self.currency_code, rounding)

    def allocate(self, weights: Sequence[Weight]) -> tuple["Money", ...]:
        """Split into parts proportional to the weights; their sum is exactly this money.

        By largest remainder (Hamilton): each part is rounded towards zero to a minor unit, and the
        units left over go one each to the largest remainders, the earlier part first on a tie.

        Raises:
            InvalidInput: `invalid_weights` unless 1 to 10,000 finite weights ≥ 0 with a sum > 0.
        """
        ratios = _ratios(weights)
        exponent = get_exponent(self.currency_code)
        units = int(DECIMAL_CONTEXT.scaleb(self.amount, exponent))
        return tuple(
            Money(DECIMAL_CONTEXT.scaleb(Decimal(part), -exponent), self.currency_code)
            for part in _largest_remainder(units, ratios)
        )

    def _amount_of(self, other: "Money") -> Decimal:
        if other.currency_code != self.currency_code:
            raise InvalidInput.at(
                "",
                "currency_mismatch",
                f"{self.currency_code} and {other.currency_code} cannot be combined without a rate",
            )
        return other.amount


def _ratios(weights: Sequence[Weight]) -> list[Fraction]:
    if not 0 < len(weights) <= MAX_WEIGHTS:
        raise _invalid_weights()
    try:
        ratios = [Fraction(weight) for weight in weights if _has_bounded_exponent(weight)]
    except (ValueError, OverflowError) as error:  # not a number, infinite
        raise _invalid_weights() from error
    if len(ratios) != len(weights) or min(ratios) < 0 or not any(ratios):
        raise _invalid_weights()
    return ratios


def _has_bounded_exponent(weight: Weight) -> bool:
    # A Decimal such as 1E+1000000 is a short text, but a megabyte as a ratio.
    return not isinstance(weight, Decimal) or abs(weight.adjusted()) <= _MAX_WEIGHT_POWER


def _largest_remainder(units: int, ratios: list[Fraction]) -> list[int]:
    sign, total, weight = (-1 if units < 0 else 1), abs(units), sum(ratios)
    exact = [total * ratio / weight for ratio in ratios]
    parts = [int(share) for share in exact]
    remaining_units = total - sum(parts)
    by_remainder = sorted(range(len(exact)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[:remaining_units]:
        parts[index] += 1
    return [sign * part for part in parts]


def _unparsable(text: str, pointer: str) -> InvalidInput:
    if _NOT_FINITE.fullmatch(text):
        return InvalidInput.at(pointer, "not_finite", "an amount is a finite number")
    if _NUMERAL.fullmatch(text):
        if len(text.lstrip("-").partition(".")[0]) > AMOUNT_LIMIT.adjusted():
            return _too_large(pointer)
        return InvalidInput.at(pointer, "too_precise", "an amount has at most 30 decimals")
    return InvalidInput.at(
        pointer, "not_an_amount", "an amount is written like 1234.56, without sign + or exponent"
    )


def _too_large(pointer: str) -> InvalidInput:
    return InvalidInput.at(
        pointer, "out_of_range", "an amount has at most 18 digits before the decimal point"
    )


def _too_precise(pointer: str, code: str, exponent: int) -> InvalidInput:
    return InvalidInput.at(
        pointer, "too_precise", f"an amount in {code} has at most {exponent} decimals"
    )


def _invalid_weights() -> InvalidInput:
    return InvalidInput.at(
        "", "invalid_weights", f"weights are 1 to {MAX_WEIGHTS} finite numbers ≥ 0, not all 0"
    )
