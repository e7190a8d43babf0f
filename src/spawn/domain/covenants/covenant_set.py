"""Covenants of a project on record: levels, test dates, waivers, and the register of tests.

A covenant and its register are one aggregate: each test and each waiver writes it, so that of two
at once one decides again. The register keeps the band of each test, the exact comparison with the
levels of its day, from which the state on any day follows.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

import msgspec

from spawn.domain.covenants.exact_ratios import (
    DEFINITION_VERSION,
    CoverMetric,
    Quotient,
    WindowDirection,
)
from spawn.domain.errors import Conflict, FieldError, InvalidInput
from spawn.domain.text import check_line, check_prose

COVENANT_KIND: Final = "covenant"
COVENANT_CREATED_EVENT: Final = "covenant.created"
COVENANT_AMENDED_EVENT: Final = "covenant.amended"
COVENANT_TESTED_EVENT: Final = "covenant.tested"
COVENANT_WAIVED_EVENT: Final = "covenant.waived"
"""Kind of the aggregate, and its events."""

MAX_TEST_DATES: Final = 480
MAX_COVENANT_WAIVERS: Final = 200
MAX_REGISTERED_TESTS: Final = 2_000
"""Test dates, waivers and tests of one covenant; a test of a date and its re-tests count each."""

MAX_WINDOW_MONTHS: Final = 120
MAX_CURES: Final = 100
MAX_COVENANT_NAME, MAX_WAIVER_REASON = 200, 1_000
"""Characters of the texts of a covenant."""

MAX_LEVEL: Final = Decimal(1_000)
"""Levels lie from 0 to this ratio, with at most six decimals."""

_LEVEL_QUANTUM: Final = Decimal("0.000001")


class CovenantStanding(StrEnum):
    """The state of a covenant."""

    OK = "OK"
    LOCKUP = "LOCKUP"
    DEFAULT = "DEFAULT"


class CovenantBand(StrEnum):
    """The place of a ratio among the levels, by exact comparison.

    HOLD is between lock-up and release: it begins no lock-up, and ends none.
    """

    CLEAR = "CLEAR"
    HOLD = "HOLD"
    LOCKUP = "LOCKUP"
    DEFAULT = "DEFAULT"
    NOT_TESTED = "NOT_TESTED"


class CureRights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The right of the sponsors to add equity to the CFADS of a test, so often at most."""

    max_cures: int
    max_consecutive: int = 1


class CovenantWaiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consent of the lenders that covers the days from `starts_on` to `ends_on`, both included.

    It waives the defaults of tests on these days and a default that stands when it begins; with
    `covers_lockup` also a lock-up. Its end revives nothing: the next test decides.
    """

    starts_on: date
    ends_on: date
    reason: str
    granted_by: str
    recorded_by: str
    covers_lockup: bool = False


class RegisteredTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test in the register of its covenant: the band of its ratio by the levels of then."""

    test_id: str
    tested_on: date
    band: CovenantBand
    is_cured: bool = False


class CovenantTermSheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a covenant.

    `window_months` sums the figures of so many months before the test date (`TRAILING`, its own
    period included) or after it (`FORWARD`); without it a test is of the single period. Levels are
    ratios: a default below (gearing: above) `default_level`, a lock-up below `lockup_level`, which
    ends at `release_level`, by default the lock-up level itself.
    """

    name: str
    metric: CoverMetric
    test_dates: tuple[date, ...]
    definition_version: int = DEFINITION_VERSION
    lockup_level: Decimal | None = None
    release_level: Decimal | None = None
    default_level: Decimal | None = None
    window_months: int | None = None
    window_direction: WindowDirection = WindowDirection.TRAILING
    cure_rights: CureRights | None = None

    def __post_init__(self) -> None:
        """Check every invariant and raise one `InvalidInput` with all violations."""
        errors: list[FieldError] = []
        check_line(self.name, "/name", MAX_COVENANT_NAME, errors)
        if self.definition_version != DEFINITION_VERSION:
            detail = f"the definitions of the metrics have version {DEFINITION_VERSION}"
            errors.append(FieldError("/definition_version", "out_of_range", detail))
        _check_levels(self, errors)
        _check_test_dates(self.test_dates, errors)
        _check_window(self, errors)
        if self.cure_rights is not None:
            _check_cure_rights(self, self.cure_rights, errors)
        if errors:
            raise InvalidInput(errors)


class CovenantSet(CovenantTermSheet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A covenant of a project, with its waivers and the register of its tests."""

    covenant_id: str
    project_id: str
    waivers: tuple[CovenantWaiver, ...] = ()
    tests: tuple[RegisteredTest, ...] = ()


