"""Drill live schema evolution: publish good, bad and senseless versions while clients work.

Prints what happens, step by step, and ends with 1 if anything happened that must not: a request
that failed or was answered wrongly, a version that was not adopted in time, a bad one that was.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from examples.drill.desk import CLIENTS, PROJECTS, Desk, Words
from examples.drill.stage import REFRESH_S, SCHEMA, Stage, Violation, a_document, until

Column = dict[str, Any]

TOLERANCE_S = 2.0
"""Seconds beyond the longest pause between two looks that an adoption may take."""

KILLS = 3
ATTEMPTS = 12
TOMORROW = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()

CAPACITY: Column = {"name": "capacity_mw", "type": "decimal(12,3)", "unit": "MW"}
STAGE: Column = {"name": "stage", "type": "string(20)", "enum": ["A", "B"]}
ZONE: Column = {"name": "zone", "type": "string(10)"}
UNITS: Column = {"name": "units", "type": "integer"}
HUB: Column = {"name": "hub_height_m", "type": "decimal(6,2)", "unit": "m"}
TIER: Column = {"name": "tier", "type": "string(1)", "required": True, "default": "B"}
WIDE_UNITS: Column = {**UNITS, "type": "bigint"}
POWER: Column = {**CAPACITY, "name": "power_mw", "aliases": ["capacity_mw"]}
GROWN: Column = {**STAGE, "enum": ["A", "B", "C"]}
LEAVING: Column = {**ZONE, "deprecated": True, "sunset": TOMORROW}
FINAL: list[Column] = [POWER, GROWN, WIDE_UNITS, HUB, TIER]
OWNER: Column = {"name": "owner", "type": "string(50)", "required": True}


class Drill:
    """One run."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.desk = Desk(stage)
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        """Tell whoever watches."""
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", flush=True)

    # -- adopting ----------------------------------------------------------------------------

    async def adopt(self, version: int, title: str, columns: list[Column], words: Words) -> None:
        """Publish a compatible version; it must rule within the refresh period."""
        self.desk.words[version] = words
        await self.stage.publish(version, a_document(version, columns))

        async def rules() -> bool:
            return await self.stage.active() == version

        limit = REFRESH_S * 1.25 + TOLERANCE_S
        took = await until(rules, f"version {version} ({title}) rules", within_s=limit)
        await self.seen(version)
        await self._described(version, columns)
        self.say(f"adopted      version {version:2d}, {title}: {took:.1f} s after its publication")

    async def seen(self, version: int) -> None:
        """Every client has had answers under the version before the next one comes."""

        async def seen() -> bool:
            return await self.desk.rounds_under(version)

        await until(seen, f"every client works under version {version}")

    async def _described(self, version: int, columns: list[Column]) -> None:
        """Log, OpenAPI and contract follow without a restart."""
        log = (await self.stage.json(f"{SCHEMA}/migrations"))["items"]
        told = [(item["new_version"], item["outcome"]) for item in log]
        if (version, "adopted") not in told:
            raise Violation(f"version {version} is not in the log of migrations: {told}")
        openapi = await self.stage.json("/openapi.json")
        shown = openapi["components"]["schemas"]["Project"]["properties"].keys()
        contract = json.dumps(await self.stage.json("/contract"))
        for column in columns:
            if column["name"] not in shown or f'"{column["name"]}"' not in contract:
                raise Violation(f"OpenAPI or contract does not tell of {column['name']}")

    # -- refusing ----------------------------------------------------------------------------

    async def refuse(self, version: int, title: str, document: bytes, *, ruling: int) -> None:
        """Publish what must not be adopted; it must be quarantined out loud."""
        counted = await self.stage.metric("spawn_schema_quarantined_total")
        await self.stage.publish(version, document)
        reason = ""

        async def waits() -> bool:
            nonlocal reason
            for found in (await self.stage.json(f"{SCHEMA}/candidates"))["items"]:
                if found["version"] == version and found["state"] == "quarantined":
                    reason = found["reason"]
                    return True
            return False

        await until(waits, f"version {version} ({title}) is quarantined")
        await self._loud(title, ruling)
        if await self.stage.metric("spawn_schema_quarantined_total") <= counted:
            raise Violation(f"the metric does not tell of {title}")
        self.say(f"quarantined  version {version:2d}, {title}: {_short(reason)}")

    async def _loud(self, title: str, ruling: int) -> None:
        if await self.stage.active() != ruling:
            raise Violation(f"{title} was adopted")
        health = await self.stage.health()
        if health["status"] != "degraded":
            raise Violation(f"health is {health['status']} about {title}: {health['detail']}")

    async def endure_garbage(self, version: int, *, ruling: int) -> None:
        """Publish what is not even JSON."""
        await self.stage.publish(version, b'{"columns": [{"name": "oops", <!doctype html>')

        async def complained() -> bool:
            return "vouch" in (await self.stage.health())["detail"]

        await until(complained, "health tells of garbage from the registry")
        await self._loud("garbage", ruling)
        self.say(f"refused      garbage: {_short((await self.stage.health())['detail'])}")
        await self.stage.withdraw(version)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 150 else line[:149] + "…"


