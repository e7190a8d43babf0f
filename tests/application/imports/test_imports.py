"""Imports: every row accounted for, nothing twice, resumed where a crash left off."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.application.commands import Decision, commit
from spawn.application.dependencies import Dependencies
from spawn.application.exports import QuarantineFormatter
from spawn.application.imports import chunks
from spawn.application.imports.commands import (
    IMPORT_JOB,
    compile_mapping,
    put_mapping,
    submit_import,
)
from spawn.application.imports.queries import (
    get_import,
    stream_quarantined_rows,
    stream_rows_with_warnings,
)
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, cancel_job, get_job
from spawn.application.projects.commands import amend_project
from spawn.domain.change import Change, CommitResult, IdempotencyKey, StoredAggregate, Write
from spawn.domain.errors import (
    Conflict,
    Duplicate,
    InvalidInput,
    MalformedBody,
    Overloaded,
    StaleVersion,
)
from spawn.domain.imports.import_state import FileFormat, ImportState, RowNote
from spawn.domain.imports.mapping import MAPPING_KIND, ImportMapping
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.imports.record_parser import Record
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.jobs import JobStatus
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.principal import Principal
from spawn.domain.projects.project import Project
from spawn.domain.query import Query
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.domain.schemas.validator import ProjectInput, compile_schema
from spawn.ports.runtime import ReadableFile
from spawn.ports.storage import CommandStore
from spawn.testing.builders import a_schema
from spawn.testing.storage_contract.harness import ManualClock

ANALYST = Principal(id="analyst")
HEADER = "id,name,cost,country,a1,a2\n"
MAPPING: dict[str, Any] = {
    "encoding": ["utf-8", "cp1252"],
    "null": ["", "NA"],
    "columns": [
        {"attribute": "project_name", "column": "name", "whitespace": "collapse"},
        {"attribute": "total_amount", "column": "cost", "rounding": "half_even"},
        {"attribute": "country_code", "column": "country"},
    ],
    "checks": [
        {
            "sum_of": ["a1", "a2"],
            "equals": "cost",
            "tolerance": "0.01",
            "on_failure": "warn",
        }
    ],
    "key": {"source": "desk", "column": "id"},
    "duplicates": "first_valid_wins",
}


def mapping_of(**changes: Any) -> ImportMapping:
    return read_mapping("desk", parse_object(json.dumps({**MAPPING, **changes}).encode()))


async def upload_chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def order_of(
    dependencies: Dependencies,
    data: str | bytes,
    name: str | None = "desk",
    file_format: str = "csv",
) -> str:
    """Submit an import and return its id."""
    raw = data.encode() if isinstance(data, str) else data
    submission = await submit_import(
        dependencies,
        ANALYST,
        upload_chunks(raw),
        file_format=FileFormat(file_format),
        mapping_name=name,
    )
    assert submission.job is not None
    return submission.job.job_id


async def run(dependencies: Dependencies, import_id: str) -> ImportState:
    """Run a submitted import to its end, as the runner does."""
    with ThreadPoolExecutor(1) as executor:
        await run_import(dependencies, import_id, executor)
    return await result(dependencies, import_id)


async def result(dependencies: Dependencies, import_id: str) -> ImportState:
    aggregate: StoredAggregate[ImportState] = await get_import(dependencies, ANALYST, import_id)
    return aggregate.state


async def imported(dependencies: Dependencies, data: str | bytes, **changes: Any) -> ImportState:
    """Put the mapping and import a CSV file with it."""
    await put_mapping(dependencies, ANALYST, mapping_of(**changes))
    return await run(dependencies, await order_of(dependencies, data))


async def imported_json(dependencies: Dependencies, *rows: object) -> ImportState:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return await run(dependencies, await order_of(dependencies, lines, None, "ndjson"))


async def notes(dependencies: Dependencies, order: ImportState) -> list[RowNote]:
    return [note async for note in stream_quarantined_rows(dependencies, ANALYST, order)]


async def all_projects(dependencies: Dependencies) -> list[Project]:
    found: list[Project] = []
    query: Query | None = Query(limit=500)
    while query:
        page = await dependencies.reads.page(query)
        found += [aggregate.state for aggregate in page.items]
        query = Query(limit=500, after=page.next) if page.next else None
    return found


def totals(order: ImportState) -> tuple[int, int, int, int]:
    counts = order.counts
    assert counts.rows == counts.accepted + counts.unchanged + counts.quarantined
    return counts.rows, counts.accepted, counts.unchanged, counts.quarantined


def numbered_rows(count: int, start: int = 0) -> str:
    return "".join(f"P{i},Project {i},{i}.50,ESP,,\n" for i in range(start, start + count))


async def test_every_row_is_accepted_or_set_aside_with_its_reasons(
    dependencies: Dependencies,
) -> None:
    order = await imported(
        dependencies,
        HEADER
        + "P1,Rio Verde,104.125,ESP,100,4.125\n"
        + "P2,No Cost,NA,ESP,,\n"
        + "P1,Again,5,ESP,,\n"
        + "P3,,abc,XXX,,\n"
        + "too,few\n",
    )
    assert totals(order) == (5, 1, 0, 4)
    assert order.counts.by_reason["duplicate_in_file"] == 1
    assert order.counts.by_reason["wrong_cell_count"] == 1
    found = {
        note.line: {(r.field, r.code) for r in note.reasons}
        for note in await notes(dependencies, order)
    }
    assert found[3] == {("cost", "missing")}
    assert found[4] == {("id", "duplicate_in_file")}
    assert {field for field, _ in found[5]} == {"name", "cost", "country"}
    assert found[6] == {("", "wrong_cell_count")}
    (project,) = await all_projects(dependencies)
    assert (project.project_name, str(project.total_amount)) == ("Rio Verde", "104.12")


async def test_the_same_file_again_changes_nothing(dependencies: Dependencies) -> None:
    data = HEADER + numbered_rows(30) + "P1,Twice,1,ESP,,\n"
    assert totals(await imported(dependencies, data)) == (31, 30, 0, 1)
    position = (await dependencies.reads.feed(after=None, limit=500)).next
    again = await run(dependencies, await order_of(dependencies, data))
    assert totals(again) == (31, 0, 30, 1)
    assert (await dependencies.reads.feed(after=position, limit=500)).entries == ()
    assert len(await all_projects(dependencies)) == 30


async def test_rows_without_a_key_are_known_by_the_file_they_are_in(
    dependencies: Dependencies,
) -> None:
    rows = [{"project_name": "Twin", "total_amount": "1.00"}] * 3 + [{"project_name": "x"}]
    assert totals(await imported_json(dependencies, *rows)) == (4, 3, 0, 1)
    assert totals(await imported_json(dependencies, *rows)) == (4, 0, 3, 1)
    assert totals(await imported_json(dependencies, *rows)) == (4, 0, 3, 1)
    # Another file is another matter.
    assert totals(await imported_json(dependencies, rows[0])) == (1, 1, 0, 0)
    assert len(await all_projects(dependencies)) == 4


@pytest.mark.parametrize("repeats", [1, 2])
async def test_rows_without_a_key_are_known_over_several_chunks(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    """The progress of a file is that of its furthest import, whichever chunk that ended in."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3)
    rows = [{"project_name": f"Twin {n % 2}", "total_amount": "1.00"} for n in range(10)]
    rows[4] = {"project_name": "no amount"}
    assert totals(await imported_json(dependencies, *rows)) == (10, 9, 0, 1)
    for _ in range(repeats):
        assert totals(await imported_json(dependencies, *rows)) == (10, 0, 9, 1)
    assert len(await all_projects(dependencies)) == 9


