"""Cash-flow waterfall: the order in which each period's cash pays the claims.

Order: negative CFADS and the fee of a letter of credit; senior interest and principal, by rank;
DSRA top-up or the repayment of a letter of credit; further reserves; mezzanine interest, its
shortfall capitalised (PIK), the repayment of capitalised interest, mezzanine principal; a sweep of
a share of the remaining cash; then a distribution, unless it is locked up or an amount is unpaid,
in which case the cash is trapped until both are cured. What reserves release above their targets
is cash before the first top-up.

A shortfall of costs or of senior debt service draws on locked-up cash, then on the DSRA, then on
the further reserves; only the rest is unpaid. Locked-up cash also pays every other claim that
ranks before distributions, except the sweep. A DSCR below the lock-up level locks distributions up
until it reaches the release level. Without senior debt service the DSCR is not tested: a lock-up
neither begins nor ends. Once the senior debt is repaid, reserves and locked-up cash are released.
Source of the order: the cascade of a project's common terms agreement, as in E. R. Yescombe,
Principles of Project Finance.
"""

from collections.abc import Sequence

import msgspec

from spawn.domain.finance.coverage_ratios import find_lowest, is_below
from spawn.domain.finance.limits import MIN_POSITIVE, reject_overflow
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule, shares_ahead
from spawn.domain.finance.waterfall.cash_accounts import CashAccounts
from spawn.domain.finance.waterfall.senior_debt import (
    SeniorPayment,
    open_tranches,
    pay_tranches,
    prepay_tranches,
    project_service,
    sum_balances,
    sum_balloons,
)
from spawn.domain.finance.waterfall.waterfall_case import (
    WaterfallCase,
    WaterfallInputs,
    resolve_waterfall_inputs,
)
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult, WaterfallRow
from spawn.domain.finance.waterfall.waterfall_warnings import warn_of_waterfall


class _Operations(msgspec.Struct, frozen=True):
    """Cash flows of a period before debt service."""

    income: float
    fee: float
    uses: float
    shortfall: float


class _SeniorService(msgspec.Struct, frozen=True):
    """Senior debt service of a period: due, paid and unpaid."""

    scheduled_service: float
    arrears: float
    unpaid_amount: float
    payment: SeniorPayment


class _MezzanineService(msgspec.Struct, frozen=True):
    """Mezzanine debt service of a period."""

    interest_due: float
    interest_paid: float
    catch_up: float
    principal_due: float
    principal_paid: float


