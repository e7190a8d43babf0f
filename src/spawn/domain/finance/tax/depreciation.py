"""Depreciation for tax: the deductions of an asset by year of use, spread over the periods.

Straight line: (cost - residual) / life a year. Declining balance: rate x book value a year, or the
straight line over the rest of the life where that is more. A table has shares of the cost by year
of use. A period has the part of each year of use that lies in it, so that two half-years deduct
what a year does.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import accumulate, pairwise
from typing import Final, Literal

import msgspec

from spawn.domain.finance.limits import MIN_POSITIVE, ROUNDING_NOISE, FieldChecker
from spawn.domain.finance.time_base.period_bounds import PeriodBounds

DepreciationMethod = Literal["straight_line", "declining_balance", "table"]

MAX_LIFE_YEARS = 200
"""Years of use of an asset, at most."""

MAX_ASSETS = 50
"""Depreciable assets of a case, at most."""

_NOISE_YEARS: Final = 1e-9

_METHOD_FIELDS: Final = {
    "straight_line": frozenset({"life_years", "residual_value"}),
    "declining_balance": frozenset(
        {"life_years", "residual_value", "declining_rate", "switches_to_straight_line"}
    ),
    "table": frozenset({"shares_by_year"}),
}


class DepreciableAsset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An asset whose cost is deducted over years of use.

    `declining_rate` is the share of the book value that a year deducts; the deduction becomes a
    straight line once that is more, unless `switches_to_straight_line` is false. `shares_by_year`
    are shares of the cost. Use begins with the first period, with `first_period`, or on
    `start_date`, which may lie before the periods.
    """

    name: str
    cost: float
    method: DepreciationMethod = "straight_line"
    life_years: float | None = None
    residual_value: float = 0.0
    declining_rate: float | None = None
    switches_to_straight_line: bool = True
    shares_by_year: tuple[float, ...] | None = None
    first_period: int | None = None
    start_date: date | None = None


def check_asset(
    checker: FieldChecker, pointer: str, asset: DepreciableAsset, bounds: PeriodBounds
) -> None:
    """Reject an asset outside its limits, or with terms of another method."""
    checker.require_amount(f"{pointer}/cost", asset.cost, low=0.0)
    _check_method_fields(checker, pointer, asset)
    if asset.method == "table":
        _check_table(checker, pointer, asset.shares_by_year)
    else:
        _check_life(checker, pointer, asset)
    if asset.first_period is not None:
        periods = len(bounds.years) - 1
        checker.require_number(f"{pointer}/first_period", asset.first_period, 1, periods)
    if asset.start_date is None:
        return
    checker.require_day(f"{pointer}/start_date", asset.start_date)
    if asset.first_period is not None:
        detail = "first_period is set too; give one of them"
        checker.reject(f"{pointer}/start_date", "ambiguous", detail)
    elif bounds.days is None:
        detail = "needs periods with dates; give first_period instead"
        checker.reject(f"{pointer}/start_date", "not_applicable", detail)
    elif asset.start_date >= bounds.days[-1]:
        detail = f"must be before the end of the periods, {bounds.days[-1]}"
        checker.reject(f"{pointer}/start_date", "out_of_range", detail)


def _check_method_fields(checker: FieldChecker, pointer: str, asset: DepreciableAsset) -> None:
    values = {
        "life_years": asset.life_years is not None,
        "residual_value": asset.residual_value != 0.0,
        "declining_rate": asset.declining_rate is not None,
        "switches_to_straight_line": not asset.switches_to_straight_line,
        "shares_by_year": asset.shares_by_year is not None,
    }
    for name, is_set in values.items():
        if is_set and name not in _METHOD_FIELDS[asset.method]:
            detail = f"has no use under the method {asset.method}"
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)


