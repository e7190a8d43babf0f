"""Fill the largest file that this process may write, then free space; print the outcome.

Argument: the store's URL.
"""

import asyncio
import resource
import sys

from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import StorageFull
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record


async def main(url: str) -> None:
    store = await open_store(url, clock=SystemClock())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    original_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, original_limit[1]))
    projects, rejections = [], 0
    while rejections < 3:
        try:
            projects.append(await harness.create(description="x" * 4000))
        except StorageFull:
            rejections += 1
    aggregates = [await store.get("project", project.project_id) for project in projects]
    assert [aggregate.state for aggregate in aggregates] == projects
    resource.setrlimit(resource.RLIMIT_FSIZE, original_limit)
    projects.append(await harness.create())
    assert store.status().is_writable
    entries = (await store.feed(after=None, limit=1000)).entries
    assert [entry.id for entry in entries] == [project.project_id for project in projects]
    await store.close()
    again = await open_store(url, clock=SystemClock())
    assert len((await again.feed(after=None, limit=1000)).entries) == len(projects)
    await again.close()
    print("recovered after", len(projects))  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