class _WaterfallRun:
    """The balances carried from period to period."""

    def __init__(self, inputs: WaterfallInputs) -> None:
        self.inputs = inputs
        self.tranches = open_tranches(inputs)
        self.opening_debt = sum_balances(self.tranches) or 0.0
        self.accounts = CashAccounts.open(inputs, self._opening_reserve())
        self.mezz = inputs.case.mezz_open or 0.0
        self.pik_balance = 0.0
        self.overdue_mezz_principal = 0.0
        self.is_locked = False
        self.service: list[float] = []

    def _opening_reserve(self) -> float:
        """Return the opening DSRA; a letter of credit is by default issued at its target."""
        case = self.inputs.case
        if case.dsra_open is not None or case.dsra_form == "cash":
            return case.dsra_open or 0.0
        return self.inputs.dsra_targets[0] if case.dsra_months is None else self._service_ahead(0)

    def _service_ahead(self, first: int) -> float:
        months = self.inputs.case.dsra_months or 0.0
        shares = shares_ahead(self.inputs.period_months, first, months)
        return project_service(self.tranches, first, shares)

    @property
    def is_debt_repaid(self) -> bool:
        """Whether a given senior balance is repaid and nothing of it is unpaid."""
        # The balance first, which is open in most periods: this is looked at several times in each.
        if not self.inputs.knows_balance or sum_balances(self.tranches) != 0.0:
            return False
        has_arrears = self.inputs.case.carry_arrears and any(
            account.unpaid_interest > 0.0 for account in self.tranches
        )
        is_bridged = sum_balloons(self.tranches, len(self.service)) > 0.0
        return not has_arrears and not is_bridged

    def pay_period(self, t: int) -> WaterfallRow:
        """Pay one period's claims in order, and update the balances."""
        case, accounts = self.inputs.case, self.accounts
        tau = self.inputs.schedule.accrual_fractions[t]
        accounts.start_period((case.dsra_draw_rate or 0.0) * tau)
        operations = self._pay_operations(t)
        senior = self._pay_senior(t)
        dscr = (
            case.cfads[t] / senior.scheduled_service
            if senior.scheduled_service >= MIN_POSITIVE
            else None
        )
        target = self._fill_reserves(t)
        mezzanine = self._pay_mezzanine(t)
        sweep = self._sweep(t, dscr)
        lockup_ratio = self._test_lockup(t, dscr)
        unpaid_amount = senior.unpaid_amount > 0.0 or operations.shortfall > 0.0
        is_locked_up = self.is_locked or unpaid_amount
        distribution = 0.0 if is_locked_up else accounts.cash + accounts.trapped
        accounts.trapped = accounts.trapped + accounts.cash if is_locked_up else 0.0
        accounts.cash = 0.0
        dsra, reserves, dates = accounts.dsra, accounts.reserves, self.inputs.schedule.dates
        return WaterfallRow(
            period=self.inputs.periods_before + t + 1,
            cfads=case.cfads[t],
            senior_due=senior.scheduled_service,
            arrears=senior.arrears,
            dscr=dscr,
            senior_paid=senior.scheduled_service + senior.arrears - senior.unpaid_amount,
            dsra_draw=dsra.draw,
            senior_unpaid=senior.unpaid_amount,
            dsra_topup=dsra.topup,
            dsra_release=dsra.release,
            dsra_close=dsra.balance,
            mezz_interest_due=mezzanine.interest_due,
            mezz_paid=mezzanine.interest_paid,
            mezz_pik=mezzanine.interest_due - mezzanine.interest_paid,
            mezz_close=self.mezz,
            sweep=sweep,
            locked_up=is_locked_up,
            distribution=distribution,
            trapped_close=accounts.trapped,
            date=dates[t + 1] if dates else None,
            reserve_income=operations.income,
            dsra_fee=operations.fee,
            reserve_uses=operations.uses,
            operating_shortfall=operations.shortfall,
            senior_interest_paid=senior.payment.interest,
            senior_principal_paid=senior.payment.principal,
            senior_close=sum_balances(self.tranches),
            trapped_draw=accounts.trapped_draw,
            dsra_target=target,
            reserve_draw=sum(reserve.draw for reserve in reserves),
            reserve_topup=sum(reserve.topup for reserve in reserves),
            reserve_release=sum(reserve.release for reserve in reserves),
            reserve_close=sum(reserve.balance for reserve in reserves),
            mezz_catch_up=mezzanine.catch_up,
            mezz_principal_due=mezzanine.principal_due,
            mezz_principal_paid=mezzanine.principal_paid,
            lockup_ratio=lockup_ratio,
            dsra_interest=dsra.interest,
            dsra_owed_close=dsra.bank_claim + dsra.interest_claim,
        )

    def _pay_operations(self, t: int) -> _Operations:
        """Receive CFADS and income, pay the fee and the uses of reserves."""
        case, accounts = self.inputs.case, self.accounts
        tau = self.inputs.schedule.accrual_fractions[t]
        income = accounts.dsra.balance * (case.dsra_income_rate or 0.0) * tau
        fee = accounts.dsra.balance * (case.dsra_fee_rate or 0.0) * tau
        uses = cost_gap = 0.0
        for reserve, terms in zip(accounts.reserves, case.reserves, strict=True):
            income += reserve.balance * terms.income_rate * tau
            use = terms.uses[t] if terms.uses else 0.0
            cost_gap += use - reserve.pay(use)
            uses += use
        cash = case.cfads[t] + income - fee - cost_gap
        accounts.cash = max(cash, 0.0)
        scale = abs(case.cfads[t]) + income + fee + cost_gap
        shortfall = accounts.cover(max(-cash, 0.0), self._reserve_floors(t), scale)
        return _Operations(income, fee, uses, shortfall)

    def _reserve_floors(self, t: int) -> list[float]:
        """Return the balance of each reserve that serves its own uses alone."""
        if not self.inputs.case.reserves:
            return []
        return [
            target if terms.is_ring_fenced else 0.0
            for target, terms in zip(
                self._reserve_targets(t), self.inputs.case.reserves, strict=True
            )
        ]

    def _pay_senior(self, t: int) -> _SeniorService:
        carry = self.inputs.case.carry_arrears
        dues = [account.fall_due(t, carry_arrears=carry) for account in self.tranches]
        scheduled_service = sum(due.interest + due.principal for due in dues)
        arrears = sum(due.interest_arrears + due.principal_arrears for due in dues)
        due = scheduled_service + arrears
        unpaid_amount = self.accounts.cover(due, self._reserve_floors(t), due + self.opening_debt)
        cash = None if unpaid_amount <= 0.0 else due - unpaid_amount
        self.service.append(scheduled_service)
        return _SeniorService(
            scheduled_service, arrears, unpaid_amount, pay_tranches(self.tranches, dues, cash)
        )

    def _fill_reserves(self, t: int) -> float:
        """Bring the DSRA and the other reserves to their targets; return that of the DSRA.

        Each reserve releases its excess before any is topped up: what a junior reserve releases
        belongs to the reserves that are short before it belongs to the sponsors.
        """
        case, accounts = self.inputs.case, self.accounts
        target = self.inputs.dsra_targets[t]
        if case.dsra_months is not None:
            target = self._service_ahead(t + 1)
        if self.is_debt_repaid:
            target = 0.0
        reserves = [(accounts.dsra, target)]
        reserves += zip(accounts.reserves, self._reserve_targets(t), strict=True)
        for reserve, its_target in reserves:
            reserve.release_excess(its_target, accounts)
        for reserve, its_target in reserves:
            reserve.top_up(its_target, accounts)
        return target

    def _reserve_targets(self, t: int) -> list[float]:
        """Return the targets of the reserves; without senior debt some are released."""
        if not self.inputs.case.reserves:
            return []
        is_repaid = self.is_debt_repaid
        return [
            0.0 if is_repaid and not terms.outlives_debt else _value_at(terms.target, t)
            for terms in self.inputs.case.reserves
        ]

    def _pay_mezzanine(self, t: int) -> _MezzanineService:
        """Pay interest, capitalise the rest, repay capitalised interest, then principal."""
        inputs, accounts = self.inputs, self.accounts
        interest_due = self.mezz * inputs.mezz_rates[t]
        interest = accounts.spend(interest_due)
        self.mezz += interest_due - interest
        self.pik_balance += interest_due - interest
        catch_up = accounts.spend(self.pik_balance) if inputs.catches_up else 0.0
        self.pik_balance -= catch_up
        self.mezz = max(self.mezz - catch_up, 0.0)
        due = min(inputs.mezz_principal[t] + self.overdue_mezz_principal, self.mezz)
        principal = accounts.spend(due)
        self.mezz -= principal
        self.pik_balance = min(self.pik_balance, self.mezz)
        self.overdue_mezz_principal = due - principal
        return _MezzanineService(interest_due, interest, catch_up, due, principal)

    def _sweep(self, t: int, dscr: float | None) -> float:
        """Prepay senior debt with a share of the cash, where the rule of the sweep asks for it."""
        case = self.inputs.case
        level = case.sweep_if_dscr_below
        if level is None:
            is_due = case.sweep_to_balance is not None
        else:  # a level of 0 switches the sweep off, also below it
            is_due = dscr is not None and level > 0.0 and is_below(dscr, level)
        amount = (case.sweep_share or 0.0) * self.accounts.cash if is_due else 0.0
        balance = sum_balances(self.tranches)
        if balance is not None:
            balance += sum_balloons(self.tranches, t)
            amount = min(amount, max(balance - self.inputs.sweep_floors[t], 0.0))
            prepay_tranches(self.tranches, t, amount, case.sweep_order or "last_first")
        self.accounts.cash -= amount
        return amount

    def _test_lockup(self, t: int, dscr: float | None) -> float | None:
        """Test the ratio of the lock-up; in a lock-up against the release level."""
        case = self.inputs.case
        ratio, level = self._lockup_ratio(t, dscr), case.lockup_below
        if ratio is not None and level:  # without a level nothing is tested
            release = case.lockup_release_at_or_above
            tested_level = release if self.is_locked and release is not None else level
            self.is_locked = is_below(ratio, tested_level)
        if self.is_debt_repaid:
            self.is_locked = False
        return ratio

    def _lockup_ratio(self, t: int, dscr: float | None) -> float | None:
        """Return the ratio as given, of the period, or the lower one of the windows."""
        case = self.inputs.case
        if case.lockup_ratios is not None:
            return case.lockup_ratios[t]
        back, ahead = case.lockup_periods_back, case.lockup_periods_ahead
        if back is None and ahead is None:
            return dscr
        ratios: list[float | None] = []
        if back is not None and t + 1 >= back:
            part = slice(t + 1 - back, t + 1)
            ratios.append(_divide(sum(case.cfads[part]), sum(self.service[part])))
        if ahead is not None and t + ahead < self.inputs.periods:
            cash = sum(case.cfads[t + 1 : t + 1 + ahead])
            service = project_service(self.tranches, t + 1, [1.0] * ahead)
            ratios.append(_divide(cash, service))
        return min((ratio for ratio in ratios if ratio is not None), default=None)


