"""Covenant testing: lock-up, release and default levels over a series of ratios.

A ratio is compared unrounded: 1.1499999 breaches 1.15 although it prints as 1.15. Ratios and
levels are decimals, so that 1.05 is 1.05 and not its nearest binary fraction. No debt service
means no ratio, hence NOT_TESTED, which neither breaches nor cures. Lock-up ends at its release
level; a default is sticky until it is waived. Source: the covenants of a facility agreement, whose
events of default stand until the lenders waive them.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from spawn.domain.finance.limits import MAX_PERIODS, MAX_RATIO, Checker

State = Literal["OK", "LOCKUP", "DEFAULT", "NOT_TESTED"]
_NEAR = Decimal("1e-9")
_MAX_WAIVERS = 200


class Waiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consent that covers the tests `first` to `last`, counted from 1.

    It sets aside a default, new or standing, and with `lockup` also a lock-up.
    """

    first: int
    last: int
    lockup: bool = False


class CovenantTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ratio covenant. `lockup_release_at_or_above` is by default the lock-up level itself."""

    lockup_below: Decimal
    default_below: Decimal | None = None
    lockup_release_at_or_above: Decimal | None = None
    waivers: tuple[Waiver, ...] = ()
    metric: str = "DSCR"


class CovenantTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test.

    `in_force` is the state that holds after it; it differs from `state` when the ratio was not
    tested. `headroom` is the ratio less the lock-up level.
    """

    test: int
    ratio: Decimal | None
    state: State
    in_force: Literal["OK", "LOCKUP", "DEFAULT"]
    waived: bool
    headroom: Decimal | None


class CovenantResult(msgspec.Struct, frozen=True, kw_only=True):
    """All tests, and the first breach of each level."""

    tests: tuple[CovenantTest, ...]
    first_lockup: int | None
    first_default: int | None
    final_state: Literal["OK", "LOCKUP", "DEFAULT"]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def exact(ratio: float) -> Decimal:
    """The decimal that a float prints as: 1.15 for 1.15, not 1.149999999999999911."""
    return Decimal(repr(ratio))


def exact_series(ratios: Iterable[float | None]) -> tuple[Decimal | None, ...]:
    """`exact` over a series; None stays None, not tested."""
    return tuple(None if ratio is None else exact(ratio) for ratio in ratios)


def run_covenant(terms: CovenantTerms, ratios: tuple[Decimal | None, ...]) -> CovenantResult:
    """The state after each test, in order.

    Raises:
        InvalidInput: no ratios, non-finite ratios, levels out of order (default <= lock-up <=
            release), or a waiver outside the tests.
    """
    release = _check(terms, ratios)
    in_force: Literal["OK", "LOCKUP", "DEFAULT"] = "OK"
    tests: list[CovenantTest] = []
    for number, ratio in enumerate(ratios, start=1):
        waiver = next((w for w in terms.waivers if w.first <= number <= w.last), None)
        before = in_force
        in_force, waived = _next_state(terms, release, ratio, before, waiver)
        tests.append(
            CovenantTest(
                test=number,
                ratio=ratio,
                state="NOT_TESTED" if ratio is None else in_force,
                in_force=in_force,
                waived=waived,
                headroom=None if ratio is None else ratio - terms.lockup_below,
            )
        )
    return CovenantResult(
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


def _check(terms: CovenantTerms, ratios: tuple[Decimal | None, ...]) -> Decimal:
    check = Checker()
    if check.size("/ratios", len(ratios), MAX_PERIODS):
        for index, ratio in enumerate(ratios):
            if ratio is not None and not (ratio.is_finite() and abs(ratio) <= MAX_RATIO):
                check.number(f"/ratios/{index}", float("nan"), -MAX_RATIO, MAX_RATIO)
    release = terms.lockup_release_at_or_above
    levels = (
        ("/default_below", terms.default_below),
        ("/lockup_below", terms.lockup_below),
        ("/lockup_release_at_or_above", release),
    )
    floor = Decimal(0)
    for pointer, level in levels:
        if level is None:
            continue
        if not (level.is_finite() and floor <= level <= MAX_RATIO):
            detail = "levels must be finite and in the order default, lock-up, release"
            check.refuse(pointer, "out_of_order", detail)
            break
        floor = level
    if check.size("/waivers", len(terms.waivers), _MAX_WAIVERS, 0):
        for index, waiver in enumerate(terms.waivers):
            if not 1 <= waiver.first <= waiver.last <= len(ratios):
                check.refuse(f"/waivers/{index}", "out_of_range", "must cover tests that exist")
    check.done()
    return terms.lockup_below if release is None else release


def _next_state(
    terms: CovenantTerms,
    release: Decimal,
    ratio: Decimal | None,
    before: Literal["OK", "LOCKUP", "DEFAULT"],
    waiver: Waiver | None,
) -> tuple[Literal["OK", "LOCKUP", "DEFAULT"], bool]:
    """The state after a test, and whether a waiver changed it."""
    breach = ratio is not None and terms.default_below is not None and ratio < terms.default_below
    default = breach or before == "DEFAULT"
    if default and waiver is None:
        return "DEFAULT", False
    # A waived default leaves the lock-up to be judged, from the locked side.
    locked = default or before == "LOCKUP"
    level = release if locked else terms.lockup_below
    locked_now = locked if ratio is None else ratio < level
    if locked_now and waiver is not None and waiver.lockup:
        return "OK", True
    return ("LOCKUP" if locked_now else "OK"), default


def _warnings(terms: CovenantTerms, tests: list[CovenantTest]) -> tuple[str, ...]:
    """Ratios so near a level that the arithmetic before the test may have decided it."""
    levels = [
        level
        for level in (terms.lockup_below, terms.default_below, terms.lockup_release_at_or_above)
        if level is not None
    ]
    return tuple(
        f"test {test.test}: the ratio is within 1e-9 of the level {level}"
        for test in tests
        for level in levels
        if test.ratio is not None and Decimal(0) < abs(test.ratio - level) < _NEAR
    )
