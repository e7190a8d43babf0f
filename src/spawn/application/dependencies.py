"""What every use case is given: the ports, once, as one value."""

import msgspec

from spawn.domain.errors import Forbidden, Unavailable
from spawn.domain.principal import Principal
from spawn.domain.schemas.validator import Conformance, compile_schema
from spawn.ports.analytics import QualityStore
from spawn.ports.runtime import Clock, Ids, Spool
from spawn.ports.schemas import SchemaRecord, SchemaRegistry, SchemaStore
from spawn.ports.storage import Bookmarks, CommandStore, ReadStore, StoreControl


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The ports a use case may reach; built by the composition root, never at import."""

    commands: CommandStore
    reads: ReadStore
    bookmarks: Bookmarks
    control: StoreControl
    schemas: SchemaStore
    quality: QualityStore
    registry: SchemaRegistry
    spool: Spool
    clock: Clock
    ids: Ids

    async def active(self) -> SchemaRecord:
        """The active schema as the store knows it now; asked each time, for replicas' sake.

        Raises:
            Unavailable: the store has not adopted a schema yet.
        """
        record = await self.schemas.active()
        if record is None:
            raise Unavailable("No schema is active yet; the service is still starting.")
        return record

    async def conformance(self) -> Conformance:
        """The active schema, compiled; compilation is cached by the schema's fingerprint."""
        return compile_schema((await self.active()).schema)


def require(principal: Principal, scope: str) -> None:
    """Let the principal pass if it holds the scope.

    Raises:
        Forbidden: it does not.
    """
    if scope not in principal.scopes:
        raise Forbidden(f"This needs the scope '{scope}'.")