def _divide(cash: float, service: float) -> float | None:
    return cash / service if service >= MIN_POSITIVE else None


def _value_at(value: float | tuple[float, ...], t: int) -> float:
    return value[t] if isinstance(value, tuple) else value


def run_waterfall(
    case: WaterfallCase, schedule: PeriodSchedule | None = None, periods_before: int = 0
) -> WaterfallResult:
    """Pay each period's cash in the order of claims.

    Args:
        case: the cash and the claims.
        schedule: resolved already, in place of the statements of time of the case.
        periods_before: the number of periods before the first, which rows and warnings count.

    Raises:
        InvalidInput: wrong lengths, amounts or shares outside their limits, fields without a use.
    """
    inputs = resolve_waterfall_inputs(case, schedule, periods_before)
    run = _WaterfallRun(inputs)
    rows: list[WaterfallRow] = []
    tranche_balances: list[tuple[float | None, ...]] = []
    reserve_balances: list[tuple[float, ...]] = []
    tranche_interest: list[tuple[float, ...]] = []
    tranche_balloons: list[tuple[float, ...]] = []
    for t in range(inputs.periods):
        rows.append(run.pay_period(t))
        tranche_balances.append(tuple(account.balance for account in run.tranches))
        tranche_interest.append(tuple(account.paid_interest for account in run.tranches))
        tranche_balloons.append(tuple(account.open_balloon(t) for account in run.tranches))
        reserve_balances.append(tuple(account.balance for account in run.accounts.reserves))
    _reject_overflow(rows)
    return WaterfallResult(
        rows=tuple(rows),
        total_distributions=sum(row.distribution for row in rows),
        total_sweep=sum(row.sweep for row in rows),
        total_unpaid=rows[-1].senior_unpaid
        if case.carry_arrears
        else sum(row.senior_unpaid for row in rows),
        min_dscr=min((row.dscr for row in rows if row.dscr is not None), default=None),
        min_dscr_period=find_lowest(row.dscr for row in rows),
        conventions=_conventions(inputs),
        warnings=warn_of_waterfall(inputs, rows),
        total_operating_shortfall=sum(row.operating_shortfall for row in rows),
        tranche_balances=tuple(zip(*tranche_balances, strict=True)) if case.tranches else (),
        reserve_balances=tuple(zip(*reserve_balances, strict=True)),
        tranche_interest=tuple(zip(*tranche_interest, strict=True)) if case.tranches else (),
        tranche_balloons=tuple(zip(*tranche_balloons, strict=True)) if case.tranches else (),
    )


