"""Migration plan: steps from one schema version to the next, as a value.

A store applies the steps to its tables; `version_conversion.upgrade_state` applies them to one
project. Both follow the same plan, so that a row and a document yield the same project.
"""

from collections.abc import Iterator
from datetime import date

import msgspec

from spawn.domain.schema_version import Column, ColumnType, Schema, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.column_mapping import SchemaMapping, map_columns
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.type_widening import is_widening


class AddColumn(msgspec.Struct, frozen=True, kw_only=True, tag="add_column"):
    """A new column; stored states get their value under `source_name`, or else `default`.

    The source is an extension `x_…`, which leaves the extensions, or a retired column (often of the
    same name), whose stored values are served again.
    """

    column: Column
    default: Value | None = None
    source_name: str | None = None


class HideColumn(msgspec.Struct, frozen=True, kw_only=True, tag="hide_column"):
    """A column no longer served; its data stay in documents and table."""

    column: Column


class ChangeType(msgspec.Struct, frozen=True, kw_only=True, tag="change_type"):
    """A wider type of a column; no value changes."""

    name: str
    before: ColumnType
    after: ColumnType


class RenameColumn(msgspec.Struct, frozen=True, kw_only=True, tag="rename_column"):
    """A new name of a column, with the old one as a declared alias."""

    before: str
    after: str


class FillNulls(msgspec.Struct, frozen=True, kw_only=True, tag="fill_nulls"):
    """A default for stored states without a value."""

    name: str
    default: Value


MigrationStep = AddColumn | HideColumn | ChangeType | RenameColumn | FillNulls


class MigrationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Ordered steps from `old_version` to `new_version`, and the proofs that the data must pass.

    A plan without steps changes only validation, texts or notices. `kind` is the kind of aggregate
    that the schema governs.
    """

    schema_id: str
    kind: str = "project"
    old_version: int
    new_version: int
    steps: tuple[MigrationStep, ...]
    proofs: tuple[Proof, ...]


def plan_migration(old: Schema, new: Schema) -> MigrationPlan:
    """Plan the steps rename, widen, add, fill and hide, each in column order.

    A change that no step can make, such as another type, is not in the plan: `compare_schemas`
    rejects it.
    """
    # The proofs are the same on any day.
    proofs = compare_schemas(old, new, on_date=date.max).proofs
    return msgspec.structs.replace(plan_steps(old, new), proofs=proofs)


def plan_steps(old: Schema, new: Schema) -> MigrationPlan:
    """Return the plan of a past migration, for its steps alone: its proofs held then.

    Of wide versions the proofs take most of the time.
    """
    return MigrationPlan(
        schema_id=new.id,
        kind=new.kind,
        old_version=old.version,
        new_version=new.version,
        steps=tuple(_build_steps(map_columns(old, new))),
        proofs=(),
    )


def may_migrate(old: Schema, new: Schema) -> bool:
    """Whether the plan between two versions may have steps, without planning it."""
    if len(old.columns) != len(new.columns):
        return True
    return any(
        before is not after
        and (
            before.name != after.name
            or before.type != after.type
            or before.required != after.required
            or before.aliases != after.aliases
        )
        for before, after in zip(old.columns, new.columns, strict=True)
    )


def _build_steps(mapping: SchemaMapping) -> Iterator[MigrationStep]:
    surviving_pairs = (*mapping.same_name_pairs, *mapping.renamed_pairs)
    for before, after in mapping.renamed_pairs:
        yield RenameColumn(before=before.name, after=after.name)
    for before, after in surviving_pairs:
        if before.type != after.type and is_widening(before, after):
            yield ChangeType(name=after.name, before=before.type, after=after.type)
    for column in mapping.added_columns:
        retired_column = mapping.restored_columns.get(column.name)
        source_name = (
            EXTENSION_PREFIX + column.name if retired_column is None else retired_column.name
        )
        yield AddColumn(column=column, default=column.default, source_name=source_name)
    for before, after in surviving_pairs:
        if after.required and not before.required and after.default is not None:
            yield FillNulls(name=after.name, default=after.default)
    for column in (*mapping.removed_columns, *(before for before, _ in mapping.merged_pairs)):
        yield HideColumn(column=column)


def describe_plan(plan: MigrationPlan) -> tuple[str, ...]:
    """Describe each step of a plan in one sentence, independent of any engine."""
    return tuple(map(_describe_step, plan.steps))


def _describe_step(step: MigrationStep) -> str:
    match step:
        case AddColumn():
            return f"Add {step.column.name}, {step.column.type.with_article}{_describe_fill(step)}."
        case HideColumn():
            return f"Hide {step.column.name}; its values stay stored."
        case ChangeType():
            return f"Widen {step.name} from {step.before} to {step.after}."
        case RenameColumn():
            return f"Rename {step.before} to {step.after}."
        case FillNulls():
            return f"Set {step.name} to {step.default} in every project without a value."


def _describe_fill(step: AddColumn) -> str:
    source = f", filled from {step.source_name}" if step.source_name else ""
    if step.default is None:
        return source
    return f"{source}, else {step.default}" if source else f", filled with {step.default}"
