"""The vectorized engine equals the scalar reference, path by path."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.finance.error_codes import error_codes
from tests.searches import scale

from spawn.domain.finance.returns.rates_of_return import irr, npv
from spawn.domain.finance.simulation.vectorized import (
    Deal,
    DealValuation,
    FloatArray,
    IrrStatus,
    allocate_workspace,
    batch_irr,
    batch_npv,
    percentiles,
    value_deal,
    value_portfolio,
)

pytestmark = pytest.mark.core


def deal(periods: int, seed: int = 1) -> Deal:
    rng = np.random.default_rng(seed)
    build = max(1, periods // 10)
    fixed, cfads, service = np.zeros(periods), np.zeros(periods), np.zeros(periods)
    fixed[:build] = -30.0 / build
    cfads[build:] = 3.0 * rng.uniform(0.9, 1.1, periods - build)
    service[build : max(build + 1, 3 * periods // 4)] = 2.1
    return Deal(fixed - service, cfads, service, 0.015)


def factors(periods: int, scenarios: int, spread: float, seed: int = 2) -> FloatArray:
    rng = np.random.default_rng(seed)
    level = rng.normal(0.0, spread, scenarios)
    return np.asarray(np.exp(level + rng.normal(0.0, spread, (periods, scenarios))))


def numbers(result: DealValuation) -> FloatArray:
    return np.stack([result.irr, result.npv, result.min_dscr, result.irr_status.astype(float)])


def assert_equals_reference(flows: FloatArray, rates: FloatArray, status: np.ndarray) -> None:
    for column in range(flows.shape[1]):
        reference = irr(flows[:, column].tolist())
        assert IrrStatus(status[column]).name.lower() == reference.status
        expected = reference.rate or 0.0
        assert abs(rates[column] - expected) <= 1e-9 * max(1.0, abs(expected))


@given(
    st.integers(2, 60),
    st.integers(1, 20),
    st.floats(0.0, 0.6),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 1e-6, 1e9]),
)
@settings(max_examples=scale(25))
def test_deals_are_valued_as_the_reference_values_them(
    periods: int, scenarios: int, spread: float, seed: int, unit: float
) -> None:
    one, paths = deal(periods, seed), factors(periods, scenarios, spread, seed)
    one = Deal(one.fixed * unit, one.cfads * unit, one.debt_service * unit, one.discount_rate)
    result = value_deal(one, paths)
    flows = one.fixed[:, None] + one.cfads[:, None] * paths
    assert_equals_reference(flows, result.irr, result.irr_status)
    worth = [npv(0.015, flows[:, k].tolist()) for k in range(scenarios)]
    assert result.npv == pytest.approx(worth, rel=1e-9, abs=1e-9 * unit)
    tested = one.debt_service > 0.0
    cover = (one.cfads[:, None] * paths)[tested] / one.debt_service[tested, None]
    assert result.min_dscr == pytest.approx(cover.min(axis=0), rel=1e-14)
    assert np.isfinite(result.irr).all()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=scale(25))
def test_random_paths_get_the_status_of_the_reference(
    periods: int, scenarios: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    flows = np.round(rng.normal(0.0, 10.0, (periods, scenarios)), 1)
    flows *= rng.random((periods, scenarios)) < 0.8
    rates, status = batch_irr(flows)
    assert_equals_reference(flows, rates, status)


def test_several_and_no_rates_are_flagged_and_omitted() -> None:
    flows = np.array(
        [[-100.0, 230.0, -132.0], [-100.0, 110.0, 0.0], [-1.0, -1.0, -1.0], [0.0, 0.0, 0.0]]
    ).T
    rates, status = batch_irr(np.ascontiguousarray(flows))
    assert status.tolist() == [
        IrrStatus.SEVERAL,
        IrrStatus.UNIQUE,
        IrrStatus.NONE,
        IrrStatus.UNDEFINED,
    ]
    valuation = DealValuation(rates, status, rates, rates, has_debt_service=False)
    assert valuation.unique_irr() == pytest.approx([0.10], abs=1e-14)


def test_blocks_scratch_and_order_change_no_bit() -> None:
    one, paths = deal(101), factors(101, 3000, 0.1)
    whole = value_deal(one, paths)
    again = value_deal(one, paths, allocate_workspace(200, 3000))
    first = value_deal(one, np.ascontiguousarray(paths[:, :2048]))
    assert numbers(whole).tobytes() == numbers(again).tobytes()
    assert numbers(whole)[:, :2048].tobytes() == numbers(first).tobytes()


def test_a_portfolio_is_valued_deal_by_deal_in_bounded_memory() -> None:
    deals = [deal(41, seed) for seed in range(30)]
    valuations: dict[int, DealValuation] = {}
    tracemalloc.start()
    value_portfolio(deals, lambda k: factors(41, 2000, 0.1, k), valuations.__setitem__)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6
    alone = value_deal(deals[7], factors(41, 2000, 0.1, 7))
    assert np.array_equal(valuations[7].irr, alone.irr)


def test_a_deal_without_debt_service_is_not_tested() -> None:
    one = deal(20)._replace(debt_service=np.zeros(20))
    result = value_deal(one, factors(20, 5, 0.1))
    assert not result.has_debt_service
    assert result.min_dscr.tolist() == [0.0] * 5
    gap = deal(40).debt_service.copy()
    gap[10] = 0.0
    one = deal(40)._replace(debt_service=gap)
    paths = factors(40, 5, 0.1)
    cover = (one.cfads[:, None] * paths)[gap > 0.0] / gap[gap > 0.0, None]
    assert value_deal(one, paths).min_dscr == pytest.approx(cover.min(axis=0))


def test_npv_and_percentiles() -> None:
    flows = np.array([[-100.0, 0.0], [110.0, 50.0]])
    assert batch_npv(flows, 0.1) == pytest.approx([0.0, 50 / 1.1], abs=1e-12)
    assert percentiles(np.arange(101.0), [5, 50, 95]) == (5.0, 50.0, 95.0)
    assert error_codes(lambda: percentiles(np.empty(0), [101.0])) == {
        "/values": "empty",
        "/levels/0": "out_of_range",
    }


def test_invalid_arrays_are_rejected() -> None:
    one, paths = deal(20), factors(20, 5, 0.1)
    assert error_codes(lambda: value_deal(one, paths[:19])) == {
        "/fixed": "wrong_length",
        "/cfads": "wrong_length",
        "/debt_service": "wrong_length",
    }
    assert error_codes(lambda: batch_irr(np.zeros(3))) == {"/flows": "wrong_shape"}
    assert error_codes(lambda: batch_irr(np.zeros((3, 0)))) == {"/flows": "empty"}
    assert error_codes(lambda: batch_irr(np.array([[np.nan], [1.0]]))) == {"/flows": "out_of_range"}
    assert error_codes(lambda: batch_npv(np.ones((3, 2)), -1.0)) == {"/rate": "out_of_range"}
    assert error_codes(lambda: batch_npv(np.ones((2000, 2)), -0.999)) == {"/rate": "overflow"}
    paths[3, 3] = np.inf
    assert error_codes(lambda: value_deal(one, paths)) == {"/factors": "out_of_range"}
    negative = one._replace(debt_service=-one.debt_service)
    assert error_codes(lambda: value_deal(negative, paths)) == {"/debt_service": "out_of_range"}


_DIGEST = """
import hashlib, numpy as np
from tests.domain.finance.test_vectorized import deal, factors
from tests.searches import scale
from spawn.domain.finance.simulation.vectorized import value_deal
result = value_deal(deal(101), factors(101, 4000, 0.15))
print(hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in result[:4])).hexdigest())
"""


@pytest.mark.slow
def test_the_number_of_blas_threads_changes_no_bit() -> None:
    digests = set()
    for threads in ("1", "2", "4"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        run = subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout)
    assert len(digests) == 1