def test_a_row_that_was_set_aside_before_is_not_known_by_its_file() -> None:
    # It may be valid now, under another schema, and then it is a project that nobody has yet.
    earlier = chunks.EarlierImport(offset=100, quarantined_lines=frozenset({2}))
    verdicts = [earlier.has_imported(Record(line, 50 * line, b"")) for line in (1, 2, 3)]
    assert verdicts == [True, False, False]


async def test_json_rows_are_accepted_like_a_post(dependencies: Dependencies) -> None:
    order = await imported_json(
        dependencies,
        {"project_name": "First", "total_amount": 100, "expected_tri": 9.5, "status": "ACTIVE"},
        {"project_name": "Second", "total_amount": "1e5"},
        {"project_name": "Third", "total_amount": "1.00", "version": 3},
        [1],
    )
    assert totals(order) == (4, 1, 0, 3)
    (project,) = await all_projects(dependencies)
    assert (project.status, str(project.expected_irr)) == ("OPERATION", "0.095")


async def test_malformed_lines_are_set_aside_and_blank_ones_are_no_rows(
    dependencies: Dependencies,
) -> None:
    good = b'{"project_name": "A", "total_amount": "1.00"}'
    lines = b"\n".join([good, b"", b"{", b'{"a": 1, "a": 2}', b"\xff\xfe", b"NaN", good, b"  "])
    order = await run(dependencies, await order_of(dependencies, lines, None, "ndjson"))
    assert totals(order) == (6, 2, 0, 4)
    assert order.counts.by_reason == {"malformed_line": 4}
    assert [note.line for note in await notes(dependencies, order)] == [3, 4, 5, 6]


