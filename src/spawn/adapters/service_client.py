"""Client of a running service over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from spawn.domain.imports.import_state import FileFormat, ImportKind
from spawn.domain.jobs import Job, JobStatus
from spawn.domain.schemas.document_parser import find_stated_id
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.text import redact_url
from spawn.ports.backend import ReportProgress, UploadedFile

POLL_INTERVAL_S: Final = 0.2
TIMEOUT_S: Final = 60.0
_ADMIN: Final = "/v1/admin/"
_APPROVALS: Final = "/v1/ops/approvals"
_CLIENTS: Final = f"{_ADMIN}clients"
_PROJECTS: Final = "/v1/ops/projects"
_JSON_CONTENT: Final = {"Content-Type": "application/json"}


class ServiceError(Exception):
    """A request that a service rejected, or a job that failed there, in one sentence."""


class ServiceUnreachable(Exception):
    """A service that cannot be reached, with the reason in one sentence."""


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


@asynccontextmanager
async def open_service_client(
    url: str, key: str = "", *, admin_url: str = ""
) -> AsyncIterator["ServiceClient"]:
    """Open a client of the service at a URL, with an API key or token if it needs one.

    A URL `unix:/path` is that of a Unix socket. `admin_url` is the address for operators, if they
    have one of their own.

    Raises:
        ServiceUnreachable: the service does not respond, also while the client is in use.
    """
    try:
        async with open_http_client(url, key) as client:
            if not admin_url:
                yield ServiceClient(client, client)
                return
            async with open_http_client(admin_url, key) as admin_client:
                yield ServiceClient(client, admin_client)
    except httpx.HTTPError as failure:
        reason = str(failure) or type(failure).__name__
        detail = f"{redact_url(url)} cannot be reached: {reason}; start it, or correct the URL"
        raise ServiceUnreachable(detail) from failure


def open_http_client(url: str, key: str, timeout_s: float = TIMEOUT_S) -> httpx.AsyncClient:
    """Open an HTTP client of a URL, or of a Unix socket `unix:/path`, with a key or token."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    path = url.removeprefix("unix:")
    if path == url:
        return httpx.AsyncClient(base_url=url, timeout=timeout_s, headers=headers)
    transport = httpx.AsyncHTTPTransport(uds=path)
    return httpx.AsyncClient(
        base_url="http://localhost", timeout=timeout_s, headers=headers, transport=transport
    )


