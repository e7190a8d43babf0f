"""Check histories: rounds of sixteen clients, faults, a migration and an import each.

    python -m tests.histories [--rounds N] [--seed N] [--folder PATH] [--encrypted]

Prints a line for each round; the exit code is 1 if there was a violation. The folder, which is
kept after a violation, has the store and the log of the service.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.histories.rounds import RoundReport, RoundSize, Run


async def run(folder: Path, rounds: int, seed: int, *, is_encrypted: bool = False) -> int:
    """Run the rounds; return the number of violations."""
    run_ = Run(folder, seed, RoundSize(), is_encrypted=is_encrypted)
    reports: list[RoundReport] = []
    started_s = time.monotonic()
    try:
        await run_.start()
        for number in range(1, rounds + 1):
            reports.append(await run_.run_round(number))
            _print_report(reports[-1], rounds)
        lost_versions = await run_.check_all_rounds()
    finally:
        await run_.close()
    for sentence in lost_versions:
        print(f"  {sentence}")
    violations = sum(len(report.violations) for report in reports) + len(lost_versions)
    print(
        f"{rounds} rounds with seed {seed} in {time.monotonic() - started_s:.0f} s:"
        f" {sum(r.operations for r in reports):,} operations,"
        f" {sum(r.unknown for r in reports):,} writes of unknown outcome,"
        f" {sum(r.versions for r in reports):,} versions,"
        f" {sum(len(r.faults) for r in reports)} faults, {violations} violations"
    )
    return violations


def _print_report(report: RoundReport, rounds: int) -> None:
    print(
        f"{report.number:3d}/{rounds}  {report.duration_s:5.1f} s  {report.operations:5d}"
        f" operations  {report.unknown:3d} unknown  {report.versions:5d} versions"
        f"  {len(report.violations)} violations  ({', '.join(report.faults)})",
        flush=True,
    )
    for sentence in report.violations[:20]:
        print(f"  {sentence}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--encrypted", action="store_true", help="give the service a key")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="spawn-histories-"))
    folder.mkdir(parents=True, exist_ok=True)
    # So that the processes of the run end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    violations = asyncio.run(
        run(folder, arguments.rounds, arguments.seed, is_encrypted=arguments.encrypted)
    )
    if violations:
        print(f"The store and the logs are in {folder}.")
        return 1
    if arguments.folder is None:
        shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.key").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