async def test_quoted_line_breaks_and_encodings_line_by_line(dependencies: Dependencies) -> None:
    data = (
        b"\xef\xbb\xbf"
        + HEADER.encode()
        + b'P1,"Caf\xe9 \r\r\nbar",1,ESP,,\r\n'
        + 'P2,"Señora ""La"" Añil",2,ESP,,\n'.encode()
        + b'P3,"one\xe9\ntwo\xc3\xa9",3,ESP,,\n'
        + b'P4,5" pipe,4,ESP,,'
    )
    order = await imported(dependencies, data)
    assert totals(order) == (4, 4, 0, 0)
    assert [p.project_name for p in await all_projects(dependencies)] == [
        "Café bar",
        'Señora "La" Añil',
        "oneé twoé",
        '5" pipe',
    ]


async def test_a_line_that_no_encoding_fits_is_set_aside(dependencies: Dependencies) -> None:
    order = await imported(dependencies, HEADER.encode() + b"P1,\xff,1,ESP,,\n", encoding="utf-8")
    assert order.counts.by_reason == {"undecodable": 1}
    assert (await notes(dependencies, order))[0].raw_line == "P1,\\xff,1,ESP,,"


async def test_a_quote_that_nothing_closes_spoils_its_own_line_alone(
    dependencies: Dependencies,
) -> None:
    data = HEADER + 'P1,"open,1,ESP,,\n' + numbered_rows(20, start=2)
    order = await imported(dependencies, data)
    assert totals(order) == (21, 20, 0, 1)
    assert order.counts.by_reason == {"malformed_line": 1}


async def test_an_endless_line_is_set_aside_and_the_next_one_read(
    dependencies: Dependencies,
) -> None:
    long = b'{"project_name": "' + b"x" * 3_000_000 + b'"}\n'
    good = b'{"project_name": "A", "total_amount": "1.00"}\n'
    order = await run(dependencies, await order_of(dependencies, long + good, None, "ndjson"))
    assert totals(order) == (2, 1, 0, 1)
    (note,) = await notes(dependencies, order)
    assert [reason.code for reason in note.reasons] == ["line_too_long"]
    assert len(note.raw_line or "") == 4096


async def test_warnings_are_stored_with_their_project(dependencies: Dependencies) -> None:
    order = await imported(
        dependencies, HEADER + "P1,Off,100,ESP,90,\nP2,Right,100,ESP,60,40\nP3,None,100,ESP,,\n"
    )
    assert totals(order) == (3, 3, 0, 0)
    assert order.counts.warnings == 1
    (note,) = [note async for note in stream_rows_with_warnings(dependencies, ANALYST, order)]
    assert note.project_id is not None
    project = (await dependencies.reads.get("project", note.project_id)).state
    assert project.project_name == "Off"
    assert note.reasons[0].code == "sum_differs"


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        ("first_wins", {"other"}),
        ("first_valid_wins", {"other", "second"}),
        ("quarantine", {"other"}),
    ],
)
async def test_rows_of_one_key_are_decided_by_policy(
    dependencies: Dependencies, policy: str, names: set[str]
) -> None:
    data = HEADER + "P1,first,NA,ESP,,\nP1,second,1,ESP,,\nP2,other,1,ESP,,\nP1,third,1,ESP,,\n"
    order = await imported(dependencies, data, duplicates=policy)
    assert {p.project_name for p in await all_projects(dependencies)} == names
    assert order.counts.by_reason["duplicate_in_file"] == {"quarantine": 3}.get(
        policy, 2 if policy == "first_wins" else 1
    )


async def test_an_existing_project_with_other_values_is_not_overwritten_by_default(
    dependencies: Dependencies,
) -> None:
    await imported(dependencies, HEADER + "P1,Dam,100,ESP,,\n")
    order = await run(dependencies, await order_of(dependencies, HEADER + "P1,Dam,200,PRT,,\n"))
    assert order.counts.by_reason == {"differs_from_existing": 1}
    (note,) = await notes(dependencies, order)
    assert "total_amount, country_code" in note.reasons[0].detail
    assert [str(p.total_amount) for p in await all_projects(dependencies)] == ["100.00"]