def _check_levels(covenant: CovenantTermSheet, errors: list[FieldError]) -> None:
    names = ("default_level", "lockup_level", "release_level")
    count = len(errors)
    for name in names:
        level: Decimal | None = getattr(covenant, name)
        if level is None:
            continue
        if not (level.is_finite() and 0 <= level <= MAX_LEVEL and level % _LEVEL_QUANTUM == 0):
            detail = f"must be a ratio from 0 to {MAX_LEVEL} with at most six decimals"
            errors.append(FieldError(f"/{name}", "out_of_range", detail))
    if covenant.lockup_level is None and covenant.default_level is None:
        detail = "a covenant has a lock-up level, a default level or both"
        errors.append(FieldError("/lockup_level", "missing", detail))
    if covenant.release_level is not None and covenant.lockup_level is None:
        errors.append(FieldError("/release_level", "not_applicable", "needs a lock-up level"))
    if len(errors) > count:
        return
    sign = metric_sign(covenant.metric)
    levels = [(name, getattr(covenant, name)) for name in names]
    stated = [(name, sign * level) for name, level in levels if level is not None]
    for (_, lower), (name, higher) in pairwise(stated):
        if higher < lower:
            order = "rise" if sign > 0 else "fall"
            detail = f"levels {order} in the order default, lock-up, release"
            errors.append(FieldError(f"/{name}", "out_of_order", detail))


def _check_test_dates(test_dates: Sequence[date], errors: list[FieldError]) -> None:
    if not 1 <= len(test_dates) <= MAX_TEST_DATES:
        detail = f"must have 1 to {MAX_TEST_DATES} dates"
        errors.append(FieldError("/test_dates", "wrong_length", detail))
    for index, (day, later) in enumerate(pairwise(test_dates), start=1):
        if later <= day:
            detail = f"{later} is not after {day}"
            errors.append(FieldError(f"/test_dates/{index}", "date_order", detail))
            return


def _check_window(covenant: CovenantTermSheet, errors: list[FieldError]) -> None:
    months = covenant.window_months
    if months is not None and not 1 <= months <= MAX_WINDOW_MONTHS:
        detail = f"must be 1 to {MAX_WINDOW_MONTHS} months"
        errors.append(FieldError("/window_months", "out_of_range", detail))
    if months is not None and covenant.metric is not CoverMetric.DSCR:
        detail = f"a DSCR is of a window; the {covenant.metric} is of one day"
        errors.append(FieldError("/window_months", "not_applicable", detail))
    if months is None and covenant.window_direction is WindowDirection.FORWARD:
        detail = "is required: a window ahead counts months"
        errors.append(FieldError("/window_months", "missing", detail))


def _check_cure_rights(
    covenant: CovenantTermSheet, rights: CureRights, errors: list[FieldError]
) -> None:
    if covenant.metric is not CoverMetric.DSCR:
        detail = "an equity cure adds to CFADS, which only a DSCR divides"
        errors.append(FieldError("/cure_rights", "not_applicable", detail))
    if not 1 <= rights.max_consecutive <= rights.max_cures <= MAX_CURES:
        detail = f"must be 1 or more, at most max_cures, which is at most {MAX_CURES}"
        errors.append(FieldError("/cure_rights/max_consecutive", "out_of_range", detail))


