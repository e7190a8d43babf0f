"""Line charts as paths of a drawing: values over days, with levels to compare them with."""

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Final

import msgspec

from spawn.entrypoints.http.charts.scales import (
    CHART_RIGHT,
    CHART_WIDTH,
    DayScale,
    Tick,
    ValueScale,
)

_TOP: Final = 10
_BOTTOM: Final = 180

DatedValue = tuple[date, Decimal | None]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Values of one name in order of days; a value of None is a gap in its line.

    `kind` is the class of the line. A stepped line keeps a value until the next day that has one.
    """

    name: str
    kind: str
    values: Sequence[DatedValue]
    is_stepped: bool = False


class ChartLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a chart; `dots` are the values that have no neighbour to draw a line to."""

    name: str
    kind: str
    path: str
    dots: tuple[tuple[float, float], ...] = ()


class LineChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart in units of its drawing; its amounts count in `unit`, such as million."""

    first: date
    last: date
    unit: str
    lines: tuple[ChartLine, ...]
    value_ticks: tuple[Tick, ...]
    day_ticks: tuple[Tick, ...]
    left: float
    top: int = _TOP
    right: int = CHART_RIGHT
    bottom: int = _BOTTOM
    width: int = CHART_WIDTH
    height: int = _BOTTOM + 26

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Names and classes of the lines."""
        return [(line.name, line.kind) for line in self.lines]


def lay_out_lines(
    series: Sequence[Series],
    *,
    levels: Sequence[tuple[str, str, Decimal]] = (),
    from_zero: bool = False,
) -> LineChart | None:
    """Lay out lines over the same days; None without a value.

    Args:
        series: the lines; one without a value is left out.
        levels: the name, the class and the height of each level line.
        from_zero: whether the chart begins at zero, as one of amounts does.
    """
    points = [(day, value) for one in series for day, value in one.values if value is not None]
    if not points:
        return None
    heights = [value for _, value in points] + [level for _, _, level in levels]
    values = ValueScale([*heights, Decimal(0)] if from_zero else heights, _TOP, _BOTTOM)
    days = DayScale([day for one in series for day, _ in one.values], values.left, CHART_RIGHT)
    lines = [
        _draw_line(one, days, values)
        for one in series
        if any(value is not None for _, value in one.values)
    ]
    for name, kind, level in levels:
        path = f"M{values.left:g} {values.place(level):g} H{CHART_RIGHT}"
        lines.append(ChartLine(name=name, kind=kind, path=path))
    return LineChart(
        first=days.first,
        last=days.last,
        unit=values.unit,
        lines=tuple(lines),
        value_ticks=tuple(values.ticks),
        day_ticks=tuple(days.ticks),
        left=values.left,
    )


def _draw_line(series: Series, days: DayScale, values: ValueScale) -> ChartLine:
    paths, dots = [], []
    for run in _split_at_gaps(series.values):
        places = [(days.place(day), values.place(value)) for day, value in run]
        if len(places) == 1:
            dots += places
        elif series.is_stepped:
            first, *others = places
            paths.append(f"M{first[0]:g} {first[1]:g}")
            paths += [f" H{x:g} V{y:g}" for x, y in others]
        else:
            paths.append("M" + " L".join(f"{x:g} {y:g}" for x, y in places))
    return ChartLine(name=series.name, kind=series.kind, path="".join(paths), dots=tuple(dots))


def _split_at_gaps(values: Sequence[DatedValue]) -> Iterator[list[tuple[date, Decimal]]]:
    for is_gap, run in groupby(values, key=lambda point: point[1] is None):
        if not is_gap:
            yield [(day, value) for day, value in run if value is not None]
