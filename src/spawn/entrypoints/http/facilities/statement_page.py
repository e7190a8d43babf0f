"""The page of a statement: the balance as a chart, periods, movements and lenders' parts."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.dates import format_instant
from spawn.domain.facilities.facility import Facility
from spawn.entrypoints.http.facilities.ledger_wire import StatementView

TEMPLATE: Final = "facility_statement.html"
MAX_PAGE_MOVEMENTS: Final = 500
"""Movements that the page shows, the newest; JSON has all of them."""

_WIDTH, _HEIGHT = 700, 180
_LEFT, _TOP = 110, 14


class BalanceChart(msgspec.Struct, frozen=True, kw_only=True):
    """The balance over the days of a statement, in units of the drawing.

    `curve` steps from movement to movement; `axes` are the two lines of the frame.
    """

    width: int
    height: int
    left: int
    top: int
    bottom: int
    right: int
    axes: str
    curve: str
    highest: Decimal


def build_statement_page(view: StatementView, facility: Facility) -> dict[str, object]:
    """Return the context of the page of a statement."""
    hidden = max(0, len(view.lines) - MAX_PAGE_MOVEMENTS)
    return {
        "statement": view,
        "facility": facility,
        "as_of": format_instant(view.as_of),
        "chart": lay_out_balance(view),
        "lines": view.lines[hidden:],
        "hidden_lines": hidden,
        "has_arrears": bool(view.periods) and _has_arrears(view),
    }


def lay_out_balance(view: StatementView) -> BalanceChart:
    """Lay out the balance of each day between the first and the last day of a statement."""
    points = list(_list_balances(view))
    highest = max(balance for _, balance in points)
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    days = max((view.end - view.start).days, 1)

    def place(point: tuple[date, Decimal]) -> tuple[float, float]:
        day, balance = point
        share = balance / highest if highest else Decimal(0)
        x = _LEFT + _WIDTH * (day - view.start).days / days
        return round(x, 1), round(bottom - _HEIGHT * float(share), 1)

    first, *others = map(place, points)
    steps = "".join(f" H{x:g} V{y:g}" for x, y in others)
    return BalanceChart(
        width=right + 20,
        height=bottom + 30,
        left=_LEFT,
        top=_TOP,
        bottom=bottom,
        right=right,
        axes=f"M{_LEFT} {_TOP} V{bottom} H{right}",
        curve=f"M{first[0]:g} {first[1]:g}{steps}",
        highest=highest,
    )


def _list_balances(view: StatementView) -> Iterator[tuple[date, Decimal]]:
    """Yield the opening balance, the balance after each movement, and the closing balance."""
    yield view.start, view.opening_balance
    for line in view.lines:
        yield line.value_date, line.balance
    yield view.end, view.closing_balance


def _has_arrears(view: StatementView) -> bool:
    last = view.periods[-1]
    return any((last.interest_arrears, last.principal_arrears, last.fee_arrears))
