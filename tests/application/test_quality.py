"""Quality runs: what is measured is recorded, and a service level is told of once when it turns."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spawn.application.dependencies import Services
from spawn.application.imports.commands import put_mapping, start_import
from spawn.application.imports.runner import run_import
from spawn.application.jobs import SERVICE
from spawn.application.quality.monitor import Inspector
from spawn.application.quality.queries import earlier_reports, latest_report, report_of
from spawn.domain.change import Change, Committed, Entry, Write
from spawn.domain.errors import DeadlineExceeded, Forbidden, NotFound, SpawnError
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.json_tokens import read_object
from spawn.domain.principal import Principal
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.quality.rules import LAST_CHANGE, Levels, Measure, Measured, Standing, broken
from spawn.testing.builders import a_project
from spawn.testing.storage_contract.commands import ManualClock

ANNA = Principal(id="anna")
UNIQUE = "uniqueness.external_ref"


@pytest.fixture
def clock(services: Services) -> ManualClock:
    return ManualClock(services.clock.now())


@pytest.fixture
def told() -> list[Standing]:
    return []


@pytest.fixture
def inspector(services: Services, clock: ManualClock, told: list[Standing]) -> Inspector:
    services = msgspec.structs.replace(services, clock=clock)
    return Inspector(services, Levels(changed_s=3600), told=told.append)


async def put(services: Services, project: Project, version: int = 0) -> Project:
    """Write a project past its use cases, which would let no fault in."""
    write = Write("project", project.project_id, version, project)
    await services.commands.commit(Change(writes=(write,), actor="fault", schema_version=0))
    return project


async def two_of_one_reference(services: Services) -> Project:
    reference = ExternalRef(source="desk", id="7")
    await put(services, a_project(project_id=services.ids.new(), external_ref=reference))
    return await put(services, a_project(project_id=services.ids.new(), external_ref=reference))


async def told_on_the_feed(services: Services) -> list[Entry]:
    types = frozenset({"quality.breached", "quality.recovered"})
    return list((await services.reads.feed(after=None, limit=100, types=types)).entries)


async def test_a_run_measures_every_rule_and_is_the_newest_version(
    services: Services, inspector: Inspector
) -> None:
    assert await latest_report(services, ANNA) is None
    await put(services, a_project(country_code=None))
    stored = await inspector.measure(ANNA)
    assert stored == await latest_report(services, ANNA)
    assert (stored.version, stored.state.projects) == (1, 1)
    results = {result.rule.rule_id: result for result in stored.state.results}
    assert results["completeness.project_name"].passed is True
    country = results["completeness.country_code"]
    assert (country.value, country.passed, country.met, country.checked) == (0.0, None, 0, 1)
    assert country.samples == (a_project().project_id,)
    assert results[LAST_CHANGE].passed is True
    assert broken(stored.state.results) == ()
    assert {result.position for result in stored.state.results} == {stored.state.position}


async def test_a_broken_level_is_told_once_and_once_again_when_it_is_kept(
    services: Services, inspector: Inspector, told: list[Standing]
) -> None:
    second = await two_of_one_reference(services)
    for _ in range(2):
        stored = await inspector.measure(ANNA)
        assert [result.rule.rule_id for result in broken(stored.state.results)] == [UNIQUE]
    (entry,) = await told_on_the_feed(services)
    assert (entry.type, entry.kind, entry.id) == ("quality.breached", "quality_rule", UNIQUE)
    assert (entry.version, entry.actor) == (1, "anna")
    assert entry.reason is not None
    assert entry.reason.endswith("Promised is at least 1; 0 was measured.")
    await put(services, msgspec.structs.replace(second, external_ref=None), 1)
    for _ in range(2):
        await inspector.measure(ANNA)
    _, recovered = await told_on_the_feed(services)
    assert (recovered.type, recovered.version) == ("quality.recovered", 2)
    assert msgspec.json.decode(recovered.document)["kept"] is True
    assert [standing.kept for standing in told] == [False, True]


async def test_what_broke_before_a_restart_is_not_told_again(
    services: Services, inspector: Inspector, clock: ManualClock
) -> None:
    await two_of_one_reference(services)
    await inspector.measure(ANNA)
    again = Inspector(msgspec.structs.replace(services, clock=clock), Levels())
    await again.measure(ANNA)
    assert len(await told_on_the_feed(services)) == 1


async def test_runs_are_listed_newest_first_and_read_by_number(
    services: Services, inspector: Inspector
) -> None:
    assert await earlier_reports(services, ANNA, before=None, limit=2) == []
    for _ in range(5):
        await inspector.measure(ANNA)
    listed = await earlier_reports(services, ANNA, before=None, limit=2)
    assert [run for run, _ in listed] == [5, 4]
    listed = await earlier_reports(services, ANNA, before=4, limit=9)
    assert [run for run, _ in listed] == [3, 2, 1]
    assert await earlier_reports(services, ANNA, before=1, limit=9) == []
    assert (await report_of(services, ANNA, 2)).state == listed[1][1]
    with pytest.raises(NotFound):
        await report_of(services, ANNA, 6)


async def test_where_nothing_was_written_nothing_is_counted_or_recorded(
    services: Services, inspector: Inspector
) -> None:
    for _ in range(3):
        await inspector.look_again()
    stored = await latest_report(services, ANNA)
    assert stored is not None
    assert stored.version == 1
    await put(services, a_project())
    for _ in range(3):
        await inspector.look_again()
    stored = await latest_report(services, ANNA)
    assert stored is not None
    assert (stored.version, stored.state.projects) == (2, 1)


async def test_time_alone_breaks_freshness_and_a_write_restores_it(
    services: Services, inspector: Inspector, clock: ManualClock, told: list[Standing]
) -> None:
    project = await put(services, a_project())
    await inspector.look_again()
    clock.move(timedelta(hours=2))
    for _ in range(2):
        await inspector.look_again()
    stored = await latest_report(services, ANNA)
    assert stored is not None
    assert stored.version == 2
    assert [result.rule.rule_id for result in broken(stored.state.results)] == [LAST_CHANGE]
    clock.move(timedelta(hours=-2))
    await put(services, msgspec.structs.replace(project, sector="wind"), 1)
    await inspector.look_again()
    assert [(standing.rule_id, standing.kept) for standing in told] == [
        (LAST_CHANGE, False),
        (LAST_CHANGE, True),
    ]


class Held:
    """The store's counting, let go when told, or failing."""

    def __init__(self, services: Services, failure: SpawnError | None = None) -> None:
        self.inner = services.quality
        self.failure = failure
        self.calls = 0
        self.go = asyncio.Event()
        self.begun = asyncio.Event()

    async def measure(self, measures: Sequence[Measure]) -> Measured:
        self.calls += 1
        self.begun.set()
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return await self.inner.measure(measures)


