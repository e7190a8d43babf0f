"""Portfolios: their currency, the source of their exchange rates, and their limits."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.facilities.facility import FacilityKind
from spawn.domain.money import DECIMAL_CONTEXT, fit_amount, get_exponent
from spawn.domain.portfolios.fx_rate_set import MAX_AGE_DAYS, check_source
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.text import check_line, check_visible, normalize

PORTFOLIO_KIND: Final = "portfolio"
PORTFOLIO_CREATED_EVENT: Final = "portfolio.created"
PORTFOLIO_AMENDED_EVENT: Final = "portfolio.amended"

MAX_PORTFOLIO_NAME: Final = 200
"""Characters of the name of a portfolio, and of a value that a limit names."""

MAX_PORTFOLIO_LIMITS: Final = 100
"""Limits of one portfolio."""

MAX_FX_AGE_DAYS: Final = 366
"""Days that a portfolio may accept an exchange rate to be older than the day it is used for."""

_HUNDRED: Final = Decimal(100)
_SHARE_QUANTUM: Final = Decimal("1E-8")


class ExposureKey(StrEnum):
    """The attribute by which exposure is grouped.

    `rating` is the attribute `rating` of the project's schema, or its extension `x_rating`; `name`
    the project itself (the single name), `kind` the kind of the facility.
    """

    COUNTRY = "country"
    SECTOR = "sector"
    SPONSOR = "sponsor"
    RATING = "rating"
    CURRENCY = "currency"
    NAME = "name"
    KIND = "kind"


class ExposureLimit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The most exposure that a group may have: an amount, or a share of the portfolio in per cent.

    `value` names the group, such as ESP of `country`; without it every group has the limit, also
    what has no value. Codes of countries, currencies and kinds are those that exposures have.
    """

    by: ExposureKey
    value: str | None = None
    max_amount: Decimal | None = None
    max_share: Decimal | None = None


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio of holdings, reported in one currency.

    `fx_source` is the source of its exchange rates; without one, exposures in other currencies
    cannot be reported. `max_fx_age_days` is the age of a rate that it accepts.
    """

    portfolio_id: str
    name: str
    currency_code: str
    fx_source: str | None = None
    max_fx_age_days: int = MAX_AGE_DAYS
    limits: tuple[ExposureLimit, ...] = ()


PORTFOLIO_TERMS: Final = ("name", "currency_code", "fx_source", "max_fx_age_days", "limits")
"""Fields of a portfolio that a client states and may amend."""


def check_portfolio(
    portfolio: Portfolio, known_limits: tuple[ExposureLimit, ...] = ()
) -> Portfolio:
    """Return a portfolio with its texts and amounts in canonical form.

    `known_limits` are those that it had before: their values were read by an earlier release, which
    had no rule for them, and stay as they are.

    Raises:
        InvalidInput: naming every field that breaks a rule.
    """
    errors: list[FieldError] = []
    name = normalize(portfolio.name)
    check_line(name, "/name", MAX_PORTFOLIO_NAME, errors)
    check_visible(name, "/name", errors)
    has_currency = _check_currency(portfolio.currency_code, errors)
    if portfolio.fx_source is not None:
        check_source(portfolio.fx_source, "/fx_source", errors)
    if not 0 <= portfolio.max_fx_age_days <= MAX_FX_AGE_DAYS:
        detail = f"must be from 0 to {MAX_FX_AGE_DAYS}"
        errors.append(FieldError("/max_fx_age_days", "out_of_range", detail))
    if len(portfolio.limits) > MAX_PORTFOLIO_LIMITS:
        detail = f"at most {MAX_PORTFOLIO_LIMITS} limits"
        errors.append(FieldError("/limits", "too_many", detail))
    limits = portfolio.limits[:MAX_PORTFOLIO_LIMITS]
    if has_currency:
        limits = tuple(
            _check_limit(
                limit,
                portfolio.currency_code,
                f"/limits/{index}",
                errors,
                is_known=limit in known_limits,
            )
            for index, limit in enumerate(limits)
        )
    _check_repetition(limits, errors)
    if errors:
        raise InvalidInput(errors)
    return msgspec.structs.replace(portfolio, name=name, limits=limits)


def _check_currency(code: str, errors: list[FieldError]) -> bool:
    try:
        get_exponent(code, pointer="/currency_code")
    except InvalidInput as error:
        errors.extend(error.errors)
        return False
    return True


def _check_limit(
    limit: ExposureLimit,
    currency_code: str,
    pointer: str,
    errors: list[FieldError],
    *,
    is_known: bool,
) -> ExposureLimit:
    value = limit.value if is_known else _check_limit_value(limit, f"{pointer}/value", errors)
    if (limit.max_amount is None) == (limit.max_share is None):
        detail = "give exactly one of max_amount and max_share"
        errors.append(FieldError(f"{pointer}/max_amount", "ambiguous", detail))
        return limit
    amount = limit.max_amount
    if amount is not None:
        try:
            amount = fit_amount(amount, currency_code, pointer=f"{pointer}/max_amount")
        except InvalidInput as error:
            errors.extend(error.errors)
        else:
            if amount < 0:
                detail = "must not be negative"
                errors.append(FieldError(f"{pointer}/max_amount", "out_of_range", detail))
    if limit.max_share is not None:
        _check_max_share(limit.max_share, f"{pointer}/max_share", errors)
    return msgspec.structs.replace(limit, value=value, max_amount=amount)


def _check_limit_value(limit: ExposureLimit, pointer: str, errors: list[FieldError]) -> str | None:
    """Return the value as exposures have it: one that no exposure can have would limit nothing."""
    if limit.value is None:
        return None
    try:
        return _VALUE_READERS.get(limit.by, _read_name)(limit.value, pointer=pointer)
    except InvalidInput as error:
        errors.extend(error.errors)
        return limit.value


def find_limited_group(limit: ExposureLimit) -> str | None:
    """Return the value of the group that a limit names, as exposures have it."""
    errors: list[FieldError] = []
    return _check_limit_value(limit, "", errors)


def _read_name(text: str, *, pointer: str) -> str:
    name = normalize(text)
    errors: list[FieldError] = []
    check_line(name, pointer, MAX_PORTFOLIO_NAME, errors)
    check_visible(name, pointer, errors)
    if errors:
        raise InvalidInput(errors)
    return name


def _read_kind(text: str, *, pointer: str) -> str:
    if text not in set(FacilityKind):
        raise InvalidInput.at(pointer, "not_in_enum", f"must be one of {', '.join(FacilityKind)}")
    return text


_VALUE_READERS: Final[Mapping[ExposureKey, Callable[..., str]]] = {
    ExposureKey.COUNTRY: CODE_FIELDS["country_code"].parse,
    ExposureKey.CURRENCY: CODE_FIELDS["currency_code"].parse,
    ExposureKey.KIND: _read_kind,
}


def _check_max_share(share: Decimal, pointer: str, errors: list[FieldError]) -> None:
    if not share.is_finite() or not 0 <= share <= _HUNDRED:
        errors.append(FieldError(pointer, "out_of_range", "must be from 0 to 100"))
    elif share.quantize(_SHARE_QUANTUM, None, DECIMAL_CONTEXT) != share:
        errors.append(FieldError(pointer, "too_precise", "must have at most 8 decimals"))


def _check_repetition(limits: tuple[ExposureLimit, ...], errors: list[FieldError]) -> None:
    seen: set[tuple[ExposureKey, str | None, bool]] = set()
    for index, limit in enumerate(limits):
        key = (limit.by, limit.value, limit.max_amount is None)
        if key in seen:
            detail = "repeats a limit of the same group and kind"
            errors.append(FieldError(f"/limits/{index}", "duplicate", detail))
        seen.add(key)
