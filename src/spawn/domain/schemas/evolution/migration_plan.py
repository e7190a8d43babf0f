"""How tables and readers come from one schema version to the next, as a value.

The steps are what a store does to its tables; `revision.upgrade` does the same to one project.
Both follow from the same plan, so that a row read and a document read agree.
"""

from collections.abc import Iterator
from datetime import date

import msgspec

from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.column_mapping import Succession, succession
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.evolution.type_widening import widens
from spawn.domain.schemas.model import Column, ColumnType, Schema, Value


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


def plan_migration(old: Schema, new: Schema) -> MigrationPlan:
    """The steps from one version to the next: rename, widen, add, fill, hide, each in column order.

    A change that no step can make (another type, say) is not in the plan: `compare` refuses it.
    """
    pairs = succession(old, new)
    return MigrationPlan(
        schema_id=new.id,
        old_version=old.version,
        new_version=new.version,
        steps=tuple(_steps(pairs)),
        # What has to be proven depends on no day.
        proofs=compare(old, new, on=date.max).proofs,
    )


def _steps(pairs: Succession) -> Iterator[Step]:
    lasting = (*pairs.kept, *pairs.renamed)
    for before, after in pairs.renamed:
        yield RenameColumn(before=before.name, after=after.name)
    for before, after in lasting:
        if before.type != after.type and widens(before, after):
            yield ChangeType(name=after.name, before=before.type, after=after.type)
    for column in pairs.added:
        returning = pairs.returning.get(column.name)
        stored = EXTENSION_PREFIX + column.name if returning is None else returning.name
        yield AddColumn(column=column, default=column.default, promotes=stored)
    for before, after in lasting:
        if after.required and not before.required and after.default is not None:
            yield FillNulls(name=after.name, default=after.default)
    for column in (*pairs.removed, *(before for before, _ in pairs.merged)):
        yield HideColumn(column=column)