async def test_an_existing_project_takes_new_values_where_the_mapping_says_update(
    dependencies: Dependencies,
) -> None:
    await imported(
        dependencies, HEADER + "P1,Dam,100,ESP,,\nP2,Road,5,ESP,,\n", on_existing="update"
    )
    order = await run(
        dependencies, await order_of(dependencies, HEADER + "P1,Dam,200,NA,,\nP2,Road,5,ESP,,\n")
    )
    assert totals(order) == (2, 1, 1, 0)
    dam, _ = await all_projects(dependencies)
    assert (str(dam.total_amount), dam.country_code) == ("200.00", None)
    history = await dependencies.reads.history("project", dam.project_id, after_version=0, limit=9)
    assert [(entry.type, entry.actor) for entry in history] == [
        ("project.created", "analyst"),
        ("project.amended", "analyst"),
    ]


async def test_accepted_rows_without_a_currency_are_counted(dependencies: Dependencies) -> None:
    currency = {"attribute": "currency_code", "column": "a1"}
    columns = [*MAPPING["columns"], currency]
    rows = "P1,Dam,100,ESP,EUR,\nP2,Road,5,ESP,NA,\nP3,Weir,,ESP,,\n"
    first = await imported(dependencies, HEADER + rows, columns=columns, checks=[])
    assert (totals(first), first.counts.currency_assumed) == ((3, 2, 0, 1), 1)
    assert [p.currency_code for p in await all_projects(dependencies)] == ["EUR", "USD"]
    # A row of an existing project leaves its currency as it is.
    again = await run(dependencies, await order_of(dependencies, HEADER + rows))
    assert (totals(again), again.counts.currency_assumed) == ((3, 0, 2, 1), 0)
    plain = [
        {"project_name": "A", "total_amount": 1, "currency_code": code} for code in ("EUR", None)
    ]
    plain += [{"project_name": "B", "total_amount": 2}]
    order = await imported_json(dependencies, *plain)
    assert (order.counts.accepted, order.counts.currency_assumed) == (3, 2)


async def test_a_mapping_of_an_earlier_release_quarantines_the_rows_with_its_bad_entries(
    dependencies: Dependencies,
) -> None:
    status = {"attribute": "status", "column": "a1", "enum": {"on": "OPERATION", "off": "OFF"}}
    mapping = mapping_of(columns=[*MAPPING["columns"], status], checks=[])
    with pytest.raises(InvalidInput) as invalid:
        await put_mapping(dependencies, ANALYST, mapping)
    assert [error.pointer for error in invalid.value.errors] == ["/columns/3/enum/off"]
    write = Write(MAPPING_KIND, "desk", 0, mapping)
    await commit(dependencies, "analyst", Decision(writes=(write,)))
    rows = HEADER + "P1,Dam,100,,on,\nP2,Road,5,,off,\n"
    assert totals(await run(dependencies, await order_of(dependencies, rows))) == (2, 1, 0, 1)
    order_id = await order_of(dependencies, HEADER + "P3,Weir,7,,on,\n")
    assert totals(await run(dependencies, order_id)) == (1, 1, 0, 0)


async def test_a_mapping_of_entries_states_kinds_that_there_are(
    dependencies: Dependencies,
) -> None:
    column = {"attribute": "kind", "column": "t", "enum": {"D": "draw", "X": "gift"}}
    document = json.dumps({"kind": "entry", "columns": [column]}).encode()
    mapping = read_mapping("core", parse_object(document))
    with pytest.raises(InvalidInput) as invalid:
        await put_mapping(dependencies, ANALYST, mapping)
    assert [error.pointer for error in invalid.value.errors] == ["/columns/0/enum/X"]
    # One that an earlier release has stored reads the rows without a gift.
    await compile_mapping(dependencies, mapping)


@pytest.mark.parametrize("file_format", ["csv", "ndjson", "json"])
async def test_corrected_rows_are_no_edition_of_which_projects_vanish(
    dependencies: Dependencies, file_format: str
) -> None:
    rows = HEADER + "P1,Dam,100,,,\nP2,Road,5,,,\nP3,Weir,x,,,\n"
    changes = {"vanished": "report", "on_existing": "update", "checks": []}
    first = await imported(dependencies, rows, **changes)
    assert (totals(first), first.is_correction) == ((3, 2, 0, 1), False)
    mapping = mapping_of(**changes)
    formatter = QuarantineFormatter(first, mapping)
    (note,) = await notes(dependencies, first)
    if file_format == "csv":
        returned = (formatter.format_csv_header() + formatter.format_csv_row(note)).decode()
    else:
        returned = formatter.format_ndjson_row(note).decode()
    corrected = returned.replace("Weir,x,,,", "Weir,7,,,").replace('"cost":"x"', '"cost":"7"')
    if file_format == "json":
        corrected = f"[{corrected}]"
    order_id = await order_of(dependencies, corrected, file_format=file_format)
    again = await run(dependencies, order_id)
    assert (again.counts.accepted, again.counts.vanished, again.is_correction) == (1, 0, True)
    edition = await run(dependencies, await order_of(dependencies, HEADER + "P1,Dam,100,,,\n"))
    assert (edition.counts.vanished, edition.is_correction) == (2, False)


