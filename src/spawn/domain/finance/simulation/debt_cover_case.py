"""Result of a measure of the cover of debt service; `debt_cover` has the arithmetic."""

import msgspec

from spawn.domain.finance.simulation.monte_carlo_case import DistributionSummary


class CoverDistributions(msgspec.Struct, frozen=True, kw_only=True):
    """The lowest DSCR and the shortfall over the scenarios; `base` is without shocks.

    `uncovered_probability` is the share of scenarios in which CFADS is below the debt service in
    any period. The shortfall is in major units of the currency of the case.
    """

    base_min_dscr: float
    base_shortfall: float
    min_dscr: DistributionSummary
    shortfall: DistributionSummary
    uncovered_probability: float


class CoverMeasure(msgspec.Struct, frozen=True, kw_only=True):
    """The cover of each project, and of all: the lowest DSCR of any, the sum of shortfalls."""

    portfolio: CoverDistributions
    projects: tuple[CoverDistributions, ...]
