"""Benchmark of calculations over HTTP against Litestar's bare hello, on one machine in one run.

    python -m benchmarks.analysis [--seconds 6] [--connections 16]

The subjects are a sculpted sizing of 72 periods, the same with all explanations, a hundred such
cases in one request, and a waterfall of 72 periods. Each is measured between two runs of hello
with POST; its ratio is to their mean. The service runs as shipped. The load generator is wrk, one
thread.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.http import create_spawn_server, print_sample
from benchmarks.load import Sample, Server, create_hello_server, run_wrk

PERIODS = 72


def sizing_case(**more: Any) -> dict[str, Any]:
    """Return a sculpted sizing of 72 quarters."""
    return {
        "cfads": [1_000_000 + 1_000 * t for t in range(PERIODS)],
        "annual_rates": 0.055,
        "target_dscr": 1.3,
        "accruals": [0.25] * PERIODS,
        "months_per_period": 3,
        **more,
    }


def waterfall_case() -> dict[str, Any]:
    """Return a waterfall of 72 quarters with every claim."""
    return {
        "cfads": [13.0 + 0.02 * t for t in range(PERIODS)],
        "senior_interest": [5.0 - 0.06 * t for t in range(PERIODS)],
        "senior_principal": [4.0 + 0.06 * t for t in range(PERIODS)],
        "dsra_target": 4.5,
        "dsra_open": 4.5,
        "mezz_open": 30.0,
        "mezz_rate": 0.02,
        "sweep_share": 0.5,
        "sweep_if_dscr_below": 1.4,
        "lockup_below": 1.15,
    }


SUBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "sizing, 72 periods": ("debt-sizing", sizing_case()),
    "sizing, explained": ("debt-sizing", sizing_case(explain=True)),
    "sizing, 100 cases": ("debt-sizing", {"cases": [sizing_case()] * 100}),
    "waterfall, 72 periods": ("waterfall", waterfall_case()),
}


def measure(servers: tuple[Server, Server], name: str, folder: Path, options: Any) -> Sample:
    """Measure hello, the subject, hello, and print the subject's ratio."""
    hello, spawn = servers
    calculator, case = SUBJECTS[name]
    path, body = f"/v1/analysis/{calculator}", folder / "body.json"
    body.write_text(json.dumps(case))
    status, _, _ = spawn.request("POST", path, body.read_bytes(), content_type="application/json")
    assert status == 200

    def measure_hello() -> Sample:
        return run_wrk(hello, "post.lua", "/hello", **load, seconds=max(options.seconds // 2, 1))

    load = {"connections": options.connections}
    before = measure_hello()
    subject = run_wrk(spawn, "body.lua", path, str(body), **load, seconds=options.seconds)
    after = measure_hello()
    print_sample(name, subject, subject.per_s / ((before.per_s + after.per_s) / 2))
    print(f"{'':34} hello {before.per_s:.0f}, {after.per_s:.0f}/s, {before.cpu_us:.0f} µs CPU")
    return subject


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        create_hello_server() as hello,
        create_spawn_server(Path(scratch)) as spawn,
    ):
        for name in SUBJECTS:
            measure((hello, spawn), name, Path(scratch), options)


if __name__ == "__main__":
    main()