@pytest.mark.parametrize("worker_bytes", [0, 2**30])
async def test_a_second_edition_of_several_chunks_is_amended_from_its_drafts(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch, worker_bytes: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)
    monkeypatch.setattr(chunks, "WORKER_BYTES", worker_bytes)
    await imported(dependencies, HEADER + numbered_rows(20), on_existing="update")
    read_again: list[object] = []
    read_amendment = RowReader.read_amendment

    def read(reader: RowReader, source: Mapping[str, Token]) -> ProjectInput:
        read_again.append(source)
        return read_amendment(reader, source)

    monkeypatch.setattr(RowReader, "read_amendment", read)
    edition = HEADER + numbered_rows(20).replace(".50,ESP", ".75,NA") + numbered_rows(3, start=20)
    order = await run(dependencies, await order_of(dependencies, edition))
    assert totals(order) == (23, 23, 0, 0)
    assert len(read_again) == 8  # The chunks that were drafted before a project was found.
    assert [(str(p.total_amount), p.country_code) for p in await all_projects(dependencies)] == [
        *((f"{i}.75", None) for i in range(20)),
        *((f"{i}.50", "ESP") for i in range(20, 23)),
    ]


async def test_rows_of_existing_projects_can_be_quarantined(dependencies: Dependencies) -> None:
    data = HEADER + "P1,Dam,100,ESP,,\n"
    await imported(dependencies, data, on_existing="quarantine")
    order = await run(dependencies, await order_of(dependencies, data))
    assert order.counts.by_reason == {"already_exists": 1}


async def test_a_field_absent_from_a_row_is_no_difference(dependencies: Dependencies) -> None:
    await imported(dependencies, HEADER + "P1,Dam,100,ESP,,\n")
    (project,) = await all_projects(dependencies)
    added = ProjectInput({"dscr": None, "sector": "Hydro"}, {}, {})
    await amend_project(dependencies, ANALYST, project.project_id, attributes=added)
    order = await run(dependencies, await order_of(dependencies, HEADER + "P1,Dam,100.00,ESP,,\n"))
    assert totals(order) == (1, 0, 1, 0)


async def test_set_aside_rows_can_be_corrected_and_posted_back_as_json(
    dependencies: Dependencies,
) -> None:
    order = await imported(dependencies, HEADER + 'P1,"=1+1, a",NA,ESP,,\nP2,Road,1,ESP,,\n')
    form = QuarantineFormatter(order, mapping_of())
    (row,) = [json.loads(form.format_ndjson_row(note)) for note in await notes(dependencies, order)]
    assert row["line"] == 2
    assert row["fields"]["name"] == "=1+1, a"
    assert row["raw_line"] == 'P1,"=1+1, a",NA,ESP,,'
    assert row["reasons"][0]["code"] == "missing"
    row["fields"]["cost"] = "7"
    again = await run(dependencies, await order_of(dependencies, json.dumps(row), "desk", "ndjson"))
    assert totals(again) == (1, 1, 0, 0)
    assert {p.project_name for p in await all_projects(dependencies)} == {"=1+1, a", "Road"}


async def test_set_aside_rows_can_be_corrected_and_posted_back_as_csv(
    dependencies: Dependencies,
) -> None:
    order = await imported(dependencies, HEADER + "P1,=cmd(),NA,ESP,,\nP2,Road,-1,ESP,,\n")
    form = QuarantineFormatter(order, mapping_of())
    lines = [
        form.format_csv_header(),
        *[form.format_csv_row(note) for note in await notes(dependencies, order)],
    ]
    text = b"".join(lines).decode()
    assert text.startswith("line,reasons,raw_line,id,name,cost,country,a1,a2\r\n")
    assert ",'=cmd(),NA," in text
    assert ",Road,-1," in text  # a number is no formula
    again = await run(dependencies, await order_of(dependencies, text.replace(",NA,", ",8,")))
    assert totals(again) == (2, 1, 0, 1)


MIXED = (
    HEADER
    + numbered_rows(25)
    + "P3,Twice,1,ESP,,\nP90,Bad,NA,ESP,,\nP91,Off,100,ESP,90,\ntoo,few\n"
    + numbered_rows(8, start=40)
)


