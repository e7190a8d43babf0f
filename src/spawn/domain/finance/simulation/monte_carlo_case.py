"""What a simulation is asked, and what it answers; the arithmetic is in `simulation`.

Timeline: period 0 is the date of valuation, CFADS and debt service run over periods 1..n. Each
project's equity flow is -equity_t - overrun x capex_t + CFADS_t - debt service_t; a shortfall of
CFADS is paid in by the sponsors. A shock X of a project is a standard normal number

    X = g G + s S[sector] + c C[country] + sqrt(1 - g^2 - s^2 - c^2) E[project]

with loadings g, s, c and independent factors G, S, C, E, one set of factors for each kind of
shock; the declared distribution turns it into its value by its quantile function.
"""

import math
from typing import Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MAX_RATIO,
    SMALLEST,
    Checker,
)

MAX_PROJECTS = 10_000
"""Projects of one simulation."""

MAX_SCENARIOS = 100_000
"""Scenarios of one simulation."""

MAX_PATHS = 50_000_000
"""Projects times scenarios."""

MAX_KEPT_PATHS = 10_000_000
"""Projects times scenarios where each project has its distributions: three numbers a path."""

DETAILED_PROJECTS = 1_000
"""Up to so many projects the distributions of each one are given unless it is said otherwise."""

MAX_LEVELS = 10
_MAX_SEED = 2**53 - 1
_MAX_SIGMA = 3.0
_MAX_DELAY = 1e6
_LOG_TOP = 600.0

Kind = Literal["normal", "lognormal", "uniform", "triangular"]


class Loadings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far common factors move a shock; the sum of squares is at most 1, own takes the rest."""

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

    distribution: Kind
    mean: float | None = None
    standard_deviation: float | None = None
    median: float | None = None
    sigma: float | None = None
    low: float | None = None
    mode: float | None = None
    high: float | None = None
    loadings: Loadings = Loadings()


class Shocks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may differ from the base case.

    `cfads` is a factor on CFADS (1 is the base); `cfads_noise_sigma` adds noise of mean one, own
    to each project and period. `capex` is an overrun as a share of capex (0.1 is 10 % more), paid
    in as equity. `delay` is in periods and moves the CFADS of projects with capex, while debt
    service stays as scheduled and the end of the project stays where it is. `rates` shifts the
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
    (paid in) and `capex` from period 0. The balance is the principal still to be paid.
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
    """A level of the DSCR; a scenario breaches it when any tested period is below it."""

    name: str
    below: float


class SimulationCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A portfolio, its shocks, and how often to draw them.

    `discount_rate` is effective a year. `by_project` asks for the distributions of each project.
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

    @property
    def detailed(self) -> bool:
        """Whether each project has its distributions."""
        if self.by_project is not None:
            return self.by_project
        return len(self.projects) <= DETAILED_PROJECTS


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution: percentiles by linear interpolation, and the mean."""

    mean: float
    p5: float
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    p95: float


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """How often the lowest DSCR is below a level; `below` 1.0 is the default of payment."""

    name: str
    below: float
    probability: float


class ProjectSpread(msgspec.Struct, frozen=True, kw_only=True):
    """One project. `irr` is effective a year over the scenarios that have exactly one."""

    name: str
    irr: Spread | None
    irr_unique_share: float
    npv: Spread
    min_dscr: Spread | None
    breaches: tuple[Breach, ...]


class PortfolioBreach(msgspec.Struct, frozen=True, kw_only=True):
    """A level over the portfolio: the expected share of projects, any project, and their number."""

    name: str
    below: float
    expected_share: float
    any_probability: float
    projects_p50: float
    projects_p95: float


