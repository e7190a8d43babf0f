"""What the journal keeps of governance: where the versions of a schema stand, as an aggregate."""

import msgspec


class SchemaStanding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schema after something was decided about one of its versions.

    The aggregate of kind `schema`, whose id is the schema's. `version` is the one decided about and
    `state` where it stands now; `active_version` is the one in force after it. `changed` are the
    columns that a migration touched, and `reason` says why a version was refused or approved.
    """

    schema_id: str
    version: int
    fingerprint: str
    state: str
    active_version: int | None = None
    previous_version: int | None = None
    changed: tuple[str, ...] = ()
    reason: str | None = None
