"""The result of a debt sizing: the debt, its schedule, and the figures of a term sheet."""

from datetime import date

import msgspec

from spawn.domain.finance.debt_sizing_scenarios import ScenarioCoverage
from spawn.domain.finance.facilities.debt_stack import SizeLimit
from spawn.domain.finance.facilities.facility_result import FacilitySchedule
from spawn.domain.finance.returns.rates_of_return import RateOutcome
from spawn.domain.finance.tax.income_tax import TaxRow


class SizingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period of the debt: `llcr` and `plcr` at its beginning, the DSRA at its end.

    `principal` includes the `balloon`, which falls due in the last period and is refinanced;
    `debt_service` is the denominator of the DSCR: interest + accrued_interest - capitalised +
    principal + premium - balloon - early_repayment. `accrued_interest` is that of running loans
    before the start, `premium` the price of a termination above the balance, `early_repayment` what
    prepayments and terminations repay, with the premium. `cfads` are after tax;
    `cfads_before_tax` and `tax_paid` exist with a tax. `binding_scenario` sets the debt service.
    """

    period: int
    date: date | None
    accrual_fraction: float
    annual_rate: float
    cfads: float
    opening_balance: float
    interest: float
    principal: float
    balloon: float
    debt_service: float
    closing_balance: float
    dscr: float | None
    llcr: float | None
    plcr: float | None
    dsra_balance: float
    capitalised: float = 0.0
    binding_scenario: str | None = None
    cfads_before_tax: float | None = None
    tax_paid: float | None = None
    accrued_interest: float = 0.0
    premium: float = 0.0
    early_repayment: float = 0.0


class SizingResult(msgspec.Struct, frozen=True, kw_only=True):
    """The debt, its schedule, and the figures of a term sheet.

    `achieved_dscr` is the target per period after a cap re-sculpted the debt, None where scenarios
    or an average life shape it; `min_dscr_period` is the first period with the lowest ratio. Uses
    and equity exist only with `uses`; `equity_cash_flow` then runs from date 0 to the project end.
    With several facilities the debt and its rows are their sums, and the limit, `dscr_capacity`
    and `achieved_dscr` those of the sculpted one.
    """

    debt: float
    binding: SizeLimit
    dscr_capacity: float | None
    achieved_dscr: tuple[float, ...] | None
    rows: tuple[SizingRow, ...]
    min_dscr: float | None
    avg_dscr: float | None
    llcr: float | None
    plcr: float | None
    wal_years: float | None
    total_interest: float
    upfront_fee: float
    initial_dsra: float
    dsra_balance: tuple[float, ...]
    total_uses: float | None
    equity: float | None
    gearing: float | None
    equity_cash_flow: tuple[float, ...] = ()
    equity_irr: RateOutcome | None = None
    equity_cash_flow_after_tax: tuple[float, ...] = ()
    equity_irr_after_tax: RateOutcome | None = None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    min_dscr_period: int | None = None
    months_per_period: int | None = None
    debt_service_floor: float | None = None
    binding_scenarios: tuple[str | None, ...] | None = None
    scenarios: tuple[ScenarioCoverage, ...] | None = None
    tax_rows: tuple[TaxRow, ...] | None = None
    total_tax: float | None = None
    tax_iterations: int | None = None
    tax_residual: float | None = None
    facilities: tuple[FacilitySchedule, ...] = ()
