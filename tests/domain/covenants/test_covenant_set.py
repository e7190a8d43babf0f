"""Covenants: levels, exact comparison, the state after tests and waivers, cure rights."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.covenants.covenant_record import measure_headroom
from spawn.domain.covenants.covenant_set import (
    CovenantBand,
    CovenantSet,
    CovenantStanding,
    CovenantTermSheet,
    CovenantWaiver,
    CureRights,
    RegisteredTest,
    add_waiver,
    amend_covenant,
    compare_with_levels,
    fold_standing,
    register_test,
)
from spawn.domain.covenants.exact_ratios import CoverMetric, ExactRatio, Quotient, WindowDirection
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.covenants import CovenantTerms, WaiverRange, run_covenant_tests

pytestmark = pytest.mark.core

FIRST = date(2027, 6, 30)
DATES = tuple(FIRST + timedelta(days=182 * number) for number in range(12))


def a_covenant(**fields: Any) -> CovenantSet:
    return CovenantSet(
        **{
            "covenant_id": "v-1",
            "project_id": "p-1",
            "name": "DSCR",
            "metric": CoverMetric.DSCR,
            "lockup_level": Decimal("1.15"),
            "release_level": Decimal("1.20"),
            "default_level": Decimal("1.05"),
            "test_dates": DATES,
            **fields,
        }
    )


def ratio_of(text: str) -> Quotient:
    fraction = Fraction(text)
    return Quotient(fraction.numerator, fraction.denominator)


def apply_ratios(covenant: CovenantSet, *ratios: str | None) -> CovenantSet:
    """Return the covenant after tests on its dates; None is a date without debt service."""
    for number, text in enumerate(ratios):
        band = compare_with_levels(covenant, None if text is None else ratio_of(text))
        test = RegisteredTest(test_id=f"t-{number}", tested_on=DATES[number], band=band)
        covenant = register_test(covenant, test)
    return covenant


def a_waiver(first: date, last: date, **fields: Any) -> CovenantWaiver:
    return CovenantWaiver(
        **{
            "starts_on": first,
            "ends_on": last,
            "reason": "outage",
            "granted_by": "agent",
            "recorded_by": "key:desk",
            **fields,
        }
    )


def standing(covenant: CovenantSet, on: date = date.max) -> CovenantStanding:
    return fold_standing(covenant, on)


@pytest.mark.parametrize(
    ("ratio", "band"),
    [
        ("1.2", CovenantBand.CLEAR),
        ("1199999999999999999/1000000000000000000", CovenantBand.HOLD),
        ("1.15", CovenantBand.HOLD),
        ("1149999999999999999/1000000000000000000", CovenantBand.LOCKUP),
        ("1.05", CovenantBand.LOCKUP),
        ("1049999999999999999/1000000000000000000", CovenantBand.DEFAULT),
        ("-3", CovenantBand.DEFAULT),
    ],
)
def test_a_ratio_is_compared_unrounded_and_a_level_is_met_by_itself(
    ratio: str, band: CovenantBand
) -> None:
    assert compare_with_levels(a_covenant(), ratio_of(ratio)) is band


def test_gearing_breaches_above_its_levels() -> None:
    levels = {
        name: Decimal(text)
        for name, text in (
            ("release_level", "0.70"),
            ("lockup_level", "0.75"),
            ("default_level", "0.80"),
        )
    }
    gearing = a_covenant(metric=CoverMetric.GEARING, **levels)
    bands = [compare_with_levels(gearing, ratio_of(text)) for text in ("0.7", "3/4", "4/5", "5/6")]
    assert bands == [
        CovenantBand.CLEAR,
        CovenantBand.HOLD,
        CovenantBand.LOCKUP,
        CovenantBand.DEFAULT,
    ]
    with pytest.raises(InvalidInput) as caught:
        a_covenant(metric=CoverMetric.GEARING)
    assert {error.code for error in caught.value.errors} == {"out_of_order"}


TEXTS = st.sampled_from(["0.9", "1.05", "1.1", "1.15", "1.1999", "1.2", "1.5", None])


@given(
    ratios=st.lists(TEXTS, min_size=1, max_size=12),
    waiver=st.none() | st.tuples(st.integers(1, 12), st.integers(0, 4), st.booleans()),
)
def test_the_state_after_each_test_is_that_of_the_calculator(
    ratios: list[str | None], waiver: tuple[int, int, bool] | None
) -> None:
    covenant, waivers = a_covenant(), tuple[WaiverRange, ...]()
    if waiver is not None and waiver[0] <= len(ratios):
        first, last = waiver[0], min(waiver[0] + waiver[1], len(ratios))
        waivers = (WaiverRange(first=first, last=last, lockup=waiver[2]),)
        days = a_waiver(DATES[first - 1], DATES[last - 1], covers_lockup=waiver[2])
        covenant = add_waiver(covenant, days)
    terms = CovenantTerms(
        lockup_below=Decimal("1.15"),
        default_below=Decimal("1.05"),
        lockup_release_at_or_above=Decimal("1.20"),
        waivers=waivers,
    )
    exact = tuple(None if text is None else Decimal(text) for text in ratios)
    expected = [test.in_force for test in run_covenant_tests(terms, exact).tests]
    covenant = apply_ratios(covenant, *ratios)
    assert [standing(covenant, day) for day in DATES[: len(ratios)]] == expected


def test_a_default_lasts_until_it_is_waived() -> None:
    covenant = apply_ratios(a_covenant(), "1.0", "1.5", None, "1.5")
    assert standing(covenant) is CovenantStanding.DEFAULT
    waived = add_waiver(covenant, a_waiver(DATES[3] + timedelta(days=1), DATES[4]))
    assert standing(waived, DATES[3]) is CovenantStanding.DEFAULT
    assert standing(waived) is CovenantStanding.OK


def test_a_waived_default_keeps_the_lockup_of_its_ratio() -> None:
    covenant = apply_ratios(a_covenant(), "1.0")
    later = DATES[0] + timedelta(days=20)
    assert standing(add_waiver(covenant, a_waiver(later, later))) is CovenantStanding.LOCKUP
    both = add_waiver(covenant, a_waiver(later, later, covers_lockup=True))
    assert standing(both) is CovenantStanding.OK
    without_lockup = a_covenant(lockup_level=None, release_level=None)
    default = apply_ratios(without_lockup, "1.0")
    assert standing(default) is CovenantStanding.DEFAULT
    assert standing(add_waiver(default, a_waiver(later, later))) is CovenantStanding.OK


def test_the_end_of_a_waiver_revives_nothing_and_the_next_test_decides() -> None:
    covenant = apply_ratios(a_covenant(), "1.0")
    waived = add_waiver(covenant, a_waiver(DATES[0], DATES[0]))
    assert standing(waived, DATES[1] - timedelta(days=1)) is CovenantStanding.LOCKUP
    again = RegisteredTest(test_id="t-9", tested_on=DATES[1], band=CovenantBand.DEFAULT)
    assert standing(register_test(waived, again)) is CovenantStanding.DEFAULT


def test_a_date_that_was_not_tested_neither_breaches_nor_cures() -> None:
    assert standing(apply_ratios(a_covenant(), None)) is CovenantStanding.OK
    assert standing(apply_ratios(a_covenant(), "1.1", None)) is CovenantStanding.LOCKUP
    assert standing(apply_ratios(a_covenant(), "1.1", "1.17")) is CovenantStanding.LOCKUP
    assert standing(apply_ratios(a_covenant(), "1.1", "1.2")) is CovenantStanding.OK


def test_a_re_test_replaces_the_test_of_its_date_in_the_state() -> None:
    covenant = apply_ratios(a_covenant(), "1.5", "1.5")
    earlier = RegisteredTest(test_id="t-8", tested_on=DATES[0], band=CovenantBand.DEFAULT)
    assert standing(register_test(covenant, earlier)) is CovenantStanding.DEFAULT
    back = RegisteredTest(test_id="t-9", tested_on=DATES[0], band=CovenantBand.CLEAR)
    corrected = register_test(register_test(covenant, earlier), back)
    assert standing(corrected) is CovenantStanding.OK
    assert len(corrected.tests) == 4


def test_only_a_test_date_is_tested() -> None:
    test = RegisteredTest(test_id="t", tested_on=date(2027, 7, 1), band=CovenantBand.CLEAR)
    with pytest.raises(InvalidInput) as caught:
        register_test(a_covenant(), test)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("/tested_on", "not_a_test_date")
    assert f"the next one is {DATES[1]}" in error.detail


def test_cures_are_counted_in_all_and_in_a_row() -> None:
    covenant = a_covenant(cure_rights=CureRights(max_cures=2, max_consecutive=1))

    def cure(before: CovenantSet, number: int, *, is_cured: bool = True) -> CovenantSet:
        band = CovenantBand.CLEAR
        test = RegisteredTest(
            test_id=f"t-{number}", tested_on=DATES[number], band=band, is_cured=is_cured
        )
        return register_test(before, test)

    once = cure(covenant, 0)
    with pytest.raises(InvalidInput, match="2 in a row"):
        cure(once, 1)
    twice = cure(cure(once, 1, is_cured=False), 2)
    with pytest.raises(InvalidInput, match="would make 3"):
        cure(cure(twice, 3, is_cured=False), 4)
    assert cure(twice, 2).tests[-1].is_cured
    with pytest.raises(InvalidInput, match="no cure rights"):
        cure(a_covenant(), 0)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"lockup_level": None, "release_level": None, "default_level": None}, "/lockup_level"),
        ({"lockup_level": None}, "/release_level"),
        ({"release_level": Decimal("1.1")}, "/release_level"),
        ({"default_level": Decimal("1.16")}, "/lockup_level"),
        ({"default_level": Decimal("1.0000001")}, "/default_level"),
        ({"default_level": Decimal("NaN")}, "/default_level"),
        ({"test_dates": ()}, "/test_dates"),
        ({"test_dates": (FIRST, FIRST)}, "/test_dates/1"),
        ({"window_months": 0}, "/window_months"),
        ({"window_direction": WindowDirection.FORWARD}, "/window_months"),
        (
            {"metric": CoverMetric.LLCR, "window_months": 12},
            "/window_months",
        ),
        ({"metric": CoverMetric.LLCR, "cure_rights": CureRights(max_cures=1)}, "/cure_rights"),
        ({"cure_rights": CureRights(max_cures=1, max_consecutive=2)}, "/cure_rights/max_consec"),
        ({"definition_version": 2}, "/definition_version"),
        ({"name": " "}, "/name"),
    ],
)
def test_terms_that_break_a_rule_name_their_field(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        a_covenant(**fields)
    assert caught.value.errors[0].pointer.startswith(pointer)


def test_a_tested_covenant_keeps_its_metric_and_its_register() -> None:
    covenant = apply_ratios(a_covenant(), "1.1")
    names = CovenantTermSheet.__struct_fields__
    terms = CovenantTermSheet(**{name: getattr(covenant, name) for name in names})
    lower = msgspec.structs.replace(terms, lockup_level=Decimal("1.08"))
    amended = amend_covenant(covenant, lower)
    assert amended.tests == covenant.tests
    assert standing(amended) is CovenantStanding.LOCKUP
    with pytest.raises(InvalidInput):
        amend_covenant(covenant, msgspec.structs.replace(terms, metric=CoverMetric.LLCR))


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"ends_on": FIRST - timedelta(days=1)}, "/ends_on"),
        ({"reason": "  "}, "/reason"),
        ({"granted_by": ""}, "/granted_by"),
    ],
)
def test_a_waiver_that_breaks_a_rule_names_its_field(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        add_waiver(a_covenant(), msgspec.structs.replace(a_waiver(FIRST, FIRST), **fields))
    assert caught.value.errors[0].pointer == pointer


@given(
    cfads=st.integers(-(10**6), 10**6),
    service=st.integers(1, 10**6),
    level=st.integers(1, 3 * 10**6),
)
def test_the_cash_of_the_headroom_is_what_may_be_lost(cfads: int, service: int, level: int) -> None:
    exact = ExactRatio(formula="", numerator=Quotient(cfads), denominator=Quotient(service))
    stated = Decimal(level) / 10**6
    headroom = measure_headroom(CoverMetric.DSCR, exact, stated, "EUR")
    assert headroom is not None
    assert headroom.cfads_amount is not None
    covenant = a_covenant(lockup_level=stated, release_level=None, default_level=None)
    left = Quotient(cfads) - Quotient.of(headroom.cfads_amount)
    cent = Quotient(1, 100)
    assert compare_with_levels(covenant, left / Quotient(service)) is CovenantBand.CLEAR
    beyond = (left - cent) / Quotient(service)
    assert compare_with_levels(covenant, beyond) is CovenantBand.LOCKUP
    assert (headroom.cfads_amount >= 0) is (Fraction(cfads, service) >= Fraction(stated))
