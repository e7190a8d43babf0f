"""Benchmark of the finance engine against a plain Python loop, numpy-financial and pyxirr.

`python benchmarks/finance.py` prints times per project-scenario and their ratios, all taken in one
run on one thread; `--full` adds 10,000 projects x 100 quarters x 1,000 scenarios with its peak
memory. The other engines are timed on a sample of the same paths. The loop computes the rate of
return by Newton, the NPV and the minimum DSCR; numpy-financial and pyxirr only the rate of return.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import datetime as dt
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import numpy_financial  # type: ignore[import-untyped]  # it ships no types
import pyxirr

from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.finance.returns.rates_of_return import irr, npv, xirr
from spawn.domain.finance.simulation.vectorized import (
    Deal,
    DealValuation,
    FloatArray,
    IrrStatus,
    allocate_workspace,
    value_deal,
)

QUARTERS = 100
SCENARIOS = 1_000
BUILD = 8
TENOR = 72


def make_deal(number: int) -> Deal:
    """Make a synthetic project: two years of equity, then CFADS against level debt service."""
    rng = np.random.default_rng(number)
    size = float(np.exp(rng.normal(np.log(104.0), 1.0)))
    fixed, cfads = np.zeros(QUARTERS + 1), np.zeros(QUARTERS + 1)
    service = np.zeros(QUARTERS + 1)
    fixed[:BUILD] = -size * 0.3 / BUILD
    cfads[BUILD:] = size * rng.uniform(0.026, 0.034) * 1.004 ** np.arange(QUARTERS + 1 - BUILD)
    service[BUILD:TENOR] = cfads[BUILD:TENOR] / rng.uniform(1.25, 1.6)
    return Deal(fixed - service, cfads, service, 0.02)


class FactorGenerator:
    """CFADS factors: a level per scenario and project, noise per quarter from a fixed pool."""

    def __init__(self) -> None:
        rng = np.random.default_rng(2026)
        self._noise = [np.exp(rng.normal(0.0, 0.06, (QUARTERS + 1, SCENARIOS))) for _ in range(8)]
        self._out = np.empty((QUARTERS + 1, SCENARIOS))

    def __call__(self, number: int) -> FloatArray:
        """Return the factors of one project, in memory that the next call overwrites."""
        level = np.exp(np.random.default_rng(10_000 + number).normal(0.0, 0.12, SCENARIOS))
        return np.multiply(self._noise[number % 8], level, out=self._out)


def value_naively(flows: list[float], cfads: list[float], service: list[float]) -> float:
    """Run a simple loop: Newton from 1 %, NPV, minimum DSCR."""
    rate = 0.01
    for _ in range(50):
        value = slope = 0.0
        for t, amount in enumerate(flows):
            factor = amount / (1.0 + rate) ** t
            value += factor
            slope -= t * factor / (1.0 + rate)
        step = value / slope
        rate -= step
        if abs(step) < 1e-12:
            break
    worth = 0.0
    for t, amount in enumerate(flows):
        worth += amount / 1.02**t
    lowest = min(c / d for c, d in zip(cfads, service, strict=True) if d > 0.0)
    assert lowest > 0.0
    assert worth == worth  # noqa: PLR0124 - a NaN would differ from itself
    return rate


def time_call_us(run: Callable[[], object], calls: int, rounds: int = 3) -> float:
    """Return microseconds per call, the best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        best = min(best, (time.perf_counter() - start) / calls)
    return best * 1e6


def measure_batch(projects: int) -> float:
    """Measure IRR, NPV and minimum DSCR of all paths, with shocks and without."""
    generator, valuation_s, unique = FactorGenerator(), 0.0, 0
    scratch = allocate_workspace(QUARTERS + 1, SCENARIOS)
    start = time.perf_counter()
    for number in range(projects):
        one, factors = make_deal(number), generator(number)
        before = time.perf_counter()
        result = value_deal(one, factors, scratch)
        valuation_s += time.perf_counter() - before
        unique += int((result.irr_status == IrrStatus.UNIQUE).sum())
    total = time.perf_counter() - start
    paths = projects * SCENARIOS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"batch {projects} x {QUARTERS} x {SCENARIOS}: {total:.1f} s with shocks, "
        f"{valuation_s / paths * 1e6:.2f} us a path, {unique / paths:.4%} unique, "
        f"peak {memory:.2f} GiB"
    )
    return valuation_s / paths * 1e6


