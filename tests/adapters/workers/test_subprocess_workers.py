"""Workers are subprocesses that do the same work, and say so when they have ended."""

import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import msgspec
import pytest

from spawn.adapters.local.ids import Uuid7Ids
from spawn.adapters.workers.import_worker import DraftingSubprocess
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import (
    Shock,
    Shocks,
    SimulatedProject,
    SimulationCase,
)
from spawn.domain.imports.import_state import FileFormat, RowReason
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.imports.record_parser import FileLayout, Record
from spawn.domain.imports.row_drafter import RowDrafter
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import parse_object
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.workers import SimulationProgress, WorkerEnded
from spawn.testing.builders import a_schema

TODAY = date(2026, 3, 1)
MAPPING: ImportMapping = read_mapping(
    "desk",
    parse_object(
        b'{"columns": [{"attribute": "project_name", "column": "name"},'
        b' {"attribute": "total_amount", "column": "cost"}]}'
    ),
)
JSON_RECORDS = [
    Record(1, 60, b'{"project_name": "Wind", "total_amount": "1.50", "depth": 2}'),
    Record(2, 70, b'{"project_name": "\xc3\x8ele", "total_amount": "-1"}'),
    Record(3, 80, b"{", (), RowReason("", "line_too_long", "cut")),
    Record(4, 90, b"[1]"),
]
CSV_RECORDS = [
    Record(2, 60, b"Wind,1.50\n", ("Wind", "1.50")),
    Record(3, 70, b"Sea\n", ("Sea",)),
]


@pytest.fixture
def schema() -> Schema:
    return a_schema((Column(name="depth", type=ColumnType(TypeName.INTEGER)),))


@pytest.fixture
def workers() -> SubprocessWorkers:
    return SubprocessWorkers()


@pytest.fixture
def worker(workers: SubprocessWorkers, schema: Schema) -> Iterator[DraftingSubprocess]:
    drafting = workers.start_drafting(schema, FileLayout(FileFormat.NDJSON, None), TODAY)
    yield drafting
    drafting.close()


@pytest.mark.parametrize(
    ("layout", "records"),
    [
        (FileLayout(FileFormat.NDJSON, None), JSON_RECORDS),
        (FileLayout(FileFormat.CSV, MAPPING, ("name", "cost")), CSV_RECORDS),
    ],
    ids=["json", "csv"],
)
def test_a_drafting_worker_drafts_as_the_service_itself(
    workers: SubprocessWorkers, schema: Schema, layout: FileLayout, records: list[Record]
) -> None:
    new_id = Uuid7Ids().new
    ids = [new_id() for _ in records]
    reader = RowReader(compile_schema(schema), layout.mapping, TODAY)
    drafter = RowDrafter(reader, layout)
    worker = workers.start_drafting(schema, layout, TODAY)
    try:
        for has_amendments in (False, True):
            expected_drafts = drafter.draft_packed(records, ids, with_amendments=has_amendments)
            assert any(draft[2] for draft in expected_drafts)
            for draft in expected_drafts:
                assert (draft[4] is not None) == (has_amendments and draft[1] is not None)
            worker.send(records, ids, with_amendments=has_amendments)
            assert worker.receive() == expected_drafts
    finally:
        worker.close()


def test_a_drafting_worker_that_was_closed_has_ended(worker: DraftingSubprocess) -> None:
    worker.close()
    worker.close()
    with pytest.raises(WorkerEnded):
        worker.send(JSON_RECORDS, ["a", "b", "c", "d"])
    with pytest.raises(WorkerEnded):
        worker.receive()


@pytest.mark.parametrize("executable", ["/bin/false", "/nowhere/python"])
def test_a_drafting_process_that_cannot_start_has_ended(
    workers: SubprocessWorkers, schema: Schema, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    worker = workers.start_drafting(schema, FileLayout(FileFormat.NDJSON, None), TODAY)

    def draft() -> None:
        worker.send(JSON_RECORDS, ["a", "b", "c", "d"])
        worker.receive()

    with pytest.raises(WorkerEnded):
        draft()
    worker.close()


def a_case(scenarios: int, projects: int = 1, cfads: float = 12.0) -> SimulationCase:
    project = SimulatedProject(
        name="Solar",
        equity=(30.0,),
        cfads=(cfads,) * 10,
        interest=(3.0,) * 5,
        principal=(5.0,) * 5,
    )
    sigma = 0.2 if cfads < 1e20 else 3.0
    shocks = Shocks(cfads=Shock(distribution="lognormal", median=1.0, sigma=sigma))
    return SimulationCase(
        projects=(project,) * projects, shocks=shocks, scenarios=scenarios, seed=11
    )


def write_case(folder: Path, case: SimulationCase) -> Path:
    path = folder / "case.json"
    path.write_bytes(msgspec.json.encode(case))
    return path


def test_a_simulation_worker_reports_progress_and_then_the_result(
    workers: SubprocessWorkers, tmp_path: Path
) -> None:
    worker = workers.start_simulation(write_case(tmp_path, a_case(scenarios=100)))
    try:
        progress = [worker.read_progress()]
        while progress[-1].result is None:
            progress.append(worker.read_progress())
    finally:
        worker.close()
    assert progress[-1].valued_paths == 100
    with pytest.raises(WorkerEnded):
        worker.read_progress()


def test_a_case_outside_the_limits_is_reported_with_its_errors(
    workers: SubprocessWorkers, tmp_path: Path
) -> None:
    worker = workers.start_simulation(write_case(tmp_path, a_case(scenarios=100, cfads=9e23)))
    with pytest.raises(InvalidInput) as error:
        worker.read_progress()
    worker.close()
    assert error.value.errors


def test_a_worker_may_be_closed_while_another_thread_waits(
    workers: SubprocessWorkers, tmp_path: Path
) -> None:
    worker = workers.start_simulation(write_case(tmp_path, a_case(scenarios=100_000, projects=64)))
    outcomes: list[SimulationProgress | type[Exception]] = []
    started = threading.Event()

    def wait_for_result() -> None:
        try:
            while True:
                outcomes.append(worker.read_progress())
                started.set()
        except WorkerEnded:
            outcomes.append(WorkerEnded)

    thread = threading.Thread(target=wait_for_result)
    thread.start()
    assert started.wait(30)
    worker.close()
    thread.join(30)
    assert outcomes[-1] is WorkerEnded
