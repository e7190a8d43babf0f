"""A registry whose documents a test sets, and schema policies for it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.schemas.activation import SchemaPolicy
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.schemas.document_parser import InvalidSchemaDocument, read_schema
from spawn.ports.schemas import FetchedSchema, Provenance, PublishedSchema, RegistryStatus

ID = "project_schema"


class FakeRegistry:
    """A registry that serves what the test puts on it, or nothing but the bundled schema."""

    def __init__(self, schema_id: str = ID, kind: str = "project") -> None:
        self.schema_id, self.kind = schema_id, kind
        self.documents: dict[int, bytes] = {}
        self.latest: bytes | None = None
        self.error: RegistryError | None = None
        self.faults: dict[int, RegistryError | NotFound | bytes] = {}
        """What each of these versions gives instead of its document."""
        self.listed: tuple[int, ...] | None = None
        """A list other than that of the documents."""
        self.has_list = True
        self.notice: Callable[[int | None], None] = lambda _: None
        """Function that is called before each response; it may change the contents."""

    def serve(self, version: int | None, *columns: str | dict[str, Any], **members: Any) -> bytes:
        """Serve a version as the latest; a column given by name alone is a date."""
        column_documents = [
            {"name": c, "type": "date"} if isinstance(c, str) else c for c in columns or "a"
        ]
        document: dict[str, Any] = {"columns": column_documents, **members}
        document |= (
            {"name": self.schema_id}
            if version is None
            else {"id": self.schema_id, "version": version}
        )
        self.latest = json.dumps(document).encode()
        if version is not None:
            self.documents[version] = self.latest
        return self.latest

    async def fetch(
        self, schema_id: str, version: int | None = None, *, kind: str = "project"
    ) -> FetchedSchema:
        try:
            return self._find(schema_id, version)
        except RegistryError as error:
            fallback = await BundledRegistry().fetch(schema_id, version, kind=kind)
            return msgspec.structs.replace(fallback, detail=error.detail)

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = "project",
        is_secondary: bool = False,
    ) -> FetchedSchema:
        del kind, is_secondary
        self.notice(version)
        return self._find(schema_id, version)

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        del schema_id
        if self.error is not None:
            raise self.error
        if not self.has_list:
            return None
        return self.listed if self.listed is not None else tuple(sorted(self.documents)) or None

    async def list_schemas(self) -> tuple[PublishedSchema, ...]:
        latest = max(self.documents, default=None)
        return (PublishedSchema(schema_id=self.schema_id, title="All", latest_version=latest),)

    def _find(self, schema_id: str, version: int | None) -> FetchedSchema:
        if self.error is not None:
            raise self.error
        fault = None if version is None else self.faults.get(version)
        if isinstance(fault, Exception):
            raise fault
        document = self.latest if version is None else self.documents.get(version)
        document = document if fault is None else fault
        if document is None:
            raise NotFound("none")
        try:
            schema = read_schema(
                document, default_version=version, schema_id=schema_id, kind=self.kind
            )
        except InvalidInput as error:
            raise InvalidSchemaDocument(document, error) from None
        return FetchedSchema(
            schema=schema,
            document=document,
            provenance=Provenance.LIVE,
            verified_at=SystemClock().now(),
        )

    def status(self, schema_id: str | None = None) -> RegistryStatus:
        del schema_id
        detail = None if self.error is None else self.error.detail
        return RegistryStatus(
            url="http://ontology.test",
            provenance=Provenance.LIVE,
            breaker="closed",
            age_s=0.0,
            last_error=detail,
            consecutive_failures=0 if self.error is None else 1,
        )

    async def close(self) -> None:
        """Do nothing."""


class FakeRegistries:
    """One registry of several schemas: each call is that of the registry of its schema."""

    def __init__(self, *registries: FakeRegistry) -> None:
        self._registries = {one.schema_id: one for one in registries}

    async def fetch(
        self, schema_id: str, version: int | None = None, *, kind: str = "project"
    ) -> FetchedSchema:
        return await self._registries[schema_id].fetch(schema_id, version, kind=kind)

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = "project",
        is_secondary: bool = False,
    ) -> FetchedSchema:
        return await self._registries[schema_id].refresh(
            schema_id, version, kind=kind, is_secondary=is_secondary
        )

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        return await self._registries[schema_id].list_versions(schema_id)

    async def list_schemas(self) -> tuple[PublishedSchema, ...]:
        return tuple([p for one in self._registries.values() for p in await one.list_schemas()])

    def status(self, schema_id: str | None = None) -> RegistryStatus:
        return self._registries[schema_id or next(iter(self._registries))].status()

    async def close(self) -> None:
        """Do nothing."""


def schema_policy(**members: Any) -> SchemaPolicy:
    """Return a policy for the registry's schema."""
    return SchemaPolicy(**{"schema_id": ID} | members)


def pinned_policy(version: int) -> SchemaPolicy:
    """Return the policy with one version pinned."""
    return schema_policy(pin=(ID, version))


POLICY = schema_policy()
