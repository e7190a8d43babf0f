"""A waterfall in exact fractions, written from its rules and not from the engine.

It keeps one list per debt, re-cuts the list itself after a sweep, and pays claim by claim.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

ZERO = Fraction(0)


@dataclass
class Debt:
    """A tranche: the instalments ahead, and the interest per unit of balance or as given."""

    rank: int
    balance: Fraction
    instalments: list[Fraction]
    rate: Fraction | None
    interest: list[Fraction]
    overdue_interest: Fraction = ZERO
    overdue_principal: Fraction = ZERO
    balloon: Fraction = ZERO
    balloon_period: int = 0
    original: list[Fraction] = field(default_factory=list)

    def __post_init__(self) -> None:
        left = self.balance
        for instalment in self.instalments:
            self.original.append(left)
            left = max(left - instalment, ZERO)

    def interest_of(self, t: int, regular: Fraction) -> Fraction:
        if self.rate is not None:
            return self.rate * (regular + self.overdue_principal + self.open_balloon(t))
        return self.interest[t] * regular / self.original[t] if self.original[t] else ZERO

    def open_balloon(self, t: int) -> Fraction:
        return self.balloon if t < self.balloon_period else ZERO

    def list_claims(self, t: int) -> list[tuple[bool, Fraction]]:
        """Return what is due after `t` in its order; each is the balloon, or it is not."""
        claims, left = list[tuple[bool, Fraction]](), self.balance - self.overdue_principal
        for k in range(t, len(self.instalments)):
            if k > t:
                claims.append((False, min(self.instalments[k], left)))
                left -= claims[-1][1]
            if k == self.balloon_period - 1:
                claims.append((True, self.balloon))
        return [*claims, (False, left)]

    def cut(self, t: int, amount: Fraction, order: str) -> None:
        """Take a prepayment off what is due after `t`, and the balloon in its place."""
        part = ZERO
        if order == "pro_rata" and self.open_balloon(t):
            part = amount * self.balloon / (self.balance + self.balloon)
        elif self.open_balloon(t):
            left, claims = amount, self.list_claims(t)
            for is_balloon, claim in claims if order == "next_first" else reversed(claims):
                paid = min(left, claim)
                left -= paid
                part += paid if is_balloon else ZERO
        self.balloon -= part
        self.cut_instalments(t, amount - part, order)

    def cut_instalments(self, t: int, amount: Fraction, order: str) -> None:
        """Take a prepayment off the instalments after `t`, and what no instalment repays."""
        regular = self.balance - self.overdue_principal
        self.balance -= amount
        self.overdue_principal = min(self.overdue_principal, self.balance)
        later = range(t + 1, len(self.instalments))
        if order == "pro_rata" and regular:
            for k in later:
                self.instalments[k] *= 1 - amount / regular
        if order == "next_first":
            for k in later:
                part = min(amount, self.instalments[k])
                self.instalments[k] -= part
                amount -= part


def divide(cash: Fraction, claims: list[Fraction]) -> list[Fraction]:
    """Return the payment of each claim, pari passu."""
    total = sum(claims, ZERO)
    if cash >= total:
        return claims
    return [cash * claim / total for claim in claims]


Row = dict[str, Fraction | bool]
JUNIOR = ("cash", "trapped")


@dataclass
class Reserve:
    """A further reserve: its targets and uses by period, and what it may pay."""

    name: str
    targets: list[Fraction]
    uses: list[Fraction]
    is_ring_fenced: bool
    outlives_debt: bool


class ExactRun:
    """The cash in pots, the debts, and what is carried from period to period."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.debts: list[Debt] = case["debts"]
        self.pots = {"cash": ZERO, "trapped": ZERO, "dsra": case["dsra"]}
        self.reserves: list[Reserve] = [reserve for reserve, _ in case["reserves"]]
        self.pots |= {reserve.name: balance for reserve, balance in case["reserves"]}
        self.payments = 0
        self.is_credit: bool = case["is_credit"]
        self.bank = self.bank_interest = ZERO
        self.mezz, self.pik, self.late = case["mezz"], ZERO, ZERO
        self.is_locked = False

    def take(self, amount: Fraction, names: tuple[str, ...]) -> Fraction:
        """Return what the pots cannot pay."""
        for name in names:
            part = min(amount, self.pots[name])
            self.pots[name] -= part
            amount -= part
        return amount

    def take_everything(self, t: int, amount: Fraction) -> Fraction:
        """Return what cash and all reserves cannot pay; the bank is owed what it pays."""
        amount, before = self.take(amount, JUNIOR), self.pots["dsra"]
        amount = self.take(amount, ("dsra",))
        if self.is_credit:
            self.bank += before - self.pots["dsra"]
        for reserve in self.reserves:
            held_back = self.target_of(reserve, t) if reserve.is_ring_fenced else ZERO
            part = min(amount, max(self.pots[reserve.name] - held_back, ZERO))
            self.pots[reserve.name] -= part
            amount -= part
        return amount

    def target_of(self, reserve: Reserve, t: int) -> Fraction:
        return reserve.targets[t] if self.owed or reserve.outlives_debt else ZERO

    @property
    def owed(self) -> Fraction:
        debts = sum((debt.balance + debt.overdue_interest for debt in self.debts), ZERO)
        return debts + self.balloons(self.payments)

    @property
    def ranks(self) -> list[list[Debt]]:
        ranks = sorted({debt.rank for debt in self.debts})
        return [[debt for debt in self.debts if debt.rank == rank] for rank in ranks]

    def balloons(self, t: int) -> Fraction:
        return sum((debt.open_balloon(t) for debt in self.debts), ZERO)

    def pay_senior(self, t: int) -> tuple[Fraction, Fraction, Fraction]:
        """Return what is scheduled, unpaid and repaid."""
        scheduled, claims = ZERO, {}
        for debt in self.debts:
            regular = debt.balance - debt.overdue_principal
            interest, principal = debt.interest_of(t, regular), min(debt.instalments[t], regular)
            scheduled += interest + principal
            claims[id(debt)] = (
                interest + debt.overdue_interest,
                principal + debt.overdue_principal,
            )
        total = sum((sum(pair, ZERO) for pair in claims.values()), ZERO)
        unpaid = self.take_everything(t, total)
        left, repaid = total - unpaid, ZERO
        for ranked in self.ranks:
            paid = divide(left, [claims[id(debt)][0] for debt in ranked])
            left -= sum(paid, ZERO)
            for debt, payment in zip(ranked, paid, strict=True):
                debt.overdue_interest = claims[id(debt)][0] - payment
            paid = divide(left, [claims[id(debt)][1] for debt in ranked])
            left -= sum(paid, ZERO)
            repaid += sum(paid, ZERO)
            for debt, payment in zip(ranked, paid, strict=True):
                debt.overdue_principal = claims[id(debt)][1] - payment
                debt.balance -= payment
        return scheduled, unpaid, repaid

    def fill_reserves(self, t: int) -> None:
        """Empty every reserve into cash down to its target, then fill them by rank."""
        dsra_target = self.case["dsra_target"] if self.owed else ZERO
        targets = {} if self.is_credit else {"dsra": dsra_target}
        targets |= {reserve.name: self.target_of(reserve, t) for reserve in self.reserves}
        for name, target in targets.items():
            excess = max(self.pots[name] - target, ZERO)
            self.pots[name] -= excess
            self.pots["cash"] += excess
        if self.is_credit:
            self.bank_interest = self.take(self.bank_interest, JUNIOR)
            self.bank = self.take(self.bank, JUNIOR)
            self.pots["dsra"] = max(dsra_target - self.bank, ZERO)
        for name, target in targets.items():
            need = target - self.pots[name]
            self.pots[name] += need - self.take(need, JUNIOR)

    def pay_mezzanine(self, t: int) -> None:
        short = self.take(self.mezz * self.case["mezz_rate"], JUNIOR)
        self.pik += short
        still = self.take(self.pik, JUNIOR)
        self.mezz += short - (self.pik - still)
        self.pik = still
        due = min(self.case["mezz_principal"][t] + self.late, self.mezz)
        self.late = self.take(due, JUNIOR)
        self.mezz -= due - self.late

    def sweep(self, t: int, dscr: Fraction | None) -> Fraction:
        if dscr is None or dscr >= self.case["sweep_below"]:
            return ZERO
        room = sum((debt.balance for debt in self.debts), ZERO) + self.balloons(t)
        room -= self.case["floor"]
        share: Fraction = self.case["sweep_share"]
        amount: Fraction = min(share * self.pots["cash"], max(room, ZERO))
        self.pots["cash"] -= amount
        left = amount
        for ranked in self.ranks:
            parts = divide(left, [debt.balance + debt.open_balloon(t) for debt in ranked])
            left -= sum(parts, ZERO)
            for debt, part in zip(ranked, parts, strict=True):
                debt.cut(t, part, self.case["order"])
        return amount

    def pay_period(self, t: int) -> Row:
        cfads = self.case["cfads"][t]
        if self.is_credit:
            self.bank_interest += (self.bank + self.bank_interest) * self.case["draw_rate"]
        fee = self.pots["dsra"] * self.case["fee_rate"]
        costs = sum((self.take(each.uses[t], (each.name,)) for each in self.reserves), ZERO)
        self.pots["cash"] = max(cfads - fee - costs, ZERO)
        loss = self.take_everything(t, max(fee + costs - cfads, ZERO))
        scheduled, unpaid, repaid = self.pay_senior(t)
        self.payments += 1
        self.fill_reserves(t)
        self.pay_mezzanine(t)
        dscr = cfads / scheduled if scheduled else None
        swept = self.sweep(t, dscr)
        if dscr is not None:
            self.is_locked = dscr < self.case["release" if self.is_locked else "lockup"]
        self.is_locked = self.is_locked and self.owed > 0
        is_held = self.is_locked or unpaid > 0 or loss > 0
        free = self.pots["cash"] + self.pots["trapped"]
        self.pots["cash"], self.pots["trapped"] = ZERO, free if is_held else ZERO
        return {
            "senior_due": scheduled,
            "senior_unpaid": unpaid,
            "senior_principal_paid": repaid,
            "senior_close": sum((debt.balance for debt in self.debts), ZERO),
            "balloons": self.balloons(t),
            "dsra_close": self.pots["dsra"],
            "dsra_owed_close": self.bank + self.bank_interest,
            "reserve_close": sum((self.pots[each.name] for each in self.reserves), ZERO),
            "mezz_close": self.mezz,
            "sweep": swept,
            "distribution": ZERO if is_held else free,
            "trapped_close": self.pots["trapped"],
            "operating_shortfall": loss,
            "locked_up": is_held,
        }


def run_exactly(case: dict[str, Any]) -> list[Row]:
    """Return the figures of each period."""
    exact_run = ExactRun(case)
    return [exact_run.pay_period(t) for t in range(len(case["cfads"]))]