class ServiceClient:
    """Operations of a running service; documents are JSON as the service sends them."""

    def __init__(self, client: httpx.AsyncClient, admin_client: httpx.AsyncClient) -> None:
        self._client = client
        self._admin_client = admin_client

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, replacing an existing one."""
        path = f"/v1/ops/import-mappings/{quote(name, safe='')}"
        headers = {**_JSON_CONTENT}
        response = await self._client.get(path)
        if response.status_code == httpx.codes.OK:
            headers["If-Match"] = response.headers["ETag"]
        await self._request("PUT", path, content=document, headers=headers)

    async def _upload(self, file: UploadedFile, **query: str) -> httpx.Response:
        if file.mapping is not None:
            query["mapping"] = file.mapping
        if file.from_export:
            query["from_export"] = "true"
        if file.kind is not ImportKind.PROJECT:
            query["kind"] = file.kind
        headers = {"Content-Type": file.file_format.media_type}
        return await self._request(
            "POST", "/v1/ops/imports", params=query, content=file.chunks, headers=headers
        )

    async def try_import(self, file: UploadedFile) -> bytes:
        """Read a file as an import would, and return the dry run."""
        return (await self._upload(file, dry_run="true")).content

    async def import_file(self, file: UploadedFile, report_progress: ReportProgress) -> bytes:
        """Import a file and return the finished import."""
        response = await self._upload(file)
        job = msgspec.json.decode(response.content, type=Job)
        while not job.is_final:
            report_progress(job.progress.done, job.progress.total)
            await asyncio.sleep(POLL_INTERVAL_S)
            response = await self._request("GET", f"/v1/jobs/{job.job_id}")
            job = msgspec.json.decode(response.content, type=Job)
        report_progress(job.progress.done, job.progress.total)
        if job.status is not JobStatus.SUCCEEDED:
            reason = job.error or "run spawn serve on the file to resume it"
            raise ServiceError(f"the import has {job.status.value}: {reason}")
        return (await self._request("GET", f"/v1/ops/imports/{job.job_id}")).content

    async def export_quarantine(
        self, import_id: str, file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        path = f"/v1/ops/imports/{import_id}/quarantine"
        async with aclosing(self._stream(path, file_format.media_type)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def export_projects(
        self, file_format: StrEnum, parameters: Mapping[str, str]
    ) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end."""
        path = f"/v1/data/projects.{file_format}"
        async with aclosing(self._stream(path, "*/*", parameters)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _stream(
        self, path: str, accept: str, parameters: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes]:
        headers = {"Accept": accept}
        async with self._client.stream("GET", path, headers=headers, params=parameters) as response:
            if response.is_error:
                await response.aread()
                raise _build_error(response)
            async for chunk in response.aiter_bytes():
                yield chunk

    async def list_projects(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of projects as JSON."""
        return (await self._request("GET", _PROJECTS, params=parameters)).content

    async def get_project(self, project_id: str, parameters: Mapping[str, str]) -> bytes:
        """Return a project as JSON."""
        path = f"{_PROJECTS}/{quote(project_id, safe='')}"
        return (await self._request("GET", path, params=parameters)).content

    async def create_project(self, document: bytes) -> bytes:
        """Create a project and return it, or the approval that it waits for, as JSON."""
        response = await self._request("POST", _PROJECTS, content=document, headers=_JSON_CONTENT)
        return response.content

    async def read_financing(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Return the JSON of facilities or portfolios at a path below `/v1/ops`."""
        return (await self._request("GET", f"/v1/ops/{path}", params=parameters)).content

    async def send_financing(
        self,
        path: str,
        parameters: Mapping[str, str],
        document: bytes,
        *,
        key: str | None = None,
        based_on: str | None = None,
    ) -> bytes:
        """Send a command or a calculation below `/v1/ops`, and return what it gives as JSON.

        Raises:
            ServiceUnreachable: no response came; the detail has the key with which to repeat it.
        """
        headers = dict(_JSON_CONTENT)
        optional = {"Idempotency-Key": key, "If-Match": based_on}
        headers |= {name: value for name, value in optional.items() if value is not None}
        try:
            response = await self._request(
                "POST", f"/v1/ops/{path}", params=parameters, content=document, headers=headers
            )
        except httpx.TransportError as failure:
            if key is None or isinstance(failure, httpx.ConnectError):
                raise
            detail = f"no response came ({type(failure).__name__}): the command may have been done"
            raise ServiceUnreachable(f"{detail}; repeat it with --idempotency-key {key}") from None
        return response.content

    async def read_audit_log(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of the audit log as JSON."""
        return (await self._request("GET", "/v1/admin/audit", params=parameters)).content

    async def list_approvals(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of approvals as JSON."""
        return (await self._request("GET", _APPROVALS, params=parameters)).content

    async def get_approval(self, approval_id: str) -> bytes:
        """Return an approval as JSON."""
        path = f"{_APPROVALS}/{quote(approval_id, safe='')}"
        return (await self._request("GET", path)).content

    async def decide_approval(self, approval_id: str, document: bytes) -> bytes:
        """Decide about an approval and return it as JSON."""
        path = f"{_APPROVALS}/{quote(approval_id, safe='')}/decision"
        response = await self._request("POST", path, content=document, headers=_JSON_CONTENT)
        return response.content

    async def create_api_client(self, document: bytes) -> bytes:
        """Create an API client and return it with its first key."""
        response = await self._request("POST", _CLIENTS, content=document, headers=_JSON_CONTENT)
        return response.content

    async def rotate_api_key(self, name: str, document: bytes) -> bytes:
        """Add a key to an API client and return both."""
        path = f"{_CLIENTS}/{quote(name, safe='')}/keys"
        response = await self._request("POST", path, content=document, headers=_JSON_CONTENT)
        return response.content

    async def revoke_api_key(self, name: str, number: int | None) -> None:
        """Revoke a key of an API client; without a number all of them."""
        path = f"{_CLIENTS}/{quote(name, safe='')}"
        await self._request("DELETE", path if number is None else f"{path}/keys/{number}")

    async def list_api_clients(self) -> bytes:
        """Return every API client as a JSON array."""
        items: list[msgspec.Raw] = []
        params: dict[str, str] = {"limit": "500"}
        while True:
            response = await self._request("GET", _CLIENTS, params=params)
            page = msgspec.json.decode(response.content, type=_Page)
            items += page.items
            if page.next is None:
                return msgspec.json.encode(items)
            params["after"] = page.next

    async def take_backup(self) -> bytes:
        """Take a backup and return its newest point."""
        timeout = httpx.Timeout(None, connect=TIMEOUT_S)
        return (await self._request("POST", "/v1/admin/backups", timeout=timeout)).content

    async def get_schema(self) -> bytes:
        """Return the active schema."""
        return (await self._request("GET", await self._find_schema_path())).content

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> bytes:
        """Check the adoption of a schema document and return the proposal."""
        response = await self._request(
            "POST",
            f"{await self._find_schema_path(document)}/check",
            params={} if mode is None else {"mode": mode.value},
            content=document,
            headers=_JSON_CONTENT,
        )
        return response.content

    async def _find_schema_path(self, document: bytes = b"") -> str:
        """Return the path of the schema whose id a document states; else that of projects."""
        response = await self._request("GET", "/v1/governance/schemas")
        schemas = msgspec.json.decode(response.content, type=dict[str, Any])["items"]
        ids = [item["schema_id"] for item in schemas if item["state"] == "active"]
        if not ids:
            raise ServiceError("the service has no active schema")
        stated_id = find_stated_id(document)
        return f"/v1/governance/schemas/{stated_id if stated_id in ids else ids[0]}"

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        # An operation of administration is unknown to the other listener.
        client = self._admin_client if path.startswith(_ADMIN) else self._client
        return _raise_for_problem(await client.request(method, path, **options))


def _raise_for_problem(response: httpx.Response) -> httpx.Response:
    """Return a response; one that reports a problem is raised as an error."""
    if response.is_error:
        raise _build_error(response)
    return response


def _build_error(response: httpx.Response) -> ServiceError:
    """Return the problem of a response as an error of one line."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    url = redact_url(str(response.request.url))
    detail = problem.detail or f"{url} responded with {response.status_code}"
    return ServiceError(f"{detail} ({problem.code})" if problem.code else detail)
