"""Operations of a service that commands use, in this process or over HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from spawn.domain.imports.import_state import FileFormat, ImportKind
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode

ReportProgress = Callable[[int, int], None]
"""Callback with the bytes processed, and the bytes in all."""


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to import: its bytes, its format, and how its rows are read.

    `mapping` names a stored mapping; `from_export` means a file that the service has exported.
    `kind` is that of its rows.
    """

    chunks: AsyncIterator[bytes]
    file_format: FileFormat
    mapping: str | None = None
    from_export: bool = False
    kind: ImportKind = ImportKind.PROJECT


class Backend(Protocol):
    """Operations that commands need of a service; documents are JSON as HTTP serves them."""

    async def put_mapping(self, name: str, document: bytes) -> None:
        """Store a mapping under a name, replacing an existing one."""
        ...

    async def import_file(self, file: UploadedFile, report_progress: ReportProgress) -> bytes:
        """Import a file and return the finished import as JSON."""
        ...

    async def try_import(self, file: UploadedFile) -> bytes:
        """Read a file as an import would, write nothing, and return the dry run as JSON."""
        ...

    def export_quarantine(self, import_id: str, file_format: FileFormat) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        ...

    def export_projects(
        self, file_format: StrEnum, parameters: Mapping[str, str]
    ) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end.

        The parameters are those of the API.
        """
        ...

    async def list_projects(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of projects as JSON; the parameters are those of the API."""
        ...

    async def get_project(self, project_id: str, parameters: Mapping[str, str]) -> bytes:
        """Return a project as JSON; the parameters are those of the API."""
        ...

    async def create_project(self, document: bytes) -> bytes:
        """Create a project and return it, or the approval that it waits for, as JSON."""
        ...

    async def read_financing(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Return the JSON of facilities or portfolios at a path of the API below `/v1/ops`."""
        ...

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

        With an idempotency key it is safe to repeat. `based_on` is the tag of the version that it
        changes, or `*` for any.
        """
        ...

    async def read_audit_log(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of the audit log as JSON; the parameters are those of the API."""
        ...

    async def create_api_client(self, document: bytes) -> bytes:
        """Create an API client and return it with its first key, as JSON."""
        ...

    async def rotate_api_key(self, name: str, document: bytes) -> bytes:
        """Add a key to an API client and return both as JSON."""
        ...

    async def revoke_api_key(self, name: str, number: int | None) -> None:
        """Revoke a key of an API client; without a number all of them."""
        ...

    async def list_api_clients(self) -> bytes:
        """Return every API client as a JSON array."""
        ...

    async def list_approvals(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of approvals as JSON; the parameters are those of the API."""
        ...

    async def get_approval(self, approval_id: str) -> bytes:
        """Return an approval as JSON."""
        ...

    async def decide_approval(self, approval_id: str, document: bytes) -> bytes:
        """Decide about an approval and return it as JSON."""
        ...

    async def take_backup(self) -> bytes:
        """Take a backup and return its newest point as JSON."""
        ...

    async def get_schema(self) -> bytes:
        """Return the active schema as JSON."""
        ...

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> bytes:
        """Check the adoption of a schema document and return the proposal as JSON."""
        ...
