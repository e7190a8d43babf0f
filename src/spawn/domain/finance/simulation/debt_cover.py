"""Cover of the debt service by CFADS over the scenarios of a simulation.

The paths are those of `monte_carlo`. A shortfall is the debt service of a period less its CFADS,
at most the whole debt service; that of a path is the sum over its periods, without interest on
it and without reserves. NumPy is imported here alone: callers import this module when they run.
"""

from collections.abc import Generator, Sequence

import msgspec
import numpy as np

from spawn.domain.finance.simulation.debt_cover_case import CoverDistributions, CoverMeasure
from spawn.domain.finance.simulation.monte_carlo import (
    SCENARIOS_PER_BLOCK,
    Simulation,
    summarise_values,
)
from spawn.domain.finance.simulation.monte_carlo_case import Shocks, SimulationCase
from spawn.domain.finance.simulation.vectorized import FloatArray


def measure_cover(
    case: SimulationCase, claims: Sequence[Sequence[float]]
) -> Generator[None, None, CoverMeasure]:
    """Measure the cover of each project and of all together, a unit of work a step.

    Args:
        case: the projects, each of which has debt service, and the shocks.
        claims: of each project the share of a shortfall that counts, for periods 1..n.

    Raises:
        InvalidInput: a field of the case is outside the limits of the engine.
    """
    simulation = Simulation(case)
    count = len(case.projects)
    min_dscr, shortfall = np.empty((count, case.scenarios)), np.empty((count, case.scenarios))
    for unit in simulation.units:
        result = simulation.cover_unit(unit, claims)
        start = unit.block * SCENARIOS_PER_BLOCK
        rows = slice(unit.first, unit.last)
        columns = slice(start, start + result.min_dscr.shape[1])
        min_dscr[rows, columns], shortfall[rows, columns] = result.min_dscr, result.shortfall
        yield
    base = Simulation(msgspec.structs.replace(case, shocks=Shocks(), scenarios=1))
    units = [base.cover_unit(unit, claims) for unit in base.units]
    base_dscr = np.concatenate([one.min_dscr[:, 0] for one in units])
    base_shortfall = np.concatenate([one.shortfall[:, 0] for one in units])
    yield
    return CoverMeasure(
        projects=tuple(
            _summarise(
                min_dscr[row], shortfall[row], float(base_dscr[row]), float(base_shortfall[row])
            )
            for row in range(count)
        ),
        portfolio=_summarise(
            min_dscr.min(axis=0),
            shortfall.sum(axis=0),
            float(base_dscr.min()),
            float(base_shortfall.sum()),
        ),
    )


def _summarise(
    min_dscr: FloatArray, shortfall: FloatArray, base_dscr: float, base_shortfall: float
) -> CoverDistributions:
    return CoverDistributions(
        base_min_dscr=base_dscr,
        base_shortfall=base_shortfall,
        min_dscr=summarise_values(min_dscr, ()),
        shortfall=summarise_values(shortfall, ()),
        uncovered_probability=float((min_dscr < 1.0).mean()),
    )
