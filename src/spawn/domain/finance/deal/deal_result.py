"""The result of a deal: headline figures, the time line, facilities, sponsors, waterfall rows."""

from datetime import date
from typing import Literal

import msgspec

from spawn.domain.finance.construction.construction_result import ConstructionRow
from spawn.domain.finance.facilities.debt_stack import SizeLimit
from spawn.domain.finance.facilities.facility_terms import FacilityKind
from spawn.domain.finance.returns.rates_of_return import RateOutcome
from spawn.domain.finance.tax.income_tax import TaxRow
from spawn.domain.finance.waterfall.waterfall_result import WaterfallRow

DealPhase = Literal["construction", "operation"]


class DealRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period of the deal, from financial close (0) to the end of the project.

    Uses are paid by debt, grant and equity in construction. In operation amounts are as paid, in
    which the CFADS (after tax), `reserve_income` and `operating_shortfall` equal `debt_service`
    (senior interest and principal), `sweep`, mezzanine, `distribution` and `cash_movement`, that of
    the DSRA and of locked-up cash. `scheduled_` figures are of the senior debt as sized: DSCR,
    `llcr` and `plcr` (at the beginning of the period) are on them.
    `sponsor_cash_flow` is what sponsors receive (positive) or pay, as equity, shareholder loan,
    distribution, or for a balloon.
    """

    period: int
    phase: DealPhase
    date: date | None
    uses: float
    debt_draw: float
    grant_draw: float
    equity_draw: float
    cfads: float
    senior_interest: float
    senior_principal: float
    debt_service: float
    balloon: float
    senior_balance: float
    debt_balance: float
    dscr: float | None
    llcr: float | None
    plcr: float | None
    dsra_balance: float
    distribution: float
    sponsor_cash_flow: float
    tax_paid: float = 0.0
    sweep: float = 0.0
    mezzanine_interest: float = 0.0
    mezzanine_principal: float = 0.0
    reserve_income: float = 0.0
    operating_shortfall: float = 0.0
    cash_movement: float = 0.0
    scheduled_interest: float = 0.0
    scheduled_principal: float = 0.0
    scheduled_debt_service: float = 0.0
    scheduled_senior_balance: float = 0.0


class DealFacilityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: closing = opening + draw + capitalised - repaid, the balloon in the last.

    `scheduled_` amounts are those of the repayment as sized, in operation; None without one.
    """

    period: int
    date: date | None
    annual_rate: float
    opening_balance: float
    draw: float
    fees: float
    interest: float
    capitalised: float
    repaid: float
    closing_balance: float
    scheduled_interest: float | None = None
    scheduled_principal: float | None = None


class DealFacilityResult(msgspec.Struct, frozen=True, kw_only=True):
    """A facility from its first draw to its last repayment.

    Repayments are as paid, with a sweep; the interest of mezzanine and shareholder loan is that
    which accrues, with what is capitalised. `balloon` is what sponsors refinance,
    `scheduled_balloon` that before any sweep. `closing_balance` is that at the end of the project.
    """

    name: str
    kind: FacilityKind
    commitment: float
    drawn_total: float
    interest_total: float
    fees_total: float
    capitalised_total: float
    repaid_total: float
    balloon: float
    scheduled_balloon: float
    closing_balance: float
    rows: tuple[DealFacilityRow, ...]


class SponsorResult(msgspec.Struct, frozen=True, kw_only=True):
    """The flows of a sponsor by its share, from period 0."""

    name: str
    share: float
    paid_in: float
    received: float
    cash_flow: tuple[float, ...]


class DealResult(msgspec.Struct, frozen=True, kw_only=True):
    """A deal: its debt, ratios and returns, each period, each facility and the waterfall.

    `debt` is senior and mezzanine debt, `total_uses` the funded cost, `capacity` the debt that
    the CFADS carry at the target, of the sculpted facility. `equity_irr` is the rate of
    `sponsor_cash_flow`, `project_irr` that of costs and `cfads`, before financing and tax. Ratios
    and average life are of the senior debt as scheduled. `total_tax` is computed or stated.
    """

    debt: float
    binding: SizeLimit
    dscr_capacity: float | None
    total_uses: float
    equity: float
    gearing: float
    idc_total: float
    fees_total: float
    initial_dsra: float
    min_dscr: float | None
    min_dscr_period: int | None
    avg_dscr: float | None
    llcr: float | None
    plcr: float | None
    wal_years: float | None
    equity_irr: RateOutcome
    project_irr: RateOutcome
    sponsor_cash_flow: tuple[float, ...]
    cfads: tuple[float, ...]
    rows: tuple[DealRow, ...]
    facilities: tuple[DealFacilityResult, ...]
    sponsors: tuple[SponsorResult, ...]
    construction: tuple[ConstructionRow, ...]
    waterfall: tuple[WaterfallRow, ...]
    months_per_period: int | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    tax_rows: tuple[TaxRow, ...] | None = None
    total_tax: float | None = None
    tax_iterations: int | None = None
