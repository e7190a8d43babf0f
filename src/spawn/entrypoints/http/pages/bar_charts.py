"""Bar charts as rectangles of a drawing: amounts of groups, with their texts."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

_LEFT, _WIDTH, _STEP = 170, 440, 26
MAX_BARS = 12
"""Bars of one chart; the table beside it has every group."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar at a height of the drawing; `width` is zero for an amount that is not above zero."""

    name: str
    amount: Decimal
    y: int
    width: float


class BarChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart in units of its drawing; `hidden` is the number of groups without a bar."""

    bars: tuple[Bar, ...]
    hidden: int
    height: int
    left: int = _LEFT
    width: int = _LEFT + _WIDTH + 190


def lay_out_bars(groups: Sequence[tuple[str, Decimal]]) -> BarChart | None:
    """Lay out the amounts of groups in their order, on one scale from zero; None without any."""
    shown = groups[:MAX_BARS]
    if not shown:
        return None
    highest = max(Decimal(0), *(amount for _, amount in shown))
    bars = [
        Bar(
            name=name,
            amount=amount,
            y=_STEP * number,
            width=round(_WIDTH * float(amount / highest), 1) if highest and amount > 0 else 0.0,
        )
        for number, (name, amount) in enumerate(shown)
    ]
    return BarChart(
        bars=tuple(bars), hidden=len(groups) - len(shown), height=_STEP * len(shown) + 4
    )
