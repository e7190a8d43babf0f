"""Drawing scenarios and revaluing a portfolio over them, to the same bits on any number of threads.

Work comes in units: a block of scenarios for a few projects. A unit depends on the case and its
own place alone: each stream of random numbers is keyed by the seed, the kind of shock, the factor
(global, the sector's name, the country's code, the project's place) and the block. Units may be
valued anywhere in any order; a `Tally` takes their results in the order of the units, so that
sums round alike. Memory holds the units under way, one block of the portfolio's flows, and three
numbers a path where each project's distributions are asked for.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import SMALLEST
from spawn.domain.finance.simulation.monte_carlo_case import (
    Breach,
    CovenantLevel,
    PortfolioBreach,
    PortfolioSpread,
    ProjectSpread,
    Sensitivity,
    Shock,
    SimulatedProject,
    SimulationCase,
    SimulationResult,
    Spread,
    check_simulation,
)
from spawn.domain.finance.simulation.vectorized import (
    Flags,
    Floats,
    IrrStatus,
    batch_irr,
    batch_npv,
    percentiles,
)

BLOCK = 1_024
"""Scenarios of a unit: a constant, for the draws are keyed by the number of the block."""

GROUP = 64
"""Projects of a unit."""

SHOCKS = ("cfads", "capex", "delay", "rates")
PAYMENT_DEFAULT = CovenantLevel(name="payment default", below=1.0)
_LEVELS = (5, 10, 25, 50, 75, 90, 95)
_P90 = 1.2815515655446004  # the standard normal quantile at 0.9
_NEUTRAL = {"cfads": 1.0, "capex": 0.0, "delay": 0.0, "rates": 0.0}
_NOISE_KEY = 99
_LIMIT = 8.0  # standard deviations: beyond them a quantile is past any scenario count here
_erf = np.frompyfunc(math.erf, 1, 1)


class Unit(NamedTuple):
    """A block of scenarios for the projects `first` to `last` - 1."""

    block: int
    first: int
    last: int


class Valued(NamedTuple):
    """What came of a unit, projects along the first axis; `flows` is their sum by period."""

    unit: Unit
    irr: Floats
    unique: Flags
    npv: Floats
    min_dscr: Floats
    flows: Floats


class Simulation:
    """A case made ready: arrays instead of tuples, and the list of units."""

    def __init__(self, case: SimulationCase) -> None:
        check_simulation(case)
        self.case = case
        self.levels = (PAYMENT_DEFAULT, *case.covenants)
        self.rate = math.expm1(math.log1p(case.discount_rate) / case.periods_per_year)
        self.periods = max(len(project.cfads) for project in case.projects) + 1
        self._deals = [_Deal(project, case) for project in case.projects]
        count = len(case.projects)
        self.units = [
            Unit(block, first, min(first + GROUP, count))
            for block in range(-(-case.scenarios // BLOCK))
            for first in range(0, count, GROUP)
        ]

    @property
    def paths(self) -> int:
        """Projects times scenarios: the work to do."""
        return len(self.case.projects) * self.case.scenarios

    def width(self, block: int) -> int:
        """The scenarios of a block; the last one may be short."""
        return min(BLOCK, self.case.scenarios - block * BLOCK)

    def value(self, unit: Unit) -> Valued:
        """Draw and value one unit; safe on any thread.

        Raises:
            InvalidInput: a path left the bounds of the engine.
        """
        width = self.width(unit.block)
        shared: dict[tuple[int, ...], Floats] = {}
        values = [
            {name: self._shock(name, number, unit.block, shared)[:width] for name in SHOCKS}
            for number in range(unit.first, unit.last)
        ]
        noise = [self._noise(number, unit.block, width) for number in range(unit.first, unit.last)]
        return self._value(unit, width, values, noise)

    def _value(
        self,
        unit: Unit,
        width: int,
        values: Sequence[dict[str, Floats]],
        noise: Sequence[Floats | None],
    ) -> Valued:
        count = unit.last - unit.first
        total = np.zeros((self.periods, width))
        irr, npv = np.zeros((count, width)), np.empty((count, width))
        unique, cover = np.zeros((count, width), dtype=bool), np.empty((count, width))
        for place in range(count):
            number = unit.first + place
            flows, cover[place] = self._deals[number].paths(values[place], noise[place])
            try:
                irr[place], unique[place] = self.annual_irr(flows)
                npv[place] = batch_npv(flows, self.rate)
            except InvalidInput as failure:
                detail = "a path leaves the bounds of the engine"
                raise InvalidInput.at(f"/projects/{number}", "overflow", detail) from failure
            total[: flows.shape[0]] += flows
        return Valued(unit, irr, unique, npv, cover, total)

    def annual_irr(self, flows: Floats) -> tuple[Floats, Flags]:
        """Effective rates a year, and where there is exactly one."""
        rates, status = batch_irr(flows)
        with np.errstate(over="ignore"):
            annual = np.expm1(self.case.periods_per_year * np.log1p(rates))
        return annual, (status == IrrStatus.UNIQUE) & np.isfinite(annual)

    def _shock(
        self, name: str, number: int, block: int, shared: dict[tuple[int, ...], Floats]
    ) -> Floats:
        shock: Shock | None = getattr(self.case.shocks, name)
        if shock is None:
            return np.full(BLOCK, _NEUTRAL[name])
        project, parts, kind = self.case.projects[number], shock.loadings, SHOCKS.index(name)
        x = parts.own * self._draw((kind, 3, number, block), {})
        for loading, level, label in (
            (parts.global_, 0, ""),
            (parts.sector, 1, project.sector),
            (parts.country, 2, project.country_code),
        ):
            if loading:
                x += loading * self._draw((kind, level, *_words(label), block), shared)
        return _value_of(name, shock, x)

    def _draw(self, key: tuple[int, ...], shared: dict[tuple[int, ...], Floats]) -> Floats:
        """A block of standard normal numbers from the stream of a key."""
        if key not in shared:
            shared[key] = self._stream(key).standard_normal(BLOCK)
        return shared[key]

    def _stream(self, key: tuple[int, ...]) -> np.random.Generator:
        seed = np.random.SeedSequence(self.case.seed, spawn_key=key)
        return np.random.Generator(np.random.PCG64(seed))

    def _noise(self, number: int, block: int, width: int) -> Floats | None:
        """Noise by period with mean one, own to the project."""
        sigma = self.case.shocks.cfads_noise_sigma
        if not sigma:
            return None
        shape = (len(self.case.projects[number].cfads), BLOCK)
        draws = self._stream((_NOISE_KEY, 3, number, block)).standard_normal(shape)
        draws *= sigma
        draws -= 0.5 * sigma * sigma
        return np.exp(draws, out=draws)[:, :width]

    def sensitivities(self) -> tuple[Valued, list[str]]:
        """The whole portfolio without shocks, then with each shock at its P10 and its P90."""
        active = [name for name in SHOCKS if getattr(self.case.shocks, name) is not None]
        x = np.zeros((len(active), 1 + 2 * len(active)))
        for row in range(len(active)):
            x[row, 1 + 2 * row : 3 + 2 * row] = (-_P90, _P90)
        values = {name: np.full(x.shape[1], _NEUTRAL[name]) for name in SHOCKS}
        for row, name in enumerate(active):
            values[name] = _value_of(name, getattr(self.case.shocks, name), x[row])
            values[name][0] = _NEUTRAL[name]
        whole = Unit(0, 0, len(self._deals))
        everywhere = [values] * len(self._deals)
        valued = self._value(whole, x.shape[1], everywhere, [None] * len(self._deals))
        return valued, active


class _Deal:
    """One project's series over periods 0..n as arrays."""

    def __init__(self, project: SimulatedProject, case: SimulationCase) -> None:
        length = len(project.cfads) + 1
        self.cfads = _padded(project.cfads, length, 1)
        self.capex = _padded(project.capex, length, 0)
        self.interest = _padded(project.interest, length, 1)
        principal = _padded(project.principal, length, 1)
        self.principal = principal
        self.equity = _padded(project.equity, length, 0)
        # Where the base case has no interest nothing is drawn yet, or interest is capitalised.
        opening = np.where(self.interest > 0.0, np.cumsum(principal[::-1])[::-1], 0.0)
        self.exposed = opening * (1.0 - project.hedged_share) / case.periods_per_year
        self.tested = np.flatnonzero(self.interest + principal >= SMALLEST)
        self.delayed = bool(self.capex.any())

    def paths(self, values: dict[str, Floats], noise: Floats | None) -> tuple[Floats, Floats]:
        """Equity flows (periods, scenarios) and the lowest DSCR of each scenario.

        Without debt service the DSCR is not tested: infinity, which no level is above.
        """
        cash = self._cash(values["delay"])
        cash *= values["cfads"]
        if noise is not None:
            cash[1:] *= noise
        interest = self.interest[:, None] + self.exposed[:, None] * values["rates"]
        service = np.maximum(interest, 0.0, out=interest)
        service += self.principal[:, None]
        cover = np.full(cash.shape[1], np.inf)
        if self.tested.size:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = cash[self.tested] / np.maximum(service[self.tested], SMALLEST)
            cover = ratios.min(axis=0)
        cash -= service
        cash -= self.equity[:, None]
        cash -= self.capex[:, None] * values["capex"]
        return cash, cover

    def _cash(self, delay: Floats) -> Floats:
        """CFADS later by a number of periods, whole and part, within the life of the project."""
        length = self.cfads.size
        if not (self.delayed and delay.any()):
            return np.repeat(self.cfads[:, None], delay.size, axis=1)
        late = np.clip(delay, 0.0, float(length))
        whole = np.floor(late)
        part = late - whole
        padded = np.concatenate([np.zeros(length + 1), self.cfads])
        index = np.arange(length)[:, None] - whole.astype(np.int64) + length + 1
        moved: Floats = padded[index] * (1.0 - part)
        moved += padded[index - 1] * part
        return moved


