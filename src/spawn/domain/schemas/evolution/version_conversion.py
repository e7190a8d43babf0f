"""Reading a project of one schema version under another.

The journal keeps each document as it was encoded, so a project is brought to the active version
whenever its document is read (`upgrade`), by the plans between the two. Nothing is lost on the way:
what a retired column held becomes a hidden attribute, which later writes keep in the document, and
a value that does not fit a new column stays where it was. The way back (`downgrade`) shows a
project to clients of an older version that is still supported.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import read_token
from spawn.domain.projects.extensions import MAX_COUNT, check_extensions
from spawn.domain.projects.project import FIELDS, Project, check_attributes
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
from spawn.domain.schemas.evolution.type_widening import cast
from spawn.domain.schemas.model import Column, Value
from spawn.domain.schemas.value_readers import Reader, check_value, reader_for
from spawn.domain.serialization import plain


class _Shape:
    """The parts of a project that a schema has a say in, while they are being moved."""

    __slots__ = ("attributes", "extensions", "hidden")

    def __init__(self, project: Project) -> None:
        self.attributes = dict(project.attributes)
        self.extensions = dict(project.extensions)
        self.hidden = dict(project.hidden_attributes)

    def give(self, project: Project) -> Project:
        """The project in this shape; the same object if nothing moved."""
        if (
            _unmoved(project.attributes, self.attributes)
            and _unmoved(project.extensions, self.extensions)
            and _unmoved(project.hidden_attributes, self.hidden)
        ):
            return project
        return msgspec.structs.replace(
            project,
            attributes=self.attributes,
            extensions=self.extensions,
            hidden_attributes=self.hidden,
        )


def upgrade(project: Project, plans: Sequence[MigrationPlan]) -> Project:
    """A project of an older version as the newest one sees it; `plans` lead there, oldest first.

    Names are followed, types widened, extensions and kept values taken up by the columns that they
    fit, defaults filled in, and values of retired columns hidden.
    """
    shape = _Shape(project)
    for plan in plans:
        for step in plan.steps:
            _FORTH[type(step)](shape, step)
    return shape.give(project)


def downgrade(project: Project, plans: Sequence[MigrationPlan]) -> Project:
    """A project of the newest version in the shape of an older one; `plans` as for `upgrade`.

    Columns have their old names, those added since are left out, and what retired columns held is
    there again. No value is falsified: one that only the wider type holds is shown as it is, as is
    one that the older version would not have accepted.
    """
    shape = _Shape(project)
    for plan in reversed(plans):
        for step in reversed(plan.steps):
            _BACK[type(step)](shape, step)
    return shape.give(project)


def supported_until(plans: Iterable[MigrationPlan]) -> date | None:
    """The day from which the shape of the version where `plans` begin is no longer served.

    It is the first Sunset of a column that went since; None if no such day was announced.
    """
    steps = (step for plan in plans for step in plan.steps)
    days = (step.column.announced_sunset for step in steps if isinstance(step, HideColumn))
    return min((day for day in days if day is not None), default=None)


def stored_name(name: str, plans: Sequence[MigrationPlan]) -> str:
    """What a field of the version where `plans` begin is called now, in tables and queries.

    A retired column keeps its name until another takes up its values.
    """
    for plan in plans:
        for step in plan.steps:
            if isinstance(step, RenameColumn) and step.before == name:
                name = step.after
            elif isinstance(step, AddColumn) and step.promotes == name:
                name = step.column.name
    return name


def broken_by(project: Project, proof: Proof) -> FieldError | None:
    """How a project breaks a claim about the data, at the name under which the value is stored."""
    pointer = f"/{proof.stored}"
    try:
        value = _stored(project, proof, pointer)
    except InvalidInput as error:
        return error.errors[0]
    if value is None and not proof.nulls:
        return FieldError(pointer, "missing", "has no value")
    return None


def _unmoved(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Whether the very same values are there: 5 equals Decimal(5), and is of another type."""
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


def _stored(project: Project, proof: Proof, pointer: str) -> Value | None:
    """The value under the column of the proof; None if there is none.

    Raises:
        InvalidInput: there is one, and it does not fit.
    """
    name, column = proof.stored, proof.column
    if name.startswith(EXTENSION_PREFIX):
        raw = project.extensions.get(name)
        return None if raw is None else _read(column, raw, pointer)
    value: Any
    if name in FIELDS:
        value = getattr(project, name)
    else:
        value = project.attributes.get(name, project.hidden_attributes.get(name))
    return None if value is None else _fitted(column, value, pointer)


