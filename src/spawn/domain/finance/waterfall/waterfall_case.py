"""The case of a waterfall: cash, claims, reserves and tests, and the checks of its fields."""

from typing import Final, Literal, NamedTuple

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    FieldChecker,
    check_per_period,
    expand_per_period,
)
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

ReserveForm = Literal["cash", "letter_of_credit"]
SweepOrder = Literal["last_first", "next_first", "pro_rata"]

_MAX_TRANCHES: Final = 20
_MAX_RESERVES: Final = 20
_MAX_RANK: Final = 20
_MAX_RESERVE_MONTHS: Final = 120
_MAX_NAME_LENGTH: Final = 200
_MAX_PROJECTIONS: Final = 1_000_000
"""Dues of later periods that a case may project, about half a second of work."""


class SeniorTranche(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A senior debt: its opening balance, its scheduled principal and its interest.

    Interest is either scheduled (`interest`) or follows from `annual_rates` on the balance. A
    lower `rank` is paid first; tranches of one rank are paid pari passu. A `balloon`, beside the
    opening balance, bears interest at the annual rates until `balloon_period`, when a refinancing
    outside the waterfall repays what sweeps have left of it.
    """

    opening_balance: float
    principal: tuple[float, ...]
    interest: tuple[float, ...] | None = None
    annual_rates: float | tuple[float, ...] | None = None
    rank: int = 1
    name: str = ""
    balloon: float = 0.0
    balloon_period: int | None = None


class ReserveTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reserve below the DSRA, such as for maintenance or decommissioning.

    `target` is the balance required after each payment. `uses` are costs beside the CFADS that
    the reserve pays. `income_rate` is annual. A ring-fenced reserve pays no debt service below
    its target. Without `outlives_debt` its balance is released once the senior debt is repaid.
    """

    target: float | tuple[float, ...]
    name: str = ""
    opening_balance: float = 0.0
    uses: tuple[float, ...] | None = None
    income_rate: float = 0.0
    is_ring_fenced: bool = False
    outlives_debt: bool = False


class WaterfallCase(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cash and the claims, one amount per period; the time serves annual rates and months.

    The senior debt is one debt (`senior_interest`, `senior_principal`, and `senior_open`, its
    balance) or several `tranches`. With a balance no more than is owed is paid, and a sweep
    shortens the schedule in `sweep_order`, in which a balloon is the instalment of its period, and
    lowers interest. `sweep_to_balance` is the senior balance, with balloons, at which it stops.

    `dsra_target` is the reserve required after each payment; instead `dsra_months` asks for the
    senior debt service of the next months. A letter of credit in place of cash costs
    `dsra_fee_rate` a year on the amount that may be drawn, and `dsra_draw_rate` on what is drawn
    until it is repaid. `mezz_rate` is per period. `mezz_catch_up` repays capitalised interest
    before a sweep, by default where `mezz_principal` is given.

    A level of 0 switches the lock-up or the sweep off, also below it. `carry_arrears` makes an
    unpaid senior amount due again in the next period, before anything junior; without it each
    period stands alone. `lockup_release_at_or_above` is by default the lock-up level itself. The
    lock-up tests the DSCR of the period, of `lockup_periods_back` (this and earlier ones), of
    `lockup_periods_ahead` (later ones), the lower of both, or given `lockup_ratios`.
    """

    cfads: tuple[float, ...]
    senior_interest: tuple[float, ...] | None = None
    senior_principal: tuple[float, ...] | None = None
    tranches: tuple[SeniorTranche, ...] = ()
    dsra_target: float | tuple[float, ...] | None = None
    dsra_months: float | None = None
    dsra_open: float | None = None
    dsra_form: ReserveForm = "cash"
    dsra_fee_rate: float | None = None
    dsra_draw_rate: float | None = None
    dsra_income_rate: float | None = None
    reserves: tuple[ReserveTerms, ...] = ()
    mezz_open: float | None = None
    mezz_rate: float | tuple[float, ...] | None = None
    mezz_principal: tuple[float, ...] | None = None
    mezz_catch_up: bool | None = None
    sweep_share: float | None = None
    sweep_if_dscr_below: float | None = None
    sweep_to_balance: float | tuple[float, ...] | None = None
    sweep_order: SweepOrder | None = None
    lockup_below: float | None = None
    lockup_release_at_or_above: float | None = None
    lockup_ratios: tuple[float | None, ...] | None = None
    lockup_periods_back: int | None = None
    lockup_periods_ahead: int | None = None
    trapped_open: float = 0.0
    carry_arrears: bool = True
    senior_open: float | None = None


class WaterfallInputs(NamedTuple):
    """The case with scalars repeated for each period and its time resolved."""

    case: WaterfallCase
    periods: int
    schedule: PeriodSchedule
    dsra_targets: tuple[float, ...]
    mezz_rates: tuple[float, ...]
    mezz_principal: tuple[float, ...]
    sweep_floors: tuple[float, ...]
    period_months: tuple[float, ...]
    periods_before: int

    @property
    def catches_up(self) -> bool:
        """Whether capitalised mezzanine interest is repaid before a sweep."""
        catch_up_choice = self.case.mezz_catch_up
        return self.case.mezz_principal is not None if catch_up_choice is None else catch_up_choice

    @property
    def knows_balance(self) -> bool:
        """Whether the senior balance is given."""
        return bool(self.case.tranches) or self.case.senior_open is not None


def resolve_waterfall_inputs(
    case: WaterfallCase, schedule: PeriodSchedule | None = None, periods_before: int = 0
) -> WaterfallInputs:
    """Validate the case and repeat its scalars for each period.

    A `schedule` that is resolved already replaces the statements of time of the case;
    `periods_before` is the number of periods before the first.

    Raises:
        InvalidInput: names each field outside its limits, without a use or in contradiction.
    """
    checker = FieldChecker()
    periods = len(case.cfads)
    if checker.require_size("/cfads", periods, MAX_PERIODS):
        checker.require_each("/cfads", case.cfads, -MAX_AMOUNT, MAX_AMOUNT)
        _check_senior(checker, case, periods)
        _check_dsra(checker, case, periods)
        _check_reserves(checker, case, periods)
        _check_mezzanine(checker, case, periods)
        _check_sweep(checker, case, periods)
        _check_lockup(checker, case, periods)
    checker.require_amount("/trapped_open", case.trapped_open, low=0.0)
    if schedule is None:
        _check_time_use(checker, case)
    checker.raise_errors()
    schedule = schedule or resolve_schedule(case, periods)
    period_months = schedule.period_months() if case.dsra_months else ()
    _check_work(case, periods, period_months)
    return WaterfallInputs(
        case=case,
        periods=periods,
        schedule=schedule,
        dsra_targets=expand_per_period(case.dsra_target or 0.0, periods),
        mezz_rates=expand_per_period(case.mezz_rate or 0.0, periods),
        mezz_principal=case.mezz_principal or (0.0,) * periods,
        sweep_floors=expand_per_period(case.sweep_to_balance or 0.0, periods),
        period_months=period_months,
        periods_before=periods_before,
    )


def _check_amounts(
    checker: FieldChecker, pointer: str, values: tuple[float, ...], periods: int
) -> None:
    if checker.require_length(pointer, values, periods):
        checker.require_each(pointer, values, 0.0, MAX_AMOUNT)


def _check_senior(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    series = {
        "/senior_interest": case.senior_interest,
        "/senior_principal": case.senior_principal,
    }
    for pointer, values in series.items():
        if values is not None and case.tranches:
            checker.reject(pointer, "ambiguous", "tranches are set too; give one of them")
        elif values is not None:
            _check_amounts(checker, pointer, values, periods)
        elif not case.tranches:
            checker.reject(pointer, "missing", "is required without tranches")
    if case.senior_open is not None:
        if case.tranches:
            checker.reject("/senior_open", "ambiguous", "each tranche has its balance")
        checker.require_amount("/senior_open", case.senior_open, low=0.0)
    if checker.require_size("/tranches", len(case.tranches), _MAX_TRANCHES, 0):
        for index, tranche in enumerate(case.tranches):
            _check_tranche(checker, f"/tranches/{index}", tranche, periods)


def _check_tranche(
    checker: FieldChecker, pointer: str, tranche: SeniorTranche, periods: int
) -> None:
    checker.require_amount(f"{pointer}/opening_balance", tranche.opening_balance, low=0.0)
    _check_amounts(checker, f"{pointer}/principal", tranche.principal, periods)
    checker.require_number(f"{pointer}/rank", tranche.rank, 1, _MAX_RANK)
    _check_name(checker, f"{pointer}/name", tranche.name)
    if (tranche.interest is None) == (tranche.annual_rates is None):
        detail = "give exactly one of interest and annual_rates"
        checker.reject(f"{pointer}/interest", "ambiguous", detail)
    elif tranche.interest is not None:
        _check_amounts(checker, f"{pointer}/interest", tranche.interest, periods)
    elif tranche.annual_rates is not None:
        limits = (0.0, MAX_RATE)
        check_per_period(checker, f"{pointer}/annual_rates", tranche.annual_rates, periods, limits)
    _check_balloon(checker, pointer, tranche, periods)


def _check_balloon(
    checker: FieldChecker, pointer: str, tranche: SeniorTranche, periods: int
) -> None:
    checker.require_amount(f"{pointer}/balloon", tranche.balloon, low=0.0)
    if tranche.balloon_period is not None:
        checker.require_number(f"{pointer}/balloon_period", tranche.balloon_period, 1, periods)
    if bool(tranche.balloon) != (tranche.balloon_period is not None):
        detail = "a balloon and its period belong together"
        checker.reject(f"{pointer}/balloon_period", "incomplete", detail)
    if tranche.balloon and tranche.annual_rates is None:
        detail = "bears interest at annual_rates; scheduled interest includes its own"
        checker.reject(f"{pointer}/balloon", "not_applicable", detail)


def _check_name(checker: FieldChecker, pointer: str, name: str) -> None:
    if len(name) > _MAX_NAME_LENGTH:
        checker.reject(pointer, "too_long", f"must have at most {_MAX_NAME_LENGTH} characters")


def _check_dsra(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    if case.dsra_target is not None:
        check_per_period(checker, "/dsra_target", case.dsra_target, periods, (0.0, MAX_AMOUNT))
    if case.dsra_months is not None:
        if case.dsra_target is not None:
            checker.reject("/dsra_months", "ambiguous", "dsra_target is set too; give one of them")
        checker.require_number("/dsra_months", case.dsra_months, 0.0, _MAX_RESERVE_MONTHS)
    if case.dsra_open is not None:
        checker.require_amount("/dsra_open", case.dsra_open, low=0.0)
    has_target = case.dsra_target is not None or case.dsra_months is not None
    is_credit = case.dsra_form == "letter_of_credit"
    if is_credit and not has_target:
        detail = "a letter of credit needs dsra_target or dsra_months"
        checker.reject("/dsra_form", "not_applicable", detail)
    _check_dsra_rates(checker, case, has_target=has_target)


def _check_dsra_rates(checker: FieldChecker, case: WaterfallCase, *, has_target: bool) -> None:
    is_credit = case.dsra_form == "letter_of_credit"
    for name in ("dsra_fee_rate", "dsra_draw_rate"):
        rate: float | None = getattr(case, name)
        if rate is not None:
            checker.require_rate(f"/{name}", rate)
            if not is_credit:
                checker.reject(f"/{name}", "not_applicable", "serves a letter of credit")
    if case.dsra_income_rate is not None:
        checker.require_rate("/dsra_income_rate", case.dsra_income_rate)
        if is_credit or not (has_target or case.dsra_open is not None):
            detail = "serves a reserve in cash; give its target or remove it"
            checker.reject("/dsra_income_rate", "not_applicable", detail)


def _check_reserves(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    if not checker.require_size("/reserves", len(case.reserves), _MAX_RESERVES, 0):
        return
    for index, reserve in enumerate(case.reserves):
        pointer = f"/reserves/{index}"
        limits = (0.0, MAX_AMOUNT)
        check_per_period(checker, f"{pointer}/target", reserve.target, periods, limits)
        checker.require_amount(f"{pointer}/opening_balance", reserve.opening_balance, low=0.0)
        checker.require_rate(f"{pointer}/income_rate", reserve.income_rate)
        _check_name(checker, f"{pointer}/name", reserve.name)
        if reserve.uses is not None:
            _check_amounts(checker, f"{pointer}/uses", reserve.uses, periods)
        if reserve.outlives_debt and not (case.tranches or case.senior_open is not None):
            detail = "needs the senior balance: give senior_open or tranches"
            checker.reject(f"{pointer}/outlives_debt", "not_applicable", detail)


def _check_mezzanine(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    if case.mezz_open is not None:
        checker.require_amount("/mezz_open", case.mezz_open, low=0.0)
    if case.mezz_rate is not None:
        check_per_period(checker, "/mezz_rate", case.mezz_rate, periods, (0.0, MAX_RATE))
    if case.mezz_principal is not None:
        _check_amounts(checker, "/mezz_principal", case.mezz_principal, periods)
    terms = (case.mezz_rate or None, case.mezz_principal, case.mezz_catch_up)
    if case.mezz_open is None and any(term is not None for term in terms):
        checker.reject("/mezz_open", "required", "the mezzanine terms need its balance")


def _check_sweep(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    has_balance = bool(case.tranches) or case.senior_open is not None
    has_rule = case.sweep_if_dscr_below is not None or case.sweep_to_balance is not None
    if case.sweep_share is not None:
        checker.require_number("/sweep_share", case.sweep_share, 0.0, 1.0)
        if not has_rule and case.sweep_share:
            detail = "a share needs sweep_if_dscr_below or sweep_to_balance"
            checker.reject("/sweep_if_dscr_below", "required", detail)
    elif case.sweep_if_dscr_below or case.sweep_to_balance is not None or case.sweep_order:
        checker.reject("/sweep_share", "required", "the sweep takes no cash without a share")
    if case.sweep_if_dscr_below is not None:
        checker.require_number("/sweep_if_dscr_below", case.sweep_if_dscr_below, 0.0, MAX_RATIO)
    if case.sweep_to_balance is not None:
        limits = (0.0, MAX_AMOUNT)
        check_per_period(checker, "/sweep_to_balance", case.sweep_to_balance, periods, limits)
    for name in ("sweep_to_balance", "sweep_order"):
        if getattr(case, name) is not None and not has_balance:
            detail = "needs the senior balance: give senior_open or tranches"
            checker.reject(f"/{name}", "not_applicable", detail)


def _check_lockup(checker: FieldChecker, case: WaterfallCase, periods: int) -> None:
    level, release = case.lockup_below, case.lockup_release_at_or_above
    if level is not None:
        checker.require_number("/lockup_below", level, 0.0, MAX_RATIO)
    if release is not None and not (level or 0.0) <= release <= MAX_RATIO:
        detail = "must be finite and not below the lock-up level"
        checker.reject("/lockup_release_at_or_above", "out_of_order", detail)
    windows = {
        "/lockup_periods_back": case.lockup_periods_back,
        "/lockup_periods_ahead": case.lockup_periods_ahead,
    }
    for pointer, window in windows.items():
        if window is not None:
            checker.require_number(pointer, window, 1, periods)
            if case.lockup_ratios is not None:
                checker.reject(pointer, "ambiguous", "lockup_ratios are set too; give one of them")
    if case.lockup_ratios is not None and checker.require_length(
        "/lockup_ratios", case.lockup_ratios, periods
    ):
        for index, ratio in enumerate(case.lockup_ratios):
            if ratio is not None:
                checker.require_number(f"/lockup_ratios/{index}", ratio, -MAX_RATIO, MAX_RATIO)
    others = (release, case.lockup_ratios, *windows.values())
    if level is None and any(other is not None for other in others):
        checker.reject("/lockup_below", "required", "the lock-up needs its level")


def _check_work(case: WaterfallCase, periods: int, period_months: tuple[float, ...]) -> None:
    """Reject windows over so many later periods that a case takes seconds.

    Raises:
        InvalidInput: code `too_many` at the window.
    """
    windows = {"/lockup_periods_ahead": float(case.lockup_periods_ahead or 0)}
    if period_months:
        windows["/dsra_months"] = (case.dsra_months or 0.0) / min(period_months)
    checker = FieldChecker()
    for pointer, window in windows.items():
        if min(window, periods) * periods * max(len(case.tranches), 1) > _MAX_PROJECTIONS:
            detail = "looks too many periods ahead; shorten it or send fewer periods"
            checker.reject(pointer, "too_many", detail)
    checker.raise_errors()


def _check_time_use(checker: FieldChecker, case: WaterfallCase) -> None:
    """Reject statements of time that no annual rate, no month and no date of a row uses."""
    rates = (
        case.dsra_fee_rate,
        case.dsra_draw_rate,
        case.dsra_income_rate,
        case.dsra_months,
    )
    uses_time = (
        any(rate is not None for rate in rates)
        or any(tranche.annual_rates is not None for tranche in case.tranches)
        or any(reserve.income_rate for reserve in case.reserves)
    )
    if uses_time:
        return
    is_dated = case.dates is not None or case.payment_dates is not None
    names = (
        ("day_count", "calendar") if is_dated else ("accruals", "frequency", "months_per_period")
    )
    for name in names:
        if getattr(case, name) is not None:
            detail = "serves annual rates and months of a reserve; give one or remove it"
            checker.reject(f"/{name}", "not_applicable", detail)
