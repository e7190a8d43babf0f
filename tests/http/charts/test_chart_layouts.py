"""Layouts of charts: round steps, years, gaps, single values, amounts below zero, statuses."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.entrypoints.http.charts.bar_charts import MAX_BARS, Span, lay_out_bars, lay_out_spans
from spawn.entrypoints.http.charts.column_charts import lay_out_columns
from spawn.entrypoints.http.charts.line_charts import DatedValue, Series, lay_out_lines
from spawn.entrypoints.http.charts.scales import CHART_RIGHT, DayScale, ValueScale

FIRST, MIDDLE, LAST = date(2026, 1, 1), date(2026, 1, 6), date(2026, 1, 11)
AMOUNTS = st.decimals("-1e24", "1e24", places=4)
DAYS = st.dates()


def cash(*values: DatedValue, is_stepped: bool = False) -> Series:
    return Series(name="Cash", kind="curve", values=values, is_stepped=is_stepped)


def test_lines_and_levels_share_one_scale() -> None:
    days = cash((FIRST, Decimal(0)), (LAST, Decimal(100)))
    chart = lay_out_lines((days,), levels=[("Limit", "", Decimal(50))], from_zero=True)
    assert chart is not None
    assert [line.path for line in chart.lines] == ["M45 180 L536 10", "M45 95 H536"]
    assert [tick.text for tick in chart.value_ticks] == ["0", "50", "100"]
    assert lay_out_lines((cash(),)) is None
    assert lay_out_lines((cash((FIRST, None)),)) is None


@pytest.mark.parametrize(
    ("lowest", "highest", "texts", "unit"),
    [
        ("0", "78514026.00", ["0", "20", "40", "60", "80"], "million"),
        ("0.97", "1.26", ["0.9", "1.0", "1.1", "1.2", "1.3"], ""),
        ("-250", "750", ["-500", "0", "500", "1,000"], ""),
        ("1.3", "1.3", ["0.0", "0.5", "1.0", "1.5"], ""),
        ("0", "0", ["0.0", "0.5", "1.0"], ""),
        ("-5", "-5", ["-6", "-4", "-2", "0"], ""),
        ("0", "1200", ["0", "500", "1,000", "1,500"], ""),
    ],
)
def test_ticks_are_round_values_around_all_of_them(
    lowest: str, highest: str, texts: list[str], unit: str
) -> None:
    scale = ValueScale([Decimal(lowest), Decimal(highest)], 10, 180)
    assert ([tick.text for tick in scale.ticks], scale.unit) == (texts, unit)


@given(st.lists(AMOUNTS, min_size=1))
def test_every_value_is_within_the_drawing_at_its_place(values: list[Decimal]) -> None:
    scale = ValueScale(values, 10, 180)
    places = [scale.place(value) for value in sorted(values)]
    assert places == sorted(places, reverse=True)
    assert all(10 <= place <= 180 for place in places)
    assert 2 <= len(scale.ticks) <= 7


@given(st.lists(DAYS, min_size=1))
def test_every_day_is_within_the_drawing_at_its_place(days: list[date]) -> None:
    scale = DayScale(days, 45, CHART_RIGHT)
    places = [scale.place(day) for day in sorted(days)]
    assert places == sorted(places)
    assert all(45 <= one <= CHART_RIGHT for one in [*places, *(t.place for t in scale.ticks)])
    assert 1 <= len(scale.ticks) <= 8


def test_years_are_marked_where_there_are_some() -> None:
    long = DayScale([date(1968, 6, 1), date(2101, 6, 1)], 0, 100)
    assert [tick.text for tick in long.ticks] == [
        "1980",
        "2000",
        "2020",
        "2040",
        "2060",
        "2080",
        "2100",
    ]
    short = DayScale([date(2025, 6, 28), date(2026, 11, 30)], 0, 100)
    assert [tick.text for tick in short.ticks] == ["2025-06-28", "2026-11-30"]
    assert [tick.text for tick in DayScale([FIRST], 0, 100).ticks] == ["2026-01-01"]


def test_a_gap_interrupts_a_line_and_a_single_value_is_a_dot() -> None:
    chart = lay_out_lines(
        (cash((FIRST, Decimal(1)), (MIDDLE, None), (LAST, Decimal(2))),), from_zero=True
    )
    assert chart is not None
    (line,) = chart.lines
    assert (line.path, len(line.dots)) == ("", 2)
    alone = lay_out_lines((cash((FIRST, Decimal(3))),))
    assert alone is not None
    assert len(alone.lines[0].dots) == 1


def test_a_stepped_line_keeps_a_value_until_the_next_one() -> None:
    values = (FIRST, Decimal(0)), (MIDDLE, Decimal(100)), (LAST, Decimal(100))
    chart = lay_out_lines((cash(*values, is_stepped=True),), from_zero=True)
    assert chart is not None
    assert chart.lines[0].path == "M45 180 H290.5 V10 H536 V10"


def test_parts_of_a_column_stand_on_each_other_and_hang_below_zero() -> None:
    parts = [
        ("Principal", "bar", [Decimal(60), Decimal(-40)]),
        ("Interest", "second", [Decimal(40), Decimal(20)]),
    ]
    chart = lay_out_columns(["2026", "2027"], parts)
    assert chart is not None
    assert [tick.text for tick in chart.value_ticks] == ["-50", "0", "50", "100"]
    below, above, negative, positive = chart.columns
    assert below.y + below.height == pytest.approx(chart.zero)
    assert above.y + above.height == pytest.approx(below.y)
    assert negative.y == pytest.approx(chart.zero)
    assert positive.y + positive.height == pytest.approx(chart.zero)
    assert negative.height == pytest.approx(2 * positive.height, abs=0.2)
    assert lay_out_columns([], []) is None
    many = lay_out_columns([str(year) for year in range(2000, 2100)], [])
    assert many is not None
    assert len(many.period_ticks) <= 8


def test_bars_share_one_scale_from_zero() -> None:
    chart = lay_out_bars([("a", Decimal(50)), ("b", Decimal(100)), ("c", Decimal(-1))])
    assert chart is not None
    assert [bar.width for bar in chart.bars] == [280.0, 560.0, 0.0]
    assert lay_out_bars([]) is None
    many = lay_out_bars([("a", Decimal(0))] * (MAX_BARS + 2))
    assert many is not None
    assert (many.hidden, len(many.bars), many.bars[0].width) == (2, MAX_BARS, 0.0)


def test_times_follow_each_other_to_today() -> None:
    spans = [
        Span(name="CONSTRUCTION", since=FIRST, until=MIDDLE),
        Span(name="OPERATION", since=MIDDLE, until=None),
    ]
    chart = lay_out_spans(spans, LAST)
    assert chart is not None
    assert [(bar.x, bar.width, bar.text) for bar in chart.bars] == [
        (0, 280, "2026-01-01 to 2026-01-06"),
        (280, 280, "since 2026-01-06"),
    ]
    # A status that takes effect later, or on the day of the next one, is drawn as a mark.
    later = lay_out_spans([Span(name="OPERATION", since=LAST, until=None)], FIRST)
    assert later is not None
    assert later.bars[0].width >= 2
    assert lay_out_spans([], LAST) is None
