"""Replay of a loan with dated events: draws, resets, prepayments, a take-over, a termination.

At each stop, in this order: interest accrues up to it; principal falls due; prepayments; interest
is paid or capitalised; further draws; the rate is reset; the payment is levelled anew; the interest
base is renewed; the loan changes hands; it ends. Source of the order: the sequence of contract
events of the ACTUS standard (https://www.actusfrf.org).

The facts of a stored loan come after its interest, as in its ledger. Principal repaid early is an
advance: the instalments are those of the loan without it, and the next ones are paid out of it.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final, NamedTuple, TypeVar

import msgspec

from spawn.domain.errors import Infeasible
from spawn.domain.finance.limits import (
    ROUNDING_NOISE,
    FieldChecker,
    expand_per_period,
    reject_overflow,
)
from spawn.domain.finance.loans.loan_actuals import (
    LoanActuals,
    LoanCapitalisation,
    LoanDeferralSettlement,
    LoanRepayment,
)
from spawn.domain.finance.loans.loan_results import (
    LoanEvent,
    LoanEventKind,
    LoanRow,
    LoanSchedule,
)
from spawn.domain.finance.loans.loan_stops import LoanStop, build_loan_stops
from spawn.domain.finance.loans.loan_terms import (
    LOWEST_PERIOD_RATE,
    LoanTerms,
    total_principal,
)
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

_LARGE_LAST_PAYMENT: Final = 1.5
_Fact = TypeVar("_Fact", LoanCapitalisation, LoanDeferralSettlement, LoanRepayment)


class _PeriodMovements(msgspec.Struct):
    """The movements of a loan within one period."""

    opening: float
    interest: float = 0.0
    capitalised: float = 0.0
    principal: float = 0.0
    payment: float = 0.0
    drawn: float = 0.0
    accrued_interest: float = 0.0
    premium: float = 0.0
    early_repayment: float = 0.0
    rate: float = 0.0
    rate_years: float = 0.0
    years: float = 0.0
    ends_early: bool = False
    closing: float = 0.0

    def average_rate(self, fraction: float) -> float:
        """Return the average annual rate, of a loan that ends early up to its end.

        A day that a 30/360 rule does not count makes a period of no years: its rate is the last.
        """
        years = self.years if self.ends_early else fraction
        return self.rate_years / years if years else self.rate


def replay_loan(
    terms: LoanTerms, schedule: PeriodSchedule, actuals: LoanActuals | None = None
) -> LoanSchedule:
    """Replay a loan whose terms have been checked.

    Args:
        terms: of the loan.
        schedule: its periods.
        actuals: what has happened up to a day; None replays the terms alone.

    Raises:
        InvalidInput: an event that does not fit the balance, a payment below the interest without
            the switch that allows it, or amounts beyond float64.
    """
    replay = _LoanReplay(terms, schedule, actuals)
    replay.run()
    rows = replay.build_rows()
    reject_overflow(
        "/principal", (row.interest for row in rows), (row.closing_balance for row in rows)
    )
    return LoanSchedule(
        schedule=schedule,
        rows=rows,
        total_interest=sum(row.interest for row in rows),
        total_principal=sum(row.principal for row in rows),
        total_capitalised=sum(row.capitalised for row in rows),
        level_payment=replay.first_level_payment,
        conventions=_conventions(terms, schedule),
        events=tuple(replay.events),
        warnings=replay.list_warnings(),
    )


def _conventions(terms: LoanTerms, schedule: PeriodSchedule) -> dict[str, str]:
    conventions = {
        "profile": terms.profile,
        "day_count": schedule.day_count,
        "interest": "annual rate x year fraction x balance, from event to event",
        "grace": (terms.grace or "interest_only") if terms.grace_periods else "none",
        "cash_flow": "to the lender",
        "order": "principal, prepayment, interest, draw, reset, level payment, base, transfer",
    }
    if terms.take_over is not None:
        conventions["take_over"] = "events are the buyer's; rows are those of the whole loan"
    return conventions


def _take_due_part(fact: LoanCapitalisation) -> float:
    return fact.amount - fact.deferred_interest - fact.accrued_interest


def _group_by_day(facts: Iterable[_Fact]) -> dict[date | None, list[_Fact]]:
    """Return the facts of each day; the key is that of a stop, which a plain loan has without."""
    by_day: dict[date | None, list[_Fact]] = {}
    for fact in facts:
        by_day.setdefault(fact.date, []).append(fact)
    return by_day


class _ShortenedEnd(NamedTuple):
    """The stop at which a shortened loan ends, and the share of the level payment due there."""

    stop: int
    share: float


class _LoanReplay:
    """A loan on its way from stop to stop, with the events and movements so far."""

    def __init__(
        self, terms: LoanTerms, schedule: PeriodSchedule, actuals: LoanActuals | None
    ) -> None:
        self._terms = terms
        self._schedule = schedule
        self._actuals = actuals
        self._rates = expand_per_period(terms.annual_rates, schedule.periods)
        self._has_known_rates = isinstance(terms.annual_rates, tuple)
        self._stops = build_loan_stops(terms, schedule, actuals)
        self._capitalisations = _group_by_day(actuals.capitalisations if actuals else ())
        self._settlements = _group_by_day(actuals.settlements if actuals else ())
        self._repayments = _group_by_day(actuals.repayments if actuals else ())
        # Later draws of a calculation are planned; those of a ledger are not known before.
        draws = total_principal(terms) if actuals is None else terms.first_draw
        self._balloon = terms.balloon + terms.balloon_share * draws
        self._rate = self._rates[0]
        self._balance = terms.first_draw
        self._accrued_interest = terms.accrued_interest or 0.0
        self._deferred_interest = 0.0
        self._advance = self._saved_interest = 0.0
        self._due_principal = self._repaid_principal = 0.0
        self._unapplied: list[LoanRepayment] = []
        self._base: float | None = None
        if terms.interest_base == "fixed":
            self._base = terms.interest_base_amount or terms.first_draw
        self._payment = terms.payment
        self._instalment = terms.instalment
        self._keeps_payment = terms.payment is not None
        self._has_early_repayment = False
        self._shortened_end: _ShortenedEnd | None = None
        self._index = 0
        self._movements: list[_PeriodMovements] = []
        self._growing_periods: list[int] = []
        self.events: list[LoanEvent] = []
        self.first_level_payment: float | None = None

    def run(self) -> None:
        """Replay every stop, or up to the termination."""
        if self._actuals is None:
            self._check_period_rates()
        self._movements.append(
            _PeriodMovements(opening=self._balance, accrued_interest=self._accrued_interest)
        )
        self._record("draw", -self._balance)
        for index, stop in enumerate(self._stops):
            self._index = index
            self._accrue(stop)
            self._pay(stop)
            self._movements[-1].closing = self._balance
            if stop.pays_interest and not (self._is_last or stop.is_termination):
                self._movements.append(_PeriodMovements(opening=self._balance))
            self._apply_changes(stop)
            if self._actuals is not None and stop.day == self._actuals.on:
                self._take_over_interest(self._actuals)
            self._movements[-1].closing = self._balance
            if stop.is_termination:
                break

    def _check_period_rates(self) -> None:
        """Reject rates so negative that a period would destroy the balance."""
        rate_by_period = [0.0] * self._schedule.periods
        reset_rate: float | None = None
        for stop in self._stops:
            if stop.period > len(rate_by_period):
                break
            rate = self._rates[stop.period - 1] if reset_rate is None else reset_rate
            rate_by_period[stop.period - 1] += rate * stop.fraction
            reset_rate = reset_rate if stop.reset_rate is None else stop.reset_rate
            if stop.is_termination:
                break
        checker = FieldChecker()
        for index, rate in enumerate(rate_by_period):
            if rate < LOWEST_PERIOD_RATE:
                pointer = "/rate_resets" if self._terms.rate_resets else f"/annual_rates/{index}"
                checker.reject(pointer, "out_of_range", "is too negative for its period")
        checker.raise_errors()

    def _take_over_interest(self, actuals: LoanActuals) -> None:
        """Go on from the interest of the ledger: that of late payments is in it."""
        late_interest = actuals.accrued_interest - self._accrued_interest
        deferral = actuals.deferred_interest - self._deferred_interest
        self._accrued_interest += late_interest
        self._saved_interest -= late_interest  # the principal of an annuity stays
        self._deferred_interest += deferral
        self._movements[-1].interest += late_interest + deferral

    @property
    def _is_last(self) -> bool:
        return self._index == len(self._stops) - 1

    def _record(self, kind: LoanEventKind, cash_flow: float) -> None:
        stop = self._stops[self._index]
        self.events.append(
            LoanEvent(
                date=stop.day,
                period=stop.period,
                kind=kind,
                cash_flow=cash_flow,
                balance=self._balance,
                annual_rate=self._rate,
                accrued_interest=self._accrued_interest + self._deferred_interest,
                level_payment=self._payment,
            )
        )

    def _receive(self, kind: LoanEventKind, amount: float) -> None:
        self._movements[-1].payment += amount
        self._record(kind, amount)

    def _rate_at(self, stop: LoanStop) -> float:
        return self._rates[stop.period - 1] if self._has_known_rates else self._rate

    def _accrue(self, stop: LoanStop) -> None:
        self._rate = self._rate_at(stop)
        base = self._balance if self._base is None or not self._balance else self._base
        interest = base * self._rate * stop.fraction
        self._accrued_interest += interest
        if self._base is None:
            self._saved_interest += self._advance * self._rate * stop.fraction
        self._movements[-1].interest += interest
        self._movements[-1].rate = self._rate
        self._movements[-1].rate_years += self._rate * stop.fraction
        self._movements[-1].years += stop.fraction

    def _pay(self, stop: LoanStop) -> None:
        """Pay what falls due at a stop: principal, prepayments, interest."""
        if stop.pays_principal:
            self._pay_principal(stop)
        prepayments = [(self._terms.prepayments or ())[index] for index in stop.prepayments]
        for index in stop.prepayments:
            self._prepay(index)
        capitalisations = self._capitalisations.get(stop.day, ())
        if stop.capitalises and not self._is_exhausted:
            self._capitalise_by_terms(stop)
        elif stop.pays_interest or stop.capitalises:
            self._pay_interest(sum(map(_take_due_part, capitalisations)))
        for one in capitalisations:
            self._capitalise(one)
        for settlement in self._settlements.get(stop.day, ()):
            self._settle_deferral(settlement)
        # The interest of a payment date is no part of the later payments.
        if any(one.effect != "shorten" for one in prepayments):
            self._relevel_instalments()
        if any(one.effect == "shorten" for one in prepayments):
            self._shortened_end = self._find_end()
        for repayment in self._repayments.get(stop.day, ()):
            self._repay(repayment)

    @property
    def _is_exhausted(self) -> bool:
        """Whether negative interest exceeds the balance: it is paid, for no balance is negative."""
        return self._actuals is None and self._balance + self._accrued_interest < 0.0

    def _pay_interest(self, capitalisation: float) -> None:
        """Pay what has accrued, less what was capitalised as it fell due."""
        interest, self._accrued_interest = self._accrued_interest, 0.0
        self._saved_interest = 0.0
        if self._is_last:
            interest, self._deferred_interest = interest + self._deferred_interest, 0.0
        interest -= min(capitalisation, max(interest, 0.0))
        if interest or self._balance:
            self._receive("interest", interest)

    def _capitalise_by_terms(self, stop: LoanStop) -> None:
        """Add the interest to the balance, or defer it where a ledger has yet to record that."""
        interest, self._accrued_interest = self._accrued_interest, 0.0
        self._saved_interest = 0.0
        actuals = self._actuals
        if actuals is not None and stop.day is not None and stop.day <= actuals.on:
            self._deferred_interest += interest
            return
        self._add_to_balance(interest + self._deferred_interest)
        self._deferred_interest = 0.0
        # The level payment of planned terms has the capitalised interest in it already.
        if actuals is not None or self._terms.profile != "annuity":
            self._relevel_instalments()

    def _pay_principal(self, stop: LoanStop) -> None:
        if self._is_last:
            due = self._balance
            if self._terms.profile == "annuity" and self.first_level_payment is None:
                self.first_level_payment = self._payment or due - self._balloon + self._due_interest
        else:
            due = self._regular_principal()
            if self._balloon and not self._may_pass_below_balloon:
                # A payment that stays takes nothing of the balloon, which is due at the end.
                due = min(due, max(self._scheduled_balance - self._balloon, 0.0))
            due = self._take_advance(due)
        if due < -ROUNDING_NOISE * max(self._balance, 1.0):
            self._growing_periods.append(stop.period)
            # A payment that is solved for a plan repays the loan all the same, and is warned of.
            is_planned = self._terms.payment is None and self._actuals is None
            if not (is_planned or self._terms.allow_negative_amortisation):
                raise Infeasible.at(
                    "/allow_negative_amortisation",
                    "negative_amortisation",
                    f"the payment of period {stop.period} does not cover its interest; raise it, "
                    "or set this to true",
                )
        if abs(self._balance - due) <= ROUNDING_NOISE * self._movements[0].opening:
            due = self._balance  # rounding leaves no balance
        self._balance -= due
        self._due_principal += due
        self._movements[-1].principal += due
        if due:
            self._receive("principal", due)

    def _take_advance(self, instalment: float) -> float:
        """Return what is due of an instalment after what was repaid early of it."""
        instalment = min(instalment, self._scheduled_balance)
        early_part = min(max(instalment, 0.0), self._advance)
        self._advance -= early_part
        return min(instalment - early_part, self._balance)

    @property
    def _scheduled_balance(self) -> float:
        """The balance if nothing had been repaid early; instalments follow from it."""
        return self._balance + self._advance

    @property
    def _due_interest(self) -> float:
        """The interest of the payment at a stop, if nothing had been repaid early."""
        return self._accrued_interest + self._saved_interest

    @property
    def _is_balloon_alone(self) -> bool:
        """Whether all of the balance is a part of the balloon, which is due on the last date.

        A level payment that was solved may pass below the balloon and grow up to it again.
        """
        if self._may_pass_below_balloon:
            return False
        noise = ROUNDING_NOISE * self._movements[0].opening
        return bool(self._balloon) and self._scheduled_balance <= self._balloon + noise

    @property
    def _may_pass_below_balloon(self) -> bool:
        is_solved = self._terms.profile == "annuity" and self._payment is not None
        return is_solved and not (self._has_early_repayment or self._keeps_payment)

    def _regular_principal(self) -> float:
        """Return the regular principal of this stop, before it is capped at the balance."""
        if self._is_balloon_alone:
            return 0.0
        if self._terms.profile == "annuity":
            if self._payment is None:
                self._payment = self._solve_level_payment(self._index, has_accrued=True)
            if self.first_level_payment is None:
                self.first_level_payment = self._payment
            return self._payment - self._due_interest
        if self._terms.custom_shares is not None:
            period = self._stops[self._index].period
            shares = self._terms.custom_shares[period - 1 :]
            return (self._scheduled_balance - self._balloon) * shares[0] / (sum(shares) or 1.0)
        if self._instalment is None:
            self._instalment = self._solve_instalment(self._index)
        return self._instalment

    def _solve_instalment(self, first: int) -> float:
        """Solve the instalment from stop `first` on that leaves the balloon at the end."""
        remaining = sum(map(self._share_at, range(first, len(self._stops))))
        return (self._scheduled_balance - self._balloon) / remaining

    def _share_at(self, index: int) -> float:
        """Return the share of a level payment or instalment that is due at a stop."""
        end = self._shortened_end
        if not self._stops[index].pays_principal:
            return 0.0
        if end is None or index < end.stop:
            return 1.0
        return end.share if index == end.stop else 0.0

    def _find_end(self) -> _ShortenedEnd | None:
        """Return the end of the loan if its level payment or instalment stays, None without one.

        Payments that are levelled anew later end there too: a reset to the same rate changes none.
        """
        level = self._payment if self._terms.profile == "annuity" else self._instalment
        if not level:
            return None
        balance, interest = self._scheduled_balance, self._due_interest
        for index, stop in enumerate(self._stops[self._index + 1 :], start=self._index + 1):
            interest += balance * self._rate_at(stop) * stop.fraction
            joins = stop.capitalises or (stop.pays_principal and self._terms.profile == "annuity")
            if joins:
                balance += interest
            if stop.pays_principal:
                share = (balance - self._balloon) / level
                if share <= 1.0 + ROUNDING_NOISE:
                    return _ShortenedEnd(index, share) if share > 0.0 else None
                balance -= level
            if joins or stop.pays_interest:
                interest = 0.0
        return None

    def _fix_instalments(self, first: int, *, has_accrued: bool) -> None:
        """Level what a shorter loan keeps paying, where no payment date has levelled it yet."""
        if self._is_last or self._is_balloon_alone or self._terms.profile == "bullet":
            return
        if self._terms.profile != "annuity":
            if self._instalment is None:
                self._instalment = self._solve_instalment(first)
        elif self._payment is None:
            self._payment = self._solve_level_payment(first, has_accrued=has_accrued)

    def _solve_level_payment(self, first: int, *, has_accrued: bool) -> float:
        """Solve the payment from stop `first` on that leaves the balloon at the end.

        Balance and accrued interest are affine in the payment A: each is kept as its part at A = 0
        and its fall per unit of A. `has_accrued` says that the interest up to `first` is in.
        """
        balance, balance_fall = self._scheduled_balance, 0.0
        interest, interest_fall = self._due_interest, 0.0
        for index, stop in enumerate(self._stops[first:], start=first):
            share = self._share_at(index)
            if not has_accrued:
                growth = self._rate_at(stop) * stop.fraction
                interest += balance * growth
                interest_fall += balance_fall * growth
            has_accrued = False
            # A payment less its interest is principal; capitalised interest joins the balance.
            joins = (share > 0.0) + stop.capitalises
            balance += joins * interest
            balance_fall += joins * interest_fall + share
            if stop.pays_principal or stop.capitalises or stop.pays_interest:
                interest = interest_fall = 0.0
        return (balance - self._balloon) / balance_fall

    def _prepay(self, index: int) -> None:
        prepayment = (self._terms.prepayments or ())[index]
        if prepayment.amount > self._balance * (1.0 + ROUNDING_NOISE):
            detail = f"exceeds the balance of {self._balance:.10g} on {prepayment.date}"
            raise Infeasible.at(f"/prepayments/{index}/amount", "exceeds_debt", detail)
        if prepayment.effect == "shorten":
            self._fix_instalments(self._index, has_accrued=True)
        interest = self._accrued_interest * prepayment.amount / self._balance
        self._has_early_repayment = True
        self._balance = max(self._balance - prepayment.amount, 0.0)
        self._accrued_interest -= interest
        self._movements[-1].principal += prepayment.amount
        self._movements[-1].early_repayment += prepayment.amount
        self._receive("prepayment", prepayment.amount + interest)

    def _capitalise(self, fact: LoanCapitalisation) -> None:
        """Add interest to the balance as it was recorded, and level the later payments anew."""
        self._deferred_interest = max(self._deferred_interest - fact.deferred_interest, 0.0)
        self._accrued_interest = max(self._accrued_interest - fact.accrued_interest, 0.0)
        self._add_to_balance(fact.amount)
        self._relevel_instalments()

    def _settle_deferral(self, fact: LoanDeferralSettlement) -> None:
        """Take deferred interest away that was paid or forgiven, so that no later date has it."""
        self._deferred_interest = max(self._deferred_interest - fact.amount, 0.0)
        if fact.is_paid:
            self._receive("interest", fact.amount)

    def _add_to_balance(self, interest: float) -> None:
        self._balance += interest
        self._movements[-1].capitalised += interest
        self._record("capitalisation", 0.0)

    def _repay(self, fact: LoanRepayment) -> None:
        """Repay principal as it was recorded; its interest falls due on the next date."""
        amount: float = fact.amount
        kind: LoanEventKind = "prepayment"
        if fact.effect is None:
            kind = "principal"
            self._repaid_principal += amount
            amount = self._repaid_principal - self._due_principal
        if amount > self._balance + self._tolerance:
            self._carry_over(fact, amount - self._balance)
        amount = min(amount, self._balance)
        if amount <= (self._tolerance if fact.effect is None else 0.0):
            return
        if fact.effect == "shorten":
            self._fix_instalments(self._index + 1, has_accrued=False)
        self._has_early_repayment = True
        self._balance -= amount
        self._movements[-1].principal += amount
        if kind == "prepayment":
            self._movements[-1].early_repayment += amount
        self._receive(kind, amount)
        if fact.effect is None:
            self._due_principal += amount
            self._count_early(amount)
        elif fact.effect == "relevel":
            self._relevel_instalments()
        else:
            self._shortened_end = self._find_end()
        if self._balance <= self._tolerance:
            self._balance = self._advance = self._saved_interest = 0.0

    def _carry_over(self, fact: LoanRepayment, rest: float) -> None:
        """Keep what exceeds the balance for a draw of the same day, which comes after it.

        A prepayment beyond the schedule repays what has fallen due and was not paid first.
        """
        if fact.effect is None:
            rest = 0.0  # the totals of payments and of what is due have it
        else:
            arrears = min(rest, max(self._due_principal - self._repaid_principal, 0.0))
            self._repaid_principal += arrears
            rest -= arrears
        if fact.effect is None or rest > self._tolerance:
            self._unapplied.append(msgspec.structs.replace(fact, amount=rest))

    def _count_early(self, amount: float) -> None:
        """Count early principal towards the next instalments, or level all that follow anew."""
        if self._actuals is None or not self._actuals.levels_early_principal:
            self._advance += amount
        elif not self._is_last:
            self._relevel()

    @property
    def _tolerance(self) -> float:
        return self._actuals.tolerance if self._actuals else 0.0

    def _relevel_instalments(self) -> None:
        """Level later payments anew where the terms do not fix them."""
        if self._terms.payment is None and self._terms.instalment is None and not self._is_last:
            self._relevel()

    def _relevel(self) -> None:
        """Level the payments after this stop anew; an instalment follows at its next date."""
        if self._shortened_end is not None and self._shortened_end.stop <= self._index:
            self._shortened_end = None
        if self._terms.profile != "annuity":
            self._instalment = None
        elif self._is_balloon_alone:
            self._payment = None
        elif self._balance:
            self._payment = self._solve_level_payment(self._index + 1, has_accrued=False)
            self._record("relevel", 0.0)

    def _apply_changes(self, stop: LoanStop) -> None:
        """Apply what changes after the payments of a stop."""
        for amount in stop.draws:
            self._draw(amount)
        if stop.draws and self._unapplied:
            unapplied, self._unapplied = self._unapplied, []
            for fact in unapplied:
                self._repay(fact)
        if stop.reset_rate is not None:
            self._reset(stop.reset_rate)
        if stop.renews_base:
            self._base = self._balance
            self._record("base_renewal", 0.0)
        terms = self._terms
        if stop.is_take_over and terms.take_over is not None:
            price = self._balance if terms.take_over.price is None else terms.take_over.price
            self.events.clear()
            self._record("take_over", -price - self._accrued_interest)
        if stop.is_termination and terms.termination is not None:
            self._terminate(terms.termination.price)

    def _draw(self, amount: float) -> None:
        self._balance += amount
        self._record("draw", -amount)
        self._movements[-1].drawn += amount
        if self._actuals is not None:
            self._balloon += self._terms.balloon_share * amount
        self._relevel_instalments()

    def _reset(self, rate: float) -> None:
        default = "relevel" if self._terms.payment is None else "keep_payment"
        effect = self._terms.reset_effect or default
        levels = self._terms.profile == "annuity" and not self._is_last
        has_instalments = self._balance > 0.0 and not self._is_balloon_alone
        if levels and effect == "keep_payment" and self._payment is None and has_instalments:
            # Before the first payment date: the payment to keep is that at the rate so far.
            self._payment = self._solve_level_payment(self._index + 1, has_accrued=False)
        self._rate = rate
        self._record("rate_reset", 0.0)
        if levels and effect == "relevel":
            self._relevel()
        elif levels:
            self._keeps_payment = True
            if self._shortened_end is not None:
                self._shortened_end = self._find_end()

    def _terminate(self, price: float | None) -> None:
        movements = self._movements[-1]
        repaid, interest = self._balance, self._accrued_interest
        self._balance = self._accrued_interest = 0.0
        movements.principal += repaid
        movements.ends_early = True
        movements.premium = 0.0 if price is None else price - repaid
        movements.early_repayment += repaid + movements.premium
        self._receive("termination", repaid + movements.premium + interest)

    def build_rows(self) -> tuple[LoanRow, ...]:
        """Return one row per period."""
        dates = self._schedule.dates
        fractions = self._schedule.accrual_fractions
        return tuple(
            LoanRow(
                period=number,
                date=dates[number] if dates else None,
                accrual_fraction=fractions[number - 1],
                annual_rate=movements.average_rate(fractions[number - 1]),
                opening_balance=movements.opening,
                interest=movements.interest,
                capitalised=movements.capitalised,
                principal=movements.principal,
                payment=movements.payment,
                closing_balance=movements.closing,
                drawn=movements.drawn,
                accrued_interest=movements.accrued_interest,
                premium=movements.premium,
                early_repayment=movements.early_repayment,
            )
            for number, movements in enumerate(self._movements, start=1)
        )

    def list_warnings(self) -> tuple[str, ...]:
        """Return warnings of a growing balance and of a last payment that takes a large rest."""
        warnings: list[str] = []
        if self._growing_periods:
            periods = list_periods(self._growing_periods)
            warnings.append(f"the payment does not cover the interest in {periods}")
        regular = self._terms.payment or self._terms.instalment
        last = self._movements[-1].payment
        if regular and self._terms.termination is None and last > _LARGE_LAST_PAYMENT * regular:
            warnings.append(f"the last payment of {last:.10g} takes the rest of the loan")
        return tuple(warnings)
