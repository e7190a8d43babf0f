"""Lines of a cash flow: sales, availability payments, operating costs and capital costs."""

from datetime import date
from typing import Final

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_RATIO,
    FieldChecker,
    check_per_period,
)
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

PerPeriod = float | tuple[float, ...]

_AMOUNTS: Final = (-MAX_AMOUNT, MAX_AMOUNT)
_POSITIVE: Final = (0.0, MAX_AMOUNT)
_SHARES: Final = (0.0, 1.0)


class RevenueLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sales: volume x availability x degradation x indexed price.

    The volume is one per period (`volume`) or a year (`volume_pa`); a single figure serves every
    period. `degradation_pa` reduces it by a share with each whole year after the first period of
    the line. The contract price holds until `contract_periods`, counted from the first period of
    the case, or `contract_end`, then the `merchant_price`; without one the line ends there.
    """

    name: str
    price: PerPeriod
    volume: PerPeriod | None = None
    volume_pa: PerPeriod | None = None
    availability: PerPeriod = 1.0
    degradation_pa: float = 0.0
    first_period: int = 1
    index: str | None = None
    indexed_share: float | None = None
    contract_periods: int | None = None
    contract_end: date | None = None
    merchant_price: PerPeriod | None = None
    merchant_index: str | None = None
    merchant_indexed_share: float | None = None


class AvailabilityPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Payment of an authority for a service that is available, less deductions.

    Deductions are a `deduction_share` of the payment, a `deduction_amount`, or both; together they
    take at most `deduction_cap` of the payment of a period.
    """

    name: str
    amount: PerPeriod | None = None
    amount_pa: PerPeriod | None = None
    first_period: int = 1
    index: str | None = None
    indexed_share: float | None = None
    deduction_share: PerPeriod = 0.0
    deduction_amount: PerPeriod = 0.0
    deduction_cap: float = 1.0


class OperatingCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cost of operation: fixed, by volume or by revenue.

    It is an `amount` per period, an `amount_pa` a year, a `unit_cost` per volume of the revenue
    line `volume_of`, or a `revenue_share` of all revenue, from `first_period` to `last_period`.
    """

    name: str
    amount: PerPeriod | None = None
    amount_pa: PerPeriod | None = None
    unit_cost: PerPeriod | None = None
    volume_of: str | None = None
    revenue_share: PerPeriod | None = None
    first_period: int = 1
    last_period: int | None = None
    index: str | None = None
    indexed_share: float | None = None


class CapitalCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Capital or maintenance expenditure: an amount for each period."""

    name: str
    amounts: tuple[float, ...]
    index: str | None = None
    indexed_share: float | None = None


