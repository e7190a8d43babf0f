"""Cash accounts of a waterfall: cash of the period, locked-up cash, DSRA, other reserves."""

import msgspec

from spawn.domain.finance.limits import ROUNDING_NOISE
from spawn.domain.finance.waterfall.waterfall_case import ReserveTerms, WaterfallInputs


class ReserveAccount(msgspec.Struct, kw_only=True):
    """A reserve: its balance and its movements of the current period.

    With a letter of credit `balance` is the amount that may be drawn, and `bank_claim` what was
    drawn and is not yet repaid to the bank. Interest on it that is not paid bears interest too.
    """

    balance: float
    is_credit: bool = False
    terms: ReserveTerms | None = None
    bank_claim: float = 0.0
    draw: float = 0.0
    topup: float = 0.0
    release: float = 0.0
    interest: float = 0.0
    interest_claim: float = 0.0

    def start_period(self, interest_rate: float = 0.0) -> None:
        """Set the movements to zero, and charge the bank's interest of the period."""
        self.draw = self.topup = self.release = 0.0
        self.interest = (self.bank_claim + self.interest_claim) * interest_rate
        self.interest_claim += self.interest

    def pay(self, amount: float, floor: float = 0.0) -> float:
        """Pay up to `amount` from the balance above `floor`, and return the payment."""
        payment = min(amount, max(self.balance - floor, 0.0))
        self.balance -= payment
        self.draw += payment
        if self.is_credit:
            self.bank_claim += payment
        return payment

    def release_excess(self, target: float, cash: "CashAccounts") -> None:
        """Release what is above the target of a reserve in cash."""
        if self.is_credit:
            return
        self.release = max(self.balance - target, 0.0)
        self.balance -= self.release
        cash.cash += self.release

    def top_up(self, target: float, cash: "CashAccounts") -> None:
        """Top the balance up to its target, or repay what was drawn of a letter of credit."""
        if self.is_credit:
            claim = self.bank_claim + self.interest_claim
            self.topup = cash.spend(claim)
            interest_paid = min(self.topup, self.interest_claim)
            self.interest_claim -= interest_paid
            # What is paid in full leaves nothing, also by rounding.
            rest = self.bank_claim - (self.topup - interest_paid)
            self.bank_claim = rest if self.topup < claim else 0.0
            self.balance = max(target - self.bank_claim, 0.0)
            return
        self.topup = cash.spend(max(target - self.balance, 0.0))
        self.balance += self.topup


class CashAccounts(msgspec.Struct, kw_only=True):
    """Cash of the period, cash locked up earlier, and the reserves behind both."""

    dsra: ReserveAccount
    reserves: list[ReserveAccount]
    trapped: float
    cash: float = 0.0
    trapped_draw: float = 0.0

    @classmethod
    def open(cls, inputs: WaterfallInputs, dsra_balance: float) -> "CashAccounts":
        """Return the accounts before the first period."""
        case = inputs.case
        return cls(
            dsra=ReserveAccount(
                balance=dsra_balance, is_credit=case.dsra_form == "letter_of_credit"
            ),
            reserves=[
                ReserveAccount(balance=terms.opening_balance, terms=terms)
                for terms in case.reserves
            ],
            trapped=case.trapped_open,
        )

    def start_period(self, credit_interest_rate: float = 0.0) -> None:
        """Set the movements of every account to zero; a drawn letter of credit bears interest."""
        self.trapped_draw = 0.0
        self.dsra.start_period(credit_interest_rate)
        for account in self.reserves:
            account.start_period()

    def spend(self, amount: float) -> float:
        """Pay up to `amount` from cash, then from locked-up cash, and return the payment."""
        if amount <= self.cash:
            self.cash -= amount
            return amount
        from_cash, self.cash = self.cash, 0.0
        from_trapped = min(amount - from_cash, self.trapped)
        self.trapped -= from_trapped
        self.trapped_draw += from_trapped
        return from_cash + from_trapped

    def cover(self, amount: float, floors: list[float], scale: float) -> float:
        """Pay from cash, locked-up cash, the DSRA and the reserves; return what is unpaid.

        What is left by the rounding of amounts as large as `scale` is paid.
        """
        if amount <= self.cash:
            self.cash -= amount
            return 0.0
        unpaid_amount = amount - self.cash
        self.cash = 0.0
        from_trapped = min(unpaid_amount, self.trapped)
        self.trapped -= from_trapped
        self.trapped_draw += from_trapped
        unpaid_amount -= from_trapped
        unpaid_amount -= self.dsra.pay(unpaid_amount)
        for reserve, floor in zip(self.reserves, floors, strict=True):
            unpaid_amount -= reserve.pay(unpaid_amount, floor)
        return unpaid_amount if unpaid_amount > ROUNDING_NOISE * scale else 0.0
