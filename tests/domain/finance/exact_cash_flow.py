"""A cash flow build-up in exact fractions, written from its rules and not from the engine.

It takes the case as the plain data of a request, for periods of equal months without dates whose
indices step by the year, so that every power has a whole exponent.
"""

from fractions import Fraction
from typing import Any

Row = dict[str, Fraction]


class ExactCashFlow:
    """The lines of a case, period by period."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.months = case["months_per_period"]
        self.count = case["period_count"]
        self.indices = {index["name"]: index for index in case["indices"]}
        self.end = case.get("concession_periods") or self.count

    def at(self, value: Any, t: int) -> Fraction:
        return Fraction(value[t] if isinstance(value, tuple) else value)

    def amount(self, line: dict[str, Any], t: int, name: str) -> Fraction:
        """Return an amount of period `t`, stated per period or a year."""
        if name in line:
            return self.at(line[name], t)
        return self.at(line[f"{name}_pa"], t) * Fraction(self.months, 12)

    def factor(self, t: int, name: str | None, share: float | None) -> Fraction:
        if name is None:
            return Fraction(1)
        index = self.indices[name]
        if "level_per_period" in index:
            level = Fraction(index["level_per_period"][t]) / Fraction(index["base_level"])
        else:
            base = index["base_years"] * 12
            if index["measured_at"] == "end":
                years = -((-base - (t + 1) * self.months) // 12)
            else:
                years = (base + t * self.months) // 12
            level = (1 + Fraction(index["annual_rate"])) ** years
        part = Fraction(1) if share is None else Fraction(share)
        return 1 + part * (level - 1)

    def is_active(self, line: dict[str, Any], t: int) -> bool:
        first: int = line.get("first_period", 1)
        last: int = min(line.get("last_period") or self.count, self.end)
        return first <= t + 1 <= last

    def volume(self, line: dict[str, Any], t: int) -> Fraction:
        if not self.is_active(line, t):
            return Fraction(0)
        age = (t - (line["first_period"] - 1)) * self.months // 12
        volume = self.amount(line, t, "volume") * self.at(line["availability"], t)
        remaining = 1 - Fraction(line["degradation_pa"])
        return volume * Fraction(remaining**age)

    def sell(self, line: dict[str, Any], t: int) -> tuple[Fraction, Fraction, Fraction]:
        """Return the volume sold, the contract revenue and the merchant revenue."""
        volume, zero = self.volume(line, t), Fraction(0)
        if t < (line.get("contract_periods") or self.count):
            price = self.at(line["price"], t)
            price *= self.factor(t, line.get("index"), line.get("indexed_share"))
            return volume, volume * price, zero
        if "merchant_price" not in line:
            return zero, zero, zero
        price = self.at(line["merchant_price"], t)
        price *= self.factor(t, line.get("merchant_index"), line.get("merchant_indexed_share"))
        return volume, zero, volume * price

    def pay(self, line: dict[str, Any], t: int) -> tuple[Fraction, Fraction]:
        """Return an availability payment and its deductions."""
        if not self.is_active(line, t):
            return Fraction(0), Fraction(0)
        gross = self.amount(line, t, "amount")
        gross *= self.factor(t, line.get("index"), line.get("indexed_share"))
        deduction = self.at(line["deduction_share"], t) * gross
        deduction += self.at(line["deduction_amount"], t)
        return gross, min(deduction, Fraction(line["deduction_cap"]) * gross)

    def spend(self, line: dict[str, Any], t: int, revenue: Fraction) -> Fraction:
        if not self.is_active(line, t):
            return Fraction(0)
        if "revenue_share" in line:
            return self.at(line["revenue_share"], t) * revenue
        factor = self.factor(t, line.get("index"), line.get("indexed_share"))
        if "unit_cost" in line:
            (sold,) = (each for each in self.case["revenues"] if each["name"] == line["volume_of"])
            return self.at(line["unit_cost"], t) * factor * self.sell(sold, t)[0]
        return self.amount(line, t, "amount") * factor

    def last_days(self, flows: list[Fraction], t: int, days: float) -> Fraction:
        """Return the flows of the last days up to the end of period `t`."""
        if t + 1 >= self.end:
            return Fraction(0)
        length = Fraction(365 * self.months, 12)
        left, total = Fraction(days), Fraction(0)
        while left > 0 and t >= 0:
            part = min(left, length)
            total += flows[t] * part / length
            left -= part
            t -= 1
        return total

    def run(self) -> list[Row]:
        case, zero = self.case, Fraction(0)
        rows: list[Row] = []
        for t in range(self.count):
            sales = [self.sell(line, t) for line in case["revenues"]]
            payments = [self.pay(line, t) for line in case["availability_payments"]]
            row: Row = {
                "contract_revenue": sum((sale[1] for sale in sales), zero),
                "merchant_revenue": sum((sale[2] for sale in sales), zero),
                "availability_payments": sum((gross for gross, _ in payments), zero),
                "deductions": sum((deduction for _, deduction in payments), zero),
            }
            row["revenue"] = row["contract_revenue"] + row["merchant_revenue"]
            row["revenue"] += row["availability_payments"] - row["deductions"]
            costs = (self.spend(line, t, row["revenue"]) for line in case["operating_costs"])
            row["operating_costs"] = sum(costs, zero)
            row["ebitda"] = row["revenue"] - row["operating_costs"]
            row["capital_costs"] = sum(
                (
                    self.at(line["amounts"], t)
                    * self.factor(t, line.get("index"), line.get("indexed_share"))
                    for line in case["capital_costs"]
                ),
                zero,
            )
            rows.append(row)
        self.add_working_capital(rows)
        return rows

    def add_working_capital(self, rows: list[Row]) -> None:
        capital, before = self.case["working_capital"], Fraction(0)
        revenue = [row["revenue"] for row in rows]
        costs = [row["operating_costs"] for row in rows]
        for t, row in enumerate(rows):
            row["receivables"] = self.last_days(revenue, t, capital["receivable_days"])
            row["payables"] = self.last_days(costs, t, capital["payable_days"])
            balance = row["receivables"] - row["payables"]
            row["working_capital_increase"] = balance - before
            row["cfads_before_tax"] = row["ebitda"] - (balance - before) - row["capital_costs"]
            row["cfads"] = row["cfads_before_tax"] - Fraction(self.case["tax_paid"][t])
            before = balance
