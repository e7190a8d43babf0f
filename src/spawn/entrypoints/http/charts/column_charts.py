"""Column charts as rectangles of a drawing: amounts of periods, stacked by their parts."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

from spawn.entrypoints.http.charts.scales import CHART_RIGHT, CHART_WIDTH, Tick, ValueScale

_TOP: Final = 10
_BOTTOM: Final = 180
_FILLED_SHARE: Final = 0.72
_MAX_LABELS: Final = 8


class ColumnPart(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle of the class of its part."""

    kind: str
    x: float
    y: float
    height: float


class ColumnChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart in units of its drawing; its amounts count in `unit`, such as million.

    `parts` are the names and the classes of the parts, from the bottom of a column.
    """

    first: str
    last: str
    unit: str
    parts: tuple[tuple[str, str], ...]
    columns: tuple[ColumnPart, ...]
    value_ticks: tuple[Tick, ...]
    period_ticks: tuple[Tick, ...]
    zero: float
    left: float
    column_width: float
    right: int = CHART_RIGHT
    width: int = CHART_WIDTH
    height: int = _BOTTOM + 26
    bottom: int = _BOTTOM


def lay_out_columns(
    names: Sequence[str], parts: Sequence[tuple[str, str, Sequence[Decimal]]]
) -> ColumnChart | None:
    """Lay out a column a period; None without a period.

    Args:
        names: the names of the periods, in order.
        parts: the name, the class and the amount in each period of each part. Amounts above zero
            stand on each other from zero up, those below it hang from zero down.
    """
    if not names:
        return None
    stacks = [_stack([amounts[place] for _, _, amounts in parts]) for place in range(len(names))]
    edges = [edge for stack in stacks for ends in stack for edge in ends]
    scale = ValueScale([*edges, Decimal(0)], _TOP, _BOTTOM)
    step = (CHART_RIGHT - scale.left) / len(names)
    columns = [
        ColumnPart(
            kind=kind,
            x=round(scale.left + step * (place + (1 - _FILLED_SHARE) / 2), 1),
            y=scale.place(end),
            height=round(scale.place(start) - scale.place(end), 1),
        )
        for place, stack in enumerate(stacks)
        for (_, kind, _), (start, end) in zip(parts, stack, strict=True)
        if start != end
    ]
    every = -(-len(names) // _MAX_LABELS)
    return ColumnChart(
        first=names[0],
        last=names[-1],
        unit=scale.unit,
        parts=tuple((name, kind) for name, kind, _ in parts),
        columns=tuple(columns),
        value_ticks=tuple(scale.ticks),
        period_ticks=tuple(
            Tick(name, round(scale.left + step * (place + 0.5), 1))
            for place, name in enumerate(names)
            if place % every == 0
        ),
        zero=scale.place(Decimal(0)),
        left=scale.left,
        column_width=round(step * _FILLED_SHARE, 1),
    )


def _stack(amounts: Sequence[Decimal]) -> list[tuple[Decimal, Decimal]]:
    """Return the lower and the upper edge of each amount of a column."""
    above = below = Decimal(0)
    edges = []
    for amount in amounts:
        if amount < 0:
            edges.append((below + amount, below))
            below += amount
        else:
            edges.append((above, above + amount))
            above += amount
    return edges