def amend_covenant(covenant: CovenantSet, terms: CovenantTermSheet) -> CovenantSet:
    """Return the covenant with other terms; its tests and waivers stay.

    Raises:
        InvalidInput: the metric of a tested covenant changes, or a date with a test is left out.
    """
    if covenant.tests and terms.metric is not covenant.metric:
        detail = "the covenant has tests of its metric: create another covenant"
        raise InvalidInput.at("/metric", "not_applicable", detail)
    left_out = sorted({test.tested_on for test in covenant.tests} - set(terms.test_dates))
    if left_out:
        detail = f"must have {left_out[0]}, which was tested: a test stays on its date"
        raise InvalidInput.at("/test_dates", "not_changeable", detail)
    return msgspec.structs.replace(covenant, **msgspec.structs.asdict(terms))


def metric_sign(metric: CoverMetric) -> int:
    """Return 1 if a higher ratio is safer, and -1 for gearing."""
    return -1 if metric is CoverMetric.GEARING else 1


def compare_with_levels(covenant: CovenantSet, ratio: Quotient | None) -> CovenantBand:
    """Return the band of an unrounded ratio; a ratio equal to a level does not breach it."""
    if ratio is None:
        return CovenantBand.NOT_TESTED
    if _is_beyond(covenant.metric, ratio, covenant.default_level):
        return CovenantBand.DEFAULT
    if _is_beyond(covenant.metric, ratio, covenant.lockup_level):
        return CovenantBand.LOCKUP
    if _is_beyond(covenant.metric, ratio, covenant.release_level):
        return CovenantBand.HOLD
    return CovenantBand.CLEAR


def _is_beyond(metric: CoverMetric, ratio: Quotient, level: Decimal | None) -> bool:
    """Whether a ratio breaches a level: ratio < p/q exactly, or > for gearing."""
    if level is None:
        return False
    return metric_sign(metric) * (ratio - Quotient.of(level)).numerator < 0


def find_test(covenant: CovenantSet, tested_on: date) -> RegisteredTest | None:
    """Return the newest test of a date; None if there is none."""
    tests = [test for test in covenant.tests if test.tested_on == tested_on]
    return tests[-1] if tests else None


def register_test(covenant: CovenantSet, test: RegisteredTest) -> CovenantSet:
    """Return the covenant with one more test.

    Raises:
        InvalidInput: the date is no test date, or the test is cured beyond the cure rights.
        Conflict: the register is full.
    """
    if test.tested_on not in covenant.test_dates:
        following = next((day for day in covenant.test_dates if day > test.tested_on), None)
        hint = "" if following is None else f"; the next one is {following}"
        detail = f"{test.tested_on} is not a test date of the covenant{hint}"
        raise InvalidInput.at("/tested_on", "not_a_test_date", detail)
    if len(covenant.tests) >= MAX_REGISTERED_TESTS:
        raise Conflict(f"The covenant has {MAX_REGISTERED_TESTS} tests, and can have no more.")
    after = msgspec.structs.replace(covenant, tests=(*covenant.tests, test))
    if test.is_cured:
        _check_cures(after)
    return after


def _check_cures(covenant: CovenantSet) -> None:
    rights = covenant.cure_rights
    if rights is None:
        raise InvalidInput.at("/equity_cure", "not_applicable", "the covenant has no cure rights")
    row, longest, count = 0, 0, 0
    for test in list_newest_tests(covenant):
        row = row + 1 if test.is_cured else 0
        longest, count = max(longest, row), count + test.is_cured
    if count > rights.max_cures or longest > rights.max_consecutive:
        detail = (
            f"the covenant allows {rights.max_cures} cures, {rights.max_consecutive} in a row;"
            f" this would make {count}, {longest} in a row"
        )
        raise InvalidInput.at("/equity_cure", "out_of_range", detail)


