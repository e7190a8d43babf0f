"""Writes to a store until it is killed; prints a line for each acknowledged change.

Arguments: the store's URL, and how many changes to make before it only waits (0: never stop).
Each change creates a project with its reservation, or renames the project before.
"""

import asyncio
import sys

import msgspec

from spawn.adapters.factory import open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.change import Write
from spawn.domain.projects.project import Project, Reservation
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record

WORKERS = 8


async def main(url: str, stop_after: int) -> None:
    store = await open_store(url, clock=SystemClock())
    if await store.active() is None:
        await store.adopt(a_record())
    desk = Desk(store, ManualClock())
    left = stop_after or sys.maxsize

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            project = desk.project()
            reference = Reservation(project_id=project.project_id)
            created = desk.change((project, 0))
            reserve = Write("external_ref", f"erp:{project.project_id}", 0, reference)
            await store.commit(msgspec.structs.replace(created, writes=(*created.writes, reserve)))
            report(project, 1)
            await desk.rename(project, 1, "Second")
            report(project, 2)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    print("waiting", flush=True)  # noqa: T201 -- the test reads it
    await asyncio.sleep(3600)


def report(project: Project, version: int) -> None:
    print(project.project_id, version, flush=True)  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
