"""Conversion of governed states between schema versions.

The journal keeps each document as it was encoded, so `upgrade_state` converts a state to the
active version whenever its document is read, by the plans between the two. No value is lost: the
value of a retired column becomes a hidden attribute, which later writes keep in the document, and a
value that does not fit a new column stays in its source. `downgrade_state` converts a state for
clients of an older version that is still supported; a hidden mark tells it which values of columns
were extensions.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import parse_token
from spawn.domain.projects.codec import to_json_value
from spawn.domain.projects.extensions import MAX_COUNT, check_extensions
from spawn.domain.projects.project import check_attributes
from spawn.domain.schema_version import Column, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    MigrationStep,
    RenameColumn,
)
from spawn.domain.schemas.evolution.type_widening import cast_value
from spawn.domain.schemas.value_readers import ValueReader, check_value, column_reader

MAX_STEPS_IN_TURN: Final = 50
"""Steps up to which taking each is quicker than finding those that change a state."""

PROMOTION_MARK: Final = "$"
"""Prefix of the hidden attribute that marks an extension whose value moved to a column."""


class GovernedState(Protocol):
    """State of a governed kind: a struct of core fields, and three that depend on its schema."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def attributes(self) -> Mapping[str, Value]:
        """Values of governed columns by name; absent ones are not keys."""
        ...

    @property
    def extensions(self) -> Mapping[str, msgspec.Raw]:
        """JSON of the fields `x_…`, as received."""
        ...

    @property
    def hidden_attributes(self) -> Mapping[str, Value]:
        """Values of columns that the schema no longer has, stored and not served."""
        ...


G = TypeVar("G", bound=GovernedState)


class _SchemaFields:
    """Mutable copy of the fields of a state that depend on the schema."""

    __slots__ = ("attributes", "extensions", "hidden")

    def __init__(self, state: GovernedState) -> None:
        self.attributes = dict(state.attributes)
        self.extensions = dict(state.extensions)
        self.hidden = dict(state.hidden_attributes)

    def names(self) -> list[str]:
        """Return the names of all fields."""
        return [*self.attributes, *self.extensions, *self.hidden]

    def apply_to(self, state: G) -> G:
        """Return the state with these fields; the same object if nothing changed."""
        if (
            _is_unchanged(state.attributes, self.attributes)
            and _is_unchanged(state.extensions, self.extensions)
            and _is_unchanged(state.hidden_attributes, self.hidden)
        ):
            return state
        changed = msgspec.structs.replace(
            cast("msgspec.Struct", state),
            attributes=self.attributes,
            extensions=self.extensions,
            hidden_attributes=self.hidden,
        )
        return cast("G", changed)


def upgrade_state(state: G, plans: Sequence[MigrationPlan]) -> G:
    """Convert a state to the newest version; `plans` lead there, oldest first.

    Columns are renamed and types widened, extensions and hidden values move to new columns that
    they fit, defaults are filled in, and values of retired columns are hidden.
    """
    fields = _SchemaFields(state)
    for plan in plans:
        for step in plan.steps:
            _UPGRADE_STEPS[type(step)](fields, step)
    return fields.apply_to(state)


def downgrade_state(state: G, plans: Sequence[MigrationPlan]) -> G:
    """Convert a state of the newest version to an older one; `plans` as for upgrades.

    Columns have their old names, columns added since are left out, and values of retired columns
    return. No value is falsified: a value that only the wider type holds, or that the older version
    would have rejected, stays as it is.
    """
    fields = _SchemaFields(state)
    for plan in reversed(plans):
        for step in reversed(plan.steps):
            _DOWNGRADE_STEPS[type(step)](fields, step)
    return fields.apply_to(state)


