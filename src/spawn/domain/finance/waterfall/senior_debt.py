"""Senior debt in a waterfall: dues within the balance, pari passu payments, prepayments.

What is due in a period is the scheduled principal, no more than is owed, and the interest on the
balance. A scheduled interest is lowered by the share of the balance that was prepaid. A prepayment
takes the last instalments first, the next first, or all in proportion.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

import msgspec

from spawn.domain.finance.limits import ROUNDING_NOISE, expand_per_period
from spawn.domain.finance.waterfall.waterfall_case import SweepOrder, WaterfallInputs


class TrancheDues(NamedTuple):
    """Amounts due of one tranche: those of the period and the arrears."""

    interest: float
    principal: float
    interest_arrears: float
    principal_arrears: float


class SeniorPayment(NamedTuple):
    """Interest and principal that all tranches received."""

    interest: float
    principal: float


class TrancheAccount(msgspec.Struct, kw_only=True):
    """The running state of one tranche; without a balance its schedule is as given.

    `due_share` is the share of later instalments that prepayments in proportion have left, and
    `prepayment` the amount that replaces the next ones. `paid_interest` is that of the period.
    `balloon` is what sweeps leave of it; it is the instalment of `balloon_period`.
    """

    rank: int
    principal: Sequence[float]
    interest: Sequence[float]
    period_rates: Sequence[float] | None
    scheduled_balances: Sequence[float]
    balance: float | None
    noise: float = 0.0
    unpaid_principal: float = 0.0
    unpaid_interest: float = 0.0
    due_share: float = 1.0
    prepayment: float = 0.0
    paid_interest: float = 0.0
    balloon: float = 0.0
    balloon_period: int = 0

    def compute_dues(
        self, t: int, performing: float, prepayment: float
    ) -> tuple[float, float, float]:
        """Return interest and principal of period `t`, and what is left of `prepayment`."""
        if self.balance is None:
            return self.interest[t], self.principal[t], 0.0
        instalment = self.principal[t] * self.due_share
        prepaid_part = min(instalment, prepayment)
        principal = min(instalment - prepaid_part, performing)
        return self._compute_interest(t, performing), principal, prepayment - prepaid_part

    def _compute_interest(self, t: int, performing: float) -> float:
        if self.period_rates is not None:
            return (performing + self.open_balloon(t)) * self.period_rates[t]
        scheduled_balance = self.scheduled_balances[t]
        return (
            self.interest[t] * (performing / scheduled_balance)
            if scheduled_balance > self.noise
            else 0.0
        )

    @property
    def performing_balance(self) -> float:
        """The balance that is not overdue."""
        return max((self.balance or 0.0) - self.unpaid_principal, 0.0)

    def fall_due(self, t: int, *, carry_arrears: bool) -> TrancheDues:
        """Return the dues of period `t`; a rate also applies to unpaid principal."""
        interest, principal, self.prepayment = self.compute_dues(
            t, self.performing_balance, self.prepayment
        )
        if self.period_rates is not None:
            interest += self.unpaid_principal * self.period_rates[t]
        if not carry_arrears:
            return TrancheDues(interest, principal, 0.0, 0.0)
        return TrancheDues(interest, principal, self.unpaid_interest, self.unpaid_principal)

    def settle(self, dues: TrancheDues, interest: float, principal: float) -> None:
        """Record what was paid; the rest is unpaid."""
        self.paid_interest = interest
        self.unpaid_interest = max(dues.interest + dues.interest_arrears - interest, 0.0)
        earlier_arrears = self.unpaid_principal - dues.principal_arrears
        self.unpaid_principal = earlier_arrears + max(
            dues.principal + dues.principal_arrears - principal, 0.0
        )
        if self.balance is not None:
            self._reduce(principal)

    def open_balloon(self, t: int) -> float:
        """Return what is left of the balloon in period `t`, zero once it is refinanced."""
        return self.balloon if t < self.balloon_period else 0.0

    def prepay(self, t: int, amount: float, order: SweepOrder) -> None:
        """Reduce balance and balloon before their time, in period `t`, and shorten what follows."""
        of_balloon = self._prepay_balloon(t, amount, order)
        self._prepay_instalments(amount - of_balloon, order)

    def _prepay_balloon(self, t: int, amount: float, order: SweepOrder) -> float:
        """Reduce the balloon by its part of a prepayment, and return the part."""
        balloon, balance = self.open_balloon(t), self.balance or 0.0
        if balloon <= 0.0:
            return 0.0
        performing = self.performing_balance
        dues_before = sum(self.principal[t + 1 : self.balloon_period]) - self.prepayment
        earlier = min(max(dues_before, 0.0), performing)  # what falls due before the balloon
        if order == "pro_rata":
            part = amount * (balloon / (balloon + balance))
        else:
            goes_first = earlier if order == "next_first" else performing - earlier
            part = max(amount - goes_first, 0.0)
        part = min(part, balloon)
        rest = balloon - part
        self.balloon = rest if rest > self.noise else 0.0
        return part

    def _prepay_instalments(self, amount: float, order: SweepOrder) -> None:
        performing = self.performing_balance
        self._reduce(amount)
        self.unpaid_principal = min(self.unpaid_principal, self.balance or 0.0)
        if order == "pro_rata" and performing > self.noise:
            self.due_share *= max(1.0 - amount / performing, 0.0)
        elif order == "next_first":
            self.prepayment += amount

    def _reduce(self, amount: float) -> None:
        rest = (self.balance or 0.0) - amount
        self.balance = rest if rest > self.noise else 0.0


def open_tranches(inputs: WaterfallInputs) -> list[TrancheAccount]:
    """Return the accounts of the tranches, the highest rank first."""
    case = inputs.case
    if not case.tranches:
        principal, interest = case.senior_principal or (), case.senior_interest or ()
        return [_open_tranche(case.senior_open, principal, interest, None, 1)]
    return [
        _open_tranche(
            tranche.opening_balance,
            tranche.principal,
            tranche.interest or (),
            _compute_rates(inputs, tranche.annual_rates),
            tranche.rank,
            (tranche.balloon, tranche.balloon_period or 0),
        )
        for tranche in case.tranches
    ]


def _compute_rates(
    inputs: WaterfallInputs, annual_rates: float | tuple[float, ...] | None
) -> tuple[float, ...] | None:
    if annual_rates is None:
        return None
    rates = expand_per_period(annual_rates, inputs.periods)
    fractions = inputs.schedule.accrual_fractions
    return tuple(rate * tau for rate, tau in zip(rates, fractions, strict=True))


def _open_tranche(
    balance: float | None,
    principal: Sequence[float],
    interest: Sequence[float],
    period_rates: Sequence[float] | None,
    rank: int,
    balloon: tuple[float, int] = (0.0, 0),
) -> TrancheAccount:
    noise = ROUNDING_NOISE * ((balance or 0.0) + balloon[0])
    balances = accumulate(
        principal[:-1], lambda left, due: _reduce_balance(left, due, noise), initial=balance or 0.0
    )
    return TrancheAccount(
        rank=rank,
        principal=principal,
        interest=interest,
        period_rates=period_rates,
        scheduled_balances=tuple(balances),
        balance=balance,
        noise=noise,
        balloon=balloon[0],
        balloon_period=balloon[1],
    )


def _reduce_balance(balance: float, repayment: float, noise: float) -> float:
    rest = balance - repayment
    return rest if rest > noise else 0.0


def sum_balances(accounts: Iterable[TrancheAccount]) -> float | None:
    """Return the senior balance; None where it is not given."""
    total = 0.0
    for account in accounts:
        if account.balance is None:
            return None
        total += account.balance
    return total


def pay_tranches(
    accounts: Sequence[TrancheAccount], dues: Sequence[TrancheDues], cash: float | None
) -> SeniorPayment:
    """Pay the dues by rank, interest first, pari passu within a rank; all of them for None."""
    interest_paid = principal_paid = 0.0
    if cash is None:
        for account, due in zip(accounts, dues, strict=True):
            interest_sum = due.interest + due.interest_arrears
            principal_sum = due.principal + due.principal_arrears
            account.settle(due, interest_sum, principal_sum)
            interest_paid += interest_sum
            principal_paid += principal_sum
        return SeniorPayment(interest_paid, principal_paid)
    claims = sorted(zip(accounts, dues, strict=True), key=lambda claim: claim[0].rank)
    for _, group in groupby(claims, key=lambda claim: claim[0].rank):
        rank_claims = list(group)
        interest, cash = _share_cash(
            [d.interest + d.interest_arrears for _, d in rank_claims], cash
        )
        principal, cash = _share_cash(
            [d.principal + d.principal_arrears for _, d in rank_claims], cash
        )
        for (account, due), share, repayment in zip(rank_claims, interest, principal, strict=True):
            account.settle(due, share, repayment)
        interest_paid += sum(interest)
        principal_paid += sum(principal)
    return SeniorPayment(interest_paid, principal_paid)


def _share_cash(claims: Sequence[float], cash: float) -> tuple[list[float], float]:
    """Return what each claim receives, in proportion where cash is short, and the rest."""
    total = sum(claims)
    if cash >= total:
        return list(claims), cash - total
    return [cash * (claim / total) for claim in claims], 0.0


def sum_balloons(accounts: Iterable[TrancheAccount], t: int) -> float:
    """Return what is left of the balloons in period `t`."""
    return sum(account.open_balloon(t) for account in accounts)


def prepay_tranches(
    accounts: Sequence[TrancheAccount], t: int, amount: float, order: SweepOrder
) -> None:
    """Prepay by rank in period `t`, within a rank in proportion to balance and balloon."""
    if amount <= 0.0:
        return
    claims = sorted(accounts, key=lambda account: account.rank)
    for _, group in groupby(claims, key=lambda account: account.rank):
        rank_claims = list(group)
        balances = [(account.balance or 0.0) + account.open_balloon(t) for account in rank_claims]
        part = min(amount, sum(balances))
        shares, _ = _share_cash(balances, part)
        for account, share in zip(rank_claims, shares, strict=True):
            account.prepay(t, share, order)
        amount -= part


def project_service(
    accounts: Sequence[TrancheAccount], first: int, shares: Sequence[float]
) -> float:
    """Return the senior debt service of the periods from `first`, each times its share."""
    total = 0.0
    for account in accounts:
        performing, prepayment = account.performing_balance, account.prepayment
        for t, share in enumerate(shares, start=first):
            interest, principal, prepayment = account.compute_dues(t, performing, prepayment)
            total += share * (interest + principal)
            performing -= principal
    return total
