"""Charts of a facility: what is drawn and outstanding, and the balance that its terms schedule."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.facilities.statement import Statement, StatementLine
from spawn.entrypoints.http.charts.line_charts import (
    DatedValue,
    LineChart,
    Series,
    lay_out_lines,
)


def find_known_start(statement: Statement, start: date) -> date:
    """Return the first day whose balance is known.

    A loan that is taken over has no balance on record before its opening position, which is not
    the same as none.
    """
    taken_over = (one for one in statement.lines if one.kind == EntryKind.OPENING)
    return next((one.value_date for one in taken_over), start)


def lay_out_balance(statement: Statement, start: date, end: date) -> LineChart | None:
    """Lay out the balance of each day from the first known one to the last day of a statement."""
    values = _list_balances(statement, start, end)
    series = Series(name="Balance", kind="curve", values=values, is_stepped=True)
    return lay_out_lines((series,), from_zero=True)


def lay_out_facility(
    statement: Statement,
    days: tuple[date, date],
    commitment: Decimal,
    schedule: Sequence[tuple[date, Decimal]],
) -> LineChart | None:
    """Lay out the balance and the draws to date, and the scheduled balance of the days after it.

    Args:
        statement: from the first of `days` through the second, which is the date.
        days: the first day and the date.
        commitment: the height of its line.
        schedule: the balance after each scheduled payment; those up to the date are left out.
    """
    balances = _list_balances(statement, *days)
    series = [Series(name="Balance", kind="curve", values=balances, is_stepped=True)]
    drawn = _list_draws(statement.lines)
    if drawn:
        values = [*drawn, (days[1], drawn[-1][1])]
        series.append(Series(name="Drawn", kind="drawn", values=values, is_stepped=True))
    later = [one for one in schedule if one[0] > days[1]]
    if later:
        values = [(days[1], statement.closing_balance), *later]
        series.append(Series(name="Scheduled", kind="scheduled", values=values, is_stepped=True))
    level = ("Commitment", "level", commitment)
    return lay_out_lines(series, levels=[level], from_zero=True)


def _list_balances(statement: Statement, start: date, end: date) -> list[DatedValue]:
    """Return the opening balance, the balance after each movement, and the closing balance."""
    known = find_known_start(statement, start)
    opening = [(start, statement.opening_balance)] if known == start else []
    movements = [
        (one.value_date, one.balance) for one in statement.lines if one.value_date >= known
    ]
    return [*opening, *movements, (end, statement.closing_balance)]


def _list_draws(lines: Sequence[StatementLine]) -> list[DatedValue]:
    """Return the sum of the draws after each; empty where those of a former lender are unknown."""
    if any(one.kind == EntryKind.OPENING for one in lines):
        return []
    total, sums = Decimal(0), list[DatedValue]()
    for one in lines:
        if one.kind == EntryKind.DRAW:
            total += one.amount
            sums.append((one.value_date, total))
    return sums