class VersionSteps:
    """The steps of plans, oldest first, found by the fields of a state that they change.

    Of the thousands that follow a version after wide columns came and went, a state meets few:
    those of fields that it has, and the defaults. Taking each cost 2 ms a state.
    """

    def __init__(self, plans: Iterable[MigrationPlan]) -> None:
        self._steps: list[MigrationStep] = []
        self._first_steps = [0]
        self._defaults: list[int] = []
        self._by_old_name: dict[str, tuple[int, ...]] = {}
        self._by_new_name: dict[str, tuple[int, ...]] = {}
        for plan in plans:
            self._append(plan)

    def extended(self, plan: MigrationPlan) -> "VersionSteps":
        """Return these steps and those of a later plan; readers may be using the old ones."""
        steps = VersionSteps(())
        for name, value in vars(self).items():
            setattr(steps, name, value.copy())
        steps._append(plan)
        return steps

    def _append(self, plan: MigrationPlan) -> None:
        for number, step in enumerate(plan.steps, start=len(self._steps)):
            old_name, new_name = _field_names(step)
            if isinstance(step, AddColumn | FillNulls) and step.default is not None:
                self._defaults.append(number)
            if old_name is not None:
                self._by_old_name[old_name] = (*self._by_old_name.get(old_name, ()), number)
            self._by_new_name[new_name] = (*self._by_new_name.get(new_name, ()), number)
        self._steps += plan.steps
        self._first_steps.append(len(self._steps))

    def upgrade(self, state: G, first_plan: int = 0) -> G:
        """Convert a state to the newest version, as `upgrade_state` by the plans from a number."""
        first = self._first_steps[first_plan]
        fields = _SchemaFields(state)
        if len(self._steps) - first <= MAX_STEPS_IN_TURN:
            numbers: Iterable[int] = range(first, len(self._steps))
        else:
            defaults = self._defaults[bisect_left(self._defaults, first) :]
            numbers = self._find_upgrades(fields, first, defaults)
        for number in numbers:
            step = self._steps[number]
            _UPGRADE_STEPS[type(step)](fields, step)
        return fields.apply_to(state)

    def downgrade(self, state: G) -> G:
        """Convert a state of the newest version to the oldest, as `downgrade_state`."""
        fields = _SchemaFields(state)
        if len(self._steps) <= MAX_STEPS_IN_TURN:
            numbers: Iterable[int] = reversed(range(len(self._steps)))
        else:
            numbers = self._find_downgrades(fields)
        for number in numbers:
            step = self._steps[number]
            _DOWNGRADE_STEPS[type(step)](fields, step)
        return fields.apply_to(state)

    def _find_upgrades(
        self, fields: "_SchemaFields", first: int, defaults: list[int]
    ) -> Iterator[int]:
        """Yield the numbers of steps that may change the fields, ascending.

        Args:
            fields: of the state; each step is taken before the next is found.
            first: the first step.
            defaults: steps that may change any state.
        """
        due, known_names = defaults, set[str]()

        def add_steps(name: str, since: int) -> None:
            if name not in known_names:
                known_names.add(name)
                numbers = self._by_old_name.get(name, ())
                for number in numbers[bisect_left(numbers, since) :]:
                    heappush(due, number)

        for name in fields.names():
            add_steps(name, first)
        last = -1
        while due:
            number = heappop(due)
            if number != last:
                yield number
                last = number
                add_steps(_field_names(self._steps[number])[1], number + 1)

    def _find_downgrades(self, fields: "_SchemaFields") -> Iterator[int]:
        """Yield the numbers of steps that may change the fields, descending."""
        due, known_names = list[int](), set[str]()

        def add_steps(name: str, before: int) -> None:
            if name not in known_names:
                known_names.add(name)
                numbers = self._by_new_name.get(name, ())
                for number in numbers[: bisect_left(numbers, before)]:
                    heappush(due, -number)

        for name in fields.names():
            add_steps(name, len(self._steps))
        last = -1
        while due:
            number = -heappop(due)
            if number != last:
                yield number
                last = number
                old_name = _field_names(self._steps[number])[0]
                if old_name is not None:
                    add_steps(old_name, number)


def _field_names(step: MigrationStep) -> tuple[str | None, str]:
    """Return the field that a step reads, and the one that it writes, of the same value."""
    if isinstance(step, AddColumn):
        return step.source_name, step.column.name
    if isinstance(step, HideColumn):
        return step.column.name, step.column.name
    if isinstance(step, RenameColumn):
        return step.before, step.after
    return step.name, step.name


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


def find_violation(state: GovernedState, proof: Proof) -> FieldError | None:
    """Return how a state violates a proof, at the stored name; None if it does not."""
    pointer = f"/{proof.stored_name}"
    try:
        value = _read_stored_value(state, proof, pointer)
    except InvalidInput as error:
        return error.errors[0]
    if value is None and not proof.allows_null:
        return FieldError(pointer, "missing", "has no value")
    return None


def _is_unchanged(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Whether both hold the identical objects: 5 equals Decimal(5) but has another type."""
    return before.keys() == after.keys() and all(before[name] is after[name] for name in before)


def _read_stored_value(state: GovernedState, proof: Proof, pointer: str) -> Value | None:
    """Return the stored value under the proof's column; None if absent.

    Raises:
        InvalidInput: the value is invalid under the column.
    """
    name, column = proof.stored_name, proof.column
    if name.startswith(EXTENSION_PREFIX):
        raw = state.extensions.get(name)
        return None if raw is None else _read_extension(column, raw, pointer)
    value: Any
    if name in state.__struct_fields__:
        value = getattr(state, name)
    else:
        value = state.attributes.get(name, state.hidden_attributes.get(name))
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
