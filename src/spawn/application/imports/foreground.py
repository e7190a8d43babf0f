"""Imports that run to their end in the process that starts them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from spawn.application.dependencies import Dependencies
from spawn.application.imports.commands import IMPORT_JOB, submit_import
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, get_job
from spawn.domain.imports.import_state import FileFormat, ImportKind
from spawn.domain.jobs import Job
from spawn.domain.principal import Principal

PROGRESS_INTERVAL_S: Final = 0.2


async def run_import_now(
    dependencies: Dependencies,
    principal: Principal,
    chunks: AsyncIterator[bytes],
    *,
    file_format: FileFormat,
    mapping_name: str | None,
    from_export: bool = False,
    kind: ImportKind = ImportKind.PROJECT,
    report_progress: Callable[[int, int], None],
) -> Job:
    """Import a file with a job runner of its own, and return the job when it has ended.

    Args:
        dependencies: the ports.
        principal: the caller.
        chunks: the bytes of the file.
        file_format: the format of the file.
        mapping_name: the stored mapping; None for files that need none.
        from_export: whether the service has exported the file.
        kind: of the rows.
        report_progress: called with the bytes processed, and the bytes in all.
    """
    runner = JobRunner(dependencies, {IMPORT_JOB: run_import})
    await runner.start()
    try:
        submission = await submit_import(
            dependencies,
            principal,
            chunks,
            file_format=file_format,
            mapping_name=mapping_name,
            from_export=from_export,
            kind=kind,
        )
        if submission.job is None:
            raise RuntimeError("a submission without an idempotency key must have a job")
        job_id = submission.job.job_id
        runner.submit(job_id)
        drain = asyncio.create_task(runner.drain())
        while not drain.done():
            await asyncio.wait({drain}, timeout=PROGRESS_INTERVAL_S)
            job = (await get_job(dependencies, principal, job_id)).state
            report_progress(job.progress.done, job.progress.total)
    finally:
        await runner.close()
    return job
