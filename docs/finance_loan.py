"""The bridge loan of `finance.md`: stubs at both ends, a reset and a prepayment inside periods."""

from datetime import date

from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.finance.loans.loan_schedule import build_loan_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms, Prepayment, RateReset
from spawn.domain.finance.time_base.business_calendar import BusinessCalendar, BusinessDayRule
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency


def build_bridge_loan() -> LoanSchedule:
    """Return the schedule of a floating loan of EUR 20 million."""
    return build_loan_schedule(
        LoanTerms(
            principal=20.0,
            annual_rates=0.045,
            profile="straight_line",
            payment_dates=PaymentDateTerms(
                start=date(2029, 11, 15),
                end=date(2030, 12, 16),
                frequency=PaymentFrequency.QUARTERLY,
                roll_day=31,
                rule=BusinessDayRule.MODIFIED_FOLLOWING,
                calendar=BusinessCalendar(base="target"),
            ),
            day_count="ACT/360",
            rate_resets=(RateReset(date=date(2030, 5, 15), annual_rate=0.0525),),
            prepayments=(Prepayment(date=date(2030, 6, 14), amount=2.0),),
        )
    )


LOAN_HEAD = ("date", "event", "to the lender", "balance", "rate", "accrued interest")


def list_loan_lines(loan: LoanSchedule) -> list[tuple[str, ...]]:
    """Return a line for each event from February to August of 2030."""
    return [
        (
            str(event.date),
            event.kind.replace("_", " "),
            f"{event.cash_flow:,.4f}" if event.cash_flow else "",
            f"{event.balance:,.4f}",
            f"{event.annual_rate:.2%}",
            f"{event.accrued_interest:,.4f}" if event.accrued_interest else "",
        )
        for event in loan.events
        if event.date and date(2030, 2, 1) < event.date < date(2030, 9, 1)
    ]