class PortfolioSpread(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of all projects; `min_dscr` is the lowest of any project in a scenario."""

    irr: Spread | None
    irr_unique_share: float
    npv: Spread
    min_dscr: Spread | None
    breaches: tuple[PortfolioBreach, ...]


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """One bar: the portfolio with one shock at its P10 and P90 everywhere, others at the median.

    `swing` is the distance of the NPVs; bars come in its order, the widest first.
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
    """Distributions, probabilities and sensitivities; `base` is the case without shocks."""

    seed: int
    scenarios: int
    base_npv: float
    base_irr: float | None
    base_min_dscr: float | None
    portfolio: PortfolioSpread
    projects: tuple[ProjectSpread, ...] | None
    tornado: tuple[Sensitivity, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def check_simulation(case: SimulationCase) -> None:
    """Let a case pass that can be simulated.

    Raises:
        InvalidInput: every field that does not fit is named.
    """
    check = Checker()
    check.number("/discount_rate", case.discount_rate, -0.5, MAX_RATE)
    check.number("/periods_per_year", case.periods_per_year, 1, 12)
    check.number("/scenarios", case.scenarios, 1, MAX_SCENARIOS)
    check.number("/seed", case.seed, 0, _MAX_SEED)
    _check_shocks(check, case.shocks)
    if check.size("/covenants", len(case.covenants), MAX_LEVELS, 0):
        for index, level in enumerate(case.covenants):
            check.number(f"/covenants/{index}/below", level.below, 0.0, MAX_RATIO)
    if check.size("/projects", len(case.projects), MAX_PROJECTS):
        for index, project in enumerate(case.projects):
            _check_project(check, f"/projects/{index}", project)
            if project.currency_code != case.projects[0].currency_code:
                pointer = f"/projects/{index}/currency_code"
                check.refuse(pointer, "mixed_currencies", "must be that of the first project")
    check.done()
    longest = max(len(project.cfads) for project in case.projects) + 1
    if -math.log1p(case.discount_rate) / case.periods_per_year * longest > _LOG_TOP:
        raise InvalidInput.at("/discount_rate", "overflow", "discounts beyond float64")
    paths = len(case.projects) * case.scenarios
    bound = MAX_KEPT_PATHS if case.detailed else MAX_PATHS
    if paths > bound:
        detail = f"projects times scenarios is {paths}, at most {bound}"
        if case.detailed:
            detail += f", or {MAX_PATHS} without by_project"
        raise InvalidInput.at("/scenarios", "too_many", detail)


def _check_project(check: Checker, pointer: str, project: SimulatedProject) -> None:
    periods = len(project.cfads)
    if not check.size(f"{pointer}/cfads", periods, MAX_PERIODS):
        return
    check.each(f"{pointer}/cfads", project.cfads, -MAX_AMOUNT, MAX_AMOUNT)
    check.length(f"{pointer}/interest", project.interest, len(project.principal))
    series = (
        ("equity", project.equity, 1, periods + 1),
        ("capex", project.capex, 0, periods + 1),
        ("principal", project.principal, 0, periods),
    )
    for name, values, low, high in series:
        if check.size(f"{pointer}/{name}", len(values), high, low):
            check.each(f"{pointer}/{name}", values, 0.0, MAX_AMOUNT)
    check.each(f"{pointer}/interest", project.interest, 0.0, MAX_AMOUNT)
    check.number(f"{pointer}/hedged_share", project.hedged_share, 0.0, 1.0)


def _check_shocks(check: Checker, shocks: Shocks) -> None:
    check.number("/shocks/cfads_noise_sigma", shocks.cfads_noise_sigma, 0.0, _MAX_SIGMA)
    limits = {
        "cfads": (0.0, MAX_RATIO),
        "capex": (-1.0, MAX_RATIO),
        "delay": (0.0, _MAX_DELAY),
        "rates": (-1.0, MAX_RATE),
    }
    for name, (low, high) in limits.items():
        shock: Shock | None = getattr(shocks, name)
        if shock is not None:
            _check_shock(check, f"/shocks/{name}", shock, low, high)


_NEEDS: dict[Kind, tuple[str, ...]] = {
    "normal": ("mean", "standard_deviation"),
    "lognormal": ("median", "sigma"),
    "uniform": ("low", "high"),
    "triangular": ("low", "mode", "high"),
}
_PARAMETERS = ("mean", "standard_deviation", "median", "sigma", "low", "mode", "high")


def _check_shock(check: Checker, pointer: str, shock: Shock, low: float, high: float) -> None:
    needs = _NEEDS[shock.distribution]
    values: list[float] = []
    for name in _PARAMETERS:
        value: float | None = getattr(shock, name)
        if name in needs and value is None:
            check.refuse(f"{pointer}/{name}", "required", f"{shock.distribution} needs it")
        elif name not in needs and value is not None:
            detail = f"{shock.distribution} takes {' and '.join(needs)}"
            check.refuse(f"{pointer}/{name}", "not_applicable", detail)
        elif value is not None:
            values.append(value)
            bounds = {"sigma": (0.0, _MAX_SIGMA), "standard_deviation": (0.0, high)}
            check.number(f"{pointer}/{name}", value, *bounds.get(name, (low, high)))
    if shock.median is not None and not shock.median >= SMALLEST:
        check.refuse(f"{pointer}/median", "not_positive", "must be above 0")
    if shock.distribution in {"uniform", "triangular"} and values != sorted(values):
        check.refuse(f"{pointer}/high", "out_of_order", f"{' <= '.join(needs)} must hold")
    _check_loadings(check, f"{pointer}/loadings", shock.loadings)


def _check_loadings(check: Checker, pointer: str, parts: Loadings) -> None:
    loadings = {"global": parts.global_, "sector": parts.sector, "country": parts.country}
    for name, loading in loadings.items():
        check.number(f"{pointer}/{name}", loading, -1.0, 1.0)
    # A product overflows to infinity, where a power would raise.
    if sum(loading * loading for loading in loadings.values()) > 1.0:
        detail = "the squares of the loadings must sum to at most 1"
        check.refuse(pointer, "wrong_sum", detail)
