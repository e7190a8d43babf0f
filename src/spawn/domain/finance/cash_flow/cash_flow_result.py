"""Result of a cash flow build-up: a row for each period, and the series of each line."""

from datetime import date
from typing import Literal

import msgspec

from spawn.domain.finance.tax.income_tax import TaxRow

LineKind = Literal["revenue", "availability_payment", "operating_cost", "capital_cost"]


class CashFlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period, from revenue to CFADS; costs, deductions and tax are positive and subtracted.

    revenue = contract + merchant revenue + availability payments - deductions; ebitda = revenue -
    operating costs; cfads_before_tax = ebitda - working_capital_increase - capital costs;
    cfads = cfads_before_tax - tax_paid.
    """

    period: int
    start: date | None
    end: date | None
    operating_share: float
    contract_revenue: float
    merchant_revenue: float
    availability_payments: float
    deductions: float
    revenue: float
    fixed_costs: float
    variable_costs: float
    operating_costs: float
    ebitda: float
    receivables: float
    payables: float
    working_capital_increase: float
    capital_costs: float
    cfads_before_tax: float
    tax_paid: float
    cfads: float


class CashFlowLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line by period: amounts, and the volumes, prices and indexation behind them.

    `index_factors` are those of the price, of which perhaps only a share is indexed; `amounts` of
    an availability payment are net of its `deductions`.
    """

    name: str
    kind: LineKind
    amounts: tuple[float, ...]
    volumes: tuple[float, ...] | None = None
    prices: tuple[float, ...] | None = None
    merchant_prices: tuple[float, ...] | None = None
    index_factors: tuple[float, ...] | None = None
    deductions: tuple[float, ...] | None = None


class CashFlowResult(msgspec.Struct, frozen=True, kw_only=True):
    """The build-up by period, by line and in total; `cfads` is ready for a debt sizing."""

    rows: tuple[CashFlowRow, ...]
    lines: tuple[CashFlowLine, ...]
    cfads_before_tax: tuple[float, ...]
    cfads: tuple[float, ...]
    total_revenue: float
    total_operating_costs: float
    total_ebitda: float
    total_capital_costs: float
    total_tax: float
    total_cfads: float
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    tax_rows: tuple[TaxRow, ...] | None = None
