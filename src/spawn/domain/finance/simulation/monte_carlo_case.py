"""Input and result of a Monte Carlo simulation; `monte_carlo` has the arithmetic.

Timeline: period 0 is the date of valuation, CFADS and debt service run over periods 1..n. Each
project's equity flow is -equity_t - overrun x capex_t + CFADS_t - debt service_t; a shortfall of
CFADS is paid in by the sponsors. A shock X of a project is a standard normal number

    X = g G + s S[sector] + c C[country] + sqrt(1 - g^2 - s^2 - c^2) E[project]

with loadings g, s, c and independent factors G, S, C, E, one set of factors for each kind of
shock. A project without a sector or country, or with a blank one, shares that factor with nobody;
"wind" and "Wind " are one sector. The declared distribution turns the number into the value of the
shock by its quantile function.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    MIN_POSITIVE,
    FieldChecker,
)

MAX_PROJECTS = 10_000
"""Projects per simulation."""

MAX_SCENARIOS = 100_000
"""Scenarios per simulation."""

MAX_PATHS = 50_000_000
"""Projects times scenarios per simulation."""

MAX_DETAILED_PATHS = 10_000_000
"""Projects times scenarios with distributions per project, which take three numbers a path."""

DETAILED_PROJECTS = 1_000
"""Largest number of projects with distributions per project by default."""

MAX_COVENANT_LEVELS = 10
MAX_PERCENTILES = 20
_MAX_SEED = 2**53 - 1
_MAX_SIGMA = 3.0
_MAX_DELAY = 1e6
_MAX_LOG_DISCOUNT = 600.0

DistributionKind = Literal["normal", "lognormal", "uniform", "triangular"]


class Loadings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Loadings of a shock on common factors; squares sum to at most 1, own takes the rest."""

    global_: float = msgspec.field(default=0.0, name="global")
    sector: float = 0.0
    country: float = 0.0

    @property
    def own(self) -> float:
        """The loading of the project's own factor."""
        return math.sqrt(max(1.0 - self.global_**2 - self.sector**2 - self.country**2, 0.0))


class Shock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distribution with its factor loadings.

    `normal` takes `mean` and `standard_deviation`; `lognormal` takes `median` and `sigma`, the
    standard deviation of the logarithm; `uniform` takes `low` and `high`; `triangular` takes
    `low`, `mode` and `high`.
    """

    distribution: DistributionKind
    mean: float | None = None
    standard_deviation: float | None = None
    median: float | None = None
    sigma: float | None = None
    low: float | None = None
    mode: float | None = None
    high: float | None = None
    loadings: Loadings = Loadings()


class Shocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shocks to the base case.

    `cfads` is a factor on CFADS (1 is the base); `cfads_noise_sigma` adds noise of mean one, own
    to each project and period. `capex` is an overrun as a share of capex (0.1 is 10 % more), paid
    in as equity. `delay` is in periods and moves the CFADS of projects with capex, while debt
    service stays as scheduled and the end of the project does not move. `rates` shifts the
    annual rate of interest on the unhedged share of the debt (0.01 is 100 basis points) in the
    periods with interest in the base case; interest does not fall below zero.
    """

    cfads: Shock | None = None
    cfads_noise_sigma: float = 0.0
    capex: Shock | None = None
    delay: Shock | None = None
    rates: Shock | None = None


class SimulatedProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One project's base case.

    `cfads` runs over periods 1..n, `interest` and `principal` from period 1 to at most n, `equity`
    (paid in) and `capex` from period 0. The balance is the outstanding principal.
    """

    name: str
    sector: str = ""
    country_code: str = ""
    currency_code: str = ""
    equity: tuple[float, ...]
    cfads: tuple[float, ...]
    interest: tuple[float, ...] = ()
    principal: tuple[float, ...] = ()
    capex: tuple[float, ...] = ()
    hedged_share: float = 0.0


class CovenantLevel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DSCR level; a scenario breaches it when any tested period is below it."""

    name: str
    below: float


class SimulationCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A portfolio, its shocks, and the number of scenarios to draw.

    `discount_rate` is effective a year. `by_project` adds the distributions of each project.
    `percentiles` (0 to 100) are wanted in each distribution beside the fixed ones.
    """

    projects: tuple[SimulatedProject, ...]
    shocks: Shocks
    covenants: tuple[CovenantLevel, ...] = (
        CovenantLevel(name="lock-up", below=1.15),
        CovenantLevel(name="default", below=1.05),
    )
    discount_rate: float = 0.08
    periods_per_year: int = 1
    scenarios: int = 1_000
    seed: int = 0
    by_project: bool | None = None
    percentiles: tuple[float, ...] = ()

    @property
    def is_detailed(self) -> bool:
        """Whether the result has distributions per project."""
        if self.by_project is not None:
            return self.by_project
        return len(self.projects) <= DETAILED_PROJECTS


class PercentileValue(msgspec.Struct, frozen=True, kw_only=True):
    """A value that `percentile` % of the scenarios do not exceed.

    `exceedance` names it as a yield assessment does: P99 is exceeded in 99 % of the scenarios.
    """

    percentile: float
    exceedance: str
    value: float


class DistributionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution: percentiles by linear interpolation, and the mean.

    `p90` is not exceeded in 90 % of the scenarios: the P90 of a yield assessment is `p10`.
    """

    mean: float
    p5: float
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    p95: float
    p1: float | None = None
    p99: float | None = None
    percentiles: tuple[PercentileValue, ...] = ()


class BreachProbability(msgspec.Struct, frozen=True, kw_only=True):
    """The probability that the lowest DSCR is below a level; 1.0 is the payment default."""

    name: str
    below: float
    probability: float


class ProjectDistributions(msgspec.Struct, frozen=True, kw_only=True):
    """The distributions of a project; `irr` is effective a year.

    It has the scenarios with exactly one rate, and total losses at -100 %; `irr_left_out_share`
    are the others.
    """

    name: str
    irr: DistributionSummary | None
    irr_unique_share: float
    npv: DistributionSummary
    min_dscr: DistributionSummary | None
    breaches: tuple[BreachProbability, ...]
    irr_total_loss_share: float = 0.0
    irr_left_out_share: float = 0.0


class PortfolioBreachProbability(msgspec.Struct, frozen=True, kw_only=True):
    """Breaches of a level in the portfolio: expected share, any project, and their number."""

    name: str
    below: float
    expected_share: float
    any_probability: float
    projects_p50: float
    projects_p95: float


class PortfolioDistributions(msgspec.Struct, frozen=True, kw_only=True):
    """The distributions of the sum of projects; `min_dscr` is the lowest of any project."""

    irr: DistributionSummary | None
    irr_unique_share: float
    npv: DistributionSummary
    min_dscr: DistributionSummary | None
    breaches: tuple[PortfolioBreachProbability, ...]
    irr_total_loss_share: float = 0.0
    irr_left_out_share: float = 0.0


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """One tornado bar: one shock at its P10 and P90 in all projects, the others at the median.

    `swing` is the distance between the NPVs; bars are sorted by it, the widest first.
    """

    shock: str
    low_value: float
    high_value: float
    npv_low: float
    npv_high: float
    irr_low: float | None
    irr_high: float | None
    min_dscr_low: float | None
    min_dscr_high: float | None
    swing: float


class SimulationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions, probabilities and sensitivities.

    `base` is the case without shocks, `median` with every shock at its median: the centre of the
    tornado.
    """

    seed: int
    scenarios: int
    base_npv: float
    base_irr: float | None
    base_min_dscr: float | None
    portfolio: PortfolioDistributions
    projects: tuple[ProjectDistributions, ...] | None
    tornado: tuple[Sensitivity, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    median_npv: float | None = None
    median_irr: float | None = None
    median_min_dscr: float | None = None


def unify_labels(labels: Sequence[str]) -> list[str]:
    """Return labels with one spelling of those that differ in case and outer blanks alone.

    A label of blanks is empty.
    """
    trimmed = [label.strip() for label in labels]
    spellings: dict[str, str] = {}
    for label in sorted(set(trimmed), reverse=True):
        spellings[label.casefold()] = label
    return [spellings[label.casefold()] for label in trimmed]


def validate_simulation_case(case: SimulationCase) -> None:
    """Validate a simulation case.

    Raises:
        InvalidInput: names each field outside its limits.
    """
    checker = FieldChecker()
    checker.require_number("/discount_rate", case.discount_rate, -0.5, MAX_RATE)
    checker.require_number("/periods_per_year", case.periods_per_year, 1, 12)
    checker.require_number("/scenarios", case.scenarios, 1, MAX_SCENARIOS)
    checker.require_number("/seed", case.seed, 0, _MAX_SEED)
    _check_shocks(checker, case.shocks)
    if checker.require_size("/percentiles", len(case.percentiles), MAX_PERCENTILES, 0):
        checker.require_each("/percentiles", case.percentiles, 0.0, 100.0)
    if checker.require_size("/covenants", len(case.covenants), MAX_COVENANT_LEVELS, 0):
        for index, level in enumerate(case.covenants):
            checker.require_number(f"/covenants/{index}/below", level.below, 0.0, MAX_RATIO)
    if checker.require_size("/projects", len(case.projects), MAX_PROJECTS):
        for index, project in enumerate(case.projects):
            _check_project(checker, f"/projects/{index}", project)
            if project.currency_code != case.projects[0].currency_code:
                pointer = f"/projects/{index}/currency_code"
                checker.reject(pointer, "mixed_currencies", "must equal that of the first project")
    checker.raise_errors()
    longest_life = max(len(project.cfads) for project in case.projects) + 1
    if -math.log1p(case.discount_rate) / case.periods_per_year * longest_life > _MAX_LOG_DISCOUNT:
        raise InvalidInput.at(
            "/discount_rate", "overflow", "discounts beyond float64; raise the rate"
        )
    paths = len(case.projects) * case.scenarios
    max_paths = MAX_DETAILED_PATHS if case.is_detailed else MAX_PATHS
    if paths > max_paths:
        detail = f"projects times scenarios is {paths}; use at most {max_paths}"
        if case.is_detailed:
            detail += f", or {MAX_PATHS} without by_project"
        raise InvalidInput.at("/scenarios", "too_many", detail)


def _check_project(checker: FieldChecker, pointer: str, project: SimulatedProject) -> None:
    periods = len(project.cfads)
    if not checker.require_size(f"{pointer}/cfads", periods, MAX_PERIODS):
        return
    checker.require_each(f"{pointer}/cfads", project.cfads, -MAX_AMOUNT, MAX_AMOUNT)
    checker.require_length(f"{pointer}/interest", project.interest, len(project.principal))
    series = (
        ("equity", project.equity, 1, periods + 1),
        ("capex", project.capex, 0, periods + 1),
        ("principal", project.principal, 0, periods),
    )
    for name, values, low, high in series:
        if checker.require_size(f"{pointer}/{name}", len(values), high, low):
            checker.require_each(f"{pointer}/{name}", values, 0.0, MAX_AMOUNT)
    checker.require_each(f"{pointer}/interest", project.interest, 0.0, MAX_AMOUNT)
    checker.require_number(f"{pointer}/hedged_share", project.hedged_share, 0.0, 1.0)


def _check_shocks(checker: FieldChecker, shocks: Shocks) -> None:
    checker.require_number("/shocks/cfads_noise_sigma", shocks.cfads_noise_sigma, 0.0, _MAX_SIGMA)
    limits = {
        "cfads": (0.0, MAX_RATIO),
        "capex": (-1.0, MAX_RATIO),
        "delay": (0.0, _MAX_DELAY),
        "rates": (-1.0, MAX_RATE),
    }
    for name, (low, high) in limits.items():
        shock: Shock | None = getattr(shocks, name)
        if shock is not None:
            _check_shock(checker, f"/shocks/{name}", shock, low, high)


_PARAMETERS_OF: dict[DistributionKind, tuple[str, ...]] = {
    "normal": ("mean", "standard_deviation"),
    "lognormal": ("median", "sigma"),
    "uniform": ("low", "high"),
    "triangular": ("low", "mode", "high"),
}
_PARAMETERS = ("mean", "standard_deviation", "median", "sigma", "low", "mode", "high")


def _check_shock(
    checker: FieldChecker, pointer: str, shock: Shock, low: float, high: float
) -> None:
    required = _PARAMETERS_OF[shock.distribution]
    values: list[float] = []
    for name in _PARAMETERS:
        value: float | None = getattr(shock, name)
        if name in required and value is None:
            checker.reject(f"{pointer}/{name}", "required", f"{shock.distribution} needs it")
        elif name not in required and value is not None:
            detail = f"{shock.distribution} takes {' and '.join(required)}"
            checker.reject(f"{pointer}/{name}", "not_applicable", detail)
        elif value is not None:
            values.append(value)
            bounds = {"sigma": (0.0, _MAX_SIGMA), "standard_deviation": (0.0, high)}
            checker.require_number(f"{pointer}/{name}", value, *bounds.get(name, (low, high)))
    if shock.median is not None and not shock.median >= MIN_POSITIVE:
        checker.reject(f"{pointer}/median", "not_positive", "must be above 0")
    if shock.distribution in {"uniform", "triangular"} and values != sorted(values):
        checker.reject(f"{pointer}/high", "out_of_order", f"must satisfy {' <= '.join(required)}")
    _check_loadings(checker, f"{pointer}/loadings", shock.loadings)


def _check_loadings(checker: FieldChecker, pointer: str, loadings: Loadings) -> None:
    values = {"global": loadings.global_, "sector": loadings.sector, "country": loadings.country}
    for name, loading in values.items():
        checker.require_number(f"{pointer}/{name}", loading, -1.0, 1.0)
    # A product overflows to infinity, where a power would raise OverflowError.
    if sum(loading * loading for loading in values.values()) > 1.0:
        detail = "the squares of the loadings must sum to at most 1"
        checker.reject(pointer, "wrong_sum", detail)
