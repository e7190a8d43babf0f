"""Drill of two governed kinds: versions of facilities beside versions of projects."""

from typing import TYPE_CHECKING, Any

from examples.drill.processes import (
    FACILITY_SCHEMA,
    Violation,
    build_document,
    wait_until,
)

if TYPE_CHECKING:
    from examples.drill.__main__ import Drill

Column = dict[str, Any]

LABEL: Column = {"name": "green_label", "type": "string(20)"}
SPREAD: Column = {"name": "spread_bps", "type": "integer"}
RENAMED: Column = {**LABEL, "name": "label", "aliases": ["green_label"]}
AGENT: Column = {"name": "agent", "type": "string(20)", "required": True, "default": "none"}
FIRST_LABEL_NAMES = {1: "green_label"}


def build_facility_document(version: int, *columns: Column) -> bytes:
    """Return a document of the schema of facilities."""
    return build_document(version, list(columns), FACILITY_SCHEMA)


class TwoKinds:
    """Versions of the schema of facilities, each beside one of projects with another column."""

    def __init__(self, drill: "Drill", version: int, columns: list[Column]) -> None:
        self._drill = drill
        self._processes = drill.processes
        self._version = version
        self._columns = columns

    def _build_project_version(self) -> dict[int, bytes]:
        """Return the next version of projects: one more column."""
        field_names = self._drill.clients.field_names
        self._version += 1
        field_names[self._version] = field_names[self._version - 1]
        column = {"name": f"beside_{self._version}", "type": "integer"}
        self._columns = [*self._columns, column]
        return {self._version: build_document(self._version, self._columns)}

    async def _await_active(self, facility_version: int) -> None:
        """Wait until both kinds are served under their versions, by every client."""
        clients, processes = self._drill.clients, self._processes

        async def are_active() -> bool:
            return (
                await processes.active_version() == self._version
                and await processes.active_version(FACILITY_SCHEMA) == facility_version
            )

        async def have_read() -> bool:
            return await clients.have_all_read_facilities_under(facility_version)

        await wait_until(are_active, f"{self._version} and {facility_version} become active")
        await self._drill.wait_for_clients(self._version)
        await wait_until(have_read, f"every client reads facilities of {facility_version}")

    async def adopt_both(self) -> None:
        """Publish a version of each kind at once: both are adopted."""
        self._drill.clients.label_names[2] = "label"
        renamed = build_facility_document(2, RENAMED, SPREAD)
        await self._processes.publish_at_once(self._build_project_version(), {2: renamed})
        await self._await_active(2)
        self._drill.report(
            f"adopted      version {self._version} of projects and 2 of facilities in one refresh"
        )

    async def skip_bad(self) -> None:
        """Publish a bad version of facilities beside a good one of projects."""
        bad = build_facility_document(3, RENAMED, {**SPREAD, "type": "date"})
        await self._processes.publish_at_once(self._build_project_version(), {3: bad})
        await self._await_active(2)

        async def is_quarantined() -> bool:
            record = (await self._processes.candidates(FACILITY_SCHEMA)).get(3)
            return record is not None and record["state"] == "quarantined"

        await wait_until(is_quarantined, "version 3 of facilities is quarantined")
        await self._processes.delete_version(3, FACILITY_SCHEMA)
        self._drill.report(
            f"quarantined  version 3 of facilities; version {self._version} of projects is adopted"
        )

    async def kill_between(self) -> None:
        """Kill the service on the way to a version of each kind: both are adopted afterwards."""
        self._drill.clients.label_names[4] = "label"
        document = build_facility_document(4, RENAMED, SPREAD, AGENT)
        await self._processes.publish_at_once(self._build_project_version(), {4: document})

        async def has_begun() -> bool:
            return await self._processes.active_version() == self._version

        await wait_until(has_begun, f"version {self._version} becomes active")
        self._processes.kill()
        await self._processes.start()
        active = await self._processes.active_version(FACILITY_SCHEMA)
        if active not in {2, 4}:
            raise Violation(f"version {active} of facilities is active after a kill")
        await self._await_active(4)
        outcome = "the old" if active == 2 else "the new"
        self._drill.report(f"killed -9    between the kinds: {outcome} version of facilities")
