"""Write to a store and migrate it repeatedly, until killed or until it kills itself.

Arguments: the store's URL, and the moment to die: `nowhere`, or a moment of the first migration:
`altered` (tables changed, nothing in the journal), `appended` (all but the commit), `committed`
(before the mark is written), `marked` (before the change is acknowledged). Prints a line per
acknowledged change.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from spawn.adapters.duckdb.journal import appender, tail
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import SchemaState
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import a_document, revise_columns

WORKERS = 4
Columns = list[dict[str, Any]]


def columns_of_version(version: int) -> Columns:
    """Return the columns of a version: it adds, promotes, widens, renames, fills and hides some."""
    day = f"{1900 + version}-02-28"
    columns = revise_columns(
        {"name": f"added_{version}", "type": "decimal(30,5)", "default": version + 0.5},
        {
            "name": f"since_{version}",
            "type": "timestamp",
            "default": f"{1900 + version}-02-28T23:59:00Z",
        },
        {"name": f"label_{version}", "type": "string", "default": f"it's ü {version}; --"},
        {"name": f"day_{version}", "type": "date", "default": day},
        {"name": f"share_{version}", "type": "double", "default": version / 7},
        {"name": f"plain_{version}", "type": "string", "default": f"grid {version}"},
        {"name": f"flag_{version}", "type": "boolean", "default": True},
        {"name": "hub", "type": "integer"},
        {
            "name": f"turbines_{version}",
            "type": "bigint" if version > 2 else "integer",
            "aliases": [f"turbines_{version - 1}" if version > 2 else "units"],
        },
        without=["units", *(["load"] if version % 2 else [])],
    )
    return [{**c, "required": True, "default": 1} if c["name"] == "grid_id" else c for c in columns]


async def migrate(store: Store, version: int) -> None:
    record = a_record(a_document(version, columns_of_version(version)), SchemaState.CANDIDATE)
    plan = plan_migration((await store.version_history())[0], record.schema)
    await store.migrate(record, plan, actor="steward")


def die_at(moment: str) -> None:
    """Kill this process at a moment of the next migration."""
    targets: dict[str, tuple[Any, str]] = {
        "altered": (tail.AppendStatements, "append_in_transaction"),
        "committed": (appender.JournalAppender, "_apply_commit"),
        "marked": (appender.JournalAppender, "switch_schema"),
    }
    if moment == "appended":
        append = tail.AppendStatements.append_in_transaction

        def append_and_die(self: tail.AppendStatements, payload: str) -> None:
            append(self, payload)
            os.kill(os.getpid(), signal.SIGKILL)

        tail.AppendStatements.append_in_transaction = append_and_die  # type: ignore[method-assign]  # to die in it
    elif moment != "nowhere":
        owner, name = targets[moment]
        setattr(owner, name, _kill_self)


def _kill_self(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, moment: str) -> None:
    store = await open_store(url, clock=SystemClock())
    if await store.active() is None:
        await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    active = await store.active()
    assert active is not None
    version = active.schema.version

    async def work() -> None:
        for number in range(sys.maxsize):
            extensions = {"x_hub": msgspec.Raw(b"%d" % number)}
            project = harness.project(project_name=f"N{number}", extensions=extensions)
            schema_version = (await store.version_history())[-1].version
            change = harness.change((project, 0), schema_version=schema_version)
            await store.commit(change)
            report(project.project_id, 1)

    async def migrate_to() -> None:
        for next_version in range(version + 1, sys.maxsize):
            await asyncio.sleep(0.05)
            await migrate(store, next_version)
            report("schema", next_version)

    if moment == "nowhere":
        await asyncio.gather(migrate_to(), *(work() for _ in range(WORKERS)))
    for number in range(200):
        project = harness.project(
            attributes={"units": number}, extensions={"x_hub": msgspec.Raw(b"%d" % number)}
        )
        await store.commit(harness.change((project, 0)))
        report(project.project_id, 1)
    die_at(moment)
    await migrate(store, version + 1)


def report(name: str, version: int) -> None:
    # One write: a kill between the parts of a line would leave a part of it.
    os.write(sys.stdout.fileno(), f"{name} {version}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
