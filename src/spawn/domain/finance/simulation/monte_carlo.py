"""Monte Carlo simulation: draw scenarios and revalue a portfolio, with repeatable bits.

The work consists of units: a block of scenarios for a few projects. A unit depends on the case and
its own index alone: each stream of random numbers is keyed by the seed, the kind of shock, the
factor (global, the sector's name, the country's code, the project's index) and the block. Units may
be valued on any threads in any order; a `ResultAggregator` adds their results in the order of the
units, so that sums round alike. Memory holds the units in progress, one block of the portfolio's
flows, and three numbers a path where the result has distributions per project.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MIN_POSITIVE
from spawn.domain.finance.simulation.monte_carlo_case import (
    BreachProbability,
    CovenantLevel,
    DistributionSummary,
    PercentileValue,
    PortfolioBreachProbability,
    PortfolioDistributions,
    ProjectDistributions,
    Sensitivity,
    Shock,
    SimulatedProject,
    SimulationCase,
    SimulationResult,
    unify_labels,
    validate_simulation_case,
)
from spawn.domain.finance.simulation.simulation_warnings import list_simulation_warnings
from spawn.domain.finance.simulation.vectorized import (
    BoolArray,
    FloatArray,
    IrrStatus,
    batch_irr,
    batch_npv,
    percentiles,
)

SCENARIOS_PER_BLOCK = 1_024
"""Scenarios per unit: a constant, because the draws are keyed by the block number."""

PROJECTS_PER_UNIT = 64
"""Projects per unit."""

SHOCK_NAMES = ("cfads", "capex", "delay", "rates")
PAYMENT_DEFAULT = CovenantLevel(name="payment default", below=1.0)
_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_P90 = 1.2815515655446004  # the standard normal quantile at 0.9
_NEUTRAL_VALUES = {"cfads": 1.0, "capex": 0.0, "delay": 0.0, "rates": 0.0}
_NOISE_KEY = 99
_OWN_LEVEL = 10
_MAX_DEVIATIONS = 8.0  # standard deviations: a quantile beyond them exceeds any scenario count here
_erf = np.frompyfunc(math.erf, 1, 1)


class WorkUnit(NamedTuple):
    """A block of scenarios for the projects `first` to `last` - 1."""

    block: int
    first: int
    last: int


class UnitResult(NamedTuple):
    """The values of a unit, projects along the first axis; `flows` is their sum per period."""

    unit: WorkUnit
    irr: FloatArray
    has_unique_irr: BoolArray
    is_total_loss: BoolArray
    npv: FloatArray
    min_dscr: FloatArray
    flows: FloatArray


class CoverResult(NamedTuple):
    """The lowest DSCR and the shortfall of the debt service of a unit, projects first."""

    unit: WorkUnit
    min_dscr: FloatArray
    shortfall: FloatArray


class Simulation:
    """A case prepared for valuation: its arrays and its units of work."""

    def __init__(self, case: SimulationCase) -> None:
        validate_simulation_case(case)
        self.case = case
        self.levels = (PAYMENT_DEFAULT, *case.covenants)
        self.rate_per_period = math.expm1(math.log1p(case.discount_rate) / case.periods_per_year)
        self.periods = max(len(project.cfads) for project in case.projects) + 1
        self._sectors = unify_labels([project.sector for project in case.projects])
        self._countries = unify_labels([project.country_code for project in case.projects])
        self._projects = [_ProjectArrays(project, case) for project in case.projects]
        count = len(case.projects)
        self.units = [
            WorkUnit(block, first, min(first + PROJECTS_PER_UNIT, count))
            for block in range(-(-case.scenarios // SCENARIOS_PER_BLOCK))
            for first in range(0, count, PROJECTS_PER_UNIT)
        ]

    @property
    def paths(self) -> int:
        """Projects times scenarios."""
        return len(self.case.projects) * self.case.scenarios

    def scenario_count(self, block: int) -> int:
        """Return the number of scenarios of a block; the last one may be short."""
        return min(SCENARIOS_PER_BLOCK, self.case.scenarios - block * SCENARIOS_PER_BLOCK)

    def value_unit(self, unit: WorkUnit) -> UnitResult:
        """Draw and value one unit; safe on any thread.

        Raises:
            InvalidInput: a path exceeds the limits of the engine.
        """
        width = self.scenario_count(unit.block)
        values, noise = self._draw_unit(unit, width)
        return self._value_projects(unit, width, values, noise)

    def cover_unit(self, unit: WorkUnit, claims: Sequence[Sequence[float]]) -> CoverResult:
        """Draw one unit and measure how far CFADS covers the debt service of each path.

        Args:
            unit: the unit.
            claims: of each project the share of a shortfall that counts, for periods 1..n.
        """
        width = self.scenario_count(unit.block)
        values, noise = self._draw_unit(unit, width)
        count = unit.last - unit.first
        min_dscr, shortfall = np.empty((count, width)), np.empty((count, width))
        for row in range(count):
            project = self._projects[unit.first + row]
            claim = _pad_series(claims[unit.first + row], project.cfads.size, 1)
            cash, service = project.draw_paths(values[row], noise[row])
            min_dscr[row] = project.lowest_dscr(cash, service)
            unpaid = np.maximum(service - np.maximum(cash, 0.0), 0.0)
            unpaid *= claim[:, None]
            # A sum over the first axis adds in order; a product of matrices need not.
            shortfall[row] = unpaid.sum(axis=0)
        return CoverResult(unit, min_dscr, shortfall)

    def _draw_unit(
        self, unit: WorkUnit, width: int
    ) -> tuple[list[dict[str, FloatArray]], list[FloatArray | None]]:
        """Draw the shocks of each project of a unit, and its noise."""
        common_draws: dict[tuple[int, ...], FloatArray] = {}
        values = [
            {
                name: self._draw_shock(name, number, unit.block, common_draws)[:width]
                for name in SHOCK_NAMES
            }
            for number in range(unit.first, unit.last)
        ]
        noise = [
            self._draw_noise(number, unit.block, width) for number in range(unit.first, unit.last)
        ]
        return values, noise

    def _value_projects(
        self,
        unit: WorkUnit,
        width: int,
        values: Sequence[dict[str, FloatArray]],
        noise: Sequence[FloatArray | None],
    ) -> UnitResult:
        count = unit.last - unit.first
        total = np.zeros((self.periods, width))
        irr, npv = np.zeros((count, width)), np.empty((count, width))
        unique = np.zeros((count, width), dtype=bool)
        losses = np.zeros((count, width), dtype=bool)
        min_dscr = np.empty((count, width))
        for row in range(count):
            number = unit.first + row
            flows, min_dscr[row] = self._projects[number].value_paths(values[row], noise[row])
            try:
                irr[row], unique[row] = self.annual_irr(flows)
                losses[row] = find_total_losses(flows)
                npv[row] = batch_npv(flows, self.rate_per_period)
            except InvalidInput as error:
                detail = "a path exceeds the limits of the engine; give smaller amounts or shocks"
                raise InvalidInput.at(f"/projects/{number}", "overflow", detail) from error
            total[: flows.shape[0]] += flows
        return UnitResult(unit, irr, unique, losses, npv, min_dscr, total)

    def annual_irr(self, flows: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return effective rates a year, and which paths have exactly one."""
        rates, status = batch_irr(flows)
        with np.errstate(over="ignore"):
            annual = np.expm1(self.case.periods_per_year * np.log1p(rates))
        return annual, (status == IrrStatus.UNIQUE) & np.isfinite(annual)

    def _draw_shock(
        self, name: str, number: int, block: int, common_draws: dict[tuple[int, ...], FloatArray]
    ) -> FloatArray:
        shock: Shock | None = getattr(self.case.shocks, name)
        if shock is None:
            return np.full(SCENARIOS_PER_BLOCK, _NEUTRAL_VALUES[name])
        loadings = shock.loadings
        kind = SHOCK_NAMES.index(name)
        x = loadings.own * self._draw_normals((kind, 3, number, block), {})
        for loading, level, label in (
            (loadings.global_, 0, "world"),
            (loadings.sector, 1, self._sectors[number]),
            (loadings.country, 2, self._countries[number]),
        ):
            if loading and label:
                words = _hash_words("" if level == 0 else label)
                x += loading * self._draw_normals((kind, level, *words, block), common_draws)
            elif loading:
                # Unknown is not the same: without a label the factor is the project's own.
                x += loading * self._draw_normals((kind, _OWN_LEVEL + level, number, block), {})
        return _shock_values(name, shock, x)

    def _draw_normals(
        self, key: tuple[int, ...], common_draws: dict[tuple[int, ...], FloatArray]
    ) -> FloatArray:
        """Return a block of standard normal numbers from the stream of `key`, drawn once."""
        if key not in common_draws:
            common_draws[key] = self._random_stream(key).standard_normal(SCENARIOS_PER_BLOCK)
        return common_draws[key]

    def _random_stream(self, key: tuple[int, ...]) -> np.random.Generator:
        seed = np.random.SeedSequence(self.case.seed, spawn_key=key)
        return np.random.Generator(np.random.PCG64(seed))

    def _draw_noise(self, number: int, block: int, width: int) -> FloatArray | None:
        """Draw noise per period with mean one, own to the project."""
        sigma = self.case.shocks.cfads_noise_sigma
        if not sigma:
            return None
        shape = (len(self.case.projects[number].cfads), SCENARIOS_PER_BLOCK)
        draws = self._random_stream((_NOISE_KEY, 3, number, block)).standard_normal(shape)
        draws *= sigma
        draws -= 0.5 * sigma * sigma
        return np.exp(draws, out=draws)[:, :width]

    def value_sensitivities(self) -> tuple[UnitResult, list[str]]:
        """Value the portfolio without shocks, then with each shock at its P10 and its P90.

        The last column has every shock at its median.
        """
        active_shocks = [
            name for name in SHOCK_NAMES if getattr(self.case.shocks, name) is not None
        ]
        x = np.zeros((len(active_shocks), 2 + 2 * len(active_shocks)))
        for row in range(len(active_shocks)):
            x[row, 1 + 2 * row : 3 + 2 * row] = (-_P90, _P90)
        values = {name: np.full(x.shape[1], _NEUTRAL_VALUES[name]) for name in SHOCK_NAMES}
        for row, name in enumerate(active_shocks):
            values[name] = _shock_values(name, getattr(self.case.shocks, name), x[row])
            values[name][0] = _NEUTRAL_VALUES[name]
        portfolio = WorkUnit(0, 0, len(self._projects))
        values_by_project = [values] * len(self._projects)
        result = self._value_projects(
            portfolio, x.shape[1], values_by_project, [None] * len(self._projects)
        )
        return result, active_shocks


