"""Measurement of data quality: scheduled runs, stored reports, events on level changes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require
from spawn.application.imports.queries import find_latest_import_runs
from spawn.application.quality.financing_measures import FinancingMeasures
from spawn.application.quality.queries import get_latest_report
from spawn.domain.aggregates import governed_kinds
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Duplicate, SpawnError, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.events.position import Position
from spawn.domain.lineage.run import Run
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.measures import Measurement, MeasureTally
from spawn.domain.quality.report import (
    BREACHED_EVENT,
    DATASET,
    RECOVERED_EVENT,
    REPORT_KIND,
    RULE_KIND,
    KindFigures,
    QualityReport,
    RuleResult,
    ServiceLevelStatus,
    describe_level_change,
    evaluate_age,
    evaluate_share,
    find_level_changes,
    refresh_ages,
)
from spawn.domain.quality.rules import (
    ServiceLevels,
    build_change_rule,
    build_freshness_rules,
    build_import_rule,
    derive_rules,
)
from spawn.domain.schema_version import Schema

FIRST_PAUSE_S = 2.0
"""Delay of the first run, so that it does not compete with the start of the service."""

MAX_IMPORT_RULES = 100
"""Maximum import checks in one report."""


class _ReportDecision(Decision, frozen=True, kw_only=True):
    """A report to record: its run number, and the service levels that changed."""

    version: int
    level_changes: tuple[ServiceLevelStatus, ...]


class QualityMonitor:
    """Monitor that measures quality, one run at a time; concurrent requests share the next run.

    `on_change` is called with each service level that was breached or recovered. `error` is the
    failure of the last scheduled run, or empty.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        levels: ServiceLevels,
        *,
        on_change: Callable[[ServiceLevelStatus], None] | None = None,
    ) -> None:
        self.error = ""
        self._dependencies = dependencies
        self._levels = levels
        self._on_change = on_change or (lambda _standing: None)
        self._lock = asyncio.Lock()
        self._next_run: asyncio.Task[StoredAggregate[QualityReport]] | None = None
        self._running: set[asyncio.Task[StoredAggregate[QualityReport]]] = set()
        self._measured_to: Position | None = None
        self._financing = FinancingMeasures()

    async def measure(self, principal: Principal) -> StoredAggregate[QualityReport]:
        """Measure everything now and record the report.

        Raises:
            DeadlineExceeded: counting took too long.
            Conflict: other processes kept recording reports.
        """
        require(principal, Scope.PROJECTS_WRITE)
        if self._next_run is None:
            self._next_run = asyncio.create_task(self._measure_in_turn(principal))
            self._running.add(self._next_run)
            self._next_run.add_done_callback(self._discard_task)
        return await asyncio.shield(self._next_run)

    def _discard_task(self, run: asyncio.Task[StoredAggregate[QualityReport]]) -> None:
        self._running.discard(run)
        if not run.cancelled():
            # Retrieve the exception: the client may have disconnected before the failure.
            run.exception()

    async def measure_forever(
        self, interval_s: float, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Measure at an interval until cancelled.

        While nothing was written since the last run, only ages are checked.
        """
        await sleep(min(interval_s, FIRST_PAUSE_S))
        while True:
            try:
                await self.measure_if_changed()
            except SpawnError as failure:
                self.error = failure.detail
            else:
                self.error = ""
            await sleep(interval_s)

    async def close(self) -> None:
        """Cancel the runs in progress; idempotent."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def measure_if_changed(self) -> None:
        """Measure if data may have changed; otherwise record levels that age alone breached."""
        latest = await get_latest_report(self._dependencies, SERVICE_PRINCIPAL)
        active = await self._dependencies.active_schema()
        is_unchanged = (
            latest is not None
            and await self._dependencies.reads.position() == self._measured_to
            and latest.state.schema_version == active.schema.version
        )
        if latest is None or not is_unchanged:
            await self.measure(SERVICE_PRINCIPAL)
            return
        async with self._lock:
            current = refresh_ages(latest.state, self._dependencies.clock.now())
            if find_level_changes(latest.state.results, current.results):
                await self._record(SERVICE_PRINCIPAL, current, self._measured_to)

    async def _measure_in_turn(self, principal: Principal) -> StoredAggregate[QualityReport]:
        async with self._lock:
            # Later requests may follow writes that this run does not see: they get a new run.
            self._next_run = None
            report, position = await self._build_report()
            return await self._record(principal, report, position)

    async def _build_report(self) -> tuple[QualityReport, Position]:
        """Measure every rule of the active schemas; return the report and its position.

        Projects are measured first, so that no kind was measured before the report's position.
        """
        schema = (await self._dependencies.active_schema()).schema
        now = self._dependencies.clock.now()
        measurement, shares = await self._measure_states(schema, now)
        figures = [_build_figures(schema, measurement)]
        for kind in governed_kinds():
            record = await self._dependencies.schemas.active(kind)
            # A kind without a schema of its own promises nothing yet.
            if kind != PROJECT_KIND and record is not None:
                other, other_shares = await self._measure_states(record.schema, now)
                figures.append(_build_figures(record.schema, other))
                shares += other_shares
        shares += await self._financing.measure(self._dependencies, now)
        imports = await find_latest_import_runs(self._dependencies)
        position = str(measurement.position)
        report = QualityReport(
            dataset=DATASET,
            schema_id=schema.id,
            schema_version=schema.version,
            position=position,
            projects=measurement.states,
            measured_at=now,
            changed_at=measurement.changed_at,
            imported_at=max((aggregate.updated_at for aggregate in imports), default=None),
            results=(),
            kinds=tuple(figures),
        )
        results = (*shares, *_import_results(imports, position), *self._age_results(report))
        return msgspec.structs.replace(report, results=results), measurement.position

    async def _measure_states(
        self, schema: Schema, measured_at: datetime
    ) -> tuple[Measurement, list[RuleResult]]:
        """Measure the rules of a schema over the states of its kind."""
        declared_rules = derive_rules(schema)
        measurement = await self._dependencies.quality.measure(
            [pair.measure for pair in declared_rules], schema.kind
        )
        position = str(measurement.position)
        return measurement, [
            evaluate_share(pair.rule, tally, measured_at=measured_at, position=position)
            for pair, tally in zip(declared_rules, measurement.tallies, strict=True)
        ]

    def _age_results(self, report: QualityReport) -> list[RuleResult]:
        instants = report.find_instants()
        others = [build_change_rule(one.kind) for one in report.kinds if one.kind != PROJECT_KIND]
        return [
            evaluate_age(
                rule,
                instants[rule.rule_id],
                measured_at=report.measured_at,
                position=report.position,
            )
            for rule in (*build_freshness_rules(self._levels), *others)
        ]

    async def _record(
        self, principal: Principal, report: QualityReport, measured_to: Position | None
    ) -> StoredAggregate[QualityReport]:
        """Record the report as the next run, with each service level that changed.

        `measured_to` is the journal position up to which the report covers the data.

        Raises:
            Conflict: other processes kept recording reports.
        """
        outcome = await execute(
            self._dependencies,
            principal.id,
            lambda: self._decide(report),
            lost_races=(StaleVersion, Duplicate),
            conflict="Other processes kept recording reports meanwhile; try again.",
        )
        decision, result = outcome.decision, outcome.result
        # Entries committed in between were not measured; the next check measures them.
        row_count = await self._dependencies.reads.count_rows_after(measured_to)
        is_complete = row_count == len(decision.writes)
        self._measured_to = result.position if result and is_complete else None
        for status in decision.level_changes:
            self._on_change(status)
        return await self._dependencies.reads.get(REPORT_KIND, DATASET, version=decision.version)

    async def _decide(self, report: QualityReport) -> _ReportDecision:
        before = await get_latest_report(self._dependencies, SERVICE_PRINCIPAL)
        version = before.version if before else 0
        level_changes = find_level_changes(before.state.results if before else (), report.results)
        writes = await self._level_writes(level_changes)
        return _ReportDecision(
            writes=(Write(REPORT_KIND, DATASET, version, report), *writes),
            events=tuple(_event(status) for status in level_changes),
            schema_version=report.schema_version,
            version=version + 1,
            level_changes=tuple(level_changes),
        )

    async def _level_writes(self, level_changes: Sequence[ServiceLevelStatus]) -> list[Write]:
        ids = [status.rule_id for status in level_changes]
        aggregate = await self._dependencies.reads.get_many(RULE_KIND, ids) if ids else {}
        return [
            Write(
                RULE_KIND,
                status.rule_id,
                aggregate[status.rule_id].version if status.rule_id in aggregate else 0,
                status,
            )
            for status in level_changes
        ]


def _build_figures(schema: Schema, measurement: Measurement) -> KindFigures:
    return KindFigures(
        kind=schema.kind,
        schema_id=schema.id,
        schema_version=schema.version,
        position=str(measurement.position),
        states=measurement.states,
        changed_at=measurement.changed_at,
    )


def _import_results(imports: Iterable[StoredAggregate[Run]], position: str) -> list[RuleResult]:
    """Return the results of each mapping's checks in its newest imported file."""
    results = [
        evaluate_share(
            build_import_rule(aggregate.state.job, one),
            MeasureTally(one.checked_rows - one.failed_rows, one.checked_rows),
            measured_at=aggregate.updated_at,
            position=position,
        )
        for aggregate in imports
        for one in aggregate.state.assertions
        if one.column is not None
    ]
    return results[:MAX_IMPORT_RULES]


def _event(status: ServiceLevelStatus) -> DomainEvent:
    return DomainEvent(
        type=RECOVERED_EVENT if status.is_met else BREACHED_EVENT,
        kind=RULE_KIND,
        id=status.rule_id,
        changed=("kept", "result"),
        reason=describe_level_change(status),
    )
