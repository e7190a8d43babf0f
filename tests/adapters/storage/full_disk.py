"""Fills the largest file that this process may write, then asks for more room; prints what came.

Argument: the store's URL.
"""

import asyncio
import resource
import sys

from spawn.adapters.factory import open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.errors import StorageFull
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record


async def main(url: str) -> None:
    store = await open_store(url, clock=SystemClock())
    await store.adopt(a_record())
    desk = Desk(store, ManualClock())
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, whole[1]))
    written, refusals = [], 0
    while refusals < 3:
        try:
            written.append(await desk.create(description="x" * 4000))
        except StorageFull:
            refusals += 1
    read = [await store.get("project", project.project_id) for project in written]
    assert [stored.state for stored in read] == written
    resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    written.append(await desk.create())
    assert store.status().writable
    entries = (await store.feed(after=None, limit=1000)).entries
    assert [entry.id for entry in entries] == [project.project_id for project in written]
    await store.close()
    again = await open_store(url, clock=SystemClock())
    assert len((await again.feed(after=None, limit=1000)).entries) == len(written)
    await again.close()
    print("recovered after", len(written))  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
