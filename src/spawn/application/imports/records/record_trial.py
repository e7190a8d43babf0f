"""Dry runs of records: their commands against a store in memory, over what is stored.

A row may depend on those before it, as an entry on its facility or a payment on its draw.
"""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import find_validator
from spawn.application.imports.files.record_source import open_in_thread
from spawn.application.imports.reason_tally import ReasonTally
from spawn.application.imports.records.record_import import RecordWriter
from spawn.application.imports.records.record_rows import RecordRows
from spawn.application.imports.records.trial_store import build_trial
from spawn.domain.imports.import_state import ImportState, RowCounts, add_chunk
from spawn.domain.imports.mapping import ImportMapping


class RecordTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a trial; `is_complete` is false if the time ended before the file."""

    counts: RowCounts
    is_complete: bool
    reasons: ReasonTally


async def try_records(
    dependencies: Dependencies, state: ImportState, mapping: ImportMapping | None, end: datetime
) -> RecordTrial:
    """Try the rows of a file until its end, or until an instant; nothing is stored.

    Raises:
        InvalidInput: the header and the mapping, or the mapping and the schema, do not fit.
    """
    trial = build_trial(dependencies)
    file = await asyncio.to_thread(dependencies.spool.find, state.import_id)
    validator = await find_validator(dependencies, state.kind)
    build_rows = partial(RecordRows, file, state, mapping, validator, dependencies.workers)
    with ThreadPoolExecutor(1) as executor:
        rows = await open_in_thread(build_rows, executor)
        try:
            await asyncio.get_running_loop().run_in_executor(executor, rows.open)
            return await _try_rows(trial, rows, RecordWriter(trial, rows, state), executor, end)
        finally:
            rows.close()


async def _try_rows(
    dependencies: Dependencies,
    rows: RecordRows,
    writer: RecordWriter,
    executor: ThreadPoolExecutor,
    end: datetime,
) -> RecordTrial:
    counts, reasons, is_complete = RowCounts(), ReasonTally(), True
    loop = asyncio.get_running_loop()
    while chunk := await loop.run_in_executor(executor, rows.next_chunk):
        if dependencies.clock.now() >= end:
            is_complete = False
            break
        results = await writer.write_chunk(chunk)
        counts = add_chunk(
            counts,
            accepted=results.changes,
            unchanged=results.repeats,
            quarantined=results.notes,
            warnings=(),
            skipped=Counter(results.skips),
        )
        reasons.add(results.notes)
    return RecordTrial(counts=counts, is_complete=is_complete, reasons=reasons)
