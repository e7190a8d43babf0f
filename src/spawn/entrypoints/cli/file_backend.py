"""Backend of commands that opens the file of a store, with the application of the service."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import Final

import msgspec

from spawn.adapters.file_encoder import FileEncoder
from spawn.application.access.api_clients import (
    create_api_client,
    list_api_clients,
    revoke_api_client,
    revoke_key,
    rotate_key,
)
from spawn.application.access.audit_trail import AuditTrail, read_audit_log
from spawn.application.backups.backup_schedule import take_backup
from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import read_dataset_query
from spawn.application.datasets.dataset_rows import count_rows, read_projects
from spawn.application.datasets.dataset_tables import count_tables, read_tables
from spawn.application.datasets.file_formats import DataFormat, format_file
from spawn.application.dependencies import Dependencies
from spawn.application.exports import (
    QuarantineFormatter,
    record_export,
)
from spawn.application.imports.commands import put_mapping
from spawn.application.imports.dry_runs import DryRunSlots
from spawn.application.imports.foreground import run_import_now
from spawn.application.imports.queries import (
    get_import,
    get_mapping,
    get_pinned_mapping,
    stream_quarantined_rows,
)
from spawn.application.projects.commands import create_project
from spawn.application.projects.queries import get_project, list_projects, project_fields
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.schemas.activation import SchemaPolicies
from spawn.application.schemas.adoptions.proposals import check_schema
from spawn.application.schemas.consumers import get_readership
from spawn.domain.access.api_client import API_CLIENT_KIND
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import Duplicate
from spawn.domain.imports.import_state import FileFormat
from spawn.domain.imports.mapping_reader import read_mapping
from spawn.domain.jobs import JobStatus
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal
from spawn.domain.projects.project import Project
from spawn.domain.query import MAX_LIMIT, Query
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.schemas.validator import compile_schema
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.composition import open_audit_log, open_dependencies
from spawn.entrypoints.http.access.audit_routes import AuditEntryView, read_audit_query
from spawn.entrypoints.http.access.wire import (
    ApiClientView,
    IssuedKeyView,
    read_client_request,
    read_key_request,
)
from spawn.entrypoints.http.backup_routes import BackupView
from spawn.entrypoints.http.imports.wire import DryRunView, ImportView
from spawn.entrypoints.http.protocol.cursors import encode_cursor
from spawn.entrypoints.http.protocol.query_params import read_list_parameters, read_moment
from spawn.entrypoints.http.schemas.wire import ProposalView, SchemaView
from spawn.entrypoints.http.wire import PageView
from spawn.entrypoints.settings import Settings
from spawn.ports.audit import AuditKind
from spawn.ports.backend import ReportProgress, UploadedFile

OPERATOR: Final = Principal(id="cli")
"""Actor of commands that open the file themselves."""

_NEEDS_SERVICE: Final = (
    "approvals need a running service, which knows the caller by its key: set SPAWN_URL and"
    " SPAWN_KEY_FILE"
)
_FINANCING_NEEDS_SERVICE: Final = (
    "facilities, covenants and portfolios need a running service: start one with spawn serve, "
    "or set SPAWN_URL"
)
_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def open_file_backend(settings: Settings) -> AsyncIterator["FileBackend"]:
    """Open the store of the settings in this process.

    Raises:
        StorageBusy: another process has the file open.
    """
    async with open_dependencies(settings) as dependencies:
        audit = AuditTrail(await open_audit_log(settings), dependencies.clock)
        try:
            yield FileBackend(
                dependencies, settings.schema_policies, settings.key_environment, audit
            )
        finally:
            await audit.close()


def _require_active(parameters: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters; a file is read under its active schema version only."""
    if "schema_version" in parameters:
        raise CommandError("schema_version needs a running service: set SPAWN_URL")
    return parameters


