"""Calendar periods of a forecast, to the last day that a date can be."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.portfolios.cash_flows import FlowInterval

pytestmark = pytest.mark.core


@given(
    st.dates(min_value=date(1, 1, 1), max_value=date(9999, 12, 31)), st.sampled_from(FlowInterval)
)
def test_a_day_is_in_its_period_and_the_next_period_begins_after_it(
    day: date, interval: FlowInterval
) -> None:
    period = interval.period_of(day)
    start, end = interval.start_of(period), interval.end_of(period)
    assert start <= day <= end
    assert start.day == 1
    assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == interval.months - 1
    if end < date.max:
        assert interval.start_of(period + 1) == end + timedelta(days=1)