def add_waiver(covenant: CovenantSet, waiver: CovenantWaiver) -> CovenantSet:
    """Return the covenant with one more waiver.

    Raises:
        InvalidInput: the waiver ends before it begins, or a text is invalid.
    """
    errors: list[FieldError] = []
    check_prose(waiver.reason, "/reason", MAX_WAIVER_REASON, errors)
    check_line(waiver.granted_by, "/granted_by", MAX_COVENANT_NAME, errors)
    if not waiver.reason.strip():
        errors.append(FieldError("/reason", "empty", "must not be empty"))
    if waiver.ends_on < waiver.starts_on:
        detail = f"must not be before {waiver.starts_on}"
        errors.append(FieldError("/ends_on", "date_order", detail))
    if len(covenant.waivers) >= MAX_COVENANT_WAIVERS:
        errors.append(FieldError("", "too_many", f"at most {MAX_COVENANT_WAIVERS} waivers"))
    if errors:
        raise InvalidInput(errors)
    return msgspec.structs.replace(covenant, waivers=(*covenant.waivers, waiver))


def list_newest_tests(covenant: CovenantSet) -> list[RegisteredTest]:
    """Return the newest test of each date, in the order of dates."""
    by_date = {test.tested_on: test for test in covenant.tests}
    return [by_date[day] for day in sorted(by_date)]


def list_active_waivers(covenant: CovenantSet, on: date) -> tuple[CovenantWaiver, ...]:
    """Return the waivers that cover a day."""
    return tuple(w for w in covenant.waivers if w.starts_on <= on <= w.ends_on)


def fold_standing(covenant: CovenantSet, on: date) -> CovenantStanding:
    """Return the state on a day, from the tests up to it and the waivers begun by then.

    A default lasts until it is waived; a lock-up until its release level is reached. A date that
    was not tested changes nothing.
    """
    tests = [(test.tested_on, 0, test) for test in list_newest_tests(covenant)]
    begun = [(waiver.starts_on, 1, waiver) for waiver in covenant.waivers]
    has_lockup = covenant.lockup_level is not None
    standing, band = CovenantStanding.OK, CovenantBand.NOT_TESTED
    steps: list[Any] = sorted((*tests, *begun), key=lambda step: step[:2])
    for day, _, step in steps:
        if day > on:
            break
        if isinstance(step, RegisteredTest):
            waivers = list_active_waivers(covenant, day)
            standing = _next_standing(standing, step.band, waivers)
            band = band if step.band is CovenantBand.NOT_TESTED else step.band
        else:
            standing = _lift_standing(standing, band, step)
        if standing is CovenantStanding.LOCKUP and not has_lockup:
            standing = CovenantStanding.OK
    return standing


def _next_standing(
    before: CovenantStanding, band: CovenantBand, waivers: Sequence[CovenantWaiver]
) -> CovenantStanding:
    """Return the state after a test; the same rule as the calculator of covenants has."""
    is_default = band is CovenantBand.DEFAULT or before is CovenantStanding.DEFAULT
    if is_default and not waivers:
        return CovenantStanding.DEFAULT
    was_locked = is_default or before is CovenantStanding.LOCKUP
    is_locked = _is_locked(band, was_locked=was_locked)
    if is_locked and any(waiver.covers_lockup for waiver in waivers):
        return CovenantStanding.OK
    return CovenantStanding.LOCKUP if is_locked else CovenantStanding.OK


def _lift_standing(
    before: CovenantStanding, band: CovenantBand, waiver: CovenantWaiver
) -> CovenantStanding:
    """Return the state once a waiver begins; a waived default still has the lock-up of its band."""
    if waiver.covers_lockup:
        return CovenantStanding.OK
    if before is CovenantStanding.DEFAULT:
        is_locked = _is_locked(band, was_locked=True)
        return CovenantStanding.LOCKUP if is_locked else CovenantStanding.OK
    return before


def _is_locked(band: CovenantBand, *, was_locked: bool) -> bool:
    if band in {CovenantBand.NOT_TESTED, CovenantBand.HOLD}:
        return was_locked
    return band is not CovenantBand.CLEAR
