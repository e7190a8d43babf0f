"""Measuring the data's quality, remembering what was found, and telling when it changes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from spawn.application.dependencies import Services, require
from spawn.application.jobs import SERVICE
from spawn.application.lineage.recorder import last_imports
from spawn.application.quality.queries import KIND, latest_report
from spawn.domain.change import Change, Stored, Write
from spawn.domain.errors import Conflict, Duplicate, SpawnError, Stale
from spawn.domain.events.event import DomainEvent
from spawn.domain.lineage.run import Run
from spawn.domain.principal import Principal
from spawn.domain.quality.rules import (
    BREACHED,
    DATASET,
    LAST_CHANGE,
    LAST_IMPORT,
    RECOVERED,
    Levels,
    Report,
    Result,
    Standing,
    Tally,
    age_result,
    aged,
    freshness_rules,
    import_rule,
    rules_of,
    said_of,
    share_result,
    transitions,
)
from spawn.domain.schemas.validator import compile_schema

RULE_KIND = "quality_rule"
MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 2.0
"""Counting everything begins so much later: whoever waits for the start comes first."""

MAX_IMPORT_RULES = 100
"""Checks of imports that one report shows."""


class Inspector:
    """Measures, one run after the other; who asks while one is under way shares the next.

    `told` hears of each service level that broke or is kept again. `error` is why the last
    scheduled run failed, else empty.
    """

    def __init__(
        self,
        services: Services,
        levels: Levels,
        *,
        told: Callable[[Standing], None] | None = None,
    ) -> None:
        self.error = ""
        self._services = services
        self._levels = levels
        self._told = told or (lambda _standing: None)
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[Stored[Report]] | None = None
        self._running: set[asyncio.Task[Stored[Report]]] = set()
        self._seen: str | None = None

    async def measure(self, principal: Principal) -> Stored[Report]:
        """Measure everything now, and record it as a run.

        Raises:
            DeadlineExceeded: counting took too long.
            Conflict: others kept recording runs.
        """
        require(principal, "write")
        if self._next is None:
            self._next = asyncio.create_task(self._in_turn(principal))
            self._running.add(self._next)
            self._next.add_done_callback(self._done)
        return await asyncio.shield(self._next)

    def _done(self, run: asyncio.Task[Stored[Report]]) -> None:
        self._running.discard(run)
        if not run.cancelled():
            # Whoever asked may have gone without hearing of a failure.
            run.exception()

    async def measure_forever(
        self, interval_s: float, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Measure again and again, until cancelled, once the start is over.

        Where nothing was written since, only the ages are looked at.
        """
        await sleep(min(interval_s, FIRST_PAUSE_S))
        while True:
            try:
                await self.look_again()
            except SpawnError as failure:
                self.error = failure.detail
            else:
                self.error = ""
            await sleep(interval_s)

    async def close(self) -> None:
        """Give up what is under way; idempotent."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def look_again(self) -> None:
        """Measure if anything may have changed, else look whether time alone broke something."""
        latest = await latest_report(self._services, SERVICE)
        active = await self._services.active()
        same = (
            latest is not None
            and await self._services.reads.position() == self._seen
            and latest.state.schema_version == active.schema.version
        )
        if latest is None or not same:
            await self.measure(SERVICE)
            return
        async with self._lock:
            older = aged(latest.state, self._services.clock.now())
            if transitions(latest.state.results, older.results):
                await self._record(SERVICE, older, self._seen)

    async def _in_turn(self, principal: Principal) -> Stored[Report]:
        async with self._lock:
            # Who comes from here on may have written what this run no longer sees.
            self._next = None
            report = await self._report()
            return await self._record(principal, report, report.position)

    async def _report(self) -> Report:
        """Count everything that is promised under the active schema."""
        schema = (await self._services.active()).schema
        declared = rules_of(compile_schema(schema).fields, schema.promises)
        measured = await self._services.quality.measure([one.measure for one in declared])
        imports = await last_imports(self._services)
        now, position = self._services.clock.now(), measured.position
        shares = [
            share_result(one.rule, tally, measured_at=now, position=position)
            for one, tally in zip(declared, measured.tallies, strict=True)
        ]
        report = Report(
            dataset=DATASET,
            schema_id=schema.id,
            schema_version=schema.version,
            position=position,
            projects=measured.projects,
            measured_at=now,
            changed_at=measured.changed_at,
            imported_at=max((stored.updated_at for stored in imports), default=None),
            results=(),
        )
        results = (*shares, *_of_imports(imports, position), *self._ages(report))
        return msgspec.structs.replace(report, results=results)

    def _ages(self, report: Report) -> list[Result]:
        since = {LAST_CHANGE: report.changed_at, LAST_IMPORT: report.imported_at}
        return [
            age_result(
                rule, since[rule.rule_id], measured_at=report.measured_at, position=report.position
            )
            for rule in freshness_rules(self._levels)
        ]

    async def _record(
        self, principal: Principal, report: Report, seen: str | None
    ) -> Stored[Report]:
        """Keep the report as the next run, with each service level that changed.

        `seen` is the position up to which the report knows what was written.

        Raises:
            Conflict: others kept recording runs.
        """
        for _ in range(MAX_ATTEMPTS):
            before = await latest_report(self._services, SERVICE)
            version = before.version if before else 0
            changed = transitions(before.state.results if before else (), report.results)
            writes = (Write(KIND, DATASET, version, report), *await self._standings(changed))
            change = Change(
                writes=writes,
                events=tuple(_event(standing) for standing in changed),
                actor=principal.id,
                schema_version=report.schema_version,
            )
            try:
                committed = await self._services.commands.commit(change)
            except (Stale, Duplicate):
                continue
            # What came in between was not counted, and is as soon as someone looks again.
            alone = await self._services.reads.rows_after(seen) == len(writes)
            self._seen = committed.position if alone else None
            for standing in changed:
                self._told(standing)
            return await self._services.reads.get(KIND, DATASET, version=version + 1)
        raise Conflict("others keep recording what they measured; try again")

    async def _standings(self, changed: Sequence[Standing]) -> list[Write]:
        ids = [standing.rule_id for standing in changed]
        known = await self._services.reads.get_many(RULE_KIND, ids) if ids else {}
        return [
            Write(
                RULE_KIND,
                standing.rule_id,
                known[standing.rule_id].version if standing.rule_id in known else 0,
                standing,
            )
            for standing in changed
        ]


def _of_imports(imports: Iterable[Stored[Run]], position: str) -> list[Result]:
    """What the checks of each mapping found in the newest file that came through it."""
    found = [
        share_result(
            import_rule(stored.state.job, one),
            Tally(one.looked_at - one.failed, one.looked_at),
            measured_at=stored.updated_at,
            position=position,
        )
        for stored in imports
        for one in stored.state.assertions
        if one.column is not None
    ]
    return found[:MAX_IMPORT_RULES]


def _event(standing: Standing) -> DomainEvent:
    return DomainEvent(
        type=RECOVERED if standing.kept else BREACHED,
        kind=RULE_KIND,
        id=standing.rule_id,
        changed=("kept", "result"),
        reason=said_of(standing),
    )
