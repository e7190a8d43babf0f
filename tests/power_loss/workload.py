"""Write to a store in every way that it writes; print a line for each acknowledgement.

Arguments: the file of the store, the number of changes of each phase, and `encrypted` for a store
with a key. The lines are
`KIND ID VERSION`; `rejected REASON` and `failed REASON` once the store takes no more changes.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.local.clock import SystemClock
from spawn.domain.aggregates import encode_state
from spawn.domain.change import EncodedState, Write
from spawn.domain.errors import SpawnError
from spawn.domain.events.position import Position
from spawn.domain.query import Query
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import SchemaState
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import a_document, revise_columns

_WORKERS = 3
_BULK_ROWS = 40
_KEY = EncryptionKey(b"5" * 64)


def build_options(*, is_encrypted: bool) -> StoreOptions:
    """Return the options of the store, with or without a key."""
    return StoreOptions(reserve_bytes=0, encryption_key=_KEY if is_encrypted else None)


def report(*words: object) -> None:
    """Print a line by one system call, so that the record of calls has its moment."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Workload:
    """Phases of writing to one opening of the store."""

    def __init__(self, store: DuckDbStore, changes: int) -> None:
        self._store = store
        self._changes = changes
        self._harness = StorageHarness(store, ManualClock())

    async def run(self) -> None:
        """Write in each way, with a checkpoint between."""
        await self._change_projects()
        await self._store.page(Query())  # which projects the rows
        await self._import()
        await self._checkpoint()
        await self._change_projects()
        await self._migrate()
        await self._store.save_bookmarks({"power-loss": await self._store.position()})
        await self._change_projects()
        await self._checkpoint()

    async def _checkpoint(self) -> None:
        appender: Any = self._store._appender
        await self._store._writer.run(
            lambda: appender._engine.checkpoint(appender._cursor), "checkpoint"
        )

    async def _schema_version(self) -> int:
        return (await self._store.version_history())[0].version

    async def _change_projects(self) -> None:
        version = await self._schema_version()

        async def work() -> None:
            for number in range(self._changes):
                project = self._harness.project(description="x" * (50 + 400 * number))
                change = self._harness.change((project, 0), schema_version=version)
                receipt = self._harness.receipt(project.project_id)
                await self._store.commit(msgspec.structs.replace(change, receipt=receipt))
                report("project", project.project_id, 1)
                renamed = msgspec.structs.replace(project, project_name="Second")
                await self._store.commit(self._harness.change((renamed, 1), schema_version=version))
                report("project", project.project_id, 2)

        await asyncio.gather(*(work() for _ in range(_WORKERS)))

    async def _import(self) -> None:
        schema = (await self._store.version_history())[0]
        projects = [self._harness.project() for _ in range(_BULK_ROWS)]
        writes = tuple(
            Write("project", p.project_id, 0, EncodedState(encode_state("project", p, schema)))
            for p in projects
        )
        change = self._harness.change(*((p, 0) for p in projects), schema_version=schema.version)
        await self._store.commit(msgspec.structs.replace(change, writes=writes))
        for project in projects:
            report("project", project.project_id, 1)

    async def _migrate(self) -> None:
        active = (await self._store.version_history())[0]
        column = {"name": f"added_{active.version}", "type": "integer", "default": 7}
        document = a_document(active.version + 1, revise_columns(column))
        record = a_record(document, SchemaState.CANDIDATE)
        await self._store.migrate(record, plan_migration(active, record.schema), actor="steward")
        report("schema", "project_schema", active.version + 1)


async def main(path: Path, changes: int, *, is_encrypted: bool = False) -> None:
    """Write to an empty store in every way; close it, open it and write once."""
    is_new, options = True, build_options(is_encrypted=is_encrypted)
    while is_new:
        try:
            store = await open_duckdb(path, clock=SystemClock(), options=options)
        except SpawnError as error:
            report("rejected", error.detail)
            return
        is_new = await store.active() is None
        try:
            if is_new:
                await store.adopt(a_record())
                report("schema", "project_schema", 1)
            await Workload(store, changes).run() if is_new else await _write_once(store)
            await store.close()
        except SpawnError as error:
            report("rejected", error.detail)
            report("failed", await asyncio.wait_for(store.wait_until_failed(), 30))
            return


async def _write_once(store: DuckDbStore) -> None:
    harness = StorageHarness(store, ManualClock())
    version = (await store.version_history())[0].version
    project = harness.project()
    await store.commit(harness.change((project, 0), schema_version=version))
    report("project", project.project_id, 1)


async def read_versions(path: Path, *, is_encrypted: bool = False) -> dict[tuple[str, str], int]:
    """Open a store and return the versions that it has, by kind and id.

    Raises:
        SpawnError: the store does not open.
        AssertionError: feed, state tables and single reads disagree.
    """
    options = build_options(is_encrypted=is_encrypted)
    store = await open_duckdb(path, clock=SystemClock(), options=options)
    try:
        return await _read_all(store)
    finally:
        await store.close()


async def _read_all(store: DuckDbStore) -> dict[tuple[str, str], int]:
    versions: dict[tuple[str, str], int] = {}
    after: Position | None = None
    while (page := await store.feed(after=after, limit=500)).entries:
        for entry in page.entries:
            assert entry.version == versions.get((entry.kind, entry.id), 0) + 1, entry
            versions[entry.kind, entry.id] = entry.version
        after = page.next
    if await store.active() is None:
        assert not versions
        return {}
    ids = {key: version for (kind, key), version in versions.items() if kind == "project"}
    query, listed = Query(limit=500), dict[str, int]()
    while True:
        items = await store.page(query)
        listed |= {item.id: item.version for item in items.items}
        if items.next is None:
            break
        query = Query(limit=500, after=items.next)
    assert listed == ids, sorted({*listed.items()} ^ {*ids.items()})
    versions["schema", "project_schema"] = (await store.version_history())[0].version
    return versions


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), is_encrypted="encrypted" in sys.argv))