def measure_two_processes(projects: int) -> None:
    """Measure the same work on two processes; deals are independent of each other."""
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        for _ in pool.map(measure_batch, [projects // 2] * 2):
            pass
    print(f"batch {projects} projects on two processes: {time.perf_counter() - start:.1f} s")


def find_worst_error(projects: int) -> tuple[float, float, float]:
    """Return the largest distance from the scalar reference: rate, relative NPV, minimum DSCR."""
    generator = FactorGenerator()
    rate = worth = cover = 0.0
    for number in range(projects):
        one, factors = make_deal(number), generator(number)
        result: DealValuation = value_deal(one, factors)
        for column in range(0, SCENARIOS, 10):
            cfads = one.cfads * factors[:, column]
            flows = (one.fixed + cfads).tolist()
            reference = irr(flows)
            assert (reference.status == "unique") == (result.irr_status[column] == 0)
            if reference.rate is not None:
                rate = max(rate, abs(reference.rate - float(result.irr[column])))
            scale = float(np.abs(flows).sum())
            worth = max(worth, abs(npv(0.02, flows) - float(result.npv[column])) / scale)
            tested = one.debt_service > 0.0
            lowest = float((cfads[tested] / one.debt_service[tested]).min())
            cover = max(cover, abs(lowest - float(result.min_dscr[column])))
    return rate, worth, cover


def compare_paths(batch_us: float) -> None:
    """Time other engines on a sample of the same paths."""
    generator, samples = FactorGenerator(), []
    for number in range(4):
        one, factors = make_deal(number), generator(number)
        for column in range(0, SCENARIOS, 40):
            cfads = one.cfads * factors[:, column]
            samples.append((one.fixed + cfads, cfads.tolist(), one.debt_service.tolist()))
    lists = [(flows.tolist(), cfads, service) for flows, cfads, service in samples]

    def time_each_us(run: Callable[[int], object]) -> float:
        return time_call_us(lambda: [run(k) for k in range(len(samples))], 1) / len(samples)

    loop = time_each_us(lambda k: value_naively(*lists[k]))
    reference = time_each_us(lambda k: irr(lists[k][0]))
    compiled = time_each_us(lambda k: pyxirr.irr(lists[k][0]))
    guided = time_each_us(lambda k: pyxirr.irr(lists[k][0], guess=0.03))
    eigen = (
        time_call_us(lambda: [numpy_financial.irr(flows) for flows, _, _ in samples[:20]], 1) / 20
    )
    for name, value in (
        ("plain Python loop", loop),
        ("numpy-financial irr", eigen),
        ("pyxirr irr", compiled),
        ("pyxirr irr, guess 3 %", guided),
        ("scalar reference irr", reference),
    ):
        print(
            f"{name:24} {value:10.1f} us a path   {value / batch_us:8.1f} x the vectorised engine"
        )


def compare_xirr() -> None:
    """Time scalar XIRR beside pyxirr, on series that return a little, some and much."""
    for flows, days in ((61, 182), (124, 91), (480, 30)):
        for multiple in (1.2, 2.2, 4.5):
            dates, amounts = _plain_series(flows, days, multiple)
            ours = time_call_us(partial(xirr, dates, amounts), 200, 9)
            theirs = time_call_us(partial(pyxirr.xirr, dates, amounts), 800, 9)
            print(
                f"XIRR of {flows} flows that return {multiple} times the outlay: "
                f"{ours:.1f} us, pyxirr {theirs:.1f} us, ratio {ours / theirs:.1f}"
            )


def _plain_series(flows: int, days: int, multiple: float) -> tuple[list[dt.date], list[float]]:
    """Return outlays in a fifteenth of the periods, and then receipts of a multiple of them."""
    rng = np.random.default_rng(7)
    first, outlays = dt.date(2025, 1, 31), max(1, flows // 15)
    dates = [first + dt.timedelta(days=days * k + int(rng.integers(0, 3))) for k in range(flows)]
    receipt = 1e7 * outlays * multiple / (flows - outlays)
    receipts = [float(x) for x in rng.uniform(0.8 * receipt, 1.2 * receipt, flows - outlays)]
    return dates, [-1e7] * outlays + receipts


def time_sizing() -> None:
    """Time a sculpted sizing of 72 periods."""
    case = SizingCase(
        cfads=tuple(1e6 + 1e3 * t for t in range(72)),
        annual_rates=0.055,
        target_dscr=1.3,
        accruals=(0.25,) * 72,
        months_per_period=3,
    )
    print(f"sculpted sizing of 72 periods: {time_call_us(lambda: size_debt(case), 100, 5):.0f} us")


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="add 10,000 projects")
    full = parser.parse_args().full
    batch_us = measure_batch(800)
    compare_paths(batch_us)
    rate, worth, cover = find_worst_error(20)
    print(f"worst error: rate {rate:.1e}, NPV {worth:.1e} of gross flows, min DSCR {cover:.1e}")
    compare_xirr()
    time_sizing()
    if full:
        measure_two_processes(10_000)


if __name__ == "__main__":
    main()
