"""Line charts as paths of a drawing: values over days, with levels to compare them with."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

_WIDTH, _HEIGHT = 700, 180
_LEFT, _TOP = 110, 14
_MARGIN: Final = Decimal("0.05")
_NAME_HEIGHT: Final = 14.0

DatedValue = tuple[date, Decimal]


class ChartLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a chart; `y` is the height of its name: its end, or clear of another name."""

    name: str
    kind: str
    path: str
    y: float


class LineChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart in units of its drawing; `lowest` and `highest` are the values at its edges."""

    first: date
    last: date
    lowest: Decimal
    highest: Decimal
    lines: tuple[ChartLine, ...]
    left: int = _LEFT
    top: int = _TOP
    right: int = _LEFT + _WIDTH
    bottom: int = _TOP + _HEIGHT
    width: int = _LEFT + _WIDTH + 120
    height: int = _TOP + _HEIGHT + 30


def lay_out_lines(
    series: Sequence[tuple[str, str, Sequence[DatedValue]]],
    *,
    levels: Sequence[tuple[str, str, Decimal]] = (),
    from_zero: bool = False,
) -> LineChart | None:
    """Lay out lines over the same days; None without a value.

    Args:
        series: the name, the class and the values of each line, in order of days.
        levels: the name, the class and the height of each level line.
        from_zero: whether the chart begins at zero, as one of amounts does.
    """
    points = [point for _, _, values in series for point in values]
    if not points:
        return None
    heights = [value for _, value in points] + [level for _, _, level in levels]
    first, last = min(day for day, _ in points), max(day for day, _ in points)
    highest, lowest = max(heights), min(heights)
    if from_zero:
        lowest = min(lowest, Decimal(0))
    else:
        highest, lowest = highest * (1 + _MARGIN), lowest * (1 - _MARGIN)
    span = highest - lowest or Decimal(1)
    days = max((last - first).days, 1)

    def place_height(value: Decimal) -> float:
        return round(_TOP + _HEIGHT * float((highest - value) / span), 1)

    def place(point: DatedValue) -> str:
        x = round(_LEFT + _WIDTH * (point[0] - first).days / days, 1)
        return f"{x:g} {place_height(point[1]):g}"

    lines = [
        ChartLine(
            name=name,
            kind=kind,
            path="M" + " L".join(map(place, values)),
            y=place_height(values[-1][1]),
        )
        for name, kind, values in series
        if values
    ]
    for name, kind, level in levels:
        y = place_height(level)
        path = f"M{_LEFT} {y:g} H{_LEFT + _WIDTH}"
        lines.append(ChartLine(name=name, kind=kind, path=path, y=y))
    return LineChart(
        first=first, last=last, lowest=lowest, highest=highest, lines=tuple(_spread_names(lines))
    )


def _spread_names(lines: Sequence[ChartLine]) -> list[ChartLine]:
    """Return the lines with their names apart, where they end at nearly one height.

    Names go down from the highest; those that would leave the chart go up from its bottom.
    """
    order = sorted(range(len(lines)), key=lambda number: lines[number].y)
    heights = [lines[number].y for number in order]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + _NAME_HEIGHT)
    limit = float(_TOP + _HEIGHT)
    for place in reversed(range(len(heights))):
        heights[place] = round(min(heights[place], limit), 1)
        limit = heights[place] - _NAME_HEIGHT
    height_of = dict(zip(order, heights, strict=True))
    return [msgspec.structs.replace(line, y=height_of[number]) for number, line in enumerate(lines)]
