"""Conversion of projects between schema versions.

The journal keeps each document as it was encoded, so `upgrade_project` converts a project to the
active version whenever its document is read, by the plans between the two. No value is lost: the
value of a retired column becomes a hidden attribute, which later writes keep in the document, and a
value that does not fit a new column stays in its source. `downgrade_project` converts a project for
clients of an older version that is still supported; a hidden mark tells it which values of columns
were extensions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import parse_token
from spawn.domain.projects.codec import to_json_value
from spawn.domain.projects.extensions import MAX_COUNT, check_extensions
from spawn.domain.projects.project import CORE_FIELDS, Project, check_attributes
from spawn.domain.schema_version import Column, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    RenameColumn,
)
from spawn.domain.schemas.evolution.type_widening import cast_value
from spawn.domain.schemas.value_readers import ValueReader, check_value, column_reader

PROMOTION_MARK: Final = "$"
"""Prefix of the hidden attribute that marks an extension whose value moved to a column."""


class _SchemaFields:
    """Mutable copy of the project fields that depend on the schema."""

    __slots__ = ("attributes", "extensions", "hidden")

    def __init__(self, project: Project) -> None:
        self.attributes = dict(project.attributes)
        self.extensions = dict(project.extensions)
        self.hidden = dict(project.hidden_attributes)

    def apply_to(self, project: Project) -> Project:
        """Return the project with these fields; the same object if nothing changed."""
        if (
            _is_unchanged(project.attributes, self.attributes)
            and _is_unchanged(project.extensions, self.extensions)
            and _is_unchanged(project.hidden_attributes, self.hidden)
        ):
            return project
        return msgspec.structs.replace(
            project,
            attributes=self.attributes,
            extensions=self.extensions,
            hidden_attributes=self.hidden,
        )


def upgrade_project(project: Project, plans: Sequence[MigrationPlan]) -> Project:
    """Convert a project to the newest version; `plans` lead there, oldest first.

    Columns are renamed and types widened, extensions and hidden values move to new columns that
    they fit, defaults are filled in, and values of retired columns are hidden.
    """
    fields = _SchemaFields(project)
    for plan in plans:
        for step in plan.steps:
            _UPGRADE_STEPS[type(step)](fields, step)
    return fields.apply_to(project)


def downgrade_project(project: Project, plans: Sequence[MigrationPlan]) -> Project:
    """Convert a project of the newest version to an older one; `plans` as for upgrades.

    Columns have their old names, columns added since are left out, and values of retired columns
    return. No value is falsified: a value that only the wider type holds, or that the older version
    would have rejected, stays as it is.
    """
    fields = _SchemaFields(project)
    for plan in reversed(plans):
        for step in reversed(plan.steps):
            _DOWNGRADE_STEPS[type(step)](fields, step)
    return fields.apply_to(project)


def support_end_date(plans: Iterable[MigrationPlan]) -> date | None:
    """Return the day from which the version where `plans` begin is no longer served.

    It is the first Sunset of a column of that version that was removed since and not restored;
    columns that later versions added do not matter. None if none was announced.
    """
    days = find_removal_days(plans).values()
    return min((day for day in days if day is not None), default=None)


def find_removal_days(plans: Iterable[MigrationPlan]) -> dict[str, date | None]:
    """Return the Sunset of each removed column of the version where `plans` begin.

    Names are those at the removal; None is a removal without a Sunset.
    """
    newer_names: set[str] = set()
    days: dict[str, date | None] = {}
    for step in (step for plan in plans for step in plan.steps):
        if isinstance(step, AddColumn):
            if step.source_name in days:
                del days[step.source_name]
            else:
                newer_names.add(step.column.name)
        elif isinstance(step, RenameColumn) and step.before in newer_names:
            newer_names.add(step.after)
            newer_names.remove(step.before)
        elif isinstance(step, HideColumn) and step.column.name in newer_names:
            newer_names.remove(step.column.name)
        elif isinstance(step, HideColumn):
            days[step.column.name] = step.column.announced_sunset
    return days


def current_name(name: str, plans: Sequence[MigrationPlan]) -> str:
    """Return the current name of a field of the version where `plans` begin.

    Tables and queries use it. A retired column keeps its name until another restores its values.
    """
    for plan in plans:
        for step in plan.steps:
            if isinstance(step, RenameColumn) and step.before == name:
                name = step.after
            elif isinstance(step, AddColumn) and step.source_name == name:
                name = step.column.name
    return name


def former_name(name: str, plans: Sequence[MigrationPlan]) -> str | None:
    """Return the name that a newest field has in the version where `plans` begin.

    None if that version has no such field.
    """
    former: str | None = name
    for step in (step for plan in reversed(plans) for step in reversed(plan.steps)):
        if isinstance(step, RenameColumn) and step.after == former:
            former = step.before
        elif isinstance(step, AddColumn) and step.column.name == former:
            former = step.source_name
    return former


def find_violation(project: Project, proof: Proof) -> FieldError | None:
    """Return how a project violates a proof, at the stored name; None if it does not."""
    pointer = f"/{proof.stored_name}"
    try:
        value = _read_stored_value(project, proof, pointer)
    except InvalidInput as error:
        return error.errors[0]
    if value is None and not proof.allows_null:
        return FieldError(pointer, "missing", "has no value")
    return None


def _is_unchanged(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Whether both hold the identical objects: 5 equals Decimal(5) but has another type."""
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


