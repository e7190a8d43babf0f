"""An income tax and its circle with sculpted debt, written from their rules, not from the engine.

Numbers are fractions for a tax, and decimals of 50 digits where the circle is iterated. Time is in
whole months: a period has `months` of them.
"""

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

Number = Any
Convert = Callable[[Any], Number]


def yearly_deductions(asset: dict[str, Any], number: Convert) -> list[Number]:
    """Return the deduction of each year of use."""
    cost = number(asset["cost"])
    if asset["method"] == "table":
        return [number(share) * cost for share in asset["shares_by_year"]]
    residual, life = number(asset["residual_value"]), number(asset["life_years"])
    book, age, deductions = cost, number(0), []
    while age < life:
        rest = life - age
        part = rest if rest < 1 else number(1)
        level = (book - residual) / rest
        if asset["method"] == "declining_balance":
            falling = number(asset["declining_rate"]) * book
            level = max(falling, level) if asset["switches_to_straight_line"] else falling
        deduction = min(level * part, book - residual)
        deductions.append(deduction)
        book -= deduction
        age += 1
    return deductions


def depreciation(tax: dict[str, Any], months: int, periods: int, number: Convert) -> list[Number]:
    """Return the deduction of each period, month by month."""
    total = [number(0)] * periods
    for asset in tax["assets"]:
        deductions = yearly_deductions(asset, number)
        first = (asset["first_period"] - 1) * months
        life_months = int(12 * asset.get("life_years", len(deductions)))
        for month in range(first, min(first + life_months, months * periods)):
            year = (month - first) // 12
            # The last year of a broken life has the months that are left of it.
            year_months = min(life_months - 12 * year, 12)
            total[month // months] += deductions[year] / year_months
    return total


class ExactTax:
    """A tax with its losses and carried interest; one per run."""

    def __init__(self, tax: dict[str, Any], months: int, periods: int, number: Convert) -> None:
        self.tax, self.months, self.periods, self.number = tax, months, periods, number
        self.depreciation = depreciation(tax, months, periods, number)
        size = 12 // months if tax["assessment"] == "year" else 1
        self.groups = [
            list(range(start, min(start + size, periods))) for start in range(0, periods, size)
        ]

    def pay(self, ebitda: list[Number], interest: list[Number]) -> list[Number]:
        """Return the tax paid in each period."""
        number, tax = self.number, self.tax
        losses: list[list[Number]] = [[0, number(tax["opening_losses"])]]
        carried, paid = number(0), [number(0)] * self.periods
        for group in self.groups:
            end = (group[-1] + 1) * self.months
            earned = sum((ebitda[t] for t in group), number(0))
            deductible = sum((interest[t] for t in group), number(0))
            if tax["interest_limit_share"] is not None:
                share = number(tax["interest_limit_share"])
                allowance = number(tax["interest_allowance"]) * len(group) * self.months / 12
                wanted = deductible + carried
                deductible = min(wanted, max(share * max(earned, number(0)), allowance))
                carried = wanted - deductible if tax["carries_interest_forward"] else number(0)
            income = earned - deductible
            for t in group:
                income -= self.depreciation[t] + number(tax["other_deductions"])
            if tax["loss_expiry_years"] is not None:
                oldest = end - 12 * tax["loss_expiry_years"]
                losses = [loss for loss in losses if loss[0] >= oldest]
            taxable = max(income, number(0))
            usable = number(tax["loss_use_share"]) * taxable
            for loss in losses:
                part = min(usable, loss[1])
                loss[1] -= part
                usable -= part
                taxable -= part
            if income < 0:
                losses.append([end, -income])
            due = min(group[-1] + tax["lag_periods"], self.periods - 1)
            paid[due] += number(tax["rate"]) * taxable
        return paid


def iterate_circle(case: dict[str, Any]) -> tuple[float, list[float]]:
    """Return the sculpted debt after tax and the tax paid, by fifty-digit iteration."""
    with localcontext() as context:
        context.prec = 50
        cash = [Decimal(value) for value in case["cfads"]]
        tenor, rate = case["tenor_periods"], Decimal(case["annual_rates"])
        growth = 1 + rate * case["months"] / 12
        tax = ExactTax(case["tax"], case["months"], len(cash), Decimal)
        interest = [Decimal(0)] * len(cash)
        while True:
            taxes = tax.pay(cash, interest)
            balance, opening = Decimal(0), list[Decimal]()
            for t in reversed(range(tenor)):
                payment = max(cash[t] - taxes[t], Decimal(0)) / Decimal(case["target_dscr"])
                balance = (balance + payment) / growth
                opening.insert(0, balance)
            after = [each * (growth - 1) for each in opening]
            after += [Decimal(0)] * (len(cash) - tenor)
            if max(abs(a - b) for a, b in zip(after, interest, strict=True)) < Decimal("1e-40"):
                return float(balance), [float(each) for each in taxes]
            interest = after


def solve_without_carry(case: dict[str, Any]) -> Fraction:
    """Return the debt of a tax without any carry, period by period from the last in closed form.

    B (1 + r) = B' + (C - T) / k with T = rate max(C - depreciation - r B, 0): the tax is on the
    side on which it is consistent with its own sign.
    """
    rate = Fraction(case["annual_rates"]) * case["months"] / 12
    target, tax_rate = Fraction(case["target_dscr"]), Fraction(case["tax"]["rate"])
    periods = len(case["cfads"])
    deductions = depreciation(case["tax"], case["months"], periods, Fraction)
    balance = Fraction(0)
    for t in reversed(range(case["tenor_periods"])):
        cash = Fraction(case["cfads"][t])
        untaxed = (balance + cash / target) / (1 + rate)
        taxed_cash = cash - tax_rate * (cash - deductions[t])
        taxed = (balance + taxed_cash / target) / (1 + rate - tax_rate * rate / target)
        balance = taxed if cash - deductions[t] - rate * taxed > 0 else untaxed
    return balance