def _check_life(checker: FieldChecker, pointer: str, asset: DepreciableAsset) -> None:
    if asset.life_years is None:
        checker.reject(f"{pointer}/life_years", "required", "is the years of use")
    else:
        checker.require_positive(f"{pointer}/life_years", asset.life_years, MAX_LIFE_YEARS)
    if not 0.0 <= asset.residual_value <= max(asset.cost, 0.0):
        detail = "must be from 0 to the cost"
        checker.reject(f"{pointer}/residual_value", "out_of_range", detail)
    if asset.method != "declining_balance":
        return
    if asset.declining_rate is None:
        detail = "is the share of the book value that a year deducts"
        checker.reject(f"{pointer}/declining_rate", "required", detail)
    elif not MIN_POSITIVE <= asset.declining_rate <= 1.0:
        detail = "must be above 0 and at most 1"
        checker.reject(f"{pointer}/declining_rate", "out_of_range", detail)


def _check_table(checker: FieldChecker, pointer: str, shares: tuple[float, ...] | None) -> None:
    if shares is None:
        detail = "are the shares of the cost by year of use"
        checker.reject(f"{pointer}/shares_by_year", "required", detail)
    elif checker.require_size(f"{pointer}/shares_by_year", len(shares), MAX_LIFE_YEARS):
        checker.require_each(f"{pointer}/shares_by_year", shares, 0.0, 1.0)
        if sum(shares) > 1.0 + 1e3 * ROUNDING_NOISE:
            detail = f"sum to {sum(shares):.9g}; they deduct at most the cost, 1"
            checker.reject(f"{pointer}/shares_by_year", "out_of_range", detail)


def compute_depreciation(
    assets: Iterable[DepreciableAsset], bounds: PeriodBounds
) -> tuple[float, ...]:
    """Return the deduction of each period, summed over the assets."""
    total = [0.0] * (len(bounds.years) - 1)
    for asset in assets:
        deductions = list_yearly_deductions(asset)
        start = _find_start(asset, bounds)
        ages = [year - start for year in bounds.years]
        life = asset.life_years or len(deductions)
        for t, part in enumerate(_spread(deductions, ages, life)):
            total[t] += part
    return tuple(total)


def is_used_up_before(asset: DepreciableAsset, bounds: PeriodBounds) -> bool:
    """Whether the life of an asset with a cost ends before the first period."""
    life = asset.life_years or len(asset.shares_by_year or ())
    end = _find_start(asset, bounds) + life
    return asset.cost > asset.residual_value and end <= bounds.years[0] + _NOISE_YEARS


def list_yearly_deductions(asset: DepreciableAsset) -> list[float]:
    """Return the deduction of each year of use; the last one of a broken life is a part."""
    if asset.shares_by_year is not None:
        return [share * asset.cost for share in asset.shares_by_year]
    life, book = asset.life_years or 1.0, asset.cost
    deductions: list[float] = []
    while (rest := life - len(deductions)) > ROUNDING_NOISE:
        part = min(rest, 1.0)
        amount = _yearly_amount(asset, book, rest) * part
        amount = min(amount, book - asset.residual_value)
        deductions.append(amount)
        book -= amount
    return deductions


def _yearly_amount(asset: DepreciableAsset, book: float, rest_years: float) -> float:
    """Return the deduction of a full year, with so many years of use left."""
    straight_line = (book - asset.residual_value) / rest_years
    if asset.declining_rate is None:
        return straight_line
    declining = asset.declining_rate * book
    return max(declining, straight_line) if asset.switches_to_straight_line else declining


def _find_start(asset: DepreciableAsset, bounds: PeriodBounds) -> float:
    if asset.start_date is not None:
        return bounds.locate(asset.start_date)
    return bounds.years[(asset.first_period or 1) - 1]


def _spread(deductions: Sequence[float], ages: Sequence[float], life_years: float) -> list[float]:
    """Return the deduction between each two ages, in years of use."""
    totals = list(accumulate(deductions, initial=0.0))
    values = [_read_total(totals, age, life_years) for age in ages]
    return [after - before for before, after in pairwise(values)]


def _read_total(totals: Sequence[float], age: float, life_years: float) -> float:
    """Return what is deducted until an age, a straight line within a year or the rest of a life."""
    if age <= 0.0:
        return 0.0
    year = int(age)
    if age >= life_years or year >= len(totals) - 1:
        return totals[-1]
    share = (age - year) / min(life_years - year, 1.0)
    return totals[year] + share * (totals[year + 1] - totals[year])
