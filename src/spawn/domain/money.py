"""Money: exact amounts in ISO 4217 currencies, never floats, never rounded in silence.

Every amount is checked in one order: finite, then magnitude, then scale. An amount that is finer
than its currency is refused unless the caller names a rounding. Arithmetic does not depend on the
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
from spawn.domain.iso.currencies import ACTIVE, WITHDRAWN

CONTEXT = decimal.Context(
    prec=80, rounding=decimal.ROUND_HALF_EVEN, traps=[decimal.InvalidOperation]
)
"""The arithmetic of the domain: wide enough that no sum or scaling of amounts ever rounds."""

LIMIT = Decimal(10) ** 18
"""Every amount lies strictly between -LIMIT and LIMIT, in major units."""

MAX_WEIGHTS = 10_000
"""The most parts that one allocation makes."""

_LOWER = -LIMIT
_QUANTA = tuple(Decimal(1).scaleb(-exponent) for exponent in range(5))
_ZEROS = tuple(Decimal(0).scaleb(-exponent) for exponent in range(5))
_WIRE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?")
_NUMERAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:s?nan[0-9]*|inf|infinity)", re.IGNORECASE)
_WIRE_SCALE = 4
_MAX_WEIGHT_POWER = 60


class Rounding(StrEnum):
    """The roundings that a caller may name."""

    HALF_EVEN = "half_even"
    HALF_UP = "half_up"
    DOWN = "down"
    UP = "up"
    FLOOR = "floor"
    CEILING = "ceiling"


_MODES = {rounding: f"ROUND_{rounding.name}" for rounding in Rounding}


class Currency(msgspec.Struct, frozen=True):
    """An ISO 4217 currency; `exponent` counts minor-unit decimals, None where there are none."""

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
    _read_table(ACTIVE) | _read_table(WITHDRAWN)
)
"""Code → currency: ISO 4217 with minor units."""

_EXPONENTS = {code: found.exponent for code, found in CURRENCIES.items()}


def currency(code: str, *, pointer: str = "") -> Currency:
    """The currency of a code, in upper case.

    Raises:
        InvalidInput: `unknown_currency` at `pointer`.
    """
    found = CURRENCIES.get(code)
    if found is None:
        raise InvalidInput.at(
            pointer, "unknown_currency", f"{code[:20]!r} is not an ISO 4217 currency code"
        )
    return found


def exponent_of(code: str, *, pointer: str = "") -> int:
    """How many decimals an amount in this currency has.

    Raises:
        InvalidInput: `unknown_currency`, or `no_minor_unit` for a metal, fund or test code.
    """
    exponent = currency(code, pointer=pointer).exponent
    if exponent is None:
        raise InvalidInput.at(
            pointer, "no_minor_unit", f"amounts cannot be stated in {code}: it has no minor unit"
        )
    return exponent


def fit(
    amount: Decimal,
    currency_code: str,
    *,
    rounding: Rounding | None = None,
    pointer: str = "",
    currency_pointer: str | None = None,
) -> Decimal:
    """The same amount at exactly the scale of its currency; a negative zero becomes zero.

    `currency_pointer` is where a fault of the currency is reported, `pointer` by default.

    Raises:
        InvalidInput: in this order `not_decimal`, `not_finite`, `out_of_range`,
            `unknown_currency` or `no_minor_unit`, and `too_precise` unless a rounding is named.
    """
    if amount.__class__ is not Decimal:
        raise InvalidInput.at(pointer, "not_decimal", "an amount is a decimal, never a float")
    if not amount.is_finite():
        raise InvalidInput.at(pointer, "not_finite", "an amount is a finite number")
    if not _LOWER < amount < LIMIT:
        raise _too_large(pointer)
    exponent = _EXPONENTS.get(currency_code)
    if exponent is None:
        place = pointer if currency_pointer is None else currency_pointer
        exponent = exponent_of(currency_code, pointer=place)
    mode = decimal.ROUND_HALF_EVEN if rounding is None else _MODES[rounding]
    scaled = amount.quantize(_QUANTA[exponent], mode, CONTEXT)
    if scaled != amount:
        if rounding is None:
            raise _too_precise(pointer, currency_code, exponent)
        if not _LOWER < scaled < LIMIT:
            raise _too_large(pointer)
    # A zero is falsy, a negative one too.
    return scaled or _ZEROS[exponent]


def parse_amount(
    text: str, currency_code: str, *, rounding: Rounding | None = None, pointer: str = ""
) -> Decimal:
    """The amount that a text of the wire grammar states, at the scale of its currency.

    The grammar is `-?(0|[1-9][0-9]{0,17})(.[0-9]{1,4})?`; up to 30 decimals if a rounding is named.

    Raises:
        InvalidInput: `not_an_amount` for other texts, and what `fit` refuses.
    """
    if _WIRE.fullmatch(text) is None:
        raise _misread(text, pointer)
    decimals = len(text.partition(".")[2])
    if rounding is None and decimals > _WIRE_SCALE:
        raise InvalidInput.at(
            pointer, "too_precise", f"an amount has at most {_WIRE_SCALE} decimals"
        )
    return fit(Decimal(text), currency_code, rounding=rounding, pointer=pointer)


def format_amount(amount: Decimal, currency_code: str) -> str:
    """The amount as the wire has it: always at the scale of its currency, never an exponent.

    Raises:
        InvalidInput: what `fit` refuses; nothing is rounded.
    """
    # At a scale of at most four, str() never resorts to an exponent.
    return str(fit(amount, currency_code))


Weight = int | Decimal | Fraction | float
"""A proportion: not money, so a float is taken as the exact ratio it stands for."""


class Money(msgspec.Struct, frozen=True):
    """An exact amount of one currency, held at the currency's scale.

    Raises:
        InvalidInput: on construction, what `fit` refuses; on arithmetic or comparison across
            currencies, `currency_mismatch`.
    """

    amount: Decimal
    currency_code: str

    def __post_init__(self) -> None:
        """Check the amount and bring it to the currency's scale."""
        msgspec.structs.force_setattr(self, "amount", fit(self.amount, self.currency_code))

    @classmethod
    def quantised(cls, amount: Decimal, currency_code: str, rounding: Rounding) -> "Money":
        """The money nearest to an over-precise amount by a named rounding."""
        return cls(fit(amount, currency_code, rounding=rounding), currency_code)

    def __add__(self, other: "Money") -> "Money":
        return Money(CONTEXT.add(self.amount, self._same(other)), self.currency_code)

    def __sub__(self, other: "Money") -> "Money":
        return Money(CONTEXT.subtract(self.amount, self._same(other)), self.currency_code)

    def __neg__(self) -> "Money":
        return Money(CONTEXT.minus(self.amount), self.currency_code)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same(other)

    def times(self, factor: Decimal | int, rounding: Rounding) -> "Money":
        """This money scaled by a factor, rounded once as named."""
        exact = CONTEXT.multiply(self.amount, Decimal(factor))
        return Money.quantised(exact, self.currency_code, rounding)

    def allocate(self, weights: Sequence[Weight]) -> tuple["Money", ...]:
        """Split into parts proportional to the weights whose sum is exactly this money.

        By largest remainder (Hamilton): each part is rounded towards zero to a minor unit, and the
        units left over go one each to the largest remainders, the earlier part first on a tie.

        Raises:
            InvalidInput: `invalid_weights` unless 1 to 10,000 finite weights ≥ 0 with a sum > 0.
        """
        ratios = _ratios(weights)
        exponent = exponent_of(self.currency_code)
        units = int(CONTEXT.scaleb(self.amount, exponent))
        return tuple(
            Money(CONTEXT.scaleb(Decimal(part), -exponent), self.currency_code)
            for part in _largest_remainder(units, ratios)
        )

    def _same(self, other: "Money") -> Decimal:
        if other.currency_code != self.currency_code:
            raise InvalidInput.at(
                "",
                "currency_mismatch",
                f"{self.currency_code} and {other.currency_code} do not combine without a rate",
            )
        return other.amount


