"""How tables and readers come from one schema version to the next, as a value.

The steps are what a store does to its tables; `revision.upgrade` does the same to one project.
Both follow from the same plan, so that a row read and a document read agree.
"""

import msgspec

from spawn.domain.schema.compatibility import Proof
from spawn.domain.schema.value import Column, ColumnType, Value


class AddColumn(msgspec.Struct, frozen=True, kw_only=True, tag="add_column"):
    """A new column; stored projects get `default`, or what they hold under the name `promotes`.

    That is an extension `x_…`, which moves out of the extensions, or a retired column whose values
    were kept (often the column's own name), which are served again.
    """

    column: Column
    default: Value | None = None
    promotes: str | None = None


class HideColumn(msgspec.Struct, frozen=True, kw_only=True, tag="hide_column"):
    """A column that is no longer served; its data stay in the documents, and in the table."""

    column: Column


class ChangeType(msgspec.Struct, frozen=True, kw_only=True, tag="change_type"):
    """A wider type for a column; every value stays what it is."""

    name: str
    before: ColumnType
    after: ColumnType


class RenameColumn(msgspec.Struct, frozen=True, kw_only=True, tag="rename_column"):
    """A new name, with the old one as a declared alias."""

    before: str
    after: str


class FillNulls(msgspec.Struct, frozen=True, kw_only=True, tag="fill_nulls"):
    """Stored projects without a value get the default that the column now has."""

    name: str
    default: Value


Step = AddColumn | HideColumn | ChangeType | RenameColumn | FillNulls


class MigrationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps from `old_version` to `new_version`, in order, and what the data must show first.

    A plan without steps changes validation, texts or notices only.
    """

    schema_id: str
    old_version: int
    new_version: int
    steps: tuple[Step, ...]
    proofs: tuple[Proof, ...]