class _ProjectArrays:
    """One project's series over periods 0..n as arrays."""

    def __init__(self, project: SimulatedProject, case: SimulationCase) -> None:
        length = len(project.cfads) + 1
        self.cfads = _pad_series(project.cfads, length, 1)
        self.capex = _pad_series(project.capex, length, 0)
        self.interest = _pad_series(project.interest, length, 1)
        principal = _pad_series(project.principal, length, 1)
        self.principal = principal
        self.equity = _pad_series(project.equity, length, 0)
        # Without interest in the base case nothing is drawn yet, or interest is capitalised.
        opening = np.where(self.interest > 0.0, np.cumsum(principal[::-1])[::-1], 0.0)
        self.rate_exposure = opening * (1.0 - project.hedged_share) / case.periods_per_year
        self.tested_periods = np.flatnonzero(self.interest + principal >= MIN_POSITIVE)
        self.can_be_delayed = bool(self.capex.any())

    def value_paths(
        self, values: dict[str, FloatArray], noise: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return equity flows (periods, scenarios) and the lowest DSCR of each scenario."""
        cash, service = self.draw_paths(values, noise)
        min_dscr = self.lowest_dscr(cash, service)
        cash -= service
        cash -= self.equity[:, None]
        cash -= self.capex[:, None] * values["capex"]
        return cash, min_dscr

    def draw_paths(
        self, values: dict[str, FloatArray], noise: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return CFADS and debt service (periods, scenarios)."""
        cash = self._delayed_cfads(values["delay"])
        cash *= values["cfads"]
        if noise is not None:
            cash[1:] *= noise
        interest = self.interest[:, None] + self.rate_exposure[:, None] * values["rates"]
        service = np.maximum(interest, 0.0, out=interest)
        service += self.principal[:, None]
        return cash, service

    def lowest_dscr(self, cash: FloatArray, service: FloatArray) -> FloatArray:
        """Return the lowest DSCR of each scenario.

        Without debt service the DSCR is not tested: it is infinity, which is below no level.
        """
        if not self.tested_periods.size:
            return np.full(cash.shape[1], np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = cash[self.tested_periods] / np.maximum(
                service[self.tested_periods], MIN_POSITIVE
            )
        lowest: FloatArray = ratios.min(axis=0)
        return lowest

    def _delayed_cfads(self, delay: FloatArray) -> FloatArray:
        """Delay CFADS by whole and part periods, within the life of the project."""
        length = self.cfads.size
        if not (self.can_be_delayed and delay.any()):
            return np.repeat(self.cfads[:, None], delay.size, axis=1)
        clipped_delay = np.clip(delay, 0.0, float(length))
        whole = np.floor(clipped_delay)
        part = clipped_delay - whole
        padded_cfads = np.concatenate([np.zeros(length + 1), self.cfads])
        index = np.arange(length)[:, None] - whole.astype(np.int64) + length + 1
        delayed_cfads: FloatArray = padded_cfads[index] * (1.0 - part)
        delayed_cfads += padded_cfads[index - 1] * part
        return delayed_cfads


def _pad_series(values: Sequence[float], length: int, start: int) -> FloatArray:
    series = np.zeros(length)
    series[start : start + len(values)] = values
    return series


def _hash_words(label: str) -> tuple[int, int]:
    """Hash a label to a part of a key that does not depend on the other labels."""
    digest = hashlib.blake2b(label.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")


def _shock_values(name: str, shock: Shock, x: FloatArray) -> FloatArray:
    """Return the shock's quantiles at standard normal numbers, within its valid range."""
    values = _quantile(shock, np.clip(x, -_MAX_DEVIATIONS, _MAX_DEVIATIONS))
    floor = {"cfads": 0.0, "capex": -1.0, "delay": 0.0, "rates": -np.inf}[name]
    return np.maximum(values, floor)


def _quantile(shock: Shock, x: FloatArray) -> FloatArray:
    if shock.distribution == "normal":
        return np.asarray((shock.mean or 0.0) + (shock.standard_deviation or 0.0) * x)
    if shock.distribution == "lognormal":
        return np.asarray((shock.median or 1.0) * np.exp((shock.sigma or 0.0) * x))
    u = 0.5 * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), dtype=np.float64))
    low, high = shock.low or 0.0, shock.high or 0.0
    if shock.distribution == "uniform":
        return np.asarray(low + (high - low) * u)
    mode, span = shock.mode or 0.0, high - low
    if span == 0.0:
        return np.full(x.shape, low)
    rising = low + np.sqrt(u * span * (mode - low))
    falling = high - np.sqrt((1.0 - u) * span * (high - mode))
    return np.where(u * span < mode - low, rising, falling)