def _reject_overflow(rows: Sequence[WaterfallRow]) -> None:
    ratios = (ratio for row in rows for ratio in (row.dscr, row.lockup_ratio))
    amounts = (
        row.mezz_close + row.senior_due + row.distribution + row.trapped_close for row in rows
    )
    reject_overflow("/cfads", ratios, amounts)


def _conventions(inputs: WaterfallInputs) -> dict[str, str]:
    case = inputs.case
    conventions = {
        "order": "costs, senior by rank, DSRA, reserves, mezzanine interest, capitalised "
        "interest, mezzanine principal, sweep, distribution",
        "dscr": "CFADS / scheduled senior debt service, not rounded",
        "arrears": "carried to the next period" if case.carry_arrears else "not carried",
        "shortfall": "paid by locked-up cash, then the DSRA, then the reserves",
        "sweep": "recorded as prepayment; scheduled senior amounts are not re-cut",
    }
    if inputs.knows_balance:
        order = (case.sweep_order or "last_first").replace("_", " ")
        conventions["sweep"] = f"shortens the schedule ({order}) and lowers the interest"
        if any(tranche.balloon for tranche in case.tranches):
            conventions["sweep"] += "; a balloon is the instalment of its period"
        conventions["maturity"] = "reserves and locked-up cash are released once debt is repaid"
    if case.lockup_ratios is not None:
        conventions["lockup"] = "the ratios given"
    elif case.lockup_periods_back is not None or case.lockup_periods_ahead is not None:
        windows = {"back": case.lockup_periods_back, "ahead": case.lockup_periods_ahead}
        parts = [f"{count} {name}" for name, count in windows.items() if count is not None]
        conventions["lockup"] = f"lowest DSCR of periods: {', '.join(parts)}; full windows only"
    return conventions
