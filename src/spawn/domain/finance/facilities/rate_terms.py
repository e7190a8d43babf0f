"""The annual rate of a facility: a curve with its floor, a hedged share, and margin steps.

rate_t = (1 - hedged share) x max(base_t, floor) + hedged share x swap rate + margin_t. Source: the
interest clause of a facility agreement on a floating rate, with the pricing grid of its margin.
"""

from typing import Final

import msgspec

from spawn.domain.finance.limits import (
    MAX_RATE,
    FieldChecker,
    check_per_period,
    expand_per_period,
)

_LOWEST_RATE: Final = -0.5
_MAX_STEPS: Final = 200


class MarginStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The margin from a period on."""

    from_period: int
    margin: float


class RateTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An annual rate: `base_rate` is the curve, one value or one a period of the case.

    The `floor` applies to the base rate, also where it is zero. The `hedged_share` of the balance
    pays the `swap_rate` in its place. `margin` is added to both; `margin_steps` replace it from
    their periods on.
    """

    base_rate: float | tuple[float, ...]
    margin: float = 0.0
    margin_steps: tuple[MarginStep, ...] = ()
    floor: float | None = None
    hedged_share: float | tuple[float, ...] = 0.0
    swap_rate: float | None = None


def check_rate_terms(checker: FieldChecker, pointer: str, terms: RateTerms, periods: int) -> None:
    """Reject rates outside their limits, steps out of order, and a swap without a hedge."""
    limits = (_LOWEST_RATE, MAX_RATE)
    check_per_period(checker, f"{pointer}/base_rate", terms.base_rate, periods, limits)
    checker.require_number(f"{pointer}/margin", terms.margin, *limits)
    share = terms.hedged_share
    check_per_period(checker, f"{pointer}/hedged_share", share, periods, (0.0, 1.0))
    if terms.floor is not None:
        checker.require_number(f"{pointer}/floor", terms.floor, *limits)
    if terms.swap_rate is not None:
        checker.require_number(f"{pointer}/swap_rate", terms.swap_rate, *limits)
    has_hedge = any(share) if isinstance(share, tuple) else bool(share)
    if has_hedge and terms.swap_rate is None:
        checker.reject(f"{pointer}/swap_rate", "required", "the hedged share pays it")
    if not has_hedge and terms.swap_rate is not None:
        checker.reject(f"{pointer}/hedged_share", "required", "the swap rate needs a share")
    _check_steps(checker, f"{pointer}/margin_steps", terms.margin_steps, periods)


def _check_steps(
    checker: FieldChecker, pointer: str, steps: tuple[MarginStep, ...], periods: int
) -> None:
    if not checker.require_size(pointer, len(steps), _MAX_STEPS, 0):
        return
    before = 0
    for index, step in enumerate(steps):
        checker.require_number(f"{pointer}/{index}/margin", step.margin, _LOWEST_RATE, MAX_RATE)
        checker.require_number(f"{pointer}/{index}/from_period", step.from_period, 1, periods)
        if step.from_period <= before:
            detail = "must be after the step before"
            checker.reject(f"{pointer}/{index}/from_period", "out_of_order", detail)
        before = step.from_period


def expand_annual_rates(terms: RateTerms, periods: int) -> tuple[float, ...]:
    """Return the annual rate of each period."""
    margins = [terms.margin] * periods
    for step in terms.margin_steps:
        margins[step.from_period - 1 :] = [step.margin] * (periods - step.from_period + 1)
    floor = _LOWEST_RATE if terms.floor is None else terms.floor
    swap = terms.swap_rate or 0.0
    return tuple(
        (1.0 - share) * max(base, floor) + share * swap + margin
        for base, share, margin in zip(
            expand_per_period(terms.base_rate, periods),
            expand_per_period(terms.hedged_share, periods),
            margins,
            strict=True,
        )
    )


def reject_negative_rates(
    checker: FieldChecker, pointer: str, annual_rates: tuple[float, ...]
) -> None:
    """Reject a rate below zero after floor, hedge and margin."""
    negative = next((n for n, rate in enumerate(annual_rates, start=1) if rate < 0.0), None)
    if negative is not None:
        detail = f"is negative in period {negative}; give a floor or a higher margin"
        checker.reject(pointer, "out_of_range", detail)
