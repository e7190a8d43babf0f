"""Simulate a store and its backups on a disk that fails, for a number of steps.

    python -m tests.simulation [--steps N] [--seed N]

Prints histories, steps and rate; the exit code is 1 after a violation, which names its seed.
"""

import argparse
import sys
import time

from tests.simulation.world import simulate


def main() -> int:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    started_s = time.process_time()
    summary = simulate(arguments.seed, arguments.steps)
    used_s = time.process_time() - started_s
    print(
        f"{summary.histories:,} histories and {summary.steps:,} steps from seed {arguments.seed} in"
        f" {used_s:.0f} s of processor time, {summary.steps / used_s:,.0f} steps/s:"
        f" {summary.violation or 'no promise broken'}"
    )
    return 1 if summary.violation else 0


if __name__ == "__main__":
    sys.exit(main())
