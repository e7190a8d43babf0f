"""The stored status of a schema, written by each decision about a version."""

from typing import Final

import msgspec

SCHEMA_KIND: Final = "schema"

ADOPTED_EVENT: Final = "schema.adopted"
QUARANTINED_EVENT: Final = "schema.quarantined"
REJECTED_EVENT: Final = "schema.rejected"


class SchemaStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The status of a schema after a decision about one of its versions.

    The aggregate of kind `schema`, whose id is the schema's. `version` is the version decided on
    and `state` its state now; `active_version` is the active version afterwards. `changed` lists
    the columns that a migration touched; `reason` is why a version was rejected or approved.
    """

    schema_id: str
    version: int
    fingerprint: str
    state: str
    active_version: int | None = None
    previous_version: int | None = None
    changed: tuple[str, ...] = ()
    reason: str | None = None
