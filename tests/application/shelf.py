"""A registry whose shelf a test fills, and the rules that a service goes by."""

import json
from typing import Any

import msgspec

from spawn.adapters.local.runtime import SystemClock
from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.application.schemas.activation import SchemaRules
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.schemas.document_parser import DocumentRefused, read_schema
from spawn.ports.schemas import Fetched, Provenance, RegistryStatus

ID = "project_schema"


class Shelf:
    """A registry that serves what the test puts on it, or nothing but the bundled schema."""

    def __init__(self) -> None:
        self.documents: dict[int, bytes] = {}
        self.latest: bytes | None = None
        self.error: RegistryError | None = None

    def serve(self, version: int | None, *columns: str | dict[str, Any], **members: Any) -> bytes:
        """Put a version on the shelf, as the latest; a column by its name alone is a date."""
        shown = [{"name": c, "type": "date"} if isinstance(c, str) else c for c in columns or "a"]
        document: dict[str, Any] = {"columns": shown, **members}
        document |= {"name": ID} if version is None else {"id": ID, "version": version}
        self.latest = json.dumps(document).encode()
        if version is not None:
            self.documents[version] = self.latest
        return self.latest

    async def fetch(self, schema_id: str, version: int | None = None) -> Fetched:
        try:
            return self._find(schema_id, version)
        except RegistryError as error:
            fallen = await BundledRegistry().fetch(schema_id, version)
            return msgspec.structs.replace(fallen, detail=error.detail)

    async def refresh(self, schema_id: str) -> Fetched:
        return self._find(schema_id, None)

    def _find(self, schema_id: str, version: int | None) -> Fetched:
        if self.error is not None:
            raise self.error
        document = self.latest if version is None else self.documents.get(version)
        if document is None:
            raise NotFound("none")
        try:
            schema = read_schema(document, schema_id=schema_id)
        except InvalidInput as refusal:
            raise DocumentRefused(document, refusal) from None
        return Fetched(
            schema=schema,
            document=document,
            provenance=Provenance.LIVE,
            verified_at=SystemClock().now(),
        )

    def status(self) -> RegistryStatus:
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
        """Nothing is held."""


def rules(**members: Any) -> SchemaRules:
    """The rules for the shelf's schema."""
    return SchemaRules(**{"schema_id": ID} | members)


def pinned(version: int) -> SchemaRules:
    """The rules with one version pinned."""
    return rules(pin=(ID, version))


RULES = rules()