def _fitted(column: Column, value: Value, pointer: str) -> Value:
    found = cast(value, column.type, pointer)
    check_value(column, found, pointer)
    return found


def _read(column: Column, raw: msgspec.Raw, pointer: str) -> Value:
    """The JSON of an extension as a value that a project may have in this column."""
    value = _reader(column)(read_token(bytes(raw)), pointer)
    faults: list[FieldError] = []
    check_attributes({column.name: value}, faults)
    if faults:
        raise InvalidInput.at(pointer, faults[0].code, faults[0].detail)
    return value


@lru_cache(maxsize=1024)
def _reader(column: Column) -> Reader:
    read = reader_for(column)

    def present(token: Any, pointer: str) -> Value:
        if token is None:
            raise InvalidInput.at(pointer, "wrong_type", "is null")
        return read(token, pointer)

    return present


def _add(shape: _Shape, step: AddColumn) -> None:
    name, column = step.column.name, step.column
    value = _taken_up(shape, step.promotes, column) if step.promotes else None
    if value is None:
        value = step.default
    if value is not None:
        shape.attributes[name] = value


def _taken_up(shape: _Shape, stored: str, column: Column) -> Value | None:
    """What the project holds by that name, taken from there; None, and left, if it is unfit."""
    try:
        if stored in shape.extensions:
            value = _read(column, shape.extensions[stored], "")
            del shape.extensions[stored]
            return value
        if stored in shape.hidden:
            value = _fitted(column, shape.hidden[stored], "")
            del shape.hidden[stored]
            return value
    except InvalidInput:
        # An earlier state, from before the claim was proven: it keeps its value where it was.
        pass
    return None


def _hide(shape: _Shape, step: HideColumn) -> None:
    name = step.column.name
    if name in shape.attributes:
        shape.hidden[name] = shape.attributes.pop(name)


def _widen(shape: _Shape, step: ChangeType) -> None:
    value = shape.attributes.get(step.name)
    if value is not None:
        shape.attributes[step.name] = cast(value, step.after)


def _rename(shape: _Shape, step: RenameColumn) -> None:
    if step.before in shape.attributes:
        shape.attributes[step.after] = shape.attributes.pop(step.before)


def _fill(shape: _Shape, step: FillNulls) -> None:
    shape.attributes.setdefault(step.name, step.default)


def _leave_out(shape: _Shape, step: AddColumn) -> None:
    value = shape.attributes.pop(step.column.name, None)
    if value is None or step.promotes is None or value == step.default:
        return
    if not step.promotes.startswith(EXTENSION_PREFIX):
        shape.hidden[step.promotes] = value
        return
    raw = msgspec.Raw(msgspec.json.encode(plain(step.column.name, value)))
    faults: list[FieldError] = []
    check_extensions({step.promotes: raw}, faults)
    if not faults and len(shape.extensions) < MAX_COUNT:
        shape.extensions.setdefault(step.promotes, raw)


def _show(shape: _Shape, step: HideColumn) -> None:
    name = step.column.name
    if name in shape.hidden:
        shape.attributes[name] = shape.hidden.pop(name)


def _narrow(shape: _Shape, step: ChangeType) -> None:
    value = shape.attributes.get(step.name)
    if value is None:
        return
    try:
        shape.attributes[step.name] = cast(value, step.before)
    except InvalidInput:
        # Only the wider type holds it; rounding or cutting it would be a lie.
        return


def _rename_back(shape: _Shape, step: RenameColumn) -> None:
    if step.after in shape.attributes:
        shape.attributes[step.before] = shape.attributes.pop(step.after)


def _leave(_shape: _Shape, _step: FillNulls) -> None:
    """A value that was filled in stays: the older version took it too."""


_Move = Callable[[_Shape, Any], None]
_FORTH: Final[dict[type, _Move]] = {
    AddColumn: _add,
    HideColumn: _hide,
    ChangeType: _widen,
    RenameColumn: _rename,
    FillNulls: _fill,
}
_BACK: Final[dict[type, _Move]] = {
    AddColumn: _leave_out,
    HideColumn: _show,
    ChangeType: _narrow,
    RenameColumn: _rename_back,
    FillNulls: _leave,
}
