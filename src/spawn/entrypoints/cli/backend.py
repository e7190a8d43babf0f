"""How a command reaches the data: over HTTP, or by opening the file itself.

HTTP if `SPAWN_URL` is set, or if whoever has the file open left word of where it serves it.
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

from spawn.application.dependencies import Services
from spawn.application.exports import QuarantineLines, every_project, lines_of
from spawn.application.imports.commands import (
    JOB_KIND,
    get_import,
    get_mapping,
    pinned_mapping,
    put_mapping,
    quarantined,
    start_import,
)
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, get_job
from spawn.application.lineage.recorder import exporting
from spawn.application.schemas.activation import SchemaRules
from spawn.application.schemas.adoption import check_schema
from spawn.domain.errors import Duplicate, StorageBusy
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping import read_mapping
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.json_tokens import read_object
from spawn.domain.principal import Principal
from spawn.domain.schemas.evolution.compatibility import Mode
from spawn.entrypoints.cli.parser import UNREACHABLE, CommandError
from spawn.entrypoints.cli.serve import known_address, store_file
from spawn.entrypoints.composition import open_services
from spawn.entrypoints.http.imports.routes import FORMATS, import_fields
from spawn.entrypoints.http.schemas.routes import full
from spawn.entrypoints.http.schemas.verdicts import proposal_fields
from spawn.entrypoints.http.wire import project_fields
from spawn.entrypoints.settings import Settings, service_url, shown_url

OPERATOR: Final = Principal(id="cli")
"""Who acts when the command opens the file itself."""

POLL_S: Final = 0.2
TIMEOUT_S: Final = 60.0
PIECE_BYTES: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode

Watch = Callable[[int, int], None]
"""Told how many bytes of how many are dealt with."""


class Access(Protocol):
    """What the commands need of a service, wherever it is."""

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, whatever was there."""
        ...

    async def import_file(
        self, path: Path, file_format: FileFormat, mapping: str | None, watch: Watch
    ) -> dict[str, Any]:
        """Import a file to its end; the import's wire fields."""
        ...

    def quarantine(self, import_id: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        """The rows that an import set aside, as lines."""
        ...

    def exported(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Every project, as a file in pieces; to be closed if it is not read to its end."""
        ...

    async def schema(self) -> bytes:
        """The active schema as JSON."""
        ...

    async def check_schema(self, document: bytes, mode: Mode | None) -> dict[str, Any]:
        """What adopting a schema document would come to; the proposal's wire fields."""
        ...


@asynccontextmanager
async def open_access(
    settings: Settings, *, create: bool = False, url: str | None = None
) -> AsyncIterator[Access]:
    """The way to the data that the environment leaves open, or the service at a URL.

    Where nobody serves it, the file is opened; it is made if absent only to be written to.

    Raises:
        SettingsError: SPAWN_URL is malformed.
        CommandError: the service cannot be reached, or there is nothing to open.
        StorageBusy: another process has the file open and left no word.
    """
    url = service_url(os.environ if url is None else {"SPAWN_URL": url})
    if url:
        async with _remote(url) as remote:
            yield remote
        return
    if settings.storage_url == "memory://":
        raise CommandError("memory:// holds nothing to open; set SPAWN_URL to a running service")
    path = store_file(settings)
    if path is not None and not create and not path.exists():
        raise CommandError(f"{path} does not exist; correct SPAWN_STORAGE_URL, or set SPAWN_URL")
    async with _direct_or_served(settings) as access:
        yield access


@asynccontextmanager
async def _direct_or_served(settings: Settings) -> AsyncIterator[Access]:
    opened = open_services(settings)
    try:
        services = await opened.__aenter__()
    except StorageBusy:
        url = known_address(settings)
        if url is None:
            raise
        sys.stderr.write(f"the file is being served; talking to {url}\n")
        async with _remote(url) as remote:
            yield remote
        return
    try:
        yield Direct(services, settings.schema_rules)
    finally:
        await opened.__aexit__(*sys.exc_info())


@asynccontextmanager
async def _remote(url: str) -> AsyncIterator["Remote"]:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
            yield Remote(client)
    except httpx.HTTPError as failure:
        said = str(failure) or type(failure).__name__
        detail = f"{shown_url(url)} cannot be reached: {said}; is it running there?"
        raise CommandError(detail, UNREACHABLE) from failure


class Direct:
    """The file, opened by this very command."""

    def __init__(self, services: Services, rules: SchemaRules) -> None:
        self._services = services
        self._rules = rules

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, whatever was there."""
        mapping = read_mapping(name, read_object(document))
        try:
            await put_mapping(self._services, OPERATOR, mapping)
        except Duplicate:
            stored = await get_mapping(self._services, OPERATOR, name)
            await put_mapping(self._services, OPERATOR, mapping, expected_version=stored.version)

    async def import_file(
        self, path: Path, file_format: FileFormat, mapping: str | None, watch: Watch
    ) -> dict[str, Any]:
        """Import a file to its end; the import's wire fields."""
        runner = JobRunner(self._services, {JOB_KIND: run_import})
        await runner.start()
        try:
            ordered = await start_import(
                self._services,
                OPERATOR,
                _pieces(path),
                file_format=file_format,
                mapping_name=mapping,
            )
            if ordered.job is None:
                raise CommandError("the import was not queued")
            job_id = ordered.job.job_id
            await runner.submit(job_id)
            drained = asyncio.create_task(runner.drain())
            while not drained.done():
                await asyncio.wait({drained}, timeout=POLL_S)
                job = (await get_job(self._services, OPERATOR, job_id)).state
                watch(job.progress.done, job.progress.total)
        finally:
            await runner.close()
        _refuse_unfinished(job)
        return import_fields(await get_import(self._services, OPERATOR, job_id))

    async def quarantine(self, import_id: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        """The rows that an import set aside, as lines."""
        order = (await get_import(self._services, OPERATOR, import_id)).state
        form = QuarantineLines(order, await pinned_mapping(self._services, order))
        if file_format is FileFormat.CSV:
            yield form.csv_header()
        async for note in quarantined(self._services, OPERATOR, order):
            yield form.csv(note) if file_format is FileFormat.CSV else form.ndjson(note)

    async def exported(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Every project, as a file in pieces; to be closed if it is not read to its end."""
        schema = (await self._services.active()).schema
        async with exporting(self._services, OPERATOR, file_format) as counted:
            projects = every_project(self._services, OPERATOR, schema)
            documents = (_encode(project_fields(stored, schema)) async for stored in projects)
            async for line in counted.through(lines_of(documents, file_format), file_format):
                yield line

    async def schema(self) -> bytes:
        """The active schema as JSON."""
        return _encode(full(await self._services.active()))

    async def check_schema(self, document: bytes, mode: Mode | None) -> dict[str, Any]:
        """What adopting a schema document would come to; the proposal's wire fields."""
        rules = self._rules
        if mode is not None:
            rules = msgspec.structs.replace(rules, mode=mode)
        return proposal_fields(await check_schema(self._services, rules, OPERATOR, document))


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


class Remote:
    """A running service, over HTTP."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, whatever was there."""
        path = f"/v1/ops/import-mappings/{quote(name, safe='')}"
        headers = {"Content-Type": "application/json"}
        known = await self._client.get(path)
        if known.status_code == httpx.codes.OK:
            headers["If-Match"] = known.headers["ETag"]
        await self._asked("PUT", path, content=document, headers=headers)

    async def import_file(
        self, path: Path, file_format: FileFormat, mapping: str | None, watch: Watch
    ) -> dict[str, Any]:
        """Import a file to its end; the import's wire fields."""
        media_type = next(name for name, form in FORMATS.items() if form is file_format)
        answer = await self._asked(
            "POST",
            "/v1/ops/imports",
            params={} if mapping is None else {"mapping": mapping},
            content=_pieces(path),
            headers={"Content-Type": media_type},
        )
        job = msgspec.json.decode(answer.content, type=Job)
        while not job.is_final:
            watch(job.progress.done, job.progress.total)
            await asyncio.sleep(POLL_S)
            answer = await self._asked("GET", f"/v1/jobs/{job.job_id}")
            job = msgspec.json.decode(answer.content, type=Job)
        watch(job.progress.done, job.progress.total)
        _refuse_unfinished(job)
        answer = await self._asked("GET", f"/v1/ops/imports/{job.job_id}")
        fields: dict[str, Any] = msgspec.json.decode(answer.content)
        return fields

    async def quarantine(self, import_id: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        """The rows that an import set aside, as lines."""
        path = f"/v1/ops/imports/{import_id}/quarantine"
        async for piece in self._streamed(path, file_format):
            yield piece

    async def exported(self, file_format: FileFormat) -> AsyncGenerator[bytes]:
        """Every project, as a file in pieces; to be closed if it is not read to its end."""
        async for piece in self._streamed("/v1/data/projects", file_format):
            yield piece

    async def _streamed(self, path: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        media_type = next(name for name, form in FORMATS.items() if form is file_format)
        async with self._client.stream("GET", path, headers={"Accept": media_type}) as answer:
            if answer.is_error:
                await answer.aread()
                raise _refusal(answer)
            async for piece in answer.aiter_bytes():
                yield piece

    async def schema(self) -> bytes:
        """The active schema as JSON."""
        return (await self._asked("GET", await self._schema_path())).content

    async def check_schema(self, document: bytes, mode: Mode | None) -> dict[str, Any]:
        """What adopting a schema document would come to; the proposal's wire fields."""
        answer = await self._asked(
            "POST",
            f"{await self._schema_path()}/check",
            params={} if mode is None else {"mode": mode.value},
            content=document,
            headers={"Content-Type": "application/json"},
        )
        fields: dict[str, Any] = msgspec.json.decode(answer.content)
        return fields

    async def _schema_path(self) -> str:
        answer = await self._asked("GET", "/v1/governance/schemas")
        known = msgspec.json.decode(answer.content, type=dict[str, Any])["items"]
        active = next((item for item in known if item["state"] == "active"), None)
        if active is None:
            raise CommandError("the service has no active schema")
        return f"/v1/governance/schemas/{active['schema_id']}"

    async def _asked(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = await self._client.request(method, path, **options)
        if answer.is_error:
            raise _refusal(answer)
        return answer


def _refusal(answer: httpx.Response) -> CommandError:
    """What the service says against it, in one line."""
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    where = shown_url(str(answer.request.url))
    said = problem.detail or f"{where} answered {answer.status_code}"
    return CommandError(f"{said} ({problem.code})" if problem.code else said)


def _refuse_unfinished(job: Job) -> None:
    if job.status is not JobStatus.SUCCEEDED:
        why = job.error or "it may be resumed by serving the file"
        raise CommandError(f"the import has {job.status.value}: {why}")


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    """The file's bytes, read off the loop."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
