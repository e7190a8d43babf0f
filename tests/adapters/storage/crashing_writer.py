"""Write to a store until killed; print a line per acknowledged change.

Arguments: the store's URL, and the number of changes after which it only waits (0: never stop).
Each change creates a project with its reservation, or renames the previous project.
"""

import asyncio
import os
import sys

import msgspec

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import Write
from spawn.domain.projects.project import ExternalRefReservation, Project
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

WORKERS = 8


async def main(url: str, stop_after: int) -> None:
    store = await open_store(url, clock=SystemClock())
    if await store.active() is None:
        await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    remaining = stop_after or sys.maxsize

    async def work() -> None:
        nonlocal remaining
        while remaining > 0:
            remaining -= 1
            project = harness.project()
            reference = ExternalRefReservation(project_id=project.project_id)
            created = harness.change((project, 0))
            reserve = Write("external_ref", f"erp:{project.project_id}", 0, reference)
            await store.commit(msgspec.structs.replace(created, writes=(*created.writes, reserve)))
            report(project, 1)
            await harness.rename(project, 1, "Second")
            report(project, 2)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    print("waiting", flush=True)  # noqa: T201 -- the test reads it
    await asyncio.sleep(3600)


def report(project: Project, version: int) -> None:
    # One write: a kill between the parts of a line would leave a part of it.
    os.write(sys.stdout.fileno(), f"{project.project_id} {version}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
