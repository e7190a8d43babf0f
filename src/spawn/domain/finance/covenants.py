"""Covenant tests: lock-up, release and default levels over a series of ratios.

A ratio is compared unrounded: 1.1499999 breaches 1.15 although it prints as 1.15. Ratios and
levels are decimals, so that 1.05 is 1.05 and not its nearest binary fraction. No debt service
means no ratio, hence NOT_TESTED, which neither breaches nor cures. Lock-up ends at its release
level; a default is sticky until it is waived. Source: the covenants of a facility agreement, whose
events of default continue until the lenders waive them.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from spawn.domain.finance.limits import MAX_PERIODS, MAX_RATIO, FieldChecker

CovenantState = Literal["OK", "LOCKUP", "DEFAULT", "NOT_TESTED"]
_NEAR_LEVEL = Decimal("1e-9")
_MAX_WAIVERS = 200


class WaiverRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lender consent that covers the tests `first` to `last`, counted from 1.

    It waives a default, new or continuing, and with `lockup` also a lock-up. Several waivers may
    cover one test, in any order.
    """

    first: int
    last: int
    lockup: bool = False


class CovenantTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ratio covenant. `lockup_release_at_or_above` is by default the lock-up level itself."""

    lockup_below: Decimal
    default_below: Decimal | None = None
    lockup_release_at_or_above: Decimal | None = None
    waivers: tuple[WaiverRange, ...] = ()
    metric: str = "DSCR"


class CovenantTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test of a covenant.

    `in_force` is the state after the test; it differs from `state` when the ratio was not
    tested. `headroom` is the ratio less the lock-up level.
    """

    test: int
    ratio: Decimal | None
    state: CovenantState
    in_force: Literal["OK", "LOCKUP", "DEFAULT"]
    waived: bool
    headroom: Decimal | None


class CovenantOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """All tests, and the first breach of each level."""

    tests: tuple[CovenantTest, ...]
    first_lockup: int | None
    first_default: int | None
    final_state: Literal["OK", "LOCKUP", "DEFAULT"]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def to_exact_decimal(ratio: float) -> Decimal:
    """Return the decimal that a float prints as: 1.15 for 1.15, not 1.149999999999999911."""
    return Decimal(repr(ratio))


def to_exact_decimals(ratios: Iterable[float | None]) -> tuple[Decimal | None, ...]:
    """Apply `to_exact_decimal` to a series; None (not tested) stays None."""
    return tuple(None if ratio is None else to_exact_decimal(ratio) for ratio in ratios)


def run_covenant_tests(terms: CovenantTerms, ratios: tuple[Decimal | None, ...]) -> CovenantOutcome:
    """Compute the state after each test, in order.

    Raises:
        InvalidInput: no ratios, non-finite ratios, levels out of order (default <= lock-up <=
            release), or a waiver outside the tests.
    """
    release_level = _check_terms(terms, ratios)
    in_force: Literal["OK", "LOCKUP", "DEFAULT"] = "OK"
    tests: list[CovenantTest] = []
    for number, ratio in enumerate(ratios, start=1):
        waivers = [waiver for waiver in terms.waivers if waiver.first <= number <= waiver.last]
        state_before = in_force
        in_force, is_waived = _next_state(terms, release_level, ratio, state_before, waivers)
        tests.append(
            CovenantTest(
                test=number,
                ratio=ratio,
                state="NOT_TESTED" if ratio is None else in_force,
                in_force=in_force,
                waived=is_waived,
                headroom=None if ratio is None else ratio - terms.lockup_below,
            )
        )
    return CovenantOutcome(
        tests=tuple(tests),
        first_lockup=next((t.test for t in tests if t.in_force == "LOCKUP"), None),
        first_default=next((t.test for t in tests if t.in_force == "DEFAULT"), None),
        final_state=in_force,
        conventions={
            "metric": terms.metric,
            "comparison": "unrounded; a ratio equal to a level does not breach it",
            "not_tested": "no ratio: neither breach nor cure",
            "default": "sticky until waived",
        },
        warnings=_warnings(terms, tests),
    )


def _check_terms(terms: CovenantTerms, ratios: tuple[Decimal | None, ...]) -> Decimal:
    checker = FieldChecker()
    if checker.require_size("/ratios", len(ratios), MAX_PERIODS):
        for index, ratio in enumerate(ratios):
            if ratio is not None and not (ratio.is_finite() and abs(ratio) <= MAX_RATIO):
                checker.require_number(f"/ratios/{index}", float("nan"), -MAX_RATIO, MAX_RATIO)
    release = terms.lockup_release_at_or_above
    levels = (
        ("/default_below", terms.default_below),
        ("/lockup_below", terms.lockup_below),
        ("/lockup_release_at_or_above", release),
    )
    level_below = Decimal(0)
    for pointer, level in levels:
        if level is None:
            continue
        if not (level.is_finite() and level_below <= level <= MAX_RATIO):
            detail = "levels must be finite and in the order default, lock-up, release"
            checker.reject(pointer, "out_of_order", detail)
            break
        level_below = level
    if checker.require_size("/waivers", len(terms.waivers), _MAX_WAIVERS, 0):
        for index, waiver in enumerate(terms.waivers):
            if not 1 <= waiver.first <= waiver.last <= len(ratios):
                checker.reject(
                    f"/waivers/{index}",
                    "out_of_range",
                    f"must cover tests from 1 to {len(ratios)}, first before last",
                )
    checker.raise_errors()
    return terms.lockup_below if release is None else release


def _next_state(
    terms: CovenantTerms,
    release_level: Decimal,
    ratio: Decimal | None,
    state_before: Literal["OK", "LOCKUP", "DEFAULT"],
    waivers: Sequence[WaiverRange],
) -> tuple[Literal["OK", "LOCKUP", "DEFAULT"], bool]:
    """Return the state after a test, and whether a waiver changed it.

    Several `waivers` of one test waive what any of them does.
    """
    is_breach = (
        ratio is not None and terms.default_below is not None and ratio < terms.default_below
    )
    is_default = is_breach or state_before == "DEFAULT"
    if is_default and not waivers:
        return "DEFAULT", False
    # After a waived default the lock-up is still tested, against the release level.
    was_locked = is_default or state_before == "LOCKUP"
    level = release_level if was_locked else terms.lockup_below
    is_locked = was_locked if ratio is None else ratio < level
    if is_locked and any(waiver.lockup for waiver in waivers):
        return "OK", True
    return ("LOCKUP" if is_locked else "OK"), is_default


def _warnings(terms: CovenantTerms, tests: list[CovenantTest]) -> tuple[str, ...]:
    """Warn of ratios so near a level that earlier rounding may have decided the test."""
    levels = [
        level
        for level in (terms.lockup_below, terms.default_below, terms.lockup_release_at_or_above)
        if level is not None
    ]
    return tuple(
        f"test {test.test}: the ratio is within 1e-9 of the level {level}"
        for test in tests
        for level in levels
        if test.ratio is not None and Decimal(0) < abs(test.ratio - level) < _NEAR_LEVEL
    )
