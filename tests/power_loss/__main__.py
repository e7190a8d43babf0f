"""Replay power cuts: record what the store asks of the system, and open what a cut may leave.

    python -m tests.power_loss [--changes N] [--shuffles N] [--seed N] [--share N] [--encrypted]
                               [--folder PATH]

Needs strace. The exit code is 1 if an image did not open or lacked an acknowledged change.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from loguru import logger
from tests.power_loss.replay import Replay, Replayer, record_workload
from tests.power_loss.system_calls import can_trace

_REPORT_EVERY_S = 5.0


class Progress:
    """Printer of a line every few seconds."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def __call__(self, result: Replay) -> None:
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _REPORT_EVERY_S
            print(f"  {result}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--changes", type=int, default=4, help="changes of each phase and worker")
    parser.add_argument("--shuffles", type=int, default=6, help="random images of each cut")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="share of the images to open")
    parser.add_argument("--encrypted", action="store_true", help="give the store a key")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if not can_trace():
        print("This needs strace, and permission to trace: apt-get install strace.")
        return 2
    logger.remove()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="spawn-power-loss-"))
    folder.mkdir(parents=True, exist_ok=True)
    is_encrypted: bool = arguments.encrypted
    record_workload(folder, arguments.changes, is_encrypted=is_encrypted)
    started_s = time.monotonic()
    result = Replayer(
        folder,
        arguments.seed,
        shuffles=arguments.shuffles,
        share=arguments.share,
        is_encrypted=is_encrypted,
    ).run(Progress())
    for sentence in result.violations[:20]:
        print(sentence)
    print(f"{result} (seed {arguments.seed}, {time.monotonic() - started_s:.0f} s)")
    if result.violations:
        print(f"The record and the first images are in {folder}.")
        return 1
    if arguments.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
