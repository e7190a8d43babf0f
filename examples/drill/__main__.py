"""Drill live schema evolution: publish good, bad and invalid versions while clients work.

Prints each step. The exit code is 1 if a request failed or got a wrong response, if a good version
was not adopted in time, or if a bad one was adopted.
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

from examples.drill.clients import CLIENTS, PROJECTS, ClientGroup, FieldNames
from examples.drill.processes import (
    FACILITY_SCHEMA,
    REFRESH_S,
    SCHEMA,
    DrillProcesses,
    Violation,
    build_document,
    wait_until,
)
from examples.drill.second_kind import (
    FIRST_LABEL_NAMES,
    LABEL,
    SPREAD,
    TwoKinds,
    build_facility_document,
)
from examples.drill.walks import VersionWalk, read_columns

Column = dict[str, Any]

TOLERANCE_S = 15.0
"""Seconds that an adoption may take beyond the longest refresh interval.

It takes a fraction of a second, but on a machine that other work fills it has taken four: this
limit finds an adoption that does not come, and the printed time one that is slow.
"""

KILLS = 3
ATTEMPTS = 12
TOMORROW = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
YESTERDAY = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()

CAPACITY: Column = {"name": "capacity_mw", "type": "decimal(12,3)", "unit": "MW"}
STAGE: Column = {"name": "stage", "type": "string(20)", "enum": ["A", "B"]}
ZONE: Column = {"name": "zone", "type": "string(10)"}
UNITS: Column = {"name": "units", "type": "integer"}
HUB: Column = {"name": "hub_height_m", "type": "decimal(6,2)", "unit": "m"}
TIER: Column = {"name": "tier", "type": "string(1)", "required": True, "default": "B"}
WIDE_UNITS: Column = {**UNITS, "type": "bigint"}
POWER: Column = {**CAPACITY, "name": "power_mw", "aliases": ["capacity_mw"]}
LONGER_STAGE: Column = {**STAGE, "enum": ["A", "B", "C"]}
DEPRECATED_ZONE: Column = {**ZONE, "deprecated": True, "sunset": TOMORROW}
FINAL: list[Column] = [POWER, LONGER_STAGE, WIDE_UNITS, HUB, TIER]
OWNER: Column = {"name": "owner", "type": "string(50)", "required": True}


class Drill:
    """One run of the drill."""

    def __init__(self, processes: DrillProcesses) -> None:
        self.processes = processes
        self.clients = ClientGroup(processes)
        self._started_s = time.monotonic()

    def report(self, text: str) -> None:
        """Print a line with the elapsed time."""
        print(f"{time.monotonic() - self._started_s:7.1f} s  {text}", flush=True)

    # -- adoption ----------------------------------------------------------------------------

    async def adopt(
        self, version: int, title: str, columns: list[Column], field_names: FieldNames
    ) -> None:
        """Publish a compatible version; it must become active within the refresh interval."""
        self.clients.field_names[version] = field_names
        await self.processes.publish(version, build_document(version, columns))

        async def is_active() -> bool:
            return await self.processes.active_version() == version

        limit = REFRESH_S * 1.25 + TOLERANCE_S
        elapsed_s = await wait_until(
            is_active, f"version {version} ({title}) becomes active", within_s=limit
        )
        await self.wait_for_clients(version)
        await self._check_documents(version, columns)
        self.report(
            f"adopted      version {version:2d}, {title}: {elapsed_s:.1f} s after its publication"
        )

    async def wait_for_clients(self, version: int) -> None:
        """Wait until every client has received responses under the version."""

        async def have_all_worked() -> bool:
            return await self.clients.have_all_worked_under(version)

        await wait_until(have_all_worked, f"every client works under version {version}")

    async def _check_documents(self, version: int, columns: list[Column]) -> None:
        """Check that log, OpenAPI and contract follow without a restart."""
        log = (await self.processes.get_json(f"{SCHEMA}/migrations"))["items"]
        outcomes = [(item["new_version"], item["outcome"]) for item in log]
        if (version, "adopted") not in outcomes:
            raise Violation(f"version {version} is not in the log of migrations: {outcomes}")
        openapi = await self.processes.get_json("/openapi.json")
        properties = openapi["components"]["schemas"]["Project"]["properties"].keys()
        contract = json.dumps(await self.processes.get_json("/contract"))
        for column in columns:
            if column["name"] not in properties or f'"{column["name"]}"' not in contract:
                raise Violation(f"OpenAPI or contract lacks {column['name']}")

    # -- rejection ---------------------------------------------------------------------------

    async def check_quarantine(
        self, version: int, title: str, document: bytes, *, active: int
    ) -> None:
        """Publish a bad version; it must be quarantined and reported."""
        count_before = await self.processes.sum_metric("spawn_schema_quarantined_total")
        await self.processes.publish(version, document)
        reason = ""

        async def is_quarantined() -> bool:
            nonlocal reason
            for record in (await self.processes.get_json(f"{SCHEMA}/candidates"))["items"]:
                if record["version"] == version and record["state"] == "quarantined":
                    reason = record["reason"]
                    return True
            return False

        await wait_until(is_quarantined, f"version {version} ({title}) is quarantined")
        await self._check_degraded(title, active)
        if await self.processes.sum_metric("spawn_schema_quarantined_total") <= count_before:
            raise Violation(f"the metric does not count {title}")
        self.report(f"quarantined  version {version:2d}, {title}: {_short(reason)}")

    async def _check_degraded(self, title: str, active: int) -> None:
        if await self.processes.active_version() != active:
            raise Violation(f"{title} was adopted")
        health = await self.processes.schema_health()
        if health["status"] != "degraded":
            raise Violation(f"health is {health['status']} with {title}: {health['detail']}")

    async def check_garbage(self, version: int, *, active: int) -> None:
        """Publish a document that is not JSON."""
        await self.processes.publish(version, b'{"columns": [{"name": "oops", <!doctype html>')

        async def is_reported() -> bool:
            return "was not read" in (await self.processes.schema_health())["detail"]

        await wait_until(is_reported, "health reports garbage from the registry")
        await self._check_degraded("garbage", active)
        self.report(
            f"rejected     garbage: {_short((await self.processes.schema_health())['detail'])}"
        )
        await self.processes.delete_version(version)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 150 else line[:149] + "…"


async def publish_good_versions(drill: Drill) -> None:
    """Publish each kind of change that is adopted automatically."""
    first = [CAPACITY, STAGE, ZONE, UNITS]
    await drill.adopt(2, "an optional column", [*first, HUB], FieldNames())
    tier = {"tier": "B"}
    await drill.adopt(
        3, "a required column with a default", [*first, HUB, TIER], FieldNames(defaults=tier)
    )
    wide = [CAPACITY, STAGE, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(4, "a wider type", wide, FieldNames(defaults=tier))
    rename = [POWER, STAGE, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(5, "a declared rename", rename, FieldNames("power_mw", defaults=tier))
    longer_enumeration = [POWER, LONGER_STAGE, ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(
        6, "a longer enumeration", longer_enumeration, FieldNames("power_mw", defaults=tier)
    )
    deprecation = [POWER, LONGER_STAGE, DEPRECATED_ZONE, WIDE_UNITS, HUB, TIER]
    await drill.adopt(7, "a deprecation", deprecation, FieldNames("power_mw", defaults=tier))
    await check_deprecation(drill)
    await drill.adopt(8, "a removal", FINAL, FieldNames("power_mw", None, tier))
    await check_retired_column(drill)


async def check_deprecation(drill: Drill) -> None:
    """Check that the deprecation is in the headers."""
    response = await drill.processes.http.get(PROJECTS, params={"limit": 1})
    deprecation, sunset = (response.headers.get(name) for name in ("deprecation", "sunset"))
    if deprecation is None or sunset is None:
        raise Violation("responses do not announce the deprecation")
    drill.report(f"             Deprecation: {deprecation}; Sunset: {sunset}")


async def check_retired_column(drill: Drill) -> None:
    """Check that a request with the removed column is accepted with a warning."""
    body = {"project_name": "Old writer", "total_amount": "1", "zone": "N"}
    response = await drill.processes.http.post(PROJECTS, json=body)
    warning = response.headers.get("spawn-warnings", "")
    if response.status_code != 201 or "retired" not in warning:
        raise Violation(f"an old writer got {response.status_code} and the warning {warning!r}")
    drill.report(f"             Spawn-Warnings: {_short(warning)}")


async def publish_bad_versions(drill: Drill) -> None:
    """Publish each kind of bad version; the last good one must stay active."""
    others = [LONGER_STAGE, WIDE_UNITS, HUB, TIER]
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
    await drill.check_garbage(9, active=8)
    for version, (title, columns) in enumerate(bad.items(), start=9):
        await drill.check_quarantine(version, title, build_document(version, columns), active=8)
    for version in range(9, 9 + len(bad)):
        await drill.processes.delete_version(version)
    again = build_document(8, [*FINAL, {"name": "smuggled", "type": "string"}])
    await drill.check_quarantine(8, "a number used before", again, active=8)
    await drill.adopt(
        21, "a restored column", [*FINAL, ZONE], FieldNames("power_mw", defaults={"tier": "B"})
    )
    health = await drill.processes.schema_health()
    if health["status"] != "ok":
        raise Violation(f"health is {health['status']} after a good version: {health['detail']}")
    drill.report("             health is ok again, and zone is back with its old values")


async def kill_during_adoptions(drill: Drill) -> None:
    """Kill the service during adoptions; afterwards the old or the new version is active."""
    hit_count, version, columns = 0, 22, [*FINAL, ZONE]
    defaults: dict[str, Any] = {"tier": "B"}
    for _ in range(ATTEMPTS):
        name = f"extra_{version}"
        columns = [*columns, {"name": name, "type": "string(9)", "required": True, "default": "D"}]
        defaults = {**defaults, name: "D"}
        drill.clients.field_names[version] = FieldNames("power_mw", defaults=defaults)
        await drill.processes.publish(version, build_document(version, columns))
        state = await _find_first_state(drill.processes, version)
        # A little later each time, so that the kill hits another moment of a migration.
        await asyncio.sleep(0.04 * (version - 22))
        drill.processes.kill()
        await drill.processes.start()
        active = await drill.processes.active_version()
        if active not in {version - 1, version}:
            raise Violation(f"version {active} is active after a kill on the way to {version}")

        async def is_active(expected: int = version) -> bool:
            return await drill.processes.active_version() == expected

        await wait_until(is_active, f"version {version} becomes active after the kill")
        await drill.wait_for_clients(version)
        outcome = "the old" if active < version else "the new"
        drill.report(f"killed -9    as version {version} was {state}: {outcome} version is active")
        hit_count += state == "migrating"
        version += 1
        if hit_count == KILLS:
            return
    drill.report(f"             {hit_count} of {ATTEMPTS} kills hit a migration")
    if not hit_count:
        raise Violation("no kill hit a migration")


async def _find_first_state(processes: DrillProcesses, version: int) -> str:
    """Return the first recorded state of a version."""
    state = ""

    async def is_known() -> bool:
        nonlocal state
        record = (await processes.candidates()).get(version)
        if record is not None:
            state = str(record["state"])
        elif await processes.active_version() == version:
            state = "active"
        return bool(state)

    await wait_until(is_known, f"version {version} is recorded")
    return state


async def publish_many_versions(drill: Drill) -> None:
    """Publish versions that come in numbers: see `VersionWalk`."""
    version = await drill.processes.active_version()
    walk = VersionWalk(drill, version, await read_columns(drill))
    await walk.rename_twice()
    await walk.skip_bad()
    await walk.pull_sunset(TOMORROW, YESTERDAY)
    await walk.move_prefix()
    await walk.widen_in_turn()


async def publish_two_kinds(drill: Drill) -> None:
    """Publish versions of facilities beside those of projects: see `TwoKinds`."""
    version = await drill.processes.active_version()
    kinds = TwoKinds(drill, version, await read_columns(drill))
    await kinds.adopt_both()
    await kinds.skip_bad()
    await kinds.kill_between()


async def import_projects(drill: Drill, rows: int) -> None:
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
    response = await drill.processes.http.post(
        "/v1/ops/imports",
        content=("\n".join(lines) + "\n").encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    job = response.json()["job_id"]

    async def is_done() -> bool:
        status = (await drill.processes.get_json(f"/v1/jobs/{job}"))["status"]
        if status == "failed":
            raise Violation("the import failed")
        return bool(status == "succeeded")

    elapsed_s = await wait_until(is_done, "the import is done", within_s=600)
    drill.report(f"imported     {rows} projects in {elapsed_s:.1f} s")


async def run(folder: Path, rows: int) -> int:
    """Run the whole drill and return its exit code."""
    processes = DrillProcesses(folder)
    drill = Drill(processes)
    steps: list[Callable[[Drill], Awaitable[None]]] = [
        publish_good_versions,
        publish_bad_versions,
        kill_during_adoptions,
        publish_two_kinds,
        publish_many_versions,
    ]
    failure = ""
    try:
        await wait_until(processes.is_registry_ready, "the ontology server responds")
        await processes.publish(1, build_document(1, [CAPACITY, STAGE, ZONE, UNITS]))
        document = build_facility_document(1, LABEL, SPREAD)
        await processes.publish(1, document, FACILITY_SCHEMA)
        drill.clients.field_names[1] = FieldNames()
        drill.clients.label_names |= FIRST_LABEL_NAMES
        await processes.start()
        version = await processes.active_version()
        drill.report(f"serving      version {version}, a refresh every {REFRESH_S} s")
        await import_projects(drill, rows)
        drill.clients.open()
        drill.report(f"working      {CLIENTS} clients, with the fields of version 1")
        for step in steps:
            await step(drill)
        await drill.clients.close()
    except Violation as violation:
        failure = str(violation)
    finally:
        code = await processes.close()
    return print_summary(drill, failure, code)


def print_summary(drill: Drill, failure: str, code: int) -> int:
    """Print the summary and return the exit code."""
    clients = drill.clients
    requests = ", ".join(f"{count} {method}" for method, count in sorted(clients.requests.items()))
    versions = len(clients.responses_by_version)
    drill.report(
        f"in all       {requests}; {clients.project_count} projects, "
        f"responses of {versions} versions"
    )
    drill.report(f"             {clients.retries} requests were sent again after a kill")
    for error in clients.errors[:20]:
        drill.report(f"WRONG        {error}")
    if failure:
        drill.report(f"VIOLATION    {failure}")
    if code not in {0, -15, 143}:
        drill.report(f"VIOLATION    the service ended with {code}")
        failure = failure or "exit"
    if clients.errors or failure:
        drill.report(f"FAILED       {len(clients.errors)} wrong or failed responses")
        return 1
    drill.report("PASSED       no failed or wrong response")
    return 0


def main() -> int:
    """Run the drill with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="drill", description="Drill live schema evolution.")
    parser.add_argument("--rows", type=int, default=20_000, help="projects to begin with")
    parser.add_argument("--keep", action="store_true", help="keep the folder with file and logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="spawn-drill-"))
    try:
        return asyncio.run(run(folder, options.rows))
    finally:
        if options.keep:
            print(f"the folder is {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
