"""Quality runs: a report is recorded, and each change of a service level is reported once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.application.facilities.stored_projects import create_stored_facility, record

from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import put_mapping, submit_import
from spawn.application.imports.runner import run_import
from spawn.application.lineage.run_builder import build_export_run
from spawn.application.quality.financing_measures import has_consecutive_periods
from spawn.application.quality.monitor import QualityMonitor
from spawn.application.quality.queries import get_latest_report, get_report, list_earlier_reports
from spawn.domain.aggregates import governed_kinds
from spawn.domain.change import Change, CommitResult, Write
from spawn.domain.covenants.cfads_case import CASE_KIND
from spawn.domain.errors import DeadlineExceeded, Forbidden, NotFound, SpawnError
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.facilities.facility import LenderShare
from spawn.domain.facilities.ledger import ENTRY_KIND, LEDGER_KIND, EntryKind, build_entry_id
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import SERVICE_PRINCIPAL, Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND, ExternalRef, Project
from spawn.domain.quality.measures import Measure, Measurement
from spawn.domain.quality.report import (
    RuleResult,
    ServiceLevelStatus,
    filter_failed,
    refresh_ages,
)
from spawn.domain.quality.rules import (
    BALANCE_RULE,
    CASE_PERIODS_RULE,
    LAST_CHANGE,
    MeasureUnit,
    QualityRule,
    ServiceLevels,
    derive_rules,
)
from spawn.testing.builders import a_project
from spawn.testing.sample_states import a_state
from spawn.testing.storage_contract.harness import ManualClock
from spawn.testing.storage_contract.two_kinds import a_facility, build_facility_write

ANNA = Principal(id="anna")
UNIQUE = "uniqueness.external_ref"


@pytest.fixture
def clock(dependencies: Dependencies) -> ManualClock:
    return ManualClock(dependencies.clock.now())


@pytest.fixture
def level_changes() -> list[ServiceLevelStatus]:
    return []


@pytest.fixture
def quality_monitor(
    dependencies: Dependencies, clock: ManualClock, level_changes: list[ServiceLevelStatus]
) -> QualityMonitor:
    dependencies = msgspec.structs.replace(dependencies, clock=clock)
    return QualityMonitor(
        dependencies, ServiceLevels(changed_s=3600), on_change=level_changes.append
    )


async def put(dependencies: Dependencies, project: Project, version: int = 0) -> Project:
    """Write a project without its use cases, which would reject invalid data."""
    write = Write("project", project.project_id, version, project)
    await dependencies.commands.commit(Change(writes=(write,), actor="fault", schema_version=0))
    return project


async def two_of_one_reference(dependencies: Dependencies) -> Project:
    reference = ExternalRef(source="desk", id="7")
    await put(dependencies, a_project(project_id=dependencies.ids.new(), external_ref=reference))
    return await put(
        dependencies, a_project(project_id=dependencies.ids.new(), external_ref=reference)
    )


async def level_events(dependencies: Dependencies) -> list[JournalEntry]:
    types = frozenset({"quality.breached", "quality.recovered"})
    return list((await dependencies.reads.feed(after=None, limit=100, types=types)).entries)


async def test_a_run_measures_every_rule_and_is_the_newest_version(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    assert await get_latest_report(dependencies, ANNA) is None
    await put(dependencies, a_project(country_code=None))
    aggregate = await quality_monitor.measure(ANNA)
    assert aggregate == await get_latest_report(dependencies, ANNA)
    assert (aggregate.version, aggregate.state.projects) == (1, 1)
    results = {result.rule.rule_id: result for result in aggregate.state.results}
    assert results["completeness.project_name"].passed is True
    country = results["completeness.country_code"]
    assert (country.value, country.passed, country.met, country.checked) == (0.0, None, 0, 1)
    assert country.samples == (a_project().project_id,)
    assert results[LAST_CHANGE].passed is True
    assert filter_failed(aggregate.state.results) == ()
    assert {result.position for result in aggregate.state.results} == {aggregate.state.position}


async def test_a_run_measures_what_the_contract_of_each_kind_promises(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    await put(dependencies, a_project())
    short = (LenderShare(lender="A", share=Decimal(60)),)
    write = build_facility_write(a_facility(1, lenders=short), schema_version=0)
    await dependencies.commands.commit(Change(writes=(write,), actor="fault", schema_version=0))
    report = (await quality_monitor.measure(ANNA)).state
    results = {result.rule.rule_id: result for result in report.results}
    for kind in governed_kinds():
        schema = (await dependencies.active_schema(kind)).schema
        assert results.keys() >= {one.rule.rule_id for one in derive_rules(schema)}
    commitment = results["completeness.facility.commitment"]
    assert (commitment.met, commitment.checked, commitment.rule.kind) == (1, 1, "facility")
    shares = results["consistency.facility.lender_shares"]
    assert (shares.passed, shares.samples) == (False, ("f1",))
    assert "consistency.facility.lender_shares" in {
        entry.id for entry in await level_events(dependencies)
    }
    schema = (await dependencies.active_schema()).schema
    run = build_export_run("run-1", FileFormat.CSV, schema, report)
    assert not [one.name for one in run.assertions if ".facility." in one.name]
    assert "commitment" not in run.counts


async def test_a_negative_balance_is_found_where_a_ledger_has_changed(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    facility_id = await create_stored_facility(dependencies)
    assert (await measure_rule(quality_monitor, BALANCE_RULE)).checked == 0
    drawn = await record(dependencies, facility_id, EntryKind.DRAW, date(2026, 4, 15), "100.00")
    balance = await measure_rule(quality_monitor, BALANCE_RULE)
    assert (balance.met, balance.checked, balance.passed) == (1, 1, True)
    # No command repays more than the balance, so the entry is written without one.
    repaid = msgspec.structs.replace(
        drawn.entry,
        entry_id=build_entry_id(facility_id, 2),
        number=2,
        kind=EntryKind.PREPAYMENT,
        amount=Decimal("100.01"),
        value_date=date(2026, 5, 15),
    )
    ledger = await dependencies.reads.get(LEDGER_KIND, facility_id)
    ledger_state = msgspec.structs.replace(ledger.state, entries=2)
    writes = (
        Write(ENTRY_KIND, repaid.entry_id, 0, repaid),
        Write(LEDGER_KIND, facility_id, ledger.version, ledger_state),
    )
    await dependencies.commands.commit(Change(writes=writes, actor="fault", schema_version=0))
    balance = await measure_rule(quality_monitor, BALANCE_RULE)
    assert (balance.met, balance.checked, balance.passed) == (0, 1, False)
    assert balance.samples == (facility_id,)


async def test_the_periods_of_cases_are_measured(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    case: Any = a_state(CASE_KIND, 1)
    write = Write(CASE_KIND, case.case_id, 0, case)
    await dependencies.commands.commit(Change(writes=(write,), actor="anna", schema_version=0))
    periods = await measure_rule(quality_monitor, CASE_PERIODS_RULE)
    assert (periods.met, periods.checked, periods.rule.kind) == (1, 1, "case")
    assert has_consecutive_periods(case)
    msgspec.structs.force_setattr(case, "periods", (case.periods[0], case.periods[0]))
    assert not has_consecutive_periods(case)


async def measure_rule(quality_monitor: QualityMonitor, rule: QualityRule) -> RuleResult:
    results = (await quality_monitor.measure(ANNA)).state.results
    (result,) = (one for one in results if one.rule.rule_id == rule.rule_id)
    return result


async def test_each_kind_has_its_number_of_states_and_its_last_change(
    dependencies: Dependencies, quality_monitor: QualityMonitor, clock: ManualClock
) -> None:
    report = (await quality_monitor.measure(ANNA)).state
    assert [(one.kind, one.states, one.changed_at) for one in report.kinds] == [
        ("project", 0, None),
        ("facility", 0, None),
    ]
    facility_id = await create_stored_facility(dependencies)
    clock.advance(timedelta(hours=2))
    report = (await quality_monitor.measure(ANNA)).state
    facility = await dependencies.reads.get("facility", facility_id)
    projects, facilities = report.kinds
    assert (projects.states, projects.schema_id) == (report.projects, "project_schema")
    assert (facilities.states, facilities.changed_at) == (1, facility.updated_at)
    assert facilities.schema_id == "facility_schema"
    ages = {r.rule.rule_id: r for r in report.results if r.rule.unit is MeasureUnit.SECONDS}
    age = ages["freshness.facility.last_change"]
    assert age.value is not None
    assert age.value >= 7_190
    assert age.passed is None
    later = refresh_ages(report, clock.now() + timedelta(hours=1))
    (older,) = (r for r in later.results if r.rule.rule_id == age.rule.rule_id)
    assert older.value == pytest.approx(age.value + 3600)


async def test_a_breach_and_a_recovery_are_each_reported_once(
    dependencies: Dependencies,
    quality_monitor: QualityMonitor,
    level_changes: list[ServiceLevelStatus],
) -> None:
    second = await two_of_one_reference(dependencies)
    for _ in range(2):
        aggregate = await quality_monitor.measure(ANNA)
        assert [result.rule.rule_id for result in filter_failed(aggregate.state.results)] == [
            UNIQUE
        ]
    (entry,) = await level_events(dependencies)
    assert (entry.type, entry.kind, entry.id) == ("quality.breached", "quality_rule", UNIQUE)
    assert (entry.version, entry.actor) == (1, "anna")
    assert entry.reason is not None
    assert entry.reason.endswith("The threshold is at least 1; 0 was measured.")
    await put(dependencies, msgspec.structs.replace(second, external_ref=None), 1)
    for _ in range(2):
        await quality_monitor.measure(ANNA)
    _, recovered = await level_events(dependencies)
    assert (recovered.type, recovered.version) == ("quality.recovered", 2)
    assert msgspec.json.decode(recovered.document)["kept"] is True
    assert [standing.is_met for standing in level_changes] == [False, True]


async def test_a_breach_before_a_restart_is_not_reported_again(
    dependencies: Dependencies, quality_monitor: QualityMonitor, clock: ManualClock
) -> None:
    await two_of_one_reference(dependencies)
    await quality_monitor.measure(ANNA)
    again = QualityMonitor(msgspec.structs.replace(dependencies, clock=clock), ServiceLevels())
    await again.measure(ANNA)
    assert len(await level_events(dependencies)) == 1


async def test_runs_are_listed_newest_first_and_read_by_number(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    assert await list_earlier_reports(dependencies, ANNA, before=None, limit=2) == []
    for _ in range(5):
        await quality_monitor.measure(ANNA)
    listed = await list_earlier_reports(dependencies, ANNA, before=None, limit=2)
    assert [run for run, _ in listed] == [5, 4]
    listed = await list_earlier_reports(dependencies, ANNA, before=4, limit=9)
    assert [run for run, _ in listed] == [3, 2, 1]
    assert await list_earlier_reports(dependencies, ANNA, before=1, limit=9) == []
    assert (await get_report(dependencies, ANNA, 2)).state == listed[1][1]
    with pytest.raises(NotFound):
        await get_report(dependencies, ANNA, 6)


async def test_where_nothing_was_written_nothing_is_counted_or_recorded(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    for _ in range(3):
        await quality_monitor.measure_if_changed()
    aggregate = await get_latest_report(dependencies, ANNA)
    assert aggregate is not None
    assert aggregate.version == 1
    await put(dependencies, a_project())
    for _ in range(3):
        await quality_monitor.measure_if_changed()
    aggregate = await get_latest_report(dependencies, ANNA)
    assert aggregate is not None
    assert (aggregate.version, aggregate.state.projects) == (2, 1)


async def test_time_alone_breaks_freshness_and_a_write_restores_it(
    dependencies: Dependencies,
    quality_monitor: QualityMonitor,
    clock: ManualClock,
    level_changes: list[ServiceLevelStatus],
) -> None:
    project = await put(dependencies, a_project())
    await quality_monitor.measure_if_changed()
    clock.advance(timedelta(hours=2))
    for _ in range(2):
        await quality_monitor.measure_if_changed()
    aggregate = await get_latest_report(dependencies, ANNA)
    assert aggregate is not None
    assert aggregate.version == 2
    assert [result.rule.rule_id for result in filter_failed(aggregate.state.results)] == [
        LAST_CHANGE
    ]
    clock.advance(timedelta(hours=-2))
    await put(dependencies, msgspec.structs.replace(project, sector="wind"), 1)
    await quality_monitor.measure_if_changed()
    assert [(standing.rule_id, standing.is_met) for standing in level_changes] == [
        (LAST_CHANGE, False),
        (LAST_CHANGE, True),
    ]


class BlockedQualityStore:
    """A quality store whose measurement waits for a signal, or fails."""

    def __init__(self, dependencies: Dependencies, failure: SpawnError | None = None) -> None:
        self.inner = dependencies.quality
        self.failure = failure
        self.calls = 0
        self.go = asyncio.Event()
        self.started_event = asyncio.Event()

    async def measure(self, measures: Sequence[Measure], kind: str = PROJECT_KIND) -> Measurement:
        self.calls += 1
        self.started_event.set()
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return await self.inner.measure(measures, kind)


async def test_requests_during_a_run_share_the_next_run(dependencies: Dependencies) -> None:
    blocked_store = BlockedQualityStore(dependencies)
    quality_monitor = QualityMonitor(
        msgspec.structs.replace(dependencies, quality=blocked_store), ServiceLevels()
    )
    first = asyncio.ensure_future(quality_monitor.measure(ANNA))
    await blocked_store.started_event.wait()
    await put(dependencies, a_project())
    others = [asyncio.ensure_future(quality_monitor.measure(ANNA)) for _ in range(8)]
    blocked_store.go.set()
    assert (await first).version == 1
    runs = await asyncio.gather(*others)
    assert {(run.version, run.state.projects) for run in runs} == {(2, 1)}
    assert blocked_store.calls == 2 * len(governed_kinds())


class Slow:
    """A command store that writes something else before its first commit."""

    def __init__(self, dependencies: Dependencies, project: Project) -> None:
        self._dependencies = dependencies
        self._project: Project | None = project

    async def commit(self, change: Change) -> CommitResult:
        project, self._project = self._project, None
        if project is not None:
            await put(self._dependencies, project)
        return await self._dependencies.commands.commit(change)


async def test_a_write_between_measuring_and_recording_is_measured_next(
    dependencies: Dependencies,
) -> None:
    slow = Slow(dependencies, a_project())
    quality_monitor = QualityMonitor(
        msgspec.structs.replace(dependencies, commands=slow), ServiceLevels()
    )
    for expected in ((1, 0), (2, 1), (2, 1)):
        await quality_monitor.measure_if_changed()
        aggregate = await get_latest_report(dependencies, SERVICE_PRINCIPAL)
        assert aggregate is not None
        assert (aggregate.version, aggregate.state.projects) == expected


async def test_a_failed_run_is_reported_and_repeated(dependencies: Dependencies) -> None:
    blocked_store = BlockedQualityStore(dependencies, DeadlineExceeded("too slow"))
    blocked_store.go.set()
    quality_monitor = QualityMonitor(
        msgspec.structs.replace(dependencies, quality=blocked_store), ServiceLevels()
    )
    errors: list[str] = []

    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        errors.append(quality_monitor.error)
        if blocked_store.calls:
            blocked_store.failure = None
        if len(errors) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await quality_monitor.measure_forever(60, sleep=pause)
    assert errors == ["", "too slow", ""]
    assert pauses == [2, 60, 60]
    assert (await get_latest_report(dependencies, SERVICE_PRINCIPAL)) is not None


async def test_of_replicas_that_measure_at_once_each_records_a_run(
    dependencies: Dependencies,
) -> None:
    replicas = [QualityMonitor(dependencies, ServiceLevels()) for _ in range(4)]
    runs: list[Any] = await asyncio.gather(*(one.measure(ANNA) for one in replicas))
    assert sorted(run.version for run in runs) == [1, 2, 3, 4]


async def test_a_reader_reads_and_only_a_writer_measures(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    reader = Principal(id="reader", scopes=frozenset({Scope.PROJECTS_READ}))
    with pytest.raises(Forbidden):
        await quality_monitor.measure(reader)
    assert await get_latest_report(dependencies, reader) is None
    with pytest.raises(Forbidden):
        await get_latest_report(dependencies, Principal(id="nobody", scopes=frozenset()))


async def test_closing_cancels_the_running_measurement(dependencies: Dependencies) -> None:
    blocked_store = BlockedQualityStore(dependencies)
    quality_monitor = QualityMonitor(
        msgspec.structs.replace(dependencies, quality=blocked_store), ServiceLevels()
    )
    waiting = asyncio.ensure_future(quality_monitor.measure(ANNA))
    await blocked_store.started_event.wait()
    await quality_monitor.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await quality_monitor.close()


async def test_the_newest_import_of_each_mapping_is_measured_by_its_checks(
    dependencies: Dependencies, quality_monitor: QualityMonitor
) -> None:
    check = {"sum_of": ["a"], "equals": "cost", "on_failure": "warn"}
    columns = [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
    ]
    for name in ("desk", "bank"):
        tokens = parse_object(msgspec.json.encode({"columns": columns, "checks": [check]}))
        await put_mapping(dependencies, ANNA, read_mapping(name, tokens))
    for name, rows in (
        ("desk", "A,1,2\nB,1,1\n"),
        ("desk", "C,1,1\nD,1,1\nE,1,3\nF,1,1\n"),
        ("bank", "G,1,1\n"),
    ):
        last = await imported(dependencies, name, f"name,cost,a\n{rows}")
    report = (await quality_monitor.measure(ANNA)).state
    samples = {
        result.rule.rule_id: (result.met, result.checked, result.value, result.passed)
        for result in report.results
        if result.rule.rule_id.startswith("consistency.import.")
    }
    assert samples == {
        "consistency.import.desk.cost": (3, 4, 0.75, None),
        "consistency.import.bank.cost": (1, 1, 1.0, None),
    }
    assert report.imported_at == (await dependencies.reads.get("job", last)).updated_at


async def imported(dependencies: Dependencies, mapping: str, rows: str) -> str:
    async def upload_chunks() -> AsyncIterator[bytes]:
        yield rows.encode()

    submission = await submit_import(
        dependencies, ANNA, upload_chunks(), file_format=FileFormat.CSV, mapping_name=mapping
    )
    assert submission.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_import(dependencies, submission.job.job_id, executor)
    return submission.job.job_id
