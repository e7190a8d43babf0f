"""Writes to a store and migrates it, again and again, until it is killed or kills itself.

Arguments: the store's URL, and where to die: `nowhere`, or a moment of the first migration:
`altered` (tables changed, nothing in the journal), `appended` (all but the commit), `committed`
(before the mark knows), `marked` (before anyone is told). Prints a line for what is acknowledged.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from spawn.adapters.duckdb.journal import appender, tail
from spawn.adapters.factory import Store, open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import SchemaState
from spawn.testing.storage_contract.commands import Desk, ManualClock, a_record
from spawn.testing.storage_contract.migrations import a_document, revised

WORKERS = 4
Columns = list[dict[str, Any]]


def stage(version: int) -> Columns:
    """The columns of a version: each adds one, takes up, widens, renames, fills, hides another."""
    day = f"{1900 + version}-02-28"
    columns = revised(
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
    record = a_record(a_document(version, stage(version)), SchemaState.CANDIDATE)
    plan = plan_migration((await store.lineage())[0], record.schema)
    await store.migrate(record, plan, actor="steward")


def die_at(where: str) -> None:
    """Kill this process at a moment of the migration that comes next."""
    moments: dict[str, tuple[Any, str]] = {
        "altered": (tail.Appender, "append_within"),
        "committed": (appender.Ledger, "_durable"),
        "marked": (appender.Ledger, "turn_to"),
    }
    if where == "appended":
        append = tail.Appender.append_within

        def appended(self: tail.Appender, payload: str) -> None:
            append(self, payload)
            os.kill(os.getpid(), signal.SIGKILL)

        tail.Appender.append_within = appended  # type: ignore[method-assign]  # to die in it
    elif where != "nowhere":
        owner, name = moments[where]
        setattr(owner, name, _die)


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, where: str) -> None:
    store = await open_store(url, clock=SystemClock())
    if await store.active() is None:
        await store.adopt(a_record())
    desk = Desk(store, ManualClock())
    active = await store.active()
    assert active is not None
    version = active.schema.version

    async def work() -> None:
        for number in range(sys.maxsize):
            held = {"x_hub": msgspec.Raw(b"%d" % number)}
            project = desk.project(project_name=f"N{number}", extensions=held)
            under = (await store.lineage())[-1].version
            change = desk.change((project, 0), schema_version=under)
            await store.commit(change)
            report(project.project_id, 1)

    async def evolve() -> None:
        for next_version in range(version + 1, sys.maxsize):
            await asyncio.sleep(0.05)
            await migrate(store, next_version)
            report("schema", next_version)

    if where == "nowhere":
        await asyncio.gather(evolve(), *(work() for _ in range(WORKERS)))
    for number in range(200):
        project = desk.project(
            attributes={"units": number}, extensions={"x_hub": msgspec.Raw(b"%d" % number)}
        )
        await store.commit(desk.change((project, 0)))
        report(project.project_id, 1)
    die_at(where)
    await migrate(store, version + 1)


def report(name: str, version: int) -> None:
    print(name, version, flush=True)  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