class FileBackend:
    """Backend that opens the store's file in this process."""

    def __init__(
        self,
        dependencies: Dependencies,
        schema_policies: SchemaPolicies,
        key_environment: str,
        audit: AuditTrail,
    ) -> None:
        self._audit = audit
        self._dependencies = dependencies
        self._key_environment = key_environment
        self._schema_policies = schema_policies

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

    async def try_import(self, file: UploadedFile) -> bytes:
        """Read a file as an import would, and return the dry run as JSON."""
        run = await DryRunSlots().run(
            self._dependencies,
            OPERATOR,
            file.chunks,
            file_format=file.file_format,
            mapping_name=file.mapping,
            from_export=file.from_export,
            kind=file.kind,
        )
        return _encode(DryRunView.of_run(run))

    async def import_file(self, file: UploadedFile, report_progress: ReportProgress) -> bytes:
        """Import a file and return the finished import as JSON."""
        job = await run_import_now(
            self._dependencies,
            OPERATOR,
            file.chunks,
            file_format=file.file_format,
            mapping_name=file.mapping,
            from_export=file.from_export,
            kind=file.kind,
            report_progress=report_progress,
        )
        if job.status is not JobStatus.SUCCEEDED:
            reason = job.error or "run spawn serve on the file to resume it"
            raise CommandError(f"the import has {job.status.value}: {reason}")
        aggregate = await get_import(self._dependencies, OPERATOR, job.job_id)
        return _encode(ImportView.of_import(aggregate))

    async def export_quarantine(
        self, import_id: str, file_format: FileFormat
    ) -> AsyncIterator[bytes]:
        """Yield the quarantined rows of an import as lines."""
        import_state = (await get_import(self._dependencies, OPERATOR, import_id)).state
        formatter = QuarantineFormatter(
            import_state, await get_pinned_mapping(self._dependencies, import_state)
        )
        rows = stream_quarantined_rows(self._dependencies, OPERATOR, import_state)
        async for line in formatter.format_rows(rows, file_format):
            yield line

    async def export_projects(
        self, file_format: StrEnum, parameters: Mapping[str, str]
    ) -> AsyncGenerator[bytes]:
        """Yield all projects as chunks of a file; close it if it is not read to its end."""
        dependencies, data_format = self._dependencies, DataFormat(file_format)
        self._record(AuditKind.EXPORT, "export", data_format)
        dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, parameters)
        async with record_export(dependencies, OPERATOR, data_format) as progress:
            encoder, tables = FileEncoder(), None
            if encoder.takes_tables(data_format):
                end = await dependencies.reads.position()
                tables = await read_tables(dependencies, OPERATOR, dataset, end)
            if tables is None:
                projects = read_projects(dependencies, OPERATOR, dataset)
                rows = count_rows(projects, progress, dependencies.work_turns)
                file = format_file(rows, dataset, data_format, encoder.encode)
            else:
                file = encoder.encode_tables(count_tables(tables, progress), data_format)
            async with aclosing(file) as chunks:
                async for chunk in chunks:
                    progress.size_bytes += len(chunk)
                    yield chunk

    def _record(self, kind: AuditKind, command: str, detail: str) -> None:
        self._audit.record(
            kind, actor=OPERATOR.id, operation=command, status=0, detail=f"{command} {detail}"
        )

    async def list_projects(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of projects as JSON."""
        schema = (await self._dependencies.active_schema()).schema
        listing = read_list_parameters(_require_active(parameters), compile_schema(schema))
        page = await list_projects(self._dependencies, OPERATOR, listing.query)
        items = [await self._render(item, schema, listing.fields) for item in page.items]
        cursor = None if page.next is None else encode_cursor(page.next, listing.binding)
        return _encode({"items": items, "next": cursor})

    async def get_project(self, project_id: str, parameters: Mapping[str, str]) -> bytes:
        """Return a project as JSON."""
        schema = (await self._dependencies.active_schema()).schema
        as_of = read_moment(_require_active(parameters), "as_of")
        aggregate = await get_project(self._dependencies, OPERATOR, project_id, as_of=as_of)
        return _encode(await self._render(aggregate, schema))

    async def create_project(self, document: bytes) -> bytes:
        """Create a project and return it as JSON."""
        schema = (await self._dependencies.active_schema()).schema
        today = self._dependencies.clock.now().date()
        attributes = compile_schema(schema).read(parse_object(document), on_date=today)
        result = await create_project(self._dependencies, OPERATOR, attributes=attributes)
        if result.aggregate is None:
            raise RuntimeError("a command without a receipt must return a project")
        return _encode(await self._render(result.aggregate, schema))

    async def _render(
        self, aggregate: StoredAggregate[Project], schema: Schema, names: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        aggregate_under_schema = await convert_to_version(
            self._dependencies, aggregate, schema.version
        )
        return project_fields(aggregate_under_schema, schema, names)

    async def read_financing(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Raise: the figures of facilities and portfolios are those of a running service."""
        del path, parameters
        raise CommandError(_FINANCING_NEEDS_SERVICE)

    async def send_financing(
        self,
        path: str,
        parameters: Mapping[str, str],
        document: bytes,
        *,
        key: str | None = None,
        based_on: str | None = None,
    ) -> bytes:
        """Raise: as `read_financing`."""
        del path, parameters, document, key, based_on
        raise CommandError(_FINANCING_NEEDS_SERVICE)

    async def read_audit_log(self, parameters: Mapping[str, str]) -> bytes:
        """Return a page of the audit log as JSON."""
        query, _ = read_audit_query(parameters)
        entries = await read_audit_log(self._audit, OPERATOR, query)
        return _encode(PageView(tuple(map(AuditEntryView.of_entry, entries)), next=None))

    async def create_api_client(self, document: bytes) -> bytes:
        """Create an API client and return it with its first key, as JSON."""
        view = read_client_request(document)
        self._record(AuditKind.ADMINISTRATION, "keys create", view.name)
        new_key = await create_api_client(
            self._dependencies,
            OPERATOR,
            view.name,
            frozenset(view.scopes),
            environment=self._key_environment,
            expires_at=view.expires_at,
            row_scope=view.rows,
        )
        return _encode(IssuedKeyView.of_issued(new_key, self._dependencies.clock.now()))

    async def rotate_api_key(self, name: str, document: bytes) -> bytes:
        """Add a key to an API client and return both as JSON."""
        view = read_key_request(document)
        self._record(AuditKind.ADMINISTRATION, "keys rotate", name)
        new_key = await rotate_key(
            self._dependencies,
            OPERATOR,
            name,
            environment=self._key_environment,
            expires_at=view.expires_at,
        )
        return _encode(IssuedKeyView.of_issued(new_key, self._dependencies.clock.now()))

    async def revoke_api_key(self, name: str, number: int | None) -> None:
        """Revoke a key of an API client; without a number all of them."""
        self._record(AuditKind.ADMINISTRATION, "keys revoke", f"{name} {number or ''}")
        if number is None:
            await revoke_api_client(self._dependencies, OPERATOR, name)
        else:
            await revoke_key(self._dependencies, OPERATOR, name, number)

    async def list_api_clients(self) -> bytes:
        """Return every API client as a JSON array."""
        now, clients = self._dependencies.clock.now(), []
        query: Query | None = Query(kind=API_CLIENT_KIND, limit=MAX_LIMIT)
        while query is not None:
            page = await list_api_clients(self._dependencies, OPERATOR, query)
            clients += [ApiClientView.of_client(item.state, now) for item in page.items]
            query = msgspec.structs.replace(query, after=page.next) if page.next else None
        return _encode(clients)

    async def list_approvals(self, parameters: Mapping[str, str]) -> bytes:
        """Raise: a file does not know who asks; see `decide_approval`."""
        del parameters
        raise CommandError(_NEEDS_SERVICE)

    async def get_approval(self, approval_id: str) -> bytes:
        """Raise: a file does not know who asks; see `decide_approval`."""
        del approval_id
        raise CommandError(_NEEDS_SERVICE)

    async def decide_approval(self, approval_id: str, document: bytes) -> bytes:
        """Raise: the user of a file has no name that could differ from the maker's."""
        del approval_id, document
        raise CommandError(_NEEDS_SERVICE)

    async def take_backup(self) -> bytes:
        """Take a backup and return its newest point as JSON."""
        return _encode(BackupView.of_point(await take_backup(self._dependencies, OPERATOR)))

    async def get_schema(self) -> bytes:
        """Return the active schema as JSON."""
        record = await self._dependencies.active_schema()
        readership = await get_readership(self._dependencies, LOCAL_PRINCIPAL, record.schema)
        return _encode(SchemaView.of_version(record, readership))

    async def check_schema(self, document: bytes, mode: CompatibilityMode | None) -> bytes:
        """Check the adoption of a schema document and return the proposal as JSON."""
        policy = self._schema_policies.of_document(document)
        if mode is not None:
            policy = msgspec.structs.replace(policy, mode=mode)
        proposal = await check_schema(self._dependencies, policy, OPERATOR, document)
        return _encode(ProposalView.of_proposal(proposal))