@pytest.mark.parametrize("executable", [sys.executable, "/bin/false"])
async def test_a_large_file_is_drafted_by_another_process_with_the_same_result(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    # A process that cannot start only means that the work is done here.
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    monkeypatch.setattr(chunks, "WORKER_BYTES", 0)
    monkeypatch.setattr("spawn.adapters.workers.import_worker.sys.executable", executable)
    order = await imported(dependencies, MIXED)
    assert totals(order) == (37, 34, 0, 3)
    assert order.counts.warnings == 1
    assert [note.line for note in await notes(dependencies, order)] == [27, 28, 30]
    again = await run(dependencies, await order_of(dependencies, MIXED))
    assert totals(again) == (37, 0, 34, 3)
    rows = [{"project_name": f"Plain {i}", "total_amount": f"{i}.50"} for i in range(25)]
    assert totals(await imported_json(dependencies, *rows, {"project_name": "x"})) == (26, 25, 0, 1)
    plain = [p for p in await all_projects(dependencies) if p.project_name.startswith("Plain")]
    assert [(p.project_name, str(p.total_amount)) for p in plain] == [
        (f"Plain {i}", f"{i}.50") for i in range(25)
    ]


async def test_a_schema_adopted_meanwhile_applies_to_the_rows_that_follow(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    monkeypatch.setattr(chunks, "WORKER_BYTES", 0)
    order = ImportState(
        import_id="i", format=FileFormat.NDJSON, size_bytes=1, sha256="", requested_by="analyst"
    )
    path = await _stored(
        dependencies, b'{"project_name": "A", "total_amount": "1.00", "depth": 2}\n' * 30
    )
    column = Column(name="depth", type=ColumnType(TypeName.INTEGER))
    before = RowReader(compile_schema(a_schema(())), None)
    after = RowReader(compile_schema(a_schema((column,), version=2)), None)
    source = chunks.ChunkSource(path, order, None, dependencies.ids, dependencies.workers)
    source.open(before, 0)
    batches = [source.next_chunk(reader) for reader in (before, after, after, after)]
    source.close()
    assert [
        chunk and {row.draft.project_draft is None for row in chunk.rows} for chunk in batches
    ] == [
        {True},
        {False},
        {False},
        None,
    ]


async def test_a_drafting_process_that_dies_only_costs_time(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    monkeypatch.setattr(chunks, "WORKER_BYTES", 0)
    order = ImportState(
        import_id="i", format=FileFormat.NDJSON, size_bytes=1, sha256="", requested_by="analyst"
    )
    lines = [b'{"project_name": "P%d", "total_amount": "1.00"}\n' % i for i in range(45)]
    path = await _stored(dependencies, b"".join(lines))
    reader = RowReader(compile_schema(a_schema(())), None)
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr("spawn.adapters.workers.import_worker.subprocess.Popen", Watched)
    source = chunks.ChunkSource(path, order, None, dependencies.ids, dependencies.workers)
    source.open(reader, 0)
    names = []
    while chunk := source.next_chunk(reader):
        drafts = [row.draft.project_draft for row in chunk.rows if row.draft.project_draft]
        names += [json.loads(project.document)["project_name"] for project in drafts]
        if len(names) == 20:
            started[0].kill()
            started[0].wait()
    source.close()
    assert len(started) == 1
    assert names == [f"P{i}" for i in range(45)]


async def _stored(dependencies: Dependencies, data: bytes) -> ReadableFile:
    await dependencies.spool.receive("file", upload_chunks(data))
    return dependencies.spool.find("file")


class _DyingStore:
    """A store whose process ends after so many commits."""

    def __init__(self, inner: CommandStore, commits: int) -> None:
        self._inner = inner
        self._left = commits

    async def commit(self, change: Change) -> CommitResult:
        if not self._left:
            raise ConnectionAbortedError
        self._left -= 1
        return await self._inner.commit(change)

    async def find_receipt(self, key: IdempotencyKey) -> Any:
        return await self._inner.find_receipt(key)


@pytest.mark.parametrize("commits", range(6))
async def test_a_crash_between_chunks_is_resumed_without_loss_or_repetition(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    await put_mapping(dependencies, ANALYST, mapping_of())
    data = (
        HEADER
        + numbered_rows(25)
        + "P3,Twice,1,ESP,,\nP90,Bad,NA,ESP,,\n"
        + numbered_rows(8, start=40)
    )
    import_id = await order_of(dependencies, data)
    dying = msgspec.structs.replace(
        dependencies, commands=_DyingStore(dependencies.commands, commits)
    )
    if commits < 5:
        with pytest.raises(ConnectionAbortedError):
            await run(dying, import_id)
        order = await run(dependencies, import_id)
    else:
        order = await run(dying, import_id)
    assert totals(order) == (35, 33, 0, 2)
    assert order.counts.by_reason == {"duplicate_in_file": 1, "missing": 1}
    assert [note.line for note in await notes(dependencies, order)] == [27, 28]
    names = sorted(p.project_name for p in await all_projects(dependencies))
    assert len(names) == len(set(names)) == 33
    job = await get_job(dependencies, ANALYST, import_id)
    assert job.state.status is JobStatus.SUCCEEDED
    assert job.state.progress.done == job.state.progress.total == len(data.encode())


async def test_a_key_reserved_meanwhile_is_detected_at_commit(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    await put_mapping(dependencies, ANALYST, mapping_of())
    first = await order_of(dependencies, HEADER + numbered_rows(30))
    second = await order_of(dependencies, HEADER + numbered_rows(30, start=15))
    one, two = await asyncio.gather(run(dependencies, first), run(dependencies, second))
    assert one.counts.accepted + two.counts.accepted == 45
    assert one.counts.unchanged + two.counts.unchanged == 15
    assert len(await all_projects(dependencies)) == 45


async def test_a_cancelled_job_commits_no_further_chunk(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 10)
    await put_mapping(dependencies, ANALYST, mapping_of())
    import_id = await order_of(dependencies, HEADER + numbered_rows(30))
    inner = dependencies.commands

    class CancellingStore(_DyingStore):
        async def commit(self, change: Change) -> CommitResult:
            done = await inner.commit(change)
            await cancel_job(dependencies, ANALYST, import_id)
            return done

    cancelling = msgspec.structs.replace(dependencies, commands=CancellingStore(inner, 0))
    order = await run(cancelling, import_id)
    assert totals(order) == (10, 10, 0, 0)
    job = await get_job(dependencies, ANALYST, import_id)
    assert job.state.status is JobStatus.CANCELLED
    assert len(await all_projects(dependencies)) == 10
    with pytest.raises(Conflict):
        await cancel_job(dependencies, ANALYST, import_id)


class _FullStore(_DyingStore):
    async def commit(self, change: Change) -> CommitResult:
        if self._left:
            self._left -= 1
            raise Overloaded("the queue is full", retry_after_s=0.0)
        return await self._inner.commit(change)


async def test_a_full_queue_only_delays_an_import(
    dependencies: Dependencies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spawn.application.commands.MIN_PAUSE_S", 0.0)
    await put_mapping(dependencies, ANALYST, mapping_of())
    import_id = await order_of(dependencies, HEADER + numbered_rows(3))
    full = msgspec.structs.replace(dependencies, commands=_FullStore(dependencies.commands, 4))
    assert totals(await run(full, import_id)) == (3, 3, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the file is empty"),
        ("id,name\nP1,a\n", "lacks a1, a2, cost, country"),
        ("id,name,cost,country,a1,a2,cost\n", "has more than one cost"),
        ("id,name,cost,country,a1,a2" + ",x" * 1995 + "\n", "has 2001 columns"),
    ],
)
async def test_a_file_that_does_not_fit_its_mapping_fails_with_a_reason(
    dependencies: Dependencies, data: str, message: str
) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    import_id = await order_of(dependencies, data)
    with pytest.raises(InvalidInput, match=message):
        await run(dependencies, import_id)


async def test_csv_needs_a_mapping_that_exists(dependencies: Dependencies) -> None:
    with pytest.raises(InvalidInput, match="CSV needs a mapping"):
        await order_of(dependencies, HEADER, None)
    with pytest.raises(InvalidInput, match="no mapping 'absent'"):
        await order_of(dependencies, HEADER, "absent")
    assert list(dependencies.spool.names()) == []


async def test_a_mapping_is_replaced_only_with_its_current_version(
    dependencies: Dependencies,
) -> None:
    saved = await put_mapping(dependencies, ANALYST, mapping_of())
    assert saved.is_new
    assert not (await put_mapping(dependencies, ANALYST, mapping_of())).is_new
    other = mapping_of(on_existing="update")
    with pytest.raises(Duplicate):
        await put_mapping(dependencies, ANALYST, other)
    with pytest.raises(StaleVersion):
        await put_mapping(dependencies, ANALYST, other, expected_version=0)
    replaced = await put_mapping(dependencies, ANALYST, other, expected_version=1)
    assert (replaced.is_new, replaced.aggregate.version) == (False, 2)


async def test_an_import_keeps_to_the_mapping_it_was_ordered_with(
    dependencies: Dependencies,
) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    import_id = await order_of(dependencies, HEADER + "P1,a,1,ESP,,\n")
    await put_mapping(dependencies, ANALYST, mapping_of(null=["", "P1"]), expected_version=1)
    assert totals(await run(dependencies, import_id)) == (1, 1, 0, 0)


async def test_the_runner_does_jobs_in_turn_and_clears_their_uploads(
    dependencies: Dependencies,
) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    runner = JobRunner(dependencies, {IMPORT_JOB: run_import})
    await runner.start()
    ids = [await order_of(dependencies, HEADER + numbered_rows(5, start=5 * i)) for i in range(4)]
    for job_id in ids:
        runner.submit(job_id)
    await runner.drain()
    await runner.close()
    assert len(await all_projects(dependencies)) == 20
    assert list(dependencies.spool.names()) == []


async def test_the_runner_says_why_a_job_failed(dependencies: Dependencies) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    errors: list[BaseException] = []
    runner = JobRunner(
        dependencies, {IMPORT_JOB: run_import}, on_error=lambda _, error: errors.append(error)
    )
    await runner.start()
    bad = await order_of(dependencies, "nothing\n")
    good = await order_of(dependencies, HEADER + numbered_rows(1))
    runner.submit(bad)
    runner.submit(good)
    await runner.drain()
    await runner.close()
    job = (await get_job(dependencies, ANALYST, bad)).state
    assert (job.status, "lacks" in (job.error or "")) == (JobStatus.FAILED, True)
    assert (await get_job(dependencies, ANALYST, good)).state.status is JobStatus.SUCCEEDED
    assert [type(error) for error in errors] == [InvalidInput]


async def test_the_runner_resumes_unfinished_jobs_and_deletes_orphaned_uploads(
    dependencies: Dependencies,
) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    left = await order_of(dependencies, HEADER + numbered_rows(5))
    await dependencies.spool.receive("orphan", upload_chunks(b"x"))
    runner = JobRunner(dependencies, {IMPORT_JOB: run_import})
    await runner.start()
    await runner.drain()
    await runner.close()
    assert (await get_job(dependencies, ANALYST, left)).state.status is JobStatus.SUCCEEDED
    assert list(dependencies.spool.names()) == []


@pytest.mark.parametrize(("minutes", "status"), [(59, JobStatus.QUEUED), (61, JobStatus.FAILED)])
async def test_a_job_without_its_upload_fails_after_an_hour(
    dependencies: Dependencies, minutes: int, status: JobStatus
) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    job_id = await order_of(dependencies, HEADER + numbered_rows(1))
    await dependencies.spool.discard(job_id)
    later = dependencies.clock.now() + timedelta(minutes=minutes)
    delayed = msgspec.structs.replace(dependencies, clock=ManualClock(later))
    runner = JobRunner(delayed, {IMPORT_JOB: run_import})
    await runner.start()
    await runner.drain()
    await runner.close()
    job = (await get_job(dependencies, ANALYST, job_id)).state
    assert job.status is status
    assert ("post it again" in (job.error or "")) == (status is JobStatus.FAILED)


async def test_the_runner_takes_no_more_than_it_can_queue(dependencies: Dependencies) -> None:
    await put_mapping(dependencies, ANALYST, mapping_of())
    runner = JobRunner(dependencies, {IMPORT_JOB: run_import}, queue_limit=1)
    with runner.reserve("desk"), pytest.raises(Overloaded), runner.reserve("other"):
        pass
    with runner.reserve("desk") as place:
        runner.submit(await order_of(dependencies, HEADER), place)
    with pytest.raises(Overloaded), runner.reserve("desk"):
        pass
    await runner.close()


async def test_an_upload_that_breaks_off_leaves_nothing(dependencies: Dependencies) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"{}"
        raise MalformedBody("The upload ended early.")

    with pytest.raises(MalformedBody):
        await submit_import(dependencies, ANALYST, broken(), file_format=FileFormat.NDJSON)
    assert list(dependencies.spool.names()) == []


def test_the_shipped_example_mapping_reads_rows_of_its_kind() -> None:
    path = Path(__file__).parents[3] / "examples" / "washinvestments.mapping.json"
    mapping = read_mapping("washinvestments", parse_object(path.read_bytes()))
    assert mapping.encoding == ("utf-8", "cp1252")
    assert mapping.duplicates == "first_valid_wins"
