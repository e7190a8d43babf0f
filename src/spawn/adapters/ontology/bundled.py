"""Schema shipped with the service: version 0, the last fallback of the registry."""

from functools import lru_cache
from importlib.resources import files

from spawn.domain.errors import NotFound
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import FetchedSchema, Provenance, PublishedSchema, RegistryStatus

SCHEMA_ID = "project_schema"


@lru_cache(maxsize=1)
def load_bundled_document() -> bytes:
    """Return the JSON document of the bundled schema."""
    path = files("spawn.adapters.ontology") / "bundled" / f"{SCHEMA_ID}.json"
    return path.read_bytes()


@lru_cache(maxsize=1)
def load_bundled_schema() -> FetchedSchema:
    """Return the bundled schema in the form of a registry's response."""
    document = load_bundled_document()
    return FetchedSchema(
        schema=read_schema(document, schema_id=SCHEMA_ID),
        document=document,
        provenance=Provenance.BUNDLED,
        verified_at=None,
        detail="shipped with the service",
    )


class BundledRegistry:
    """Registry with the bundled schema alone: `bundled://`."""

    async def fetch(
        self, schema_id: str, version: int | None = None, *, kind: str = PROJECT_KIND
    ) -> FetchedSchema:
        """Return the bundled schema, if id, version and kind match."""
        fetched_schema = load_bundled_schema()
        if (schema_id, kind) != (SCHEMA_ID, PROJECT_KIND) or version not in {
            None,
            fetched_schema.schema.version,
        }:
            raise NotFound(f"{schema_id} is not bundled with the service in that version")
        return fetched_schema

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = PROJECT_KIND,
        is_secondary: bool = False,
    ) -> FetchedSchema:
        """Return the bundled schema: there is no server to query."""
        del is_secondary
        return await self.fetch(schema_id, version, kind=kind)

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        """Return the number of the bundled schema; none for another id."""
        return (load_bundled_schema().schema.version,) if schema_id == SCHEMA_ID else ()

    async def list_schemas(self) -> tuple[PublishedSchema, ...]:
        """Return the bundled schema."""
        schema = load_bundled_schema().schema
        return (
            PublishedSchema(schema_id=schema.id, title=schema.name, latest_version=schema.version),
        )

    def status(self, schema_id: str | None = None) -> RegistryStatus:
        """Return the status of a registry without errors."""
        del schema_id
        return RegistryStatus(
            url="bundled://",
            provenance=Provenance.BUNDLED,
            breaker="none",
            age_s=None,
            last_error=None,
            consecutive_failures=0,
        )

    async def close(self) -> None:
        """Do nothing: there is no connection."""
