"""Facts of a loan up to a day, from which a replay goes on.

A calculator replays the terms alone. The schedule of a stored loan rests on its ledger as well:
principal that was repaid, interest that was capitalised, and interest that has accrued by the day.
"""

from collections.abc import Callable
from datetime import date

import msgspec

from spawn.domain.finance.loans.loan_terms import PrepaymentEffect


class LoanRepayment(msgspec.Struct, frozen=True, kw_only=True):
    """Principal that was repaid on a day.

    With an `effect` it is a prepayment beside the instalments. Without one it pays what has fallen
    due, and what exceeds that is repaid early.
    """

    date: date
    amount: float
    effect: PrepaymentEffect | None = None


class LoanCapitalisation(msgspec.Struct, frozen=True, kw_only=True):
    """Interest that joined the balance on a day.

    `deferred_interest` is the part that the terms had kept from falling due, `accrued_interest` the
    part that was not due yet; the rest was due.
    """

    date: date
    amount: float
    deferred_interest: float
    accrued_interest: float


class LoanDeferralSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """Deferred interest that was paid on a day, or forgiven, before the terms made it due."""

    date: date
    amount: float
    is_paid: bool


class LoanActuals(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a loan up to and with a day.

    Later dates capitalise interest by the terms; up to `on` only what is recorded does, and the
    interest of such a date is deferred until then, or until one of the `settlements`.
    `accrued_interest` has accrued at the end of
    the day and is not due, `deferred_interest` is kept from falling due. `levels_early_principal`
    says that principal repaid early levels all later instalments anew, as in a revolving loan,
    instead of counting towards the next ones. `count_years` returns the fraction of a year between
    two days of one period. Amounts that differ by at most `tolerance` are equal.
    """

    on: date
    repayments: tuple[LoanRepayment, ...]
    capitalisations: tuple[LoanCapitalisation, ...]
    settlements: tuple[LoanDeferralSettlement, ...]
    accrued_interest: float
    deferred_interest: float
    levels_early_principal: bool
    count_years: Callable[[date, date], float]
    tolerance: float