def _read_stored_value(project: Project, proof: Proof, pointer: str) -> Value | None:
    """Return the stored value under the proof's column; None if absent.

    Raises:
        InvalidInput: the value is invalid under the column.
    """
    name, column = proof.stored_name, proof.column
    if name.startswith(EXTENSION_PREFIX):
        raw = project.extensions.get(name)
        return None if raw is None else _read_extension(column, raw, pointer)
    value: Any
    if name in CORE_FIELDS:
        value = getattr(project, name)
    else:
        value = project.attributes.get(name, project.hidden_attributes.get(name))
    return None if value is None else _fit_value(column, value, pointer)


def _fit_value(column: Column, value: Value, pointer: str) -> Value:
    result = cast_value(value, column.type, pointer)
    check_value(column, result, pointer)
    return result


def _read_extension(column: Column, raw: msgspec.Raw, pointer: str) -> Value:
    """Read an extension's JSON as a valid value of a column."""
    value = _get_reader(column)(parse_token(bytes(raw)), pointer)
    errors: list[FieldError] = []
    check_attributes({column.name: value}, errors)
    if errors:
        raise InvalidInput.at(pointer, errors[0].code, errors[0].detail)
    return value


@lru_cache(maxsize=1024)
def _get_reader(column: Column) -> ValueReader:
    read = column_reader(column)

    def read_present(token: Any, pointer: str) -> Value:
        if token is None:
            raise InvalidInput.at(pointer, "wrong_type", "is null")
        return read(token, pointer)

    return read_present


def _add_column(fields: _SchemaFields, step: AddColumn) -> None:
    name, column = step.column.name, step.column
    value = _take_source_value(fields, step.source_name, column) if step.source_name else None
    if value is None:
        value = step.default
    if value is not None:
        fields.attributes[name] = value


def _take_source_value(fields: _SchemaFields, source_name: str, column: Column) -> Value | None:
    """Move a value out of its source; None, leaving it there, if it does not fit."""
    try:
        if source_name in fields.extensions:
            value = _read_extension(column, fields.extensions[source_name], "")
            del fields.extensions[source_name]
            fields.hidden[PROMOTION_MARK + source_name] = True
            return value
        if source_name in fields.hidden:
            value = _fit_value(column, fields.hidden[source_name], "")
            del fields.hidden[source_name]
            return value
    except InvalidInput:
        # An earlier state, from before the proof was checked: its value stays in its source.
        pass
    return None


def _hide_column(fields: _SchemaFields, step: HideColumn) -> None:
    name = step.column.name
    if name in fields.attributes:
        fields.hidden[name] = fields.attributes.pop(name)


def _widen_type(fields: _SchemaFields, step: ChangeType) -> None:
    value = fields.attributes.get(step.name)
    if value is not None:
        fields.attributes[step.name] = cast_value(value, step.after)


def _rename_column(fields: _SchemaFields, step: RenameColumn) -> None:
    if step.before in fields.attributes:
        fields.attributes[step.after] = fields.attributes.pop(step.before)


def _fill_null(fields: _SchemaFields, step: FillNulls) -> None:
    fields.attributes.setdefault(step.name, step.default)


def _remove_column(fields: _SchemaFields, step: AddColumn) -> None:
    value = fields.attributes.pop(step.column.name, None)
    if value is None or step.source_name is None:
        return
    if not step.source_name.startswith(EXTENSION_PREFIX):
        # A column of the older version again; its default may have filled it in since.
        fields.hidden[step.source_name] = value
        return
    was_extension = fields.hidden.pop(PROMOTION_MARK + step.source_name, None)
    if value == step.default and not was_extension:
        return
    raw = msgspec.Raw(msgspec.json.encode(to_json_value(step.column.name, value)))
    errors: list[FieldError] = []
    check_extensions({step.source_name: raw}, errors)
    if not errors and len(fields.extensions) < MAX_COUNT:
        fields.extensions.setdefault(step.source_name, raw)


def _restore_column(fields: _SchemaFields, step: HideColumn) -> None:
    name = step.column.name
    if name in fields.hidden:
        fields.attributes[name] = fields.hidden.pop(name)


def _narrow_type(fields: _SchemaFields, step: ChangeType) -> None:
    value = fields.attributes.get(step.name)
    if value is None:
        return
    try:
        fields.attributes[step.name] = cast_value(value, step.before)
    except InvalidInput:
        # Only the wider type holds the value; rounding or cutting would falsify it.
        return


def _restore_name(fields: _SchemaFields, step: RenameColumn) -> None:
    if step.after in fields.attributes:
        fields.attributes[step.before] = fields.attributes.pop(step.after)


def _keep_filled(_fields: _SchemaFields, _step: FillNulls) -> None:
    """Keep a filled-in value: the older version accepts it too."""


_StepFunction = Callable[[_SchemaFields, Any], None]
_UPGRADE_STEPS: Final[dict[type, _StepFunction]] = {
    AddColumn: _add_column,
    HideColumn: _hide_column,
    ChangeType: _widen_type,
    RenameColumn: _rename_column,
    FillNulls: _fill_null,
}
_DOWNGRADE_STEPS: Final[dict[type, _StepFunction]] = {
    AddColumn: _remove_column,
    HideColumn: _restore_column,
    ChangeType: _narrow_type,
    RenameColumn: _restore_name,
    FillNulls: _keep_filled,
}
