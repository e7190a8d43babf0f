"""Results of a loan: its rows by period, its dated events, and the sums of both."""

from datetime import date
from typing import Literal

import msgspec

from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

LoanEventKind = Literal[
    "draw",
    "principal",
    "prepayment",
    "interest",
    "capitalisation",
    "rate_reset",
    "relevel",
    "base_renewal",
    "take_over",
    "termination",
]


class LoanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: closing = opening + drawn + capitalised - principal.

    `payment` = interest + accrued_interest - capitalised + principal + premium. `interest` accrues
    in the period; capitalised, it is added to the balance and not paid. `accrued_interest` is that
    of a running loan before its start. `premium` is the price of a termination above the balance,
    negative below it. `early_repayment` is the part of the payment that prepayments and a
    termination repay, with the premium. `annual_rate` is the average over the period where the rate
    is reset inside it, up to the end of a loan that ends early. `drawn` are draws after the first.
    """

    period: int
    date: date | None
    accrual_fraction: float
    annual_rate: float
    opening_balance: float
    interest: float
    capitalised: float
    principal: float
    payment: float
    closing_balance: float
    drawn: float = 0.0
    accrued_interest: float = 0.0
    premium: float = 0.0
    early_repayment: float = 0.0


class LoanEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event and the state after it; cash flows to the lender are positive.

    `level_payment` is that of an annuity from the event on.
    """

    date: date | None
    period: int
    kind: LoanEventKind
    cash_flow: float
    balance: float
    annual_rate: float
    accrued_interest: float
    level_payment: float | None = None


class LoanSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The rows on their schedule, and their sums; only an annuity has a `level_payment`.

    `total_interest` is that of the rows, without the interest accrued before the start.

    `events` are those of a loan with dated events; after a take-over the buyer's alone.
    """

    schedule: PeriodSchedule
    rows: tuple[LoanRow, ...]
    total_interest: float
    total_principal: float
    total_capitalised: float
    level_payment: float | None
    conventions: dict[str, str]
    events: tuple[LoanEvent, ...] = ()
    warnings: tuple[str, ...] = ()
