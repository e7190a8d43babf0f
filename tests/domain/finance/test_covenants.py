"""Covenant states over a series of tests."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.covenants import (
    CovenantTerms,
    WaiverRange,
    run_covenant_tests,
    to_exact_decimal,
    to_exact_decimals,
)

pytestmark = pytest.mark.core

TERMS = CovenantTerms(
    lockup_below=Decimal("1.15"),
    lockup_release_at_or_above=Decimal("1.20"),
    default_below=Decimal("1.05"),
)


def states(*ratios: float | None, terms: CovenantTerms = TERMS) -> list[str]:
    return [test.state for test in run_covenant_tests(terms, to_exact_decimals(ratios)).tests]


def test_lock_up_holds_until_the_release_level() -> None:
    assert states(1.3, 1.14, 1.15, 1.19999, 1.2) == ["OK", "LOCKUP", "LOCKUP", "LOCKUP", "OK"]


def test_without_a_release_level_the_lock_up_level_releases() -> None:
    plain = msgspec.structs.replace(TERMS, lockup_release_at_or_above=None)
    assert states(1.14, 1.15, terms=plain) == ["LOCKUP", "OK"]


def test_a_default_is_sticky_however_good_the_ratio() -> None:
    assert states(1.04, 1.5, 2.0) == ["DEFAULT"] * 3


def test_a_waiver_ends_a_default_and_still_tests_the_lock_up() -> None:
    waived = msgspec.structs.replace(TERMS, waivers=(WaiverRange(first=2, last=2),))
    assert states(1.04, 1.18, 1.18, 1.2, terms=waived) == ["DEFAULT", "LOCKUP", "LOCKUP", "OK"]
    assert states(1.04, 1.2, 1.18, terms=waived) == ["DEFAULT", "OK", "OK"]
    covered = msgspec.structs.replace(TERMS, waivers=(WaiverRange(first=1, last=2, lockup=True),))
    result = run_covenant_tests(covered, to_exact_decimals([1.0, 1.1, 1.1]))
    assert [test.state for test in result.tests] == ["OK", "OK", "LOCKUP"]
    assert [test.waived for test in result.tests] == [True, True, False]
    assert (result.first_default, result.first_lockup) == (None, 3)


def test_no_debt_service_is_not_tested_and_neither_breaches_nor_cures() -> None:
    result = run_covenant_tests(TERMS, to_exact_decimals([1.3, None, 1.1, None, 1.0, None]))
    assert [test.state for test in result.tests] == [
        "OK",
        "NOT_TESTED",
        "LOCKUP",
        "NOT_TESTED",
        "DEFAULT",
        "NOT_TESTED",
    ]
    assert [test.in_force for test in result.tests] == [
        "OK",
        "OK",
        "LOCKUP",
        "LOCKUP",
        "DEFAULT",
        "DEFAULT",
    ]
    assert result.final_state == "DEFAULT"


def test_ratios_are_compared_as_they_print_not_as_binary_fractions() -> None:
    assert to_exact_decimal(1.05) == Decimal("1.05")
    assert Decimal("1.05") < 1.05  # the float is the larger of the two
    assert states(1.15, 1.1499999) == ["OK", "LOCKUP"]
    result = run_covenant_tests(TERMS, to_exact_decimals([1.1499999999999]))
    assert result.tests[0].state == "LOCKUP"
    assert "within 1e-9" in result.warnings[0]
    assert result.tests[0].headroom is not None
    assert result.tests[0].headroom < 0


@given(st.lists(st.none() | st.floats(0.5, 2.0), min_size=1, max_size=30))
@settings(max_examples=scale(25))
def test_states_follow_the_levels(ratios: list[float | None]) -> None:
    result = run_covenant_tests(TERMS, to_exact_decimals(ratios))
    defaulted = False
    for test, ratio in zip(result.tests, ratios, strict=True):
        defaulted = defaulted or (ratio is not None and ratio < 1.05)
        assert (test.in_force == "DEFAULT") == defaulted
        if ratio is not None and not defaulted:
            assert ratio >= 1.15 or test.state == "LOCKUP"
            assert ratio < 1.2 or test.state == "OK"


def test_invalid_terms_name_each_field() -> None:
    assert error_codes(lambda: run_covenant_tests(TERMS, ())) == {"/ratios": "empty"}
    assert error_codes(
        lambda: run_covenant_tests(TERMS, (Decimal("NaN"), Decimal(1), Decimal("1e9")))
    ) == {
        "/ratios/0": "out_of_range",
        "/ratios/2": "out_of_range",
    }
    crossed = msgspec.structs.replace(TERMS, lockup_release_at_or_above=Decimal("1.1"))
    assert error_codes(lambda: run_covenant_tests(crossed, (Decimal(1),))) == {
        "/lockup_release_at_or_above": "out_of_order"
    }
    late = msgspec.structs.replace(TERMS, waivers=(WaiverRange(first=1, last=2),))
    assert error_codes(lambda: run_covenant_tests(late, (Decimal(1),))) == {
        "/waivers/0": "out_of_range"
    }


@pytest.mark.parametrize("order", [1, -1])
def test_waivers_of_one_test_waive_what_any_of_them_does(order: int) -> None:
    waivers = (WaiverRange(first=1, last=3), WaiverRange(first=2, last=2, lockup=True))[::order]
    waived = msgspec.structs.replace(TERMS, waivers=waivers)
    assert states(1.0, 1.0, 1.0, 1.0, terms=waived) == ["LOCKUP", "OK", "LOCKUP", "DEFAULT"]
