"""Statistics of a simulation: every scenario counts, and percentiles have both their names."""

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.domain.finance.error_codes import error_codes

from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.finance.simulation.monte_carlo_case import (
    Loadings,
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
    SimulationResult,
)

pytestmark = pytest.mark.core

PLAIN = SimulatedProject(name="Plain", equity=(10.0,), cfads=(3.0,) * 8)
SWING = Shock(distribution="normal", mean=1.0, standard_deviation=0.1)


def simulate(*projects: SimulatedProject, shock: Shock = SWING, **fields: Any) -> SimulationResult:
    stated: dict[str, Any] = {"shocks": Shocks(cfads=shock), "scenarios": 2_000, "seed": 1}
    return simulate_portfolio(SimulationCase(projects=projects, **{**stated, **fields}))


def test_wanted_percentiles_are_named_by_exceedance_too() -> None:
    result = simulate(PLAIN, percentiles=(1.0, 99.0, 12.5)).portfolio.npv
    assert [each.exceedance for each in result.percentiles] == ["P99", "P1", "P87.5"]
    low, high, middle = (each.value for each in result.percentiles)
    assert (low, high) == (result.p1, result.p99)
    assert result.p10 < middle < result.p25
    assert "exceeded in 90 %" in simulate(PLAIN).conventions["percentiles"]


def test_percentiles_outside_a_hundred_or_too_many_are_rejected() -> None:
    assert error_codes(lambda: simulate(PLAIN, percentiles=(50.0, 101.0))) == {
        "/percentiles/1": "out_of_range"
    }
    assert error_codes(lambda: simulate(PLAIN, percentiles=(50.0,) * 21)) == {
        "/percentiles": "wrong_length"
    }


def test_a_scenario_that_loses_everything_counts_as_minus_one_hundred_percent() -> None:
    worthless = Shock(distribution="normal", mean=0.0, standard_deviation=0.5)
    result = simulate(PLAIN, shock=worthless)
    (project,) = result.projects or ()
    # Half of the factors are below zero, where CFADS are nothing.
    assert project.irr_total_loss_share == pytest.approx(0.5, abs=0.05)
    assert project.irr is not None
    assert project.irr.p25 == -1.0
    total = project.irr_unique_share + project.irr_total_loss_share + project.irr_left_out_share
    assert total == pytest.approx(1.0)
    assert result.portfolio.irr_total_loss_share == project.irr_total_loss_share


def test_scenarios_left_out_are_counted_and_warned_of() -> None:
    # Below the median the last debt service is not covered: the flows have two rates.
    pump = SimulatedProject(
        name="Pump", equity=(1.0,), cfads=(2.0, 1.0), interest=(0.0, 1.0), principal=(0.0, 0.0)
    )
    shock = Shock(distribution="uniform", low=0.9, high=1.1)
    result = simulate(pump, shock=shock, scenarios=200)  # each takes a search for its rates
    (project,) = result.projects or ()
    assert 0.0 < project.irr_left_out_share < 1.0
    assert result.portfolio.irr_left_out_share == project.irr_left_out_share
    assert any("leaves them out" in warning for warning in result.warnings)
    assert any("left out of Pump" in warning for warning in result.warnings)


def test_projects_without_a_label_share_no_factor() -> None:
    loaded = msgspec.structs.replace(SWING, loadings=Loadings(sector=1.0))
    blank = [msgspec.structs.replace(PLAIN, name=f"p{n}") for n in range(40)]
    wind = [msgspec.structs.replace(project, sector="wind") for project in blank]
    apart = simulate(*blank, shock=loaded, by_project=False)
    together = simulate(*wind, shock=loaded, by_project=False)
    spreads = [r.portfolio.npv.p95 - r.portfolio.npv.p5 for r in (apart, together)]
    assert spreads[1] / spreads[0] == pytest.approx(np.sqrt(40), rel=0.15)
    assert apart.warnings == (
        "no sector, hence no common factor of one: p0, p1, p2, p3, p4 and 35 more",
    )
    assert together.warnings == ()


def test_the_centre_of_the_tornado_has_every_shock_at_its_median() -> None:
    skew = Shock(distribution="triangular", low=0.5, mode=1.0, high=1.1)
    result = simulate(PLAIN, shock=skew)
    (bar,) = result.tornado
    assert result.median_npv is not None
    assert bar.npv_low < result.median_npv < bar.npv_high
    assert result.median_npv < result.base_npv
    assert result.median_irr is not None
    assert result.median_min_dscr is None


def test_data_that_no_shock_uses_is_warned_of() -> None:
    hedged = msgspec.structs.replace(PLAIN, hedged_share=0.5, capex=(5.0,))
    assert [warning.split(" has no use")[0] for warning in simulate(hedged).warnings] == [
        "hedged_share",
        "capex",
    ]


def test_a_total_loss_of_the_base_case_has_the_rate_of_its_scenarios() -> None:
    lost = SimulatedProject(name="Lost", equity=(10.0,), cfads=(0.0,) * 8)
    result = simulate(lost, scenarios=100)
    assert (result.base_irr, result.median_irr) == (-1.0, -1.0)
    (bar,) = result.tornado
    assert (bar.irr_low, bar.irr_high) == (-1.0, -1.0)
    assert result.portfolio.irr_total_loss_share == 1.0


def test_a_blank_label_is_empty_and_spellings_in_case_are_one_sector() -> None:
    loaded = msgspec.structs.replace(SWING, loadings=Loadings(sector=1.0))

    def spread(*sectors: str) -> float:
        projects = [
            msgspec.structs.replace(PLAIN, name=f"p{n}", sector=sector)
            for n, sector in enumerate(sectors)
        ]
        npv = simulate(*projects, shock=loaded, scenarios=200).portfolio.npv
        return npv.p95 - npv.p5

    assert spread(" ", " ") == spread("", "")
    assert spread("wind", "Wind ") == spread("Wind", "Wind") > spread("wind", "solar")


@pytest.mark.parametrize(
    ("project", "shocks", "warning"),
    [
        (
            PLAIN,
            Shocks(rates=SWING),
            "rates changes nothing: no project has unhedged interest on principal",
        ),
        (
            msgspec.structs.replace(PLAIN, interest=(1.0,), principal=(10.0,), hedged_share=1.0),
            Shocks(rates=SWING),
            "rates changes nothing: no project has unhedged interest on principal",
        ),
        (
            msgspec.structs.replace(PLAIN, interest=(0.0, 2.0), principal=(10.0, 0.0)),
            Shocks(rates=SWING),
            "rates changes nothing: no project has unhedged interest on principal",
        ),
        (PLAIN, Shocks(capex=SWING), "capex changes nothing: no project has capex"),
        (PLAIN, Shocks(delay=SWING), "delay changes nothing: no project has capex"),
    ],
)
def test_a_shock_that_touches_no_project_is_warned_of(
    project: SimulatedProject, shocks: Shocks, warning: str
) -> None:
    result = simulate(project, shocks=shocks, scenarios=20)
    assert f"the shock to {warning}" in result.warnings
