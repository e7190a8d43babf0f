"""Coverage over trailing windows, and the periods of the lowest ratios."""

from typing import Any

import pytest
from tests.domain.finance.error_codes import error_codes

from spawn.domain.finance.coverage_ratios import (
    CoverageCase,
    CoverageRatios,
    compute_coverage_ratios,
    find_lowest,
)
from spawn.domain.finance.period_lists import list_periods

pytestmark = pytest.mark.core


def coverage(**fields: Any) -> CoverageRatios:
    stated: dict[str, Any] = {
        "debt": 100.0,
        "cfads": (30.0, 70.0, 24.0, 70.0),
        "interest": (5.0, 4.0, 3.0, 2.0),
        "principal": (35.0, 36.0, 15.0, 14.0),
        "period_rates": 0.03,
    }
    return compute_coverage_ratios(CoverageCase(**{**stated, **fields}))


def test_a_calm_half_year_is_carried_by_the_windy_one_of_its_year() -> None:
    result = coverage(months_per_period=6, look_back_months=12)
    assert result.window_dscr is not None
    assert result.window_dscr[0] is None
    assert result.window_dscr[1:] == pytest.approx([100 / 80, 94 / 58, 94 / 34])
    assert result.dscr[0] == pytest.approx(0.75)
    assert coverage().window_dscr is None


def test_the_lowest_ratios_have_their_periods() -> None:
    result = coverage()
    assert (result.min_dscr, result.min_dscr_period) == (0.75, 1)
    assert result.min_llcr == min(ratio for ratio in result.llcr if ratio is not None)
    assert result.min_llcr_period == result.llcr.index(result.min_llcr) + 1


def test_months_give_the_years_of_the_average_life() -> None:
    yearly, half = coverage(), coverage(months_per_period=6)
    assert yearly.wal_years is not None
    assert half.wal_years == pytest.approx(yearly.wal_years / 2)


def test_windows_without_months_and_months_without_a_use_are_rejected() -> None:
    assert error_codes(lambda: coverage(look_back_months=12)) == {"/months_per_period": "required"}
    assert error_codes(lambda: coverage(look_back_months=8, months_per_period=6)) == {
        "/look_back_months": "out_of_range"
    }
    assert error_codes(lambda: coverage(times_years=(1.0,) * 4, months_per_period=6)) == {
        "/months_per_period": "ambiguous"
    }


@pytest.mark.parametrize("months", [0, 13])
def test_a_period_has_one_to_twelve_months(months: int) -> None:
    monthly, yearly = coverage(months_per_period=1), coverage(months_per_period=12)
    assert (monthly.wal_years or 0.0) * 12 == pytest.approx(yearly.wal_years)
    assert error_codes(lambda: coverage(look_back_months=12, months_per_period=months)) == {
        "/months_per_period": "out_of_range",
        **({"/look_back_months": "out_of_range"} if months else {}),
    }


@pytest.mark.parametrize("months", [0, 121])
def test_a_window_has_one_to_120_months(months: int) -> None:
    assert coverage(look_back_months=1, months_per_period=1).window_dscr == coverage().dscr
    assert coverage(look_back_months=120, months_per_period=12).window_dscr == (None,) * 4
    assert error_codes(lambda: coverage(look_back_months=months, months_per_period=1)) == {
        "/look_back_months": "out_of_range"
    }


def test_lists_name_every_period_and_shorten_runs() -> None:
    assert list_periods([3]) == "period 3"
    assert list_periods([2, 1]) == "periods 1, 2"
    assert list_periods([9, 1, 2, 3, 4, 6]) == "periods 1-4, 6, 9"


def test_a_window_ahead_begins_after_its_date() -> None:
    result = coverage(months_per_period=6, look_ahead_months=12)
    assert result.window_dscr is not None
    assert result.window_dscr[:2] == pytest.approx([94 / 58, 94 / 34])
    assert result.window_dscr[2:] == (None, None)
    assert "12 months ahead" in result.conventions["window_dscr"]
    assert error_codes(lambda: coverage(look_ahead_months=12)) == {"/months_per_period": "required"}
    assert error_codes(lambda: coverage(look_ahead_months=8, months_per_period=6)) == {
        "/look_ahead_months": "out_of_range"
    }


def test_the_lower_of_both_windows_counts() -> None:
    result = coverage(months_per_period=6, look_back_months=12, look_ahead_months=6)
    assert result.window_dscr == pytest.approx(
        (70 / 40, min(100 / 80, 24 / 18), min(94 / 58, 70 / 16), 94 / 34)
    )


@pytest.mark.parametrize(
    ("ratios", "period"),
    [
        ((1.3, 1.3 - 4e-16, 1.3 + 2e-16), 1),
        ((None, 1.3, 1.3 - 1e-9), 3),
        ((None, None), None),
        ((-2.0, -2.0 - 4e-16), 1),
    ],
)
def test_lowest_period_is_the_first_of_equal_ratios(
    ratios: tuple[float | None, ...], period: int | None
) -> None:
    assert find_lowest(ratios) == period