async def good_versions(drill: Drill) -> None:
    """Each kind of change that is adopted by itself."""
    first = [CAPACITY, STAGE, ZONE, UNITS]
    await drill.adopt(2, "an optional column", [*first, HUB], Words())
    tier = {"tier": "B"}
    await drill.adopt(3, "a required column with a default", [*first, HUB, TIER], Words(given=tier))
    wide = [CAPACITY, STAGE, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(4, "a wider type", wide, Words(given=tier))
    renamed = [POWER, STAGE, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(5, "a declared rename", renamed, Words("power_mw", given=tier))
    grown = [POWER, GROWN, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(6, "a longer enumeration", grown, Words("power_mw", given=tier))
    leaving = [POWER, GROWN, LEAVING, WIDE_UNITS, HUB, TIER]
    await drill.adopt(7, "a deprecation", leaving, Words("power_mw", given=tier))
    await announced(drill)
    await drill.adopt(8, "a removal", FINAL, Words("power_mw", None, tier))
    await ignored(drill)


async def announced(drill: Drill) -> None:
    """The deprecation is in the headers."""
    answer = await drill.stage.http.get(PROJECTS, params={"limit": 1})
    deprecation, sunset = (answer.headers.get(name) for name in ("deprecation", "sunset"))
    if deprecation is None or sunset is None:
        raise Violation("answers do not announce the deprecation")
    drill.say(f"             Deprecation: {deprecation}; Sunset: {sunset}")


async def ignored(drill: Drill) -> None:
    """A request that names the removed column is taken, with a warning."""
    body = {"project_name": "Old writer", "total_amount": "1", "zone": "N"}
    answer = await drill.stage.http.post(PROJECTS, json=body)
    warning = answer.headers.get("spawn-warnings", "")
    if answer.status_code != 201 or "retired" not in warning:
        raise Violation(f"an old writer got {answer.status_code} and the warning {warning!r}")
    drill.say(f"             Spawn-Warnings: {_short(warning)}")


async def bad_versions(drill: Drill) -> None:
    """Each kind of version that must not be adopted, and the last good one goes on."""
    others = [GROWN, WIDE_UNITS, HUB, TIER]
    narrow: Column = {**POWER, "type": "decimal(4,1)"}
    hostile: Column = {"name": "units; drop table projects", "type": "integer"}
    redefined: Column = {"name": "total_amount", "type": "boolean"}
    bad: dict[str, list[Column]] = {
        "required without a default": [*FINAL, OWNER],
        "a narrower type": [narrow, *others],
        "another unit": [{**POWER, "unit": "kW"}, *others],
        "a hostile name": [*FINAL, hostile],
        "a core attribute redefined": [*FINAL, redefined],
    }
    await drill.endure_garbage(9, ruling=8)
    for version, (title, columns) in enumerate(bad.items(), start=9):
        await drill.refuse(version, title, a_document(version, columns), ruling=8)
    for version in range(9, 9 + len(bad)):
        await drill.stage.withdraw(version)
    again = a_document(8, [*FINAL, {"name": "smuggled", "type": "string"}])
    await drill.refuse(8, "a number that was used", again, ruling=8)
    await drill.adopt(21, "a way on", [*FINAL, ZONE], Words("power_mw", given={"tier": "B"}))
    health = await drill.stage.health()
    if health["status"] != "ok":
        raise Violation(f"health is {health['status']} after a good version: {health['detail']}")
    drill.say("             health is ok again, and zone is back with the values that it had")


async def kills(drill: Drill) -> None:
    """Kill -9 while a version is being adopted, again and again; then it must be there or not."""
    hits, version, columns = 0, 22, [*FINAL, ZONE]
    given: dict[str, Any] = {"tier": "B"}
    for _ in range(ATTEMPTS):
        name = f"extra_{version}"
        columns = [*columns, {"name": name, "type": "string(9)", "required": True, "default": "D"}]
        given = {**given, name: "D"}
        drill.desk.words[version] = Words("power_mw", given=given)
        await drill.stage.publish(version, a_document(version, columns))
        state = await _caught(drill.stage, version)
        # A little later each time, so that the kill falls into other moments of a migration.
        await asyncio.sleep(0.04 * (version - 22))
        drill.stage.kill()
        await drill.stage.start()
        ruled = await drill.stage.active()
        if ruled not in {version - 1, version}:
            raise Violation(f"version {ruled} rules after a kill on the way to {version}")

        async def rules(wanted: int = version) -> bool:
            return await drill.stage.active() == wanted

        await until(rules, f"version {version} rules after the kill")
        await drill.seen(version)
        came_up = "the old" if ruled < version else "the new"
        drill.say(f"killed -9    as version {version} was {state}: {came_up} version came up")
        hits += state == "migrating"
        version += 1
        if hits == KILLS:
            return
    drill.say(f"             {hits} of {ATTEMPTS} kills fell into a migration")
    if not hits:
        raise Violation("no kill fell into a migration")


async def _caught(stage: Stage, version: int) -> str:
    """The state in which the version is found first, beside being unknown."""
    found = ""

    async def there() -> bool:
        nonlocal found
        record = (await stage.waiting()).get(version)
        if record is not None:
            found = str(record["state"])
        elif await stage.active() == version:
            found = "active"
        return bool(found)

    await until(there, f"version {version} is met")
    return found


async def fill(drill: Drill, rows: int) -> None:
    """Import projects for the migrations to work on."""
    line = {
        "total_amount": "1000000",
        "currency_code": "EUR",
        "stage": "A",
        "zone": "N",
        "units": 1,
    }
    lines = (
        json.dumps({"project_name": f"Row {n}", "capacity_mw": n, **line}) for n in range(rows)
    )
    answer = await drill.stage.http.post(
        "/v1/ops/imports",
        content=("\n".join(lines) + "\n").encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    job = answer.json()["job_id"]

    async def done() -> bool:
        status = (await drill.stage.json(f"/v1/jobs/{job}"))["status"]
        if status == "failed":
            raise Violation("the import failed")
        return bool(status == "succeeded")

    took = await until(done, "the import is done", within_s=600)
    drill.say(f"imported     {rows} projects in {took:.1f} s")


async def run(folder: Path, rows: int) -> int:
    """The whole drill; 0 if nothing went wrong."""
    stage = Stage(folder)
    drill = Drill(stage)
    steps: list[Callable[[Drill], Awaitable[None]]] = [good_versions, bad_versions, kills]
    failure = ""
    try:
        await until(stage.registry_answers, "the ontology server answers")
        await stage.publish(1, a_document(1, [CAPACITY, STAGE, ZONE, UNITS]))
        drill.desk.words[1] = Words()
        await stage.start()
        drill.say(f"serving      version {await stage.active()}, a refresh every {REFRESH_S} s")
        await fill(drill, rows)
        drill.desk.open()
        drill.say(f"working      {CLIENTS} clients, in the words of version 1")
        for step in steps:
            await step(drill)
        await drill.desk.close()
    except Violation as violation:
        failure = str(violation)
    finally:
        code = await stage.close()
    return conclude(drill, failure, code)


def conclude(drill: Drill, failure: str, code: int) -> int:
    """Say how it ended."""
    desk = drill.desk
    asked = ", ".join(f"{count} {method}" for method, count in sorted(desk.requests.items()))
    versions = len(desk.seen)
    drill.say(f"in all       {asked}; {desk.projects} projects, answers of {versions} versions")
    drill.say(f"             {desk.retried} requests were sent again after a kill")
    for wrong in desk.wrong[:20]:
        drill.say(f"WRONG        {wrong}")
    if failure:
        drill.say(f"VIOLATION    {failure}")
    if code not in {0, -15, 143}:
        drill.say(f"VIOLATION    the service ended with {code}")
        failure = failure or "exit"
    if desk.wrong or failure:
        drill.say(f"FAILED       {len(desk.wrong)} wrong or failed answers")
        return 1
    drill.say("PASSED       not one failed or wrong answer")
    return 0


def main() -> int:
    """Run the drill as its arguments say."""
    parser = argparse.ArgumentParser(prog="drill", description="Drill live schema evolution.")
    parser.add_argument("--rows", type=int, default=20_000, help="projects to begin with")
    parser.add_argument("--keep", action="store_true", help="keep the folder with file and logs")
    parsed = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spawn-drill-"))
    try:
        return asyncio.run(run(folder, parsed.rows))
    finally:
        if parsed.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
