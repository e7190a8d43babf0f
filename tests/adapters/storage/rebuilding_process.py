"""Open a store whose tables are to be rebuilt, and die once so many journal rows are read.

Arguments: the file, and the number of rows.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from spawn.adapters.duckdb.state import rebuild
from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import RebuildProgress, StoreOptions
from spawn.adapters.local.clock import SystemClock


async def main(path: Path, rows: int) -> None:
    def die(progress: RebuildProgress) -> None:
        if progress.rows >= rows:
            os.kill(os.getpid(), signal.SIGKILL)

    rebuild.ROWS_PER_STEP = 5  # type: ignore[misc]  # small steps for a small store
    await open_duckdb(path, clock=SystemClock(), options=StoreOptions(report_rebuild=die))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
