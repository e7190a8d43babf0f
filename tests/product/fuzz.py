"""Run schemathesis against a running service: every check, one run for each seed.

    python -m tests.product.fuzz [--seeds 1 2 3 4 5] [-- any argument of `schemathesis run`]

The exit code is 1 if any seed finds a failure; findings are printed as they occur.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.product.service import Service

SEEDS = (1, 2, 3, 4, 5)
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def run_seed(url: str, seed: int, arguments: list[str]) -> bool:
    """Run one seed and return whether every check passed."""
    command = [str(SCHEMATHESIS), "run", f"{url}/openapi.json", "--url", url]
    command += ["--checks", "all", "--seed", str(seed), "--continue-on-failure", *arguments]
    print(f"=== seed {seed}", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    """Start the service, run every seed, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("arguments", nargs="*", help="passed on to schemathesis run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        service.start()
        try:
            results = {
                seed: run_seed(service.url, seed, options.arguments) for seed in options.seeds
            }
        finally:
            service.stop()
    for seed, is_clean in results.items():
        print(f"seed {seed}: {'clean' if is_clean else 'FAILURES'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
