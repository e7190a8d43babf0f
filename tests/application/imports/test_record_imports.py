"""Imports of entries that a crash interrupts, and those of callers with fewer scopes."""

import json
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from tests.application.facilities.stored_projects import create_stored_facility, record
from tests.application.imports.test_imports import (
    ANALYST,
    _DyingStore,
    notes,
    run,
    totals,
    upload_chunks,
)

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.stored_ledgers import load_ledger
from spawn.application.imports.commands import submit_import
from spawn.application.schemas.activation import ensure_active_schemas
from spawn.domain.errors import Forbidden
from spawn.domain.facilities.ledger import EntryKind
from spawn.domain.imports.import_state import FileFormat, ImportKind
from spawn.domain.principal import Principal, Scope
from spawn.entrypoints.settings import Settings


def draws(facility_id: str, count: int) -> bytes:
    rows = (
        {
            "facility_id": facility_id,
            "kind": "draw",
            "value_date": "2026-04-15",
            "amount": "1.00",
            "external_key": f"D-{number}",
        }
        for number in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def submit(dependencies: Dependencies, content: bytes, principal: Principal = ANALYST) -> str:
    submission = await submit_import(
        dependencies,
        principal,
        upload_chunks(content),
        file_format=FileFormat.NDJSON,
        kind=ImportKind.ENTRY,
    )
    assert submission.job is not None
    return submission.job.job_id


@pytest.mark.parametrize("commits", [0, 3, 5, 6, 7])
async def test_a_crash_between_any_two_writes_leaves_each_entry_once(
    dependencies: Dependencies, commits: int
) -> None:
    await ensure_active_schemas(dependencies, Settings().schema_policies)
    facility_id = await create_stored_facility(dependencies)
    import_id = await submit(dependencies, draws(facility_id, 5))
    dying = msgspec.structs.replace(
        dependencies, commands=_DyingStore(dependencies.commands, commits)
    )
    if commits < 7:
        with pytest.raises(ConnectionAbortedError):
            await run(dying, import_id)
        state = await run(dependencies, import_id)
    else:
        state = await run(dying, import_id)
    # Before the checkpoint of the file, its fifth write, what is recorded comes again.
    repeated = commits if commits <= 5 else 0
    assert totals(state) == (5, 5 - repeated, repeated, 0)
    ledger = await load_ledger(dependencies, facility_id)
    keys = [each.entry.external_key for each in ledger.entries]
    assert keys == [f"D-{number}" for number in range(5)]
    assert sum((e.entry.amount or Decimal(0) for e in ledger.entries), Decimal(0)) == 5


async def test_an_import_has_the_scopes_of_its_caller(dependencies: Dependencies) -> None:
    await ensure_active_schemas(dependencies, Settings().schema_policies)
    facility_id = await create_stored_facility(dependencies)
    await record(dependencies, facility_id, EntryKind.CLOSING, date(2026, 4, 30))
    reader = Principal(id="reader", scopes=frozenset({Scope.FINANCE_READ, Scope.PROJECTS_WRITE}))
    with pytest.raises(Forbidden):
        await submit(dependencies, draws(facility_id, 1), reader)
    row = {
        "facility_id": facility_id,
        "kind": "fee",
        "value_date": "2026-04-15",
        "amount": "1.00",
        "external_key": "F-1",
        "reason": "invoiced late",
    }
    content = json.dumps(row).encode()
    writer = Principal(id="writer", scopes=frozenset({Scope.FINANCE_WRITE}))
    state = await run(dependencies, await submit(dependencies, content, writer))
    assert totals(state) == (1, 0, 0, 1)
    (note,) = await notes(dependencies, state)
    assert [reason.code for reason in note.reasons] == ["forbidden"]
    state = await run(dependencies, await submit(dependencies, content))
    assert totals(state) == (1, 1, 0, 0)
    entry = (await load_ledger(dependencies, facility_id)).entries[-1]
    assert entry.entry.is_restatement