class LineChecker:
    """Checker of lines against the periods and the names of the indices."""

    def __init__(
        self, checker: FieldChecker, schedule: PeriodSchedule, index_names: frozenset[str]
    ) -> None:
        self._checker = checker
        self._schedule = schedule
        self._index_names = index_names

    def check_revenue(self, pointer: str, line: RevenueLine) -> None:
        """Reject a revenue line outside its limits, or with terms that serve none."""
        self._check_one_of(pointer, {"volume": line.volume, "volume_pa": line.volume_pa})
        self._check_series(f"{pointer}/volume", line.volume, _POSITIVE)
        self._check_series(f"{pointer}/volume_pa", line.volume_pa, _POSITIVE)
        self._check_series(f"{pointer}/price", line.price, _AMOUNTS)
        self._check_series(f"{pointer}/availability", line.availability, _SHARES)
        self._checker.require_number(f"{pointer}/degradation_pa", line.degradation_pa, 0.0, 1.0)
        self._check_period(f"{pointer}/first_period", line.first_period)
        self._check_index(pointer, line.index, line.indexed_share)
        self._check_contract(pointer, line)

    def _check_contract(self, pointer: str, line: RevenueLine) -> None:
        self.check_end(pointer, "contract", line.contract_periods, line.contract_end)
        if line.merchant_price is not None:
            self._check_series(f"{pointer}/merchant_price", line.merchant_price, _AMOUNTS)
            self._check_index(
                pointer, line.merchant_index, line.merchant_indexed_share, prefix="merchant_"
            )
            if line.contract_periods is None and line.contract_end is None:
                detail = "follows the contract; give contract_periods or contract_end"
                self._checker.reject(f"{pointer}/merchant_price", "not_applicable", detail)
            return
        for name in ("merchant_index", "merchant_indexed_share"):
            if getattr(line, name) is not None:
                detail = "serves a merchant price; give merchant_price too"
                self._checker.reject(f"{pointer}/{name}", "not_applicable", detail)

    def check_availability(self, pointer: str, line: AvailabilityPayment) -> None:
        """Reject an availability payment outside its limits."""
        self._check_one_of(pointer, {"amount": line.amount, "amount_pa": line.amount_pa})
        self._check_series(f"{pointer}/amount", line.amount, _POSITIVE)
        self._check_series(f"{pointer}/amount_pa", line.amount_pa, _POSITIVE)
        self._check_period(f"{pointer}/first_period", line.first_period)
        self._check_index(pointer, line.index, line.indexed_share)
        self._check_series(f"{pointer}/deduction_share", line.deduction_share, _SHARES)
        self._check_series(f"{pointer}/deduction_amount", line.deduction_amount, _POSITIVE)
        self._checker.require_number(f"{pointer}/deduction_cap", line.deduction_cap, 0.0, 1.0)
        has_deductions = line.deduction_share != 0.0 or line.deduction_amount != 0.0
        if line.deduction_cap != 1.0 and not has_deductions:
            detail = "limits deductions, and there are none"
            self._checker.reject(f"{pointer}/deduction_cap", "not_applicable", detail)

    def check_operating_cost(
        self, pointer: str, line: OperatingCost, revenue_names: frozenset[str]
    ) -> None:
        """Reject an operating cost outside its limits, or without its revenue line."""
        kinds = ("amount", "amount_pa", "unit_cost", "revenue_share")
        self._check_one_of(pointer, {name: getattr(line, name) for name in kinds})
        for name in kinds:
            limits = (0.0, MAX_RATIO) if name == "revenue_share" else _AMOUNTS
            self._check_series(f"{pointer}/{name}", getattr(line, name), limits)
        self._check_volume_of(pointer, line, revenue_names)
        self._check_period(f"{pointer}/first_period", line.first_period)
        if line.last_period is not None:
            self._check_period(f"{pointer}/last_period", line.last_period, line.first_period)
        self._check_index(pointer, line.index, line.indexed_share)
        if line.index is not None and line.revenue_share is not None:
            detail = "indexes amounts; a share of revenue follows the revenue"
            self._checker.reject(f"{pointer}/index", "not_applicable", detail)

    def _check_volume_of(
        self, pointer: str, line: OperatingCost, revenue_names: frozenset[str]
    ) -> None:
        if line.volume_of is None:
            if line.unit_cost is not None:
                detail = "names the revenue line whose volume the cost is per"
                self._checker.reject(f"{pointer}/volume_of", "required", detail)
        elif line.unit_cost is None:
            detail = "serves a unit_cost; give it, or remove this"
            self._checker.reject(f"{pointer}/volume_of", "not_applicable", detail)
        elif line.volume_of not in revenue_names:
            detail = "is no name of a revenue line"
            self._checker.reject(f"{pointer}/volume_of", "unknown_name", detail)

    def check_capital_cost(self, pointer: str, line: CapitalCost) -> None:
        """Reject a capital cost outside its limits."""
        self._check_series(f"{pointer}/amounts", line.amounts, _AMOUNTS)
        self._check_index(pointer, line.index, line.indexed_share)

    def check_end(self, pointer: str, noun: str, periods: int | None, end: date | None) -> None:
        """Reject two statements of an end, or one outside the periods."""
        if periods is not None:
            self._check_period(f"{pointer}/{noun}_periods", periods)
            if end is not None:
                detail = f"{noun}_periods is set too; give one of them"
                self._checker.reject(f"{pointer}/{noun}_end", "ambiguous", detail)
        if end is None:
            return
        days, payment_days = self._schedule.unadjusted_dates, self._schedule.dates
        if days is None or payment_days is None:
            detail = f"needs periods with dates; give {noun}_periods instead"
            self._checker.reject(f"{pointer}/{noun}_end", "not_applicable", detail)
            return
        first, last = days[0], max(days[-1], payment_days[-1])
        if not first < end <= last:
            detail = f"must be after {first} and at most {last}"
            self._checker.reject(f"{pointer}/{noun}_end", "out_of_range", detail)

    def _check_one_of(self, pointer: str, values: dict[str, object]) -> None:
        names = [name for name, value in values.items() if value is not None]
        if not names:
            detail = f"give one of {', '.join(values)}"
            self._checker.reject(f"{pointer}/{next(iter(values))}", "required", detail)
        for name in names[1:]:
            detail = f"{names[0]} is set too; give one of them"
            self._checker.reject(f"{pointer}/{name}", "ambiguous", detail)

    def _check_series(
        self, pointer: str, value: PerPeriod | None, limits: tuple[float, float]
    ) -> None:
        if value is not None:
            check_per_period(self._checker, pointer, value, self._schedule.periods, limits)

    def _check_period(self, pointer: str, number: int, low: int = 1) -> None:
        self._checker.require_number(pointer, number, low, self._schedule.periods)

    def _check_index(
        self, pointer: str, name: str | None, share: float | None, prefix: str = ""
    ) -> None:
        if name is not None and name not in self._index_names:
            detail = "is no name of an index; name one of indices"
            self._checker.reject(f"{pointer}/{prefix}index", "unknown_name", detail)
        if share is None:
            return
        self._checker.require_number(f"{pointer}/{prefix}indexed_share", share, 0.0, 1.0)
        if name is None:
            detail = "is the part of a price that an index moves; name the index"
            self._checker.reject(f"{pointer}/{prefix}indexed_share", "not_applicable", detail)
