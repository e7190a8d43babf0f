"""The schema shipped with the service: always there, version 0, the last rung of the ladder."""

from functools import lru_cache
from importlib.resources import files

from spawn.domain.errors import NotFound
from spawn.domain.schemas.document_parser import read_schema
from spawn.ports.schemas import Fetched, Provenance, RegistryStatus

SCHEMA_ID = "project_schema"


@lru_cache(maxsize=1)
def bundled_document() -> bytes:
    """The JSON document of the bundled schema."""
    place = files("spawn.adapters.ontology") / "bundled" / f"{SCHEMA_ID}.json"
    return place.read_bytes()


@lru_cache(maxsize=1)
def bundled() -> Fetched:
    """The bundled schema as a registry's answer."""
    document = bundled_document()
    return Fetched(
        schema=read_schema(document, schema_id=SCHEMA_ID),
        document=document,
        provenance=Provenance.BUNDLED,
        verified_at=None,
        detail="shipped with the service",
    )


class BundledRegistry:
    """A registry that holds the bundled schema alone: `bundled://`."""

    async def fetch(self, schema_id: str, version: int | None = None) -> Fetched:
        """The bundled schema, if it is the one asked for."""
        found = bundled()
        if schema_id != SCHEMA_ID or version not in {None, found.schema.version}:
            raise NotFound(f"{schema_id} is not bundled with the service in that version")
        return found

    async def refresh(self, schema_id: str) -> Fetched:
        """The same: nobody else can be asked."""
        return await self.fetch(schema_id)

    def status(self) -> RegistryStatus:
        """Always well."""
        return RegistryStatus(
            url="bundled://",
            provenance=Provenance.BUNDLED,
            breaker="none",
            age_s=None,
            last_error=None,
            consecutive_failures=0,
        )

    async def close(self) -> None:
        """Nothing is held."""
