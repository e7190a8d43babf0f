"""Monte Carlo: paths equal the scalar reference, draws their distribution, runs repeat."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.domain.finance.error_codes import error_codes

from spawn.domain.finance.returns.rates_of_return import irr, npv
from spawn.domain.finance.simulation.monte_carlo import (
    PROJECTS_PER_UNIT,
    SCENARIOS_PER_BLOCK,
    ResultAggregator,
    Simulation,
    _ProjectArrays,
    _shock_values,
    simulate_portfolio,
)
from spawn.domain.finance.simulation.monte_carlo_case import (
    CovenantLevel,
    Loadings,
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
    validate_simulation_case,
)

pytestmark = pytest.mark.core

WIND = SimulatedProject(
    name="Wind",
    sector="wind",
    country_code="ESP",
    currency_code="EUR",
    equity=(10.0, 15.0),
    capex=(40.0, 60.0),
    cfads=(0.0, 14.0, 14.5, 15.0, 15.5, 16.0, 16.5),
    interest=(0.0, 4.0, 3.0, 2.0, 1.0),
    principal=(0.0, 7.0, 8.0, 8.5, 9.0),
    hedged_share=0.25,
)
ROAD = msgspec.structs.replace(
    WIND, name="Road", sector="road", capex=(), equity=(30.0,), cfads=(9.0,) * 9
)
SWAY = Shock(distribution="lognormal", median=1.0, sigma=0.15)
ALL = Shocks(
    cfads=msgspec.structs.replace(SWAY, loadings=Loadings(global_=0.5, sector=0.3, country=0.2)),
    cfads_noise_sigma=0.05,
    capex=Shock(distribution="triangular", low=-0.1, mode=0.0, high=0.5),
    delay=Shock(distribution="uniform", low=0.0, high=2.5),
    rates=Shock(distribution="normal", mean=0.0, standard_deviation=0.02),
)


def case(**changes: Any) -> SimulationCase:
    fields: dict[str, Any] = {"projects": (WIND, ROAD), "shocks": ALL, "scenarios": 500, "seed": 7}
    return SimulationCase(**{**fields, **changes})


def reference_path(project: SimulatedProject, at: dict[str, float]) -> tuple[list[float], float]:
    """Compute one path in plain Python: the equity flows and the lowest DSCR."""
    periods = len(project.cfads)

    def cfads(t: int) -> float:
        return project.cfads[t - 1] if 1 <= t <= periods else 0.0

    whole, part = divmod(at["delay"], 1.0) if any(project.capex) else (0.0, 0.0)
    flows, lowest = [], math.inf
    for t in range(periods + 1):
        late = t - int(whole)
        cash = ((1.0 - part) * cfads(late) + part * cfads(late - 1)) * at["cfads"]
        service = 0.0
        if 1 <= t <= len(project.principal):
            bears_interest = project.interest[t - 1] > 0.0
            balance = sum(project.principal[t - 1 :]) if bears_interest else 0.0
            shift = at["rates"] * balance * (1.0 - project.hedged_share)
            scheduled = project.interest[t - 1] + project.principal[t - 1]
            service = max(project.interest[t - 1] + shift, 0.0) + project.principal[t - 1]
            if scheduled > 0.0:
                lowest = min(lowest, cash / service)
        paid = project.equity[t] if t < len(project.equity) else 0.0
        overrun = at["capex"] * (project.capex[t] if t < len(project.capex) else 0.0)
        flows.append(cash - service - paid - overrun)
    return flows, lowest


@pytest.mark.parametrize("project", [WIND, ROAD], ids=lambda project: str(project.name))
@pytest.mark.parametrize("seed", range(4))
def test_a_path_equals_the_scalar_reference(project: SimulatedProject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = {
        "cfads": rng.uniform(0.5, 1.5, 6),
        "capex": rng.uniform(-0.2, 0.6, 6),
        "delay": np.array([0.0, 0.4, 1.0, 2.75, 6.5, 90.0]),
        "rates": rng.uniform(-0.9, 0.1, 6),
    }
    flows, cover = _ProjectArrays(project, case()).value_paths(drawn, None)
    for column in range(6):
        at = {name: float(values[column]) for name, values in drawn.items()}
        expected, lowest = reference_path(project, at)
        assert flows[:, column].tolist() == pytest.approx(expected, rel=1e-13, abs=1e-13)
        assert cover[column] == pytest.approx(lowest, rel=1e-13)


def test_rates_and_values_equal_the_scalar_functions() -> None:
    simulation = Simulation(case(periods_per_year=2))
    unit_result = simulation.value_unit(simulation.units[0])
    for number, project in enumerate(simulation.case.projects):
        shocks = {
            name: simulation._draw_shock(name, number, 0, {})[:500]
            for name in ("cfads", "capex", "delay", "rates")
        }
        noise = simulation._draw_noise(number, 0, 500)
        flows, _ = _ProjectArrays(project, simulation.case).value_paths(shocks, noise)
        for column in range(0, 500, 25):
            path = flows[:, column].tolist()
            outcome = irr(path, 2)
            assert (outcome.status == "unique") == bool(unit_result.has_unique_irr[number, column])
            if outcome.status == "unique":
                result = float(unit_result.irr[number, column])
                assert result == pytest.approx(outcome.effective_pa[0], abs=1e-9)
            worth = npv(math.sqrt(1.08) - 1.0, path)
            assert float(unit_result.npv[number, column]) == pytest.approx(
                worth, rel=1e-9, abs=1e-9
            )


def in_threads(workers: int, of: SimulationCase) -> bytes:
    simulation = Simulation(of)
    aggregator = ResultAggregator(simulation)
    with ThreadPoolExecutor(workers) as pool:
        for unit_result in pool.map(simulation.value_unit, simulation.units):
            aggregator.add(unit_result)
    return msgspec.json.encode(aggregator.build_result())


def test_a_path_beyond_the_limits_names_its_project() -> None:
    vast = msgspec.structs.replace(ROAD, cfads=(1e24,) * 9)
    storm = Shocks(cfads=Shock(distribution="lognormal", median=2.0, sigma=1.0))
    assert error_codes(lambda: simulate_portfolio(case(projects=(WIND, vast), shocks=storm))) == {
        "/projects/1": "overflow"
    }


def test_noise_has_mean_one_its_declared_spread_and_is_own_to_project_and_period() -> None:
    long = msgspec.structs.replace(ROAD, cfads=(9.0,) * 60)
    simulation = Simulation(
        case(
            projects=(long, long),
            shocks=Shocks(cfads_noise_sigma=0.4),
            scenarios=SCENARIOS_PER_BLOCK,
        )
    )
    drawn = [simulation._draw_noise(number, 0, SCENARIOS_PER_BLOCK) for number in range(2)]
    first, second = (noise for noise in drawn if noise is not None)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(np.log(first).std()) == pytest.approx(0.4, abs=0.01)
    for one, other in ((first, second), (first[:-1], first[1:])):
        assert abs(float(np.corrcoef(one.ravel(), other.ravel())[0, 1])) < 0.02


@pytest.mark.slow
def test_the_result_is_the_same_to_the_last_digit_on_any_number_of_threads() -> None:
    projects = tuple(
        msgspec.structs.replace(WIND, name=f"P{number}", equity=(10.0 + number,))
        for number in range(PROJECTS_PER_UNIT + 6)
    )
    terms = case(projects=projects, scenarios=SCENARIOS_PER_BLOCK + 100)
    alone = msgspec.json.encode(simulate_portfolio(terms))
    assert len(Simulation(terms).units) == 4
    assert in_threads(1, terms) == in_threads(3, terms) == alone
    other = msgspec.json.encode(
        simulate_portfolio(case(projects=projects, scenarios=SCENARIOS_PER_BLOCK + 100, seed=8))
    )
    assert other != alone


def test_more_scenarios_start_with_the_same_ones() -> None:
    few, many = Simulation(case(scenarios=300)), Simulation(case(scenarios=900))
    short, long = few.value_unit(few.units[0]), many.value_unit(many.units[0])
    assert short.npv.tolist() == long.npv[:, :300].tolist()


QUANTILES: list[tuple[Shock, Callable[[float], float]]] = [
    (
        Shock(distribution="normal", mean=0.1, standard_deviation=0.2),
        lambda u: NormalDist(0.1, 0.2).inv_cdf(u),
    ),
    (
        Shock(distribution="lognormal", median=1.2, sigma=0.3),
        lambda u: 1.2 * math.exp(0.3 * NormalDist().inv_cdf(u)),
    ),
    (Shock(distribution="uniform", low=0.5, high=2.5), lambda u: 0.5 + 2.0 * u),
    (
        Shock(distribution="triangular", low=0.0, mode=1.0, high=4.0),
        lambda u: 2 * math.sqrt(u) if u < 0.25 else 4 - math.sqrt(12 * (1 - u)),
    ),
]


@pytest.mark.parametrize(
    ("shock", "quantile"), QUANTILES, ids=lambda one: getattr(one, "distribution", "")
)
def test_a_shock_has_the_quantiles_of_its_distribution(
    shock: Shock, quantile: Callable[[float], float]
) -> None:
    levels = [0.001, 0.05, 0.25, 0.3, 0.5, 0.9, 0.999]
    x = np.array([NormalDist().inv_cdf(level) for level in levels])
    result = _shock_values("rates", shock, x).tolist()
    assert result == pytest.approx([quantile(level) for level in levels], rel=1e-9)


def test_factors_correlate_projects_by_their_loadings() -> None:
    """Same sector and country share g² + s² + c²; another sector shares g² + c² alone."""
    twin = msgspec.structs.replace(WIND, name="Twin")
    loadings = Loadings(global_=0.5, sector=0.6, country=0.3)
    shock = msgspec.structs.replace(SWAY, loadings=loadings)
    simulation = Simulation(
        case(
            projects=(WIND, twin, ROAD),
            shocks=Shocks(cfads=shock),
            scenarios=60 * SCENARIOS_PER_BLOCK,
        )
    )
    draws = [
        np.log(np.concatenate([simulation._draw_shock("cfads", k, b, {}) for b in range(60)]))
        for k in range(3)
    ]
    matrix = np.corrcoef(draws)
    assert matrix[0, 1] == pytest.approx(0.25 + 0.36 + 0.09, abs=0.01)
    assert matrix[0, 2] == pytest.approx(0.25 + 0.09, abs=0.01)
    assert float(np.std(draws[0])) == pytest.approx(0.15, rel=0.01)


def test_breaches_are_counted_below_each_level() -> None:
    """With CFADS uniform on [0.5, 1.5] the probability of a breach is known in closed form."""
    plain = msgspec.structs.replace(
        WIND,
        capex=(),
        equity=(30.0,),
        cfads=(12.0,) * 5,
        interest=(0.0,) * 5,
        principal=(10.0,) * 5,
    )
    wide = Shock(distribution="uniform", low=0.5, high=1.5)
    terms = case(
        projects=(plain,),
        shocks=Shocks(cfads=wide),
        scenarios=5_000,
        covenants=(CovenantLevel(name="lock-up", below=1.2),),
    )
    result = simulate_portfolio(terms)
    assert result.projects is not None
    payment, lockup = result.projects[0].breaches
    assert (payment.name, payment.below) == ("payment default", 1.0)
    assert payment.probability == pytest.approx(1.0 / 1.2 - 0.5, abs=0.01)
    assert lockup.probability == pytest.approx(0.5, abs=0.01)
    assert result.portfolio.breaches[1].any_probability == lockup.probability
    assert result.base_min_dscr == pytest.approx(1.2)
    spread = result.projects[0].min_dscr
    assert spread is not None
    assert spread.p50 == pytest.approx(1.2, abs=0.02)
    assert [spread.p5, spread.p95] == pytest.approx([0.66, 1.74], abs=0.02)


def test_the_portfolio_is_the_sum_of_its_projects() -> None:
    simulation = Simulation(case())
    unit_result = simulation.value_unit(simulation.units[0])
    result = simulate_portfolio(case())
    assert result.portfolio.npv.mean == pytest.approx(float(unit_result.npv.sum(axis=0).mean()))
    assert result.projects is not None
    means = [project.npv.mean for project in result.projects]
    assert result.portfolio.npv.mean == pytest.approx(sum(means))
    lean = simulate_portfolio(case(by_project=False))
    assert lean.projects is None
    assert lean.portfolio == result.portfolio


def test_a_tornado_moves_one_shock_at_a_time_and_is_sorted() -> None:
    result = simulate_portfolio(case())
    assert {bar.shock for bar in result.tornado} == {"cfads", "capex", "delay", "rates"}
    swings = [bar.swing for bar in result.tornado]
    assert swings == sorted(swings, reverse=True)
    only = simulate_portfolio(case(shocks=Shocks(rates=ALL.rates)))
    (bar,) = only.tornado
    assert [bar.low_value, bar.high_value] == pytest.approx([-0.0256310, 0.0256310], abs=1e-6)
    at = {"cfads": 1.0, "capex": 0.0, "delay": 0.0, "rates": bar.high_value}
    worth = sum(npv(0.08, reference_path(project, at)[0]) for project in (WIND, ROAD))
    assert bar.npv_high == pytest.approx(worth, rel=1e-9)
    assert only.base_npv > bar.npv_high


def test_a_portfolio_without_debt_has_no_dscr() -> None:
    free = msgspec.structs.replace(WIND, interest=(), principal=())
    result = simulate_portfolio(case(projects=(free,)))
    assert result.portfolio.min_dscr is None
    assert result.base_min_dscr is None
    assert [breach.expected_share for breach in result.portfolio.breaches] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"projects": ()}, "/projects", "empty"),
        ({"scenarios": 0}, "/scenarios", "out_of_range"),
        ({"scenarios": 10**9}, "/scenarios", "out_of_range"),
        ({"seed": -1}, "/seed", "out_of_range"),
        ({"discount_rate": float("nan")}, "/discount_rate", "out_of_range"),
        (
            {"covenants": (CovenantLevel(name="x", below=-1.0),)},
            "/covenants/0/below",
            "out_of_range",
        ),
        ({"projects": (msgspec.structs.replace(WIND, cfads=()),)}, "/projects/0/cfads", "empty"),
        (
            {"projects": (msgspec.structs.replace(WIND, interest=(1.0,)),)},
            "/projects/0/interest",
            "wrong_length",
        ),
        (
            {
                "projects": (
                    msgspec.structs.replace(WIND, principal=(1.0,) * 9, interest=(0.0,) * 9),
                )
            },
            "/projects/0/principal",
            "wrong_length",
        ),
        (
            {"projects": (msgspec.structs.replace(WIND, equity=(1e308,)),)},
            "/projects/0/equity/0",
            "out_of_range",
        ),
        (
            {"projects": (WIND, msgspec.structs.replace(ROAD, currency_code="USD"))},
            "/projects/1/currency_code",
            "mixed_currencies",
        ),
        (
            {"shocks": Shocks(cfads=Shock(distribution="normal", mean=1.0))},
            "/shocks/cfads/standard_deviation",
            "required",
        ),
        (
            {"shocks": Shocks(cfads=Shock(distribution="uniform", low=1.0, high=1.1, mode=1.0))},
            "/shocks/cfads/mode",
            "not_applicable",
        ),
        (
            {"shocks": Shocks(delay=Shock(distribution="uniform", low=2.0, high=1.0))},
            "/shocks/delay/high",
            "out_of_order",
        ),
        (
            {"shocks": Shocks(cfads=Shock(distribution="lognormal", median=0.0, sigma=1.0))},
            "/shocks/cfads/median",
            "not_positive",
        ),
        (
            {
                "shocks": Shocks(
                    cfads=msgspec.structs.replace(SWAY, loadings=Loadings(global_=0.9, sector=0.9))
                )
            },
            "/shocks/cfads/loadings",
            "wrong_sum",
        ),
    ],
)
def test_invalid_simulations_name_the_field(
    changes: dict[str, Any], pointer: str, code: str
) -> None:
    assert error_codes(lambda: validate_simulation_case(case(**changes))).get(pointer) == code


def test_numbers_at_the_ends_of_float64_name_the_field() -> None:
    far = msgspec.structs.replace(SWAY, loadings=Loadings(global_=1e308, sector=-1e308))
    edge = Shock(distribution="lognormal", median=1e308, sigma=5e-324)
    result = error_codes(
        lambda: validate_simulation_case(case(shocks=Shocks(cfads=far, capex=edge)))
    )
    assert result["/shocks/cfads/loadings/global"] == "out_of_range"
    assert result["/shocks/capex/median"] == "out_of_range"
    ages = msgspec.structs.replace(ROAD, cfads=(1.0,) * 2_400)
    deep = case(projects=(ages,), discount_rate=-0.5)
    assert error_codes(lambda: validate_simulation_case(deep)) == {"/discount_rate": "overflow"}


def test_detailed_paths_have_a_limit_that_names_the_alternative() -> None:
    projects = tuple(msgspec.structs.replace(ROAD, name=str(number)) for number in range(900))
    codes = error_codes(lambda: validate_simulation_case(case(projects=projects, scenarios=20_000)))
    assert codes == {"/scenarios": "too_many"}
    validate_simulation_case(case(projects=projects, scenarios=20_000, by_project=False))