class ResultAggregator:
    """An aggregator of unit results, added in the order of the units."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        case = simulation.case
        scenarios, count = case.scenarios, len(case.projects)
        detailed_rows = count if case.is_detailed else 0
        self._irr = np.empty((detailed_rows, scenarios))
        self._npv = np.empty((detailed_rows, scenarios))
        self._has_unique_irr = np.empty((detailed_rows, scenarios), dtype=bool)
        self._is_total_loss = np.empty((detailed_rows, scenarios), dtype=bool)
        self._min_dscr = np.empty((detailed_rows, scenarios))
        self._total_npv, self._total_min_dscr = np.zeros(scenarios), np.full(scenarios, np.inf)
        self._total_irr = np.zeros(scenarios)
        self._total_has_unique_irr = np.zeros(scenarios, dtype=bool)
        self._total_is_loss = np.zeros(scenarios, dtype=bool)
        self._breach_counts = np.zeros((len(simulation.levels), scenarios), dtype=np.int64)
        self._flows: FloatArray | None = None
        self.valued_paths = 0

    def add(self, result: UnitResult) -> None:
        """Add the result of the next unit."""
        unit, width = result.unit, result.npv.shape[1]
        columns = slice(unit.block * SCENARIOS_PER_BLOCK, unit.block * SCENARIOS_PER_BLOCK + width)
        if self._npv.shape[0]:
            rows = slice(unit.first, unit.last)
            self._irr[rows, columns], self._has_unique_irr[rows, columns] = (
                result.irr,
                result.has_unique_irr,
            )
            self._is_total_loss[rows, columns] = result.is_total_loss
            self._npv[rows, columns], self._min_dscr[rows, columns] = result.npv, result.min_dscr
        self._total_npv[columns] += result.npv.sum(axis=0)
        np.minimum(
            self._total_min_dscr[columns],
            result.min_dscr.min(axis=0),
            out=self._total_min_dscr[columns],
        )
        for row, level in enumerate(self._simulation.levels):
            self._breach_counts[row, columns] += (result.min_dscr < level.below).sum(axis=0)
        self._flows = result.flows if unit.first == 0 else self._add_flows(result.flows)
        if unit.last == len(self._simulation.case.projects):
            annual, unique = self._simulation.annual_irr(self._flows)
            self._total_irr[columns], self._total_has_unique_irr[columns] = annual, unique
            self._total_is_loss[columns] = find_total_losses(self._flows)
        self.valued_paths += (unit.last - unit.first) * width

    def _add_flows(self, flows: FloatArray) -> FloatArray:
        if self._flows is None:
            raise RuntimeError("the first unit of a block must be added before the others")
        self._flows += flows
        return self._flows

    def build_result(self) -> SimulationResult:
        """Return the distributions, probabilities and sensitivities of all units."""
        simulation = self._simulation
        shares = self._left_out_shares()
        base, active_shocks = simulation.value_sensitivities()
        annual, unique = simulation.annual_irr(base.flows)
        losses = find_total_losses(base.flows)
        annual, unique = np.where(losses, -1.0, annual), unique | losses
        total_npv, lowest_dscr = base.npv.sum(axis=0), base.min_dscr.min(axis=0)
        return SimulationResult(
            seed=simulation.case.seed,
            scenarios=simulation.case.scenarios,
            base_npv=float(total_npv[0]),
            base_irr=float(annual[0]) if unique[0] else None,
            base_min_dscr=_finite_or_none(lowest_dscr[0]),
            portfolio=self._summarise_portfolio(shares[0]),
            projects=self._summarise_projects(shares[1:]) if simulation.case.is_detailed else None,
            tornado=_build_tornado(
                simulation, active_shocks, total_npv, (annual, unique), lowest_dscr
            ),
            conventions=_CONVENTIONS,
            warnings=list_simulation_warnings(simulation.case, shares),
            median_npv=float(total_npv[-1]),
            median_irr=float(annual[-1]) if unique[-1] else None,
            median_min_dscr=_finite_or_none(lowest_dscr[-1]),
        )

    def _left_out_shares(self) -> list[float]:
        """Return the shares of scenarios without a rate: of the portfolio, then of each project."""
        portfolio = ~(self._total_has_unique_irr | self._total_is_loss)
        projects = ~(self._has_unique_irr | self._is_total_loss)
        return [float(portfolio.mean()), *(float(row.mean()) for row in projects)]

    def _summarise_portfolio(self, left_out_share: float) -> PortfolioDistributions:
        count = len(self._simulation.case.projects)
        levels = self._simulation.case.percentiles
        breaches = []
        for level, counts in zip(self._simulation.levels, self._breach_counts, strict=True):
            p50, p95 = percentiles(counts.astype(np.float64), (50, 95))
            breaches.append(
                PortfolioBreachProbability(
                    name=level.name,
                    below=level.below,
                    expected_share=float(counts.mean()) / count,
                    any_probability=float((counts > 0).mean()),
                    projects_p50=p50,
                    projects_p95=p95,
                )
            )
        return PortfolioDistributions(
            irr=self._summarise_rates(
                self._total_irr, self._total_has_unique_irr, self._total_is_loss
            ),
            irr_unique_share=float(self._total_has_unique_irr.mean()),
            irr_total_loss_share=float(self._total_is_loss.mean()),
            irr_left_out_share=left_out_share,
            npv=summarise_values(self._total_npv, levels),
            min_dscr=_summarise_or_none(
                self._total_min_dscr[np.isfinite(self._total_min_dscr)], levels
            ),
            breaches=tuple(breaches),
        )

    def _summarise_rates(
        self, rates: FloatArray, has_unique_irr: BoolArray, is_loss: BoolArray
    ) -> DistributionSummary | None:
        """Summarise the rates of scenarios that have one; a total loss is -100 %."""
        rates_and_losses = np.where(is_loss, -1.0, rates)[has_unique_irr | is_loss]
        return _summarise_or_none(rates_and_losses, self._simulation.case.percentiles)

    def _summarise_projects(
        self, left_out_shares: Sequence[float]
    ) -> tuple[ProjectDistributions, ...]:
        levels = self._simulation.case.percentiles
        return tuple(
            ProjectDistributions(
                name=project.name,
                irr=self._summarise_rates(
                    self._irr[row], self._has_unique_irr[row], self._is_total_loss[row]
                ),
                irr_unique_share=float(self._has_unique_irr[row].mean()),
                irr_total_loss_share=float(self._is_total_loss[row].mean()),
                irr_left_out_share=left_out_shares[row],
                npv=summarise_values(self._npv[row], levels),
                min_dscr=_summarise_or_none(
                    self._min_dscr[row][np.isfinite(self._min_dscr[row])], levels
                ),
                breaches=tuple(
                    BreachProbability(
                        name=level.name,
                        below=level.below,
                        probability=float((self._min_dscr[row] < level.below).mean()),
                    )
                    for level in self._simulation.levels
                ),
            )
            for row, project in enumerate(self._simulation.case.projects)
        )


def simulate_portfolio(case: SimulationCase) -> SimulationResult:
    """Run the whole simulation on the calling thread.

    Raises:
        InvalidInput: a field or a path is outside the limits of the engine.
    """
    simulation = Simulation(case)
    aggregator = ResultAggregator(simulation)
    for unit in simulation.units:
        aggregator.add(simulation.value_unit(unit))
    return aggregator.build_result()


def find_total_losses(flows: FloatArray) -> BoolArray:
    """Return which paths pay in and receive nothing; their rate of return is -100 %."""
    return np.asarray((flows.max(axis=0) <= 0.0) & (flows.min(axis=0) < 0.0))


def _summarise_or_none(values: FloatArray, levels: Sequence[float]) -> DistributionSummary | None:
    return summarise_values(values, levels) if values.size else None


def summarise_values(values: FloatArray, levels: Sequence[float]) -> DistributionSummary:
    """Return the fixed percentiles and those at further `levels`."""
    all_values = percentiles(values, (*_PERCENTILES, *levels))
    fixed_values = zip(_PERCENTILES, all_values, strict=False)
    return DistributionSummary(
        mean=float(values.mean()),
        **{f"p{level}": value for level, value in fixed_values},
        percentiles=tuple(
            PercentileValue(percentile=level, exceedance=f"P{100.0 - level:g}", value=value)
            for level, value in zip(levels, all_values[len(_PERCENTILES) :], strict=True)
        ),
    )


def _finite_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _build_tornado(
    simulation: Simulation,
    active_shocks: Sequence[str],
    total_npv: FloatArray,
    irr_and_uniqueness: tuple[FloatArray, BoolArray],
    lowest_dscr: FloatArray,
) -> tuple[Sensitivity, ...]:
    def irr(column: int) -> float | None:
        return float(irr_and_uniqueness[0][column]) if irr_and_uniqueness[1][column] else None

    bars = []
    for row, name in enumerate(active_shocks):
        low, high = 1 + 2 * row, 2 + 2 * row
        shock_values = _shock_values(
            name, getattr(simulation.case.shocks, name), np.array([-_P90, _P90])
        )
        bars.append(
            Sensitivity(
                shock=name,
                low_value=float(shock_values[0]),
                high_value=float(shock_values[1]),
                npv_low=float(total_npv[low]),
                npv_high=float(total_npv[high]),
                irr_low=irr(low),
                irr_high=irr(high),
                min_dscr_low=_finite_or_none(lowest_dscr[low]),
                min_dscr_high=_finite_or_none(lowest_dscr[high]),
                swing=abs(float(total_npv[high]) - float(total_npv[low])),
            )
        )
    return tuple(sorted(bars, key=lambda bar: -bar.swing))


_CONVENTIONS = {
    "equity_flow": "-equity - overrun x capex + CFADS - debt service; sponsors pay shortfalls in",
    "irr": "effective a year, over scenarios with exactly one rate and total losses at -100 %",
    "percentiles": "pN is not exceeded in N % of the scenarios (non-exceedance); the P90 of a "
    "yield assessment is exceeded in 90 % and is p10 here",
    "npv": "effective annual rate, period 0 not discounted",
    "min_dscr": "lowest CFADS / debt service of the periods in which debt service is due",
    "breach": "the lowest DSCR is below the level, unrounded",
    "factors": "X = g G + s S + c C + own E, standard normal, independent between kinds of shock",
    "tornado": "one shock at its p10 and p90 in all projects, the others at their medians; the "
    "centre is median_npv, all shocks at their medians",
    "random_numbers": "NumPy PCG64, streams keyed by seed, shock, factor and block of scenarios",
}
