"""Terms of a corporate income tax, their checks, and what of them needs no interest."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    FieldChecker,
    check_per_period,
    expand_per_period,
)
from spawn.domain.finance.tax.depreciation import (
    MAX_ASSETS,
    DepreciableAsset,
    check_asset,
    compute_depreciation,
    is_used_up_before,
)
from spawn.domain.finance.time_base.period_bounds import PeriodBounds, floor_years

Assessment = Literal["period", "year"]

_MAX_EXPIRY_YEARS: Final = 200.0
_MAX_LAG_PERIODS: Final = 120
_DAY: Final = timedelta(days=1)


class TaxTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An income tax on EBITDA less depreciation, interest and losses carried forward.

    `rate` is one, or one per period. Losses are used first in, first out, up to `loss_use_share` of
    the income of an assessment, and expire `loss_expiry_years` after the assessment in which they
    arose. Interest is deductible; with `interest_limit_share` up to that share of EBITDA or the
    `interest_allowance` a year, the larger of both, and the rest is carried forward. The tax is
    assessed by `period` or by tax `year` and paid `lag_periods` later; what would fall due beyond
    the last period is paid in it.
    """

    rate: float | tuple[float, ...]
    assets: tuple[DepreciableAsset, ...] = ()
    other_deductions: float | tuple[float, ...] = 0.0
    opening_losses: float = 0.0
    loss_use_share: float = 1.0
    loss_expiry_years: float | None = None
    is_interest_deductible: bool = True
    interest_limit_share: float | None = None
    interest_allowance: float = 0.0
    carries_interest_forward: bool = True
    assessment: Assessment = "period"
    lag_periods: int = 0


class TaxBase(NamedTuple):
    """The part of a tax that debt does not change, by period.

    `assessments` are the indices of the periods of each assessment, in order; the tax falls due at
    the last of them. `deductions` are depreciation and others of each assessment, `end_years` its
    time. `idle_assets` are the places of assets whose life ends before the first period.
    """

    terms: TaxTerms
    rates: tuple[float, ...]
    depreciation: tuple[float, ...]
    other_deductions: tuple[float, ...]
    assessments: tuple[range, ...]
    deductions: tuple[float, ...]
    end_years: tuple[float, ...]
    lengths_years: tuple[float, ...]
    idle_assets: tuple[int, ...]

    @property
    def periods(self) -> int:
        """The number of periods."""
        return len(self.rates)


def check_tax_terms(
    checker: FieldChecker, pointer: str, terms: TaxTerms, bounds: PeriodBounds
) -> None:
    """Reject terms outside their limits, and those that serve none of the others."""
    periods = len(bounds.years) - 1
    check_per_period(checker, f"{pointer}/rate", terms.rate, periods, (0.0, 1.0))
    check_per_period(
        checker, f"{pointer}/other_deductions", terms.other_deductions, periods, (0.0, MAX_AMOUNT)
    )
    if checker.require_size(f"{pointer}/assets", len(terms.assets), MAX_ASSETS, 0):
        for number, asset in enumerate(terms.assets):
            check_asset(checker, f"{pointer}/assets/{number}", asset, bounds)
    checker.require_amount(f"{pointer}/opening_losses", terms.opening_losses, low=0.0)
    checker.require_number(f"{pointer}/loss_use_share", terms.loss_use_share, 0.0, 1.0)
    if terms.loss_expiry_years is not None:
        years = terms.loss_expiry_years
        checker.require_number(f"{pointer}/loss_expiry_years", years, 0.0, _MAX_EXPIRY_YEARS)
    checker.require_number(f"{pointer}/lag_periods", terms.lag_periods, 0, _MAX_LAG_PERIODS)
    _check_interest(checker, pointer, terms)


def _check_interest(checker: FieldChecker, pointer: str, terms: TaxTerms) -> None:
    checker.require_amount(f"{pointer}/interest_allowance", terms.interest_allowance, low=0.0)
    if terms.interest_limit_share is not None:
        share = terms.interest_limit_share
        checker.require_number(f"{pointer}/interest_limit_share", share, 0.0, 1.0)
        if not terms.is_interest_deductible:
            detail = "limits deductible interest, and is_interest_deductible is false"
            checker.reject(f"{pointer}/interest_limit_share", "not_applicable", detail)
        return
    detail = "serves a limit of interest; give interest_limit_share too"
    if terms.interest_allowance:
        checker.reject(f"{pointer}/interest_allowance", "not_applicable", detail)
    if not terms.carries_interest_forward:
        checker.reject(f"{pointer}/carries_interest_forward", "not_applicable", detail)


def resolve_tax_base(terms: TaxTerms, bounds: PeriodBounds) -> TaxBase:
    """Compute depreciation and assessments of terms that `check_tax_terms` has accepted."""
    periods = len(bounds.years) - 1
    assessments = _group_by_year(bounds) if terms.assessment == "year" else None
    groups = assessments or [range(t, t + 1) for t in range(periods)]
    depreciation = compute_depreciation(terms.assets, bounds)
    other_deductions = expand_per_period(terms.other_deductions, periods)
    return TaxBase(
        terms=terms,
        rates=expand_per_period(terms.rate, periods),
        depreciation=depreciation,
        other_deductions=other_deductions,
        assessments=tuple(groups),
        deductions=tuple(
            sum(depreciation[group.start : group.stop])
            + sum(other_deductions[group.start : group.stop])
            for group in groups
        ),
        end_years=tuple(bounds.years[group[-1] + 1] for group in groups),
        lengths_years=tuple(
            bounds.years[group[-1] + 1] - bounds.years[group[0]] for group in groups
        ),
        idle_assets=tuple(
            number for number, asset in enumerate(terms.assets) if is_used_up_before(asset, bounds)
        ),
    )


def warn_of_idle_assets(base: TaxBase) -> Iterator[str]:
    """Warn of assets that are used up before the first period."""
    for number in base.idle_assets:
        text = f"the life of {base.terms.assets[number].name} ends before the first period"
        yield f"/tax/assets/{number}/start_date: {text}, so that nothing of it is deducted"


def _group_by_year(bounds: PeriodBounds) -> list[range]:
    """Group periods by the calendar year of their last day, or by the year from the start."""
    if bounds.days is not None:
        years: Sequence[int] = [(day - _DAY).year for day in bounds.days[1:]]
    else:
        years = [floor_years(start) for start in bounds.years[:-1]]
    groups: list[range] = []
    for t, year in enumerate(years):
        if t and years[t - 1] == year:
            groups[-1] = range(groups[-1].start, t + 1)
        else:
            groups.append(range(t, t + 1))
    return groups
