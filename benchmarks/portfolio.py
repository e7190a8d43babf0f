"""Exposure over 10,000 facilities, and sums of 10 million flows against the bare engine.

python -m benchmarks.portfolio
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path

import duckdb
import numpy as np

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.portfolios.exposure import HeldExposure, PortfolioExposure
from spawn.domain.portfolios.flow_columns import FlowColumns
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.ports.analytics import FlowTotals

FACILITIES = 10_000
FLOWS = 10_000_000
CELLS = 5_000
ROUNDS = 5
KEYS = (ExposureKey.COUNTRY, ExposureKey.SECTOR, ExposureKey.CURRENCY, ExposureKey.RATING)
RATES = {"EUR": Fraction(1), "USD": Fraction(10000, 10573), "GBP": Fraction(10000, 8312)}


def build_exposures() -> list[HeldExposure]:
    """Return the parts of a portfolio with 10,000 facilities."""
    figures = random.Random(1)
    parts = []
    for number in range(FACILITIES):
        code = figures.choice(sorted(RATES))
        keys = {
            ExposureKey.COUNTRY: figures.choice(["ESP", "PRT", "FRA", "DEU", "GBR", "ITA"]),
            ExposureKey.SECTOR: figures.choice(["wind", "solar", "road", "rail"]),
            ExposureKey.RATING: figures.choice(["BBB", "BB", "B", None]),
            ExposureKey.CURRENCY: code,
            ExposureKey.NAME: f"Project {number}",
            ExposureKey.KIND: "senior",
        }
        parts.append(
            HeldExposure(
                holding_id=str(number),
                exposure_id=str(number),
                project_id=str(number),
                currency_code=code,
                outstanding=figures.randrange(10**10),
                undrawn=figures.randrange(10**9),
                keys=keys,
            )
        )
    return parts


def measure_exposure() -> None:
    """Print the time of an exposure by four keys."""
    parts = build_exposures()
    seconds = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        exposure = PortfolioExposure(parts, "EUR", RATES.__getitem__)
        rows = exposure.drill_down(KEYS)
        seconds.append(time.thread_time() - start)
        assert sum(r.amounts.total for r in rows if len(r.values) == 1) == exposure.total.total
    print(f"exposure by 4 keys over {FACILITIES:,} facilities: {min(seconds) * 1000:.1f} ms of CPU")


async def measure_sums() -> None:
    """Print the time of exact sums over 10 million flows, and of the bare engine."""
    flows, generator = FlowColumns(), np.random.default_rng(1)
    cells = generator.integers(0, CELLS, FLOWS).astype(np.int64)
    units = generator.integers(-(10**9), 10**10, FLOWS).astype(np.int64)
    flows.cells.frombytes(cells.tobytes())
    flows.units.frombytes(units.tobytes())
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"duckdb:///{Path(folder) / 'store.duckdb'}", clock=SystemClock())
        assert isinstance(store, FlowTotals)
        totals: FlowTotals = store
        bare = duckdb.connect(config={"threads": 1})  # as many as a query of the store
        columns = {"cell": cells, "units": units}
        bare.register("flows", columns)

        async def sum_bare() -> dict[int, int]:
            query = "select cell, sum(units) from flows group by cell"
            return dict(bare.execute(query).fetchall())

        async def sum_store() -> dict[int, int]:
            return await totals.sum_flows(flows)

        ratios = []
        for _ in range(ROUNDS):
            bare_s, expected = await _time(sum_bare)
            store_s, sums = await _time(sum_store)
            assert sums == expected
            assert sum(sums.values()) == int(units.sum())
            ratios.append((store_s / bare_s, store_s, bare_s))
        ratio, store_s, bare_s = sorted(ratios)[len(ratios) // 2]
        print(
            f"sums of {FLOWS:,} flows in {CELLS:,} cells: {store_s * 1000:.0f} ms, bare engine "
            f"{bare_s * 1000:.0f} ms, ratio {ratio:.2f} (median of {ROUNDS})"
        )
        await store.close()


async def _time(work: Callable[[], Awaitable[dict[int, int]]]) -> tuple[float, dict[int, int]]:
    start = time.perf_counter()
    result = await work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    measure_exposure()
    asyncio.run(measure_sums())
