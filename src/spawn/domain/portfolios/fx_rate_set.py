"""Sets of exchange rates: those of one source on one day, exact and never guessed.

A set quotes the amount of each currency for one unit of its base, as central banks publish them. A
pair without a rate is an error, never 1. Conversions are exact ratios, rounded once.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT, Money, fit_amount, get_exponent
from spawn.domain.text import check_prose, escape_pointer_token, trim

FX_RATE_SET_KIND: Final = "fx_rate_set"
FX_PUBLISHED_EVENT: Final = "fx_rate_set.published"
FX_CORRECTED_EVENT: Final = "fx_rate_set.corrected"

MAX_RATES: Final = 300
"""Rates of one set, at most: more than there are currencies."""

MAX_RATE_REASON: Final = 1_000
"""Characters of the reason of a correction."""

MAX_AGE_DAYS: Final = 7
"""Age of a set that a conversion accepts unless it is asked for another: a week with holidays."""

_RATE_LIMIT: Final = Decimal(10) ** 9
_MIN_RATE: Final = Decimal("0.000001")
_RATE_DECIMALS: Final = 12
_RATE_QUANTUM: Final = Decimal(1).scaleb(-_RATE_DECIMALS)
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class FxRate(msgspec.Struct, frozen=True):
    """The amount of a currency for one unit of the base currency."""

    currency_code: str
    rate: Decimal


class FxRateSet(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of a source on a day, in order of their currencies.

    A set never changes: a correction is the next version of the same day and source, and `reason`
    says why it was made.
    """

    on: date
    source: str
    base_currency: str
    rates: tuple[FxRate, ...]
    reason: str | None = None

    @property
    def set_id(self) -> str:
        """The id of the set, of its day and source."""
        return build_set_id(self.on, self.source)

    def find_rate(self, currency_code: str) -> Decimal | None:
        """Return the rate of a currency against the base; None without one."""
        if currency_code == self.base_currency:
            return Decimal(1)
        return next((one.rate for one in self.rates if one.currency_code == currency_code), None)

    def cross_rate(self, source_code: str, target_code: str, *, pointer: str = "") -> Fraction:
        """Return the units of the target currency for one of the source, through the base.

        Raises:
            InvalidInput: `missing_rate`, naming the pair and the day.
        """
        if source_code == target_code:
            return Fraction(1)
        source, target = self.find_rate(source_code), self.find_rate(target_code)
        if source is None or target is None:
            gap = source_code if source is None else target_code
            raise InvalidInput.at(
                pointer,
                "missing_rate",
                f"there is no rate from {source_code} to {target_code} on {self.on}: the set of "
                f"{self.source} has none for {gap}",
            )
        return Fraction(target) / Fraction(source)

    def convert(self, money: Money, target_code: str, *, pointer: str = "") -> Money:
        """Return money in another currency, rounded half-even to its minor unit once.

        Raises:
            InvalidInput: as `cross_rate`, or the result is too large for an amount.
        """
        rate = self.cross_rate(money.currency_code, target_code, pointer=pointer)
        amount = round_to_currency(Fraction(money.amount) * rate, target_code, pointer=pointer)
        return Money(amount, target_code)


def round_to_currency(exact: Fraction, currency_code: str, *, pointer: str = "") -> Decimal:
    """Return an exact amount rounded half-even to the minor unit of its currency.

    Raises:
        InvalidInput: the amount has more digits than any, or the currency has no minor unit.
    """
    exponent = get_exponent(currency_code, pointer=pointer)
    units = Decimal(round(exact * 10**exponent))
    return fit_amount(DECIMAL_CONTEXT.scaleb(units, -exponent), currency_code, pointer=pointer)


def build_set_id(on: date, source: str) -> str:
    """Return the id of the set of a day and source."""
    return f"{on.isoformat()}.{source}"


def check_source(source: str, pointer: str, errors: list[FieldError]) -> None:
    """Append an error unless a text is the name of a source."""
    if not _SOURCE.fullmatch(source):
        detail = "must be 1 to 40 of a-z, 0-9, '_' and '-', beginning with a-z or 0-9, such as ecb"
        errors.append(FieldError(pointer, "invalid_name", detail))


def create_rate_set(
    *,
    on: date,
    source: str,
    base_currency: str,
    rates: Mapping[str, Decimal],
    today: date,
    reason: str | None = None,
) -> FxRateSet:
    """Return a set of rates.

    Args:
        on: the day of the rates.
        source: the name of their source, such as `ecb`.
        base_currency: the currency of which one unit is quoted.
        rates: units of each other currency for one of the base.
        today: the day in UTC; a day may have begun elsewhere, so the set may be of the next.
        reason: the reason of a correction.

    Raises:
        InvalidInput: naming every field that breaks a rule.
    """
    errors: list[FieldError] = []
    if on > today + timedelta(days=1):
        errors.append(FieldError("/on", "in_the_future", f"the rates of {on} are not known yet"))
    check_source(source, "/source", errors)
    _check_currency(base_currency, "/base_currency", errors)
    if not 1 <= len(rates) <= MAX_RATES:
        detail = f"must have 1 to {MAX_RATES} rates"
        errors.append(FieldError("/rates", "wrong_length", detail))
    for code, rate in list(rates.items())[:MAX_RATES]:
        _check_rate(code, rate, base_currency, errors)
    if reason is not None:
        _check_reason(reason, errors)
    if errors:
        raise InvalidInput(errors)
    return FxRateSet(
        on=on,
        source=source,
        base_currency=base_currency,
        # Written without an exponent, which readers of the stored text need not know.
        rates=tuple(FxRate(code, Decimal(f"{rate:f}")) for code, rate in sorted(rates.items())),
        reason=reason,
    )


def _check_currency(code: str, pointer: str, errors: list[FieldError]) -> bool:
    try:
        get_exponent(code, pointer=pointer)
    except InvalidInput as error:
        errors.extend(error.errors)
        return False
    return True


def _check_rate(code: str, rate: Decimal, base_currency: str, errors: list[FieldError]) -> None:
    pointer = f"/rates/{escape_pointer_token(code)}"
    if not _check_currency(code, pointer, errors):
        return
    if code == base_currency:
        detail = "the base currency has no rate of its own: it is 1"
        errors.append(FieldError(pointer, "contradiction", detail))
    elif not rate.is_finite() or not _MIN_RATE <= rate < _RATE_LIMIT:
        detail = f"a rate is at least {_MIN_RATE} and below {_RATE_LIMIT:,}"
        errors.append(FieldError(pointer, "out_of_range", detail))
    elif rate.quantize(_RATE_QUANTUM, None, DECIMAL_CONTEXT) != rate:
        detail = f"a rate has at most {_RATE_DECIMALS} decimals"
        errors.append(FieldError(pointer, "too_precise", detail))


def _check_reason(reason: str, errors: list[FieldError]) -> None:
    pointer = "/correction/reason"
    if not trim(reason):
        errors.append(FieldError(pointer, "empty", "must not be empty"))
    check_prose(reason, pointer, MAX_RATE_REASON, errors)
