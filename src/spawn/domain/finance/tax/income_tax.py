"""Income tax by period: taxable income, losses carried forward, deductible interest, payment.

Income = EBITDA - depreciation - other deductions - deducted interest. A negative income is a loss
that later income uses, oldest first. Tax due = rate x (income - losses used).
"""

from collections import deque
from collections.abc import Sequence

import msgspec

from spawn.domain.finance.tax.tax_terms import TaxBase

_NOISE_YEARS = 1e-9


class TaxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period of the tax.

    `ebitda`, `depreciation`, `other_deductions` and `interest` are those of the period; the fields
    from `interest_deducted` to `tax_due` are of its assessment, zero but in the last period of it.
    `interest_carried` and `loss_balance` are balances at the end.
    """

    period: int
    ebitda: float
    depreciation: float
    other_deductions: float
    interest: float
    interest_deducted: float
    interest_carried: float
    income: float
    losses_used: float
    losses_expired: float
    loss_balance: float
    taxable_income: float
    tax_due: float
    tax_paid: float


def compute_tax(
    base: TaxBase, ebitda: Sequence[float], interest: Sequence[float]
) -> tuple[TaxRow, ...]:
    """Compute the tax on a project's income; both series have a value for each period."""
    ledger = TaxLedger(base)
    rows: list[TaxRow] = []
    for number, group in enumerate(base.assessments):
        assessment = ledger.assess(number, ebitda, interest)
        for t in group:
            is_last = t == group[-1]
            rows.append(_build_row(base, t, (ebitda[t], interest[t]), assessment, is_last=is_last))
    taxes = pay_tax(base, [row.tax_due for row in rows])
    return tuple(
        msgspec.structs.replace(row, tax_paid=tax) for row, tax in zip(rows, taxes, strict=True)
    )


def compute_tax_payments(
    base: TaxBase, ebitda: Sequence[float], interest: Sequence[float]
) -> list[float]:
    """Return the tax paid in each period, without the rows."""
    ledger, taxes_due = TaxLedger(base), [0.0] * base.periods
    for number, group in enumerate(base.assessments):
        taxes_due[group[-1]] = ledger.assess(number, ebitda, interest).tax_due
    return pay_tax(base, taxes_due)


def pay_tax(base: TaxBase, taxes_due: Sequence[float]) -> list[float]:
    """Return the payments of the taxes due, after the lag and at latest in the last period."""
    if not base.terms.lag_periods:
        return list(taxes_due)
    lag = min(base.terms.lag_periods, base.periods - 1)
    on_time, late = taxes_due[: base.periods - lag], taxes_due[base.periods - lag :]
    taxes = [0.0] * lag + list(on_time)
    taxes[-1] += sum(late)
    return taxes


class AssessmentFigures(msgspec.Struct, frozen=True, gc=False):
    """Figures of one assessment."""

    interest_deducted: float
    interest_carried: float
    income: float
    losses_used: float
    losses_expired: float
    loss_balance: float
    taxable_income: float
    tax_due: float


def _build_row(
    base: TaxBase,
    t: int,
    flows: tuple[float, float],
    assessment: AssessmentFigures,
    *,
    is_last: bool,
) -> TaxRow:
    share = 1.0 if is_last else 0.0
    return TaxRow(
        period=t + 1,
        ebitda=flows[0],
        depreciation=base.depreciation[t],
        other_deductions=base.other_deductions[t],
        interest=flows[1],
        interest_deducted=share * assessment.interest_deducted,
        interest_carried=share * assessment.interest_carried,
        income=share * assessment.income,
        losses_used=share * assessment.losses_used,
        losses_expired=share * assessment.losses_expired,
        loss_balance=share * assessment.loss_balance,
        taxable_income=share * assessment.taxable_income,
        tax_due=share * assessment.tax_due,
        tax_paid=0.0,
    )


class TaxLedger:
    """Losses and interest carried from assessment to assessment."""

    def __init__(self, base: TaxBase) -> None:
        self._base = base
        self._interest = 0.0
        self._loss_balance = base.terms.opening_losses
        self._losses: deque[tuple[float, float]] = deque()
        if base.terms.opening_losses:
            self._losses.append((0.0, base.terms.opening_losses))

    def assess(
        self, number: int, ebitda: Sequence[float], interest: Sequence[float]
    ) -> AssessmentFigures:
        """Assess the next group of periods."""
        base, group = self._base, self._base.assessments[number]
        first, end = group.start, group.stop
        group_ebitda = sum(ebitda[first:end])
        deductible = self._deduct_interest(number, group_ebitda, sum(interest[first:end]))
        income = group_ebitda - base.deductions[number] - deductible
        now = base.end_years[number]
        losses_expired = self._expire_losses(now) if self._losses else 0.0
        losses_used = 0.0
        if self._losses and income > 0.0:
            losses_used = self._use_losses(income * base.terms.loss_use_share)
        if income < 0.0:
            self._losses.append((now, -income))
            self._loss_balance -= income
        taxable = max(income - losses_used, 0.0)
        return AssessmentFigures(
            interest_deducted=deductible,
            interest_carried=self._interest,
            income=income,
            losses_used=losses_used,
            losses_expired=losses_expired,
            loss_balance=self._loss_balance,
            taxable_income=taxable,
            tax_due=base.rates[end - 1] * taxable,
        )

    def _deduct_interest(self, number: int, ebitda: float, interest: float) -> float:
        """Return the deductible interest of a group, and carry the rest where the terms do."""
        terms = self._base.terms
        if not terms.is_interest_deductible:
            return 0.0
        if terms.interest_limit_share is None:
            return interest
        allowance = terms.interest_allowance * self._base.lengths_years[number]
        limit = max(terms.interest_limit_share * max(ebitda, 0.0), allowance)
        total = interest + self._interest
        deductible = min(total, limit)
        self._interest = total - deductible if terms.carries_interest_forward else 0.0
        return deductible

    def _expire_losses(self, now: float) -> float:
        """Remove losses older than their expiry, and return their sum."""
        expiry = self._base.terms.loss_expiry_years
        losses_expired = 0.0
        while expiry is not None and self._losses:
            if now - self._losses[0][0] <= expiry + _NOISE_YEARS:
                break
            losses_expired += self._losses.popleft()[1]
        self._reduce_losses(losses_expired)
        return losses_expired

    def _use_losses(self, limit: float) -> float:
        """Use the oldest losses up to a limit, and return their sum."""
        left = limit
        while self._losses and left > 0.0:
            arisen, amount = self._losses.popleft()
            if amount > left:
                self._losses.appendleft((arisen, amount - left))
                left = 0.0
            else:
                left -= amount
        self._reduce_losses(limit - left)
        return limit - left

    def _reduce_losses(self, amount: float) -> None:
        """Lower the balance; without losses it is zero, free of rounding noise."""
        self._loss_balance = self._loss_balance - amount if self._losses else 0.0
