"""Drill of versions that come in numbers: several between two refreshes, wide ones in turn."""

import json
import time
from typing import TYPE_CHECKING, Any

from examples.drill.clients import PROJECTS
from examples.drill.processes import SCHEMA, Violation, build_document, wait_until

if TYPE_CHECKING:
    from examples.drill.__main__ import Drill

Column = dict[str, Any]

WIDE_COLUMNS = 300
WIDE_ROUNDS = 10
LISTS = 50
MAX_SLOWDOWN = 3.0
"""Ratio of a list's time after the wide versions to that before, beyond which the drill fails."""

_MIN_LIST_S = 0.005
_ADOPTION_S = 180.0


class VersionWalk:
    """Versions after those that the drill has published so far."""

    def __init__(self, drill: "Drill", version: int, columns: list[Column]) -> None:
        self._drill = drill
        self._processes = drill.processes
        self._version = version
        self._columns = columns
        self._context: dict[str, Any] | None = None

    def _build_next(self, *changes: Column, without: str = "") -> tuple[int, bytes]:
        """Return the next number and its document, with columns replaced or added by name."""
        self._version += 1
        self._drill.clients.field_names[self._version] = self._drill.clients.field_names[
            self._version - 1
        ]
        by_name = {column["name"]: column for column in (*self._columns, *changes)}
        columns = [column for name, column in by_name.items() if name != without]
        document = json.loads(build_document(self._version, columns))
        if self._context is not None:
            document["@context"] = self._context
        return self._version, json.dumps(document).encode()

    async def _await_active(self, version: int) -> None:
        async def is_active() -> bool:
            return await self._processes.active_version() == version

        await wait_until(is_active, f"version {version} becomes active", within_s=_ADOPTION_S)
        await self._drill.wait_for_clients(version)

    async def _await_reason(self, version: int, text: str) -> None:
        async def is_quarantined() -> bool:
            record = (await self._processes.candidates()).get(version)
            return record is not None and text in str(record["reason"])

        await wait_until(is_quarantined, f"version {version} is quarantined: {text}")

    async def rename_twice(self) -> None:
        """Publish two renames at once: the values must be under the second name."""
        place: Column = {"name": "place", "type": "string(9)"}
        first, document = self._build_next(place)
        await self._processes.publish(first, document)
        await self._await_active(first)
        body = {"project_name": "Precious", "total_amount": "1", "place": "PRECIOUS"}
        response = await self._processes.http.post(PROJECTS, json=body)
        location = response.headers["location"]
        site: Column = {**place, "name": "site", "aliases": ["place"]}
        plot: Column = {**place, "name": "plot", "aliases": ["site", "place"]}
        renames = [self._build_next(site), self._build_next(plot)]
        await self._processes.publish_at_once(dict(renames))
        await self._await_active(self._version)
        value = (await self._processes.get_json(location)).get("plot")
        if value != "PRECIOUS":
            raise Violation(f"two renames between two refreshes lost a value: {value!r}")
        self._columns.append(plot)
        self._drill.report(f"adopted      versions {first + 1} and {first + 2} in one refresh")

    async def skip_bad(self) -> None:
        """Publish a bad version between good ones at once."""
        extra: Column = {"name": "extra_a", "type": "integer"}
        good, document = self._build_next(extra)
        bad, bad_document = self._build_next({**extra, "type": "date"})
        last: Column = {"name": "extra_b", "type": "integer"}
        newest, newest_document = self._build_next(extra, last)
        documents = {good: document, bad: bad_document, newest: newest_document}
        await self._processes.publish_at_once(documents)
        await self._await_active(newest)
        await self._await_reason(bad, "/columns/extra_a/type")
        self._columns += [extra, last]
        self._drill.report(f"skipped      version {bad}, between {good} and {newest}")

    async def pull_sunset(self, tomorrow: str, yesterday: str) -> None:
        """Announce a Sunset, pull it forward, and remove the column."""
        due: Column = {"name": "due", "type": "integer", "required": True, "default": 7}
        _, document = self._build_next(due)
        await self._processes.publish(self._version, document)
        await self._await_active(self._version)
        notice = {**due, "deprecated": True, "sunset": tomorrow}
        announced, document = self._build_next(notice)
        await self._processes.publish(announced, document)
        await self._await_active(announced)
        pulled, document = self._build_next({**notice, "sunset": yesterday})
        await self._processes.publish(pulled, document)
        await self._await_reason(pulled, "too little notice")
        removal, document = self._build_next()
        await self._processes.publish(removal, document)
        await self._await_reason(removal, "too early")
        for version in (pulled, removal):
            await self._processes.delete_version(version)
        self._columns.append(notice)
        self._drill.report(f"quarantined  versions {pulled} and {removal}, a Sunset pulled forward")

    async def move_prefix(self) -> None:
        """Move the prefix of a term to another IRI, and rename it."""
        self._context = {"ex": "http://a.example/", "plot": "ex:plot"}
        stated, document = self._build_next()
        await self._processes.publish(stated, document)
        await self._await_active(stated)
        self._context = {"ex": "http://b.example/", "plot": "ex:plot"}
        moved, document = self._build_next()
        await self._processes.publish(moved, document)
        await self._await_reason(moved, "another meaning to plot")
        self._context = {"other": "http://a.example/", "plot": "other:plot"}
        renamed, document = self._build_next()
        await self._processes.publish(renamed, document)
        await self._await_active(renamed)
        self._drill.report(f"quarantined  version {moved}, a moved prefix; {renamed} renames it")

    async def widen_in_turn(self) -> None:
        """Publish many columns and remove them again, in rounds; lists must stay as fast."""
        before_s = await self._time_lists()
        for number in range(WIDE_ROUNDS):
            wide = [{"name": f"wide_{number}_{n}", "type": "integer"} for n in range(WIDE_COLUMNS)]
            for columns in (wide, []):
                version, document = self._build_next(*columns)
                await self._processes.publish(version, document)
                await self._await_active(version)
        after_s = await self._time_lists()
        self._drill.report(
            f"adopted      {WIDE_ROUNDS} times {WIDE_COLUMNS} columns in and out: a list took"
            f" {before_s * 1000:.1f} ms before and {after_s * 1000:.1f} ms after"
        )
        if after_s > max(before_s, _MIN_LIST_S) * MAX_SLOWDOWN:
            raise Violation("lists became slow by columns that came and went")

    async def _time_lists(self) -> float:
        """Return the median time of lists that no cache has."""
        durations_s: list[float] = []
        for number in range(LISTS):
            started_s = time.perf_counter()
            parameters = {"limit": 20, "sort": "total_amount", "total_amount[gte]": number}
            await self._processes.get_json(PROJECTS, **parameters)
            durations_s.append(time.perf_counter() - started_s)
        return sorted(durations_s)[LISTS // 2]


async def read_columns(drill: "Drill") -> list[Column]:
    """Return the columns of the active version as its document states them."""
    columns = (await drill.processes.get_json(SCHEMA))["document"]["columns"]
    return [dict(column) for column in columns]