def _padded(values: Sequence[float], length: int, start: int) -> Floats:
    series = np.zeros(length)
    series[start : start + len(values)] = values
    return series


def _words(label: str) -> tuple[int, int]:
    """A label as part of a key: the same whatever other labels there are."""
    digest = hashlib.blake2b(label.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:], "big")


def _value_of(name: str, shock: Shock, x: Floats) -> Floats:
    """The quantiles of the distribution at standard normal numbers, inside what makes sense."""
    value = _quantile(shock, np.clip(x, -_LIMIT, _LIMIT))
    floor = {"cfads": 0.0, "capex": -1.0, "delay": 0.0, "rates": -np.inf}[name]
    return np.maximum(value, floor)


def _quantile(shock: Shock, x: Floats) -> Floats:
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


class Tally:
    """Takes valued units in their order and makes the result of them."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        case = simulation.case
        scenarios, count = case.scenarios, len(case.projects)
        kept = count if case.detailed else 0
        self._irr, self._npv = np.empty((kept, scenarios)), np.empty((kept, scenarios))
        self._unique = np.empty((kept, scenarios), dtype=bool)
        self._cover = np.empty((kept, scenarios))
        self._total_npv, self._lowest = np.zeros(scenarios), np.full(scenarios, np.inf)
        self._total_irr, self._total_unique = np.zeros(scenarios), np.zeros(scenarios, dtype=bool)
        self._below = np.zeros((len(simulation.levels), scenarios), dtype=np.int64)
        self._flows: Floats | None = None
        self.done = 0

    def add(self, valued: Valued) -> None:
        """Take the result of the next unit."""
        unit, width = valued.unit, valued.npv.shape[1]
        where = slice(unit.block * BLOCK, unit.block * BLOCK + width)
        if self._npv.shape[0]:
            rows = slice(unit.first, unit.last)
            self._irr[rows, where], self._unique[rows, where] = valued.irr, valued.unique
            self._npv[rows, where], self._cover[rows, where] = valued.npv, valued.min_dscr
        self._total_npv[where] += valued.npv.sum(axis=0)
        np.minimum(self._lowest[where], valued.min_dscr.min(axis=0), out=self._lowest[where])
        for row, level in enumerate(self._simulation.levels):
            self._below[row, where] += (valued.min_dscr < level.below).sum(axis=0)
        self._flows = valued.flows if unit.first == 0 else self._sum(valued.flows)
        if unit.last == len(self._simulation.case.projects):
            annual, unique = self._simulation.annual_irr(self._flows)
            self._total_irr[where], self._total_unique[where] = annual, unique
        self.done += (unit.last - unit.first) * width

    def _sum(self, flows: Floats) -> Floats:
        if self._flows is None:
            raise RuntimeError("the first unit of a block comes before the others")
        self._flows += flows
        return self._flows

    def result(self) -> SimulationResult:
        """The distributions, probabilities and sensitivities of all units."""
        simulation = self._simulation
        base, active = simulation.sensitivities()
        annual, unique = simulation.annual_irr(base.flows)
        worth, lowest = base.npv.sum(axis=0), base.min_dscr.min(axis=0)
        return SimulationResult(
            seed=simulation.case.seed,
            scenarios=simulation.case.scenarios,
            base_npv=float(worth[0]),
            base_irr=float(annual[0]) if unique[0] else None,
            base_min_dscr=_finite(lowest[0]),
            portfolio=self._portfolio(),
            projects=self._projects() if simulation.case.detailed else None,
            tornado=_tornado(simulation, active, worth, (annual, unique), lowest),
            conventions=_CONVENTIONS,
        )

    def _portfolio(self) -> PortfolioSpread:
        count = len(self._simulation.case.projects)
        breaches = []
        for level, below in zip(self._simulation.levels, self._below, strict=True):
            p50, p95 = percentiles(below.astype(np.float64), (50, 95))
            breaches.append(
                PortfolioBreach(
                    name=level.name,
                    below=level.below,
                    expected_share=float(below.mean()) / count,
                    any_probability=float((below > 0).mean()),
                    projects_p50=p50,
                    projects_p95=p95,
                )
            )
        return PortfolioSpread(
            irr=_spread(self._total_irr[self._total_unique]),
            irr_unique_share=float(self._total_unique.mean()),
            npv=_whole_spread(self._total_npv),
            min_dscr=_spread(self._lowest[np.isfinite(self._lowest)]),
            breaches=tuple(breaches),
        )

    def _projects(self) -> tuple[ProjectSpread, ...]:
        return tuple(
            ProjectSpread(
                name=project.name,
                irr=_spread(self._irr[row][self._unique[row]]),
                irr_unique_share=float(self._unique[row].mean()),
                npv=_whole_spread(self._npv[row]),
                min_dscr=_spread(self._cover[row][np.isfinite(self._cover[row])]),
                breaches=tuple(
                    Breach(
                        name=level.name,
                        below=level.below,
                        probability=float((self._cover[row] < level.below).mean()),
                    )
                    for level in self._simulation.levels
                ),
            )
            for row, project in enumerate(self._simulation.case.projects)
        )


def simulate(case: SimulationCase) -> SimulationResult:
    """The whole simulation on the calling thread.

    Raises:
        InvalidInput: a field does not fit, or a path leaves the bounds of the engine.
    """
    simulation = Simulation(case)
    tally = Tally(simulation)
    for unit in simulation.units:
        tally.add(simulation.value(unit))
    return tally.result()


def _spread(values: Floats) -> Spread | None:
    return _whole_spread(values) if values.size else None


def _whole_spread(values: Floats) -> Spread:
    found = dict(zip(_LEVELS, percentiles(values, _LEVELS), strict=True))
    return Spread(
        mean=float(values.mean()), **{f"p{level}": value for level, value in found.items()}
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _tornado(
    simulation: Simulation,
    active: Sequence[str],
    worth: Floats,
    rates: tuple[Floats, Flags],
    lowest: Floats,
) -> tuple[Sensitivity, ...]:
    def irr(column: int) -> float | None:
        return float(rates[0][column]) if rates[1][column] else None

    bars = []
    for row, name in enumerate(active):
        low, high = 1 + 2 * row, 2 + 2 * row
        ends = _value_of(name, getattr(simulation.case.shocks, name), np.array([-_P90, _P90]))
        bars.append(
            Sensitivity(
                shock=name,
                low_value=float(ends[0]),
                high_value=float(ends[1]),
                npv_low=float(worth[low]),
                npv_high=float(worth[high]),
                irr_low=irr(low),
                irr_high=irr(high),
                min_dscr_low=_finite(lowest[low]),
                min_dscr_high=_finite(lowest[high]),
                swing=abs(float(worth[high]) - float(worth[low])),
            )
        )
    return tuple(sorted(bars, key=lambda bar: -bar.swing))


_CONVENTIONS = {
    "equity_flow": "-equity - overrun x capex + CFADS - debt service; sponsors pay shortfalls in",
    "irr": "effective a year, over the scenarios with exactly one rate",
    "npv": "effective annual rate, period 0 not discounted",
    "min_dscr": "lowest CFADS / debt service of the periods in which debt service is due",
    "breach": "the lowest DSCR is below the level, unrounded",
    "factors": "X = g G + s S + c C + own E, standard normal, independent between kinds of shock",
    "tornado": "one shock at its P10 and P90 in all projects, the others at their medians",
    "random_numbers": "NumPy PCG64, streams keyed by seed, shock, factor and block of scenarios",
}
