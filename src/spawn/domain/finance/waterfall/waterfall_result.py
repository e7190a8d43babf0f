"""The result of a waterfall: a row per period, and the sums."""

from datetime import date

import msgspec


class WaterfallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period, in which cash in equals cash out.

    In: CFADS, reserve income, locked-up cash, draws on and releases of reserves, the operating
    shortfall. Out: fee, uses of reserves, senior, top-ups, mezzanine, sweep, distribution, cash
    locked up. `senior_due` is scheduled, `arrears` are carried in; `senior_paid` includes what
    locked-up cash and reserves paid. `reserve_` figures sum the reserves beside the DSRA.
    `dsra_close` is with a letter of credit the amount that may be drawn, `dsra_owed_close` what
    its bank is owed with interest; `dsra_topup` repays it, interest first. `senior_close` is
    without balloons, of which `sweep` repays a part too: `tranche_balloons` has what is left.
    """

    period: int
    cfads: float
    senior_due: float
    arrears: float
    dscr: float | None
    senior_paid: float
    dsra_draw: float
    senior_unpaid: float
    dsra_topup: float
    dsra_release: float
    dsra_close: float
    mezz_interest_due: float
    mezz_paid: float
    mezz_pik: float
    mezz_close: float
    sweep: float
    locked_up: bool
    distribution: float
    trapped_close: float
    date: date | None
    reserve_income: float
    dsra_fee: float
    reserve_uses: float
    operating_shortfall: float
    senior_interest_paid: float
    senior_principal_paid: float
    senior_close: float | None
    trapped_draw: float
    dsra_target: float
    reserve_draw: float
    reserve_topup: float
    reserve_release: float
    reserve_close: float
    mezz_catch_up: float
    mezz_principal_due: float
    mezz_principal_paid: float
    lockup_ratio: float | None
    dsra_interest: float = 0.0
    dsra_owed_close: float = 0.0


class WaterfallResult(msgspec.Struct, frozen=True, kw_only=True):
    """The rows and their sums; closing balances of tranches and reserves in the order given.

    `tranche_interest` is the interest that each tranche receives by period, `tranche_balloons` what
    sweeps leave of its balloon: in its period what is refinanced, and zero after it.
    """

    rows: tuple[WaterfallRow, ...]
    total_distributions: float
    total_sweep: float
    total_unpaid: float
    min_dscr: float | None
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    min_dscr_period: int | None = None
    total_operating_shortfall: float = 0.0
    tranche_balances: tuple[tuple[float | None, ...], ...] = ()
    reserve_balances: tuple[tuple[float, ...], ...] = ()
    tranche_interest: tuple[tuple[float, ...], ...] = ()
    tranche_balloons: tuple[tuple[float, ...], ...] = ()