async def test_who_asks_during_a_run_shares_the_next_one(services: Services) -> None:
    held = Held(services)
    inspector = Inspector(msgspec.structs.replace(services, quality=held), Levels())
    first = asyncio.ensure_future(inspector.measure(ANNA))
    await held.begun.wait()
    await put(services, a_project())
    others = [asyncio.ensure_future(inspector.measure(ANNA)) for _ in range(8)]
    held.go.set()
    assert (await first).version == 1
    runs = await asyncio.gather(*others)
    assert {(run.version, run.state.projects) for run in runs} == {(2, 1)}
    assert held.calls == 2


class Slow:
    """Commands before whose first commit something else is written."""

    def __init__(self, services: Services, project: Project) -> None:
        self._services = services
        self._project: Project | None = project

    async def commit(self, change: Change) -> Committed:
        project, self._project = self._project, None
        if project is not None:
            await put(self._services, project)
        return await self._services.commands.commit(change)


async def test_what_is_written_between_counting_and_recording_is_counted_next(
    services: Services,
) -> None:
    slow = Slow(services, a_project())
    inspector = Inspector(msgspec.structs.replace(services, commands=slow), Levels())
    for expected in ((1, 0), (2, 1), (2, 1)):
        await inspector.look_again()
        stored = await latest_report(services, SERVICE)
        assert stored is not None
        assert (stored.version, stored.state.projects) == expected


async def test_a_run_that_fails_is_told_and_tried_again(services: Services) -> None:
    held = Held(services, DeadlineExceeded("too slow"))
    held.go.set()
    inspector = Inspector(msgspec.structs.replace(services, quality=held), Levels())
    errors: list[str] = []

    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        errors.append(inspector.error)
        if held.calls:
            held.failure = None
        if len(errors) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await inspector.measure_forever(60, sleep=pause)
    assert errors == ["", "too slow", ""]
    assert pauses == [2, 60, 60]
    assert (await latest_report(services, SERVICE)) is not None


async def test_of_replicas_that_measure_at_once_each_records_a_run(services: Services) -> None:
    replicas = [Inspector(services, Levels()) for _ in range(4)]
    runs: list[Any] = await asyncio.gather(*(one.measure(ANNA) for one in replicas))
    assert sorted(run.version for run in runs) == [1, 2, 3, 4]


async def test_a_reader_reads_and_only_a_writer_measures(
    services: Services, inspector: Inspector
) -> None:
    reader = Principal(id="reader", scopes=frozenset({"read"}))
    with pytest.raises(Forbidden):
        await inspector.measure(reader)
    assert await latest_report(services, reader) is None
    with pytest.raises(Forbidden):
        await latest_report(services, Principal(id="nobody", scopes=frozenset()))


async def test_closing_gives_up_what_is_under_way(services: Services) -> None:
    held = Held(services)
    inspector = Inspector(msgspec.structs.replace(services, quality=held), Levels())
    waiting = asyncio.ensure_future(inspector.measure(ANNA))
    await held.begun.wait()
    await inspector.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await inspector.close()


async def test_the_newest_import_of_each_mapping_is_measured_by_its_checks(
    services: Services, inspector: Inspector
) -> None:
    check = {"sum_of": ["a"], "equals": "cost", "on_failure": "warn"}
    columns = [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost"},
    ]
    for name in ("desk", "bank"):
        tokens = read_object(msgspec.json.encode({"columns": columns, "checks": [check]}))
        await put_mapping(services, ANNA, read_mapping(name, tokens))
    for name, rows in (
        ("desk", "A,1,2\nB,1,1\n"),
        ("desk", "C,1,1\nD,1,1\nE,1,3\nF,1,1\n"),
        ("bank", "G,1,1\n"),
    ):
        last = await imported(services, name, f"name,cost,a\n{rows}")
    report = (await inspector.measure(ANNA)).state
    found = {
        result.rule.rule_id: (result.met, result.checked, result.value, result.passed)
        for result in report.results
        if result.rule.rule_id.startswith("consistency.import.")
    }
    assert found == {
        "consistency.import.desk.cost": (3, 4, 0.75, None),
        "consistency.import.bank.cost": (1, 1, 1.0, None),
    }
    assert report.imported_at == (await services.reads.get("job", last)).updated_at


async def imported(services: Services, mapping: str, rows: str) -> str:
    async def sent() -> AsyncIterator[bytes]:
        yield rows.encode()

    ordered = await start_import(
        services, ANNA, sent(), file_format=FileFormat.CSV, mapping_name=mapping
    )
    assert ordered.job is not None
    with ThreadPoolExecutor(1) as executor:
        await run_import(services, ordered.job.job_id, executor)
    return ordered.job.job_id
