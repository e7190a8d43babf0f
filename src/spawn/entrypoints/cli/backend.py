"""Access of commands to the data: over HTTP, or by opening the file.

HTTP is used if `SPAWN_URL` is set, or if the process that has the file open wrote its address
beside the file.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import httpx
import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.exports import (
    QuarantineFormatter,
    format_lines,
    record_export,
    stream_projects,
)
from spawn.application.imports.commands import IMPORT_JOB, put_mapping, submit_import
from spawn.application.imports.queries import (
    get_import,
    get_mapping,
    get_pinned_mapping,
    stream_quarantined_rows,
)
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, get_job
from spawn.application.schemas.activation import SchemaPolicy
from spawn.application.schemas.adoption import check_schema
from spawn.domain.errors import Duplicate, StorageBusy
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import Principal
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.entrypoints.cli.errors import EXIT_UNREACHABLE, CommandError
from spawn.entrypoints.cli.serve import find_store_file, read_served_address
from spawn.entrypoints.composition import open_dependencies
from spawn.entrypoints.http.imports.routes import FORMATS
from spawn.entrypoints.http.imports.wire import ImportView
from spawn.entrypoints.http.projects.representation import project_fields
from spawn.entrypoints.http.schemas.wire import ProposalView, SchemaView
from spawn.entrypoints.settings import Settings, read_service_url, redact_url

OPERATOR: Final = Principal(id="cli")
"""Actor of commands that open the file themselves."""

POLL_INTERVAL_S: Final = 0.2
TIMEOUT_S: Final = 60.0
CHUNK_BYTES: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode

ReportProgress = Callable[[int, int], None]
"""Callback with the bytes processed, and the bytes in all."""


class Backend(Protocol):
    """Operations that the commands need of a service."""

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, replacing an existing one."""
        ...

    async def import_file(
        self,
        path: Path,
        file_format: FileFormat,
        mapping: str | None,
        report_progress: ReportProgress,
    ) -> ImportView:
        """Import a file and return the finished import."""
        ...

    def export_quarantine(self, import_id: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        ...

    def export_projects(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end."""
        ...

    async def get_schema(self) -> bytes:
        """Return the active schema as JSON."""
        ...

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> ProposalView:
        """Check the adoption of a schema document."""
        ...


@asynccontextmanager
async def open_backend(
    settings: Settings, *, create: bool = False, url: str | None = None
) -> AsyncIterator[Backend]:
    """Open the backend of the environment, or of the service at a URL.

    If no service has the file open, the command opens it; only `create` creates an absent file.

    Raises:
        SettingsError: SPAWN_URL is malformed.
        CommandError: the service cannot be reached, or there is nothing to open.
        StorageBusy: another process has the file open and wrote no address.
    """
    url = read_service_url(os.environ if url is None else {"SPAWN_URL": url})
    if url:
        async with _open_http_backend(url) as backend:
            yield backend
        return
    if settings.storage_url == "memory://":
        raise CommandError("memory:// has no file to open: set SPAWN_URL to a running service")
    path = find_store_file(settings)
    if path is not None and not create and not path.exists():
        raise CommandError(f"{path} does not exist: correct SPAWN_STORAGE_URL, or set SPAWN_URL")
    async with _open_file_or_service(settings) as backend:
        yield backend


@asynccontextmanager
async def _open_file_or_service(settings: Settings) -> AsyncIterator[Backend]:
    context = open_dependencies(settings)
    try:
        dependencies = await context.__aenter__()
    except StorageBusy:
        url = read_served_address(settings)
        if url is None:
            raise
        sys.stderr.write(f"the file is open in a running service; connecting to {url}\n")
        async with _open_http_backend(url) as backend:
            yield backend
        return
    try:
        yield FileBackend(dependencies, settings.schema_policy)
    finally:
        await context.__aexit__(*sys.exc_info())


@asynccontextmanager
async def _open_http_backend(url: str) -> AsyncIterator["HttpBackend"]:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
            yield HttpBackend(client)
    except httpx.HTTPError as failure:
        reason = str(failure) or type(failure).__name__
        detail = f"{redact_url(url)} cannot be reached: {reason}; start it, or correct the URL"
        raise CommandError(detail, EXIT_UNREACHABLE) from failure


class FileBackend:
    """Backend that opens the store's file in this process."""

    def __init__(self, dependencies: Dependencies, schema_policy: SchemaPolicy) -> None:
        self._dependencies = dependencies
        self._schema_policy = schema_policy

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, replacing an existing one."""
        mapping = read_mapping(name, parse_object(document))
        try:
            await put_mapping(self._dependencies, OPERATOR, mapping)
        except Duplicate:
            mapping_state = await get_mapping(self._dependencies, OPERATOR, name)
            await put_mapping(
                self._dependencies, OPERATOR, mapping, expected_version=mapping_state.version
            )

    async def import_file(
        self,
        path: Path,
        file_format: FileFormat,
        mapping: str | None,
        report_progress: ReportProgress,
    ) -> ImportView:
        """Import a file and return the finished import."""
        runner = JobRunner(self._dependencies, {IMPORT_JOB: run_import})
        await runner.start()
        try:
            submitted_job = await submit_import(
                self._dependencies,
                OPERATOR,
                _read_chunks(path),
                file_format=file_format,
                mapping_name=mapping,
            )
            if submitted_job.job is None:
                raise CommandError("the import was not queued")
            job_id = submitted_job.job.job_id
            await runner.submit(job_id)
            drain = asyncio.create_task(runner.drain())
            while not drain.done():
                await asyncio.wait({drain}, timeout=POLL_INTERVAL_S)
                job = (await get_job(self._dependencies, OPERATOR, job_id)).state
                report_progress(job.progress.done, job.progress.total)
        finally:
            await runner.close()
        _require_success(job)
        return ImportView.of_import(await get_import(self._dependencies, OPERATOR, job_id))

    async def export_quarantine(
        self, import_id: str, file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        import_state = (await get_import(self._dependencies, OPERATOR, import_id)).state
        formatter = QuarantineFormatter(
            import_state, await get_pinned_mapping(self._dependencies, import_state)
        )
        if file_format is FileFormat.CSV:
            yield formatter.format_csv_header()
        async for row in stream_quarantined_rows(self._dependencies, OPERATOR, import_state):
            yield (
                formatter.format_csv_row(row)
                if file_format is FileFormat.CSV
                else formatter.format_ndjson_row(row)
            )

    async def export_projects(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end."""
        schema = (await self._dependencies.active_schema()).schema
        async with record_export(self._dependencies, OPERATOR, file_format) as progress:
            projects = stream_projects(self._dependencies, OPERATOR, schema)
            documents = (_encode(project_fields(project, schema)) async for project in projects)
            async for line in progress.count_lines(
                format_lines(documents, file_format), file_format
            ):
                yield line

    async def get_schema(self) -> bytes:
        """Return the active schema as JSON."""
        return _encode(SchemaView.of_version(await self._dependencies.active_schema()))

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> ProposalView:
        """Check the adoption of a schema document."""
        policy = self._schema_policy
        if mode is not None:
            policy = msgspec.structs.replace(policy, mode=mode)
        proposal = await check_schema(self._dependencies, policy, OPERATOR, document)
        return ProposalView.of_proposal(proposal)


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


class HttpBackend:
    """Backend that sends requests to a running service."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, replacing an existing one."""
        path = f"/v1/ops/import-mappings/{quote(name, safe='')}"
        headers = {"Content-Type": "application/json"}
        response = await self._client.get(path)
        if response.status_code == httpx.codes.OK:
            headers["If-Match"] = response.headers["ETag"]
        await self._request("PUT", path, content=document, headers=headers)

    async def import_file(
        self,
        path: Path,
        file_format: FileFormat,
        mapping: str | None,
        report_progress: ReportProgress,
    ) -> ImportView:
        """Import a file and return the finished import."""
        media_type = next(name for name, format_ in FORMATS.items() if format_ is file_format)
        response = await self._request(
            "POST",
            "/v1/ops/imports",
            params={} if mapping is None else {"mapping": mapping},
            content=_read_chunks(path),
            headers={"Content-Type": media_type},
        )
        job = msgspec.json.decode(response.content, type=Job)
        while not job.is_final:
            report_progress(job.progress.done, job.progress.total)
            await asyncio.sleep(POLL_INTERVAL_S)
            response = await self._request("GET", f"/v1/jobs/{job.job_id}")
            job = msgspec.json.decode(response.content, type=Job)
        report_progress(job.progress.done, job.progress.total)
        _require_success(job)
        response = await self._request("GET", f"/v1/ops/imports/{job.job_id}")
        return msgspec.json.decode(response.content, type=ImportView)

    async def export_quarantine(
        self, import_id: str, file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        path = f"/v1/ops/imports/{import_id}/quarantine"
        async for chunk in self._stream(path, file_format):
            yield chunk

    async def export_projects(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end."""
        async for chunk in self._stream("/v1/data/projects", file_format):
            yield chunk

    async def _stream(self, path: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        media_type = next(name for name, format_ in FORMATS.items() if format_ is file_format)
        async with self._client.stream("GET", path, headers={"Accept": media_type}) as response:
            if response.is_error:
                await response.aread()
                raise _build_command_error(response)
            async for chunk in response.aiter_bytes():
                yield chunk

    async def get_schema(self) -> bytes:
        """Return the active schema as JSON."""
        return (await self._request("GET", await self._find_schema_path())).content

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> ProposalView:
        """Check the adoption of a schema document."""
        response = await self._request(
            "POST",
            f"{await self._find_schema_path()}/check",
            params={} if mode is None else {"mode": mode.value},
            content=document,
            headers={"Content-Type": "application/json"},
        )
        return msgspec.json.decode(response.content, type=ProposalView)

    async def _find_schema_path(self) -> str:
        response = await self._request("GET", "/v1/governance/schemas")
        schemas = msgspec.json.decode(response.content, type=dict[str, Any])["items"]
        active = next((item for item in schemas if item["state"] == "active"), None)
        if active is None:
            raise CommandError("the service has no active schema")
        return f"/v1/governance/schemas/{active['schema_id']}"

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = await self._client.request(method, path, **options)
        if response.is_error:
            raise _build_command_error(response)
        return response


def _build_command_error(response: httpx.Response) -> CommandError:
    """Return the problem of a response as an error of one line."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    url = redact_url(str(response.request.url))
    detail = problem.detail or f"{url} responded with {response.status_code}"
    return CommandError(f"{detail} ({problem.code})" if problem.code else detail)


def _require_success(job: Job) -> None:
    if job.status is not JobStatus.SUCCEEDED:
        reason = job.error or "run spawn serve on the file to resume it"
        raise CommandError(f"the import has {job.status.value}: {reason}")


async def _read_chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield the bytes of the file, read off the event loop."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
