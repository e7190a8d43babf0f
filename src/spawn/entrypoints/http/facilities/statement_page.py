"""The page of a statement: the balance as a chart, periods, movements and lenders' parts."""

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Final

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.dates import format_instant
from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.statement import StatementLine, StatementPeriod
from spawn.domain.projects.project import Project
from spawn.entrypoints.http.charts.facility_charts import find_known_start, lay_out_balance
from spawn.entrypoints.http.facilities.ledger_wire import StatementView

TEMPLATE: Final = "facility_statement.html"
MAX_PAGE_MOVEMENTS: Final = 500
"""Movements that the page shows, the newest; JSON has all of them."""

_ALWAYS_SHOWN: Final = frozenset({"opening_balance", "closing_balance", "interest", "principal"})
_PERIOD_COLUMNS: Final = {
    "opening_balance": "Opening",
    "drawn": "Drawn",
    "capitalised": "Capitalised",
    "repaid": "Repaid",
    "forgiven": "Forgiven",
    "closing_balance": "Closing",
    "interest": "Interest",
}
_LINE_COLUMNS: Final = {
    "fees": "Fees",
    "overdue_interest": "Overdue interest",
    "interest": "Interest",
    "principal": "Principal",
}


def build_statement_page(
    view: StatementView, facility: Facility, project: StoredAggregate[Project] | None
) -> dict[str, object]:
    """Return the context of the page of a statement.

    Args:
        view: the statement.
        facility: its terms.
        project: the project that the page names; None for a caller who may not read it.
    """
    hidden = max(0, len(view.lines) - MAX_PAGE_MOVEMENTS)
    periods = list(dropwhile(_is_empty, view.periods[:-1])) + list(view.periods[-1:])
    return {
        "statement": view,
        "facility": facility,
        "project": project,
        "as_of": format_instant(view.as_of),
        "chart": lay_out_balance(view, view.start, view.end),
        "known_start": find_known_start(view, view.start),
        "periods": periods,
        "hidden_periods": len(view.periods) - len(periods),
        "period_columns": _select_columns(_PERIOD_COLUMNS, periods),
        "lines": view.lines[hidden:],
        "hidden_lines": hidden,
        "line_columns": _select_columns(_LINE_COLUMNS, view.lines[hidden:]),
        "has_arrears": bool(view.periods) and _has_arrears(view.periods[-1]),
    }


def _select_columns(
    columns: Mapping[str, str], rows: Sequence[StatementLine | StatementPeriod]
) -> dict[str, str]:
    """Return the columns with an amount in any row, and those that a reader looks for anyway."""
    return {
        field: name
        for field, name in columns.items()
        if field in _ALWAYS_SHOWN or any(getattr(row, field) for row in rows)
    }


def _is_empty(period: StatementPeriod) -> bool:
    fields = msgspec.structs.asdict(period)
    return not any(value for name, value in fields.items() if name not in {"start", "end"})


def _has_arrears(period: StatementPeriod) -> bool:
    return any((period.interest_arrears, period.principal_arrears, period.fee_arrears))