def _ratios(weights: Sequence[Weight]) -> list[Fraction]:
    if not 0 < len(weights) <= MAX_WEIGHTS:
        raise _invalid_weights()
    try:
        ratios = [Fraction(weight) for weight in weights if _is_modest(weight)]
    except (ValueError, OverflowError) as error:  # not a number, infinite
        raise _invalid_weights() from error
    if len(ratios) != len(weights) or min(ratios) < 0 or not any(ratios):
        raise _invalid_weights()
    return ratios


def _is_modest(weight: Weight) -> bool:
    # A Decimal of 1E+1000000 is short to write and a megabyte as a ratio.
    return not isinstance(weight, Decimal) or abs(weight.adjusted()) <= _MAX_WEIGHT_POWER


def _largest_remainder(units: int, ratios: list[Fraction]) -> list[int]:
    sign, total, weight = (-1 if units < 0 else 1), abs(units), sum(ratios)
    exact = [total * ratio / weight for ratio in ratios]
    parts = [int(share) for share in exact]
    left = total - sum(parts)
    by_remainder = sorted(range(len(exact)), key=lambda index: parts[index] - exact[index])
    for index in by_remainder[:left]:
        parts[index] += 1
    return [sign * part for part in parts]


def _misread(text: str, pointer: str) -> InvalidInput:
    if _NOT_FINITE.fullmatch(text):
        return InvalidInput.at(pointer, "not_finite", "an amount is a finite number")
    if _NUMERAL.fullmatch(text):
        if len(text.lstrip("-").partition(".")[0]) > LIMIT.adjusted():
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
