"""Bar charts as rectangles of a drawing: amounts of groups, each below its texts."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from spawn.entrypoints.http.charts.scales import CHART_WIDTH, DayScale, Tick

_STEP: Final = 42
_MIN_SPAN: Final = 2.0
MAX_BARS: Final = 12
"""Bars of one chart; the table beside it has every group."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar at a place of the drawing, below its name on the left and its text on the right.

    `width` is zero for an amount that is not above zero.
    """

    name: str
    text: str
    y: int
    width: float
    x: float = 0.0


class BarChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart in units of its drawing; `hidden` is the number of groups without a bar."""

    bars: tuple[Bar, ...]
    height: int
    hidden: int = 0
    day_ticks: tuple[Tick, ...] = ()
    width: int = CHART_WIDTH


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A named time from a day on; `until` is the first day after it, None if it lasts."""

    name: str
    since: date
    until: date | None


def lay_out_bars(groups: Sequence[tuple[str, Decimal]]) -> BarChart | None:
    """Lay out the amounts of groups in their order, on one scale from zero; None without any."""
    visible_groups = groups[:MAX_BARS]
    if not visible_groups:
        return None
    highest = max(Decimal(0), *(amount for _, amount in visible_groups))
    bars = [
        Bar(
            name=name,
            text=f"{amount:,}",
            y=_STEP * number,
            width=round(CHART_WIDTH * float(amount / highest), 1) if highest and amount > 0 else 0,
        )
        for number, (name, amount) in enumerate(visible_groups)
    ]
    return BarChart(
        bars=tuple(bars),
        hidden=len(groups) - len(visible_groups),
        height=_STEP * len(visible_groups),
    )


def lay_out_spans(spans: Sequence[Span], today: date) -> BarChart | None:
    """Lay out times below each other, on one scale of days through today; None without any."""
    if not spans:
        return None
    ends = [today if one.until is None else one.until for one in spans]
    days = DayScale([*(one.since for one in spans), *ends], 0, CHART_WIDTH)
    bars = []
    for number, (one, end) in enumerate(zip(spans, ends, strict=True)):
        x = days.place(min(one.since, end))
        width = max(days.place(max(one.since, end)) - x, _MIN_SPAN)
        bars.append(
            Bar(
                name=one.name,
                text=f"since {one.since}" if one.until is None else f"{one.since} to {one.until}",
                y=_STEP * number,
                x=min(x, CHART_WIDTH - width),
                width=round(width, 1),
            )
        )
    return BarChart(bars=tuple(bars), height=_STEP * len(spans) + 24, day_ticks=tuple(days.ticks))
