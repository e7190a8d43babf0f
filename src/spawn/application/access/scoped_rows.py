"""Row scopes applied to projects: as filters of a query, and to one project at a time."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import msgspec

from spawn.application.access.held_rows import HeldRows
from spawn.application.dependencies import Dependencies
from spawn.application.schemas.served_versions import find_schema, plans_between
from spawn.domain.aggregates import AGGREGATE_TYPES, decode_state
from spawn.domain.errors import FieldError, Forbidden, InvalidInput
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.principal import PORTFOLIO_RULE, RowRule, RowScope
from spawn.domain.projects.document_fields import parse_number, read_document_values
from spawn.domain.projects.extensions import EXTENSION_NAME
from spawn.domain.projects.project import PROJECT_KIND, Project
from spawn.domain.query import Filter, Operator
from spawn.domain.schema_version import Schema, TypeName
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan
from spawn.domain.schemas.evolution.version_conversion import upgrade_state
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.domain.text import suggest_name

WHOLE_STORE: Final = (
    "This covers the whole store, and your credentials are limited to some of its projects."
)

_Path = tuple[Schema, tuple[MigrationPlan, ...], tuple[RowRule, ...]]
_PROJECT_TYPE = AGGREGATE_TYPES[PROJECT_KIND]


def forbid_part() -> NoReturn:
    """Raise Forbidden: a part of the store cannot be limited to some projects."""
    raise Forbidden(WHOLE_STORE)


def normalize_row_scope(row_scope: RowScope, validator: SchemaValidator) -> RowScope:
    """Return a row scope with canonical names and values, such as ESP for ES.

    Raises:
        InvalidInput: a field is neither a text of the schema nor an extension, or a value is none
            that a project can have.
    """
    errors: list[FieldError] = []
    values_by_field = {}
    for rule in row_scope.rules:
        try:
            name, values = _normalize_rule(rule.field, rule.values, validator)
        except InvalidInput as error:
            errors.extend(error.errors)
        else:
            values_by_field[name] = values
    if errors:
        raise InvalidInput(errors)
    return RowScope.of(values_by_field)


def _normalize_rule(
    field: str, values: Sequence[str], validator: SchemaValidator
) -> tuple[str, list[str]]:
    pointer = f"/row_scope/{field}"
    if not values:
        raise InvalidInput.at(pointer, "empty", "must have at least one value")
    if field == PORTFOLIO_RULE:
        return field, list(values)
    name = validator.canonical_name(field)
    if name is None and EXTENSION_NAME.fullmatch(field):
        if any(value in {"true", "false"} or parse_number(value) is not None for value in values):
            detail = "an extension is compared as a text: no number, true or false"
            raise InvalidInput.at(pointer, "wrong_type", detail)
        return field, list(values)
    if name is None:
        hint = suggest_name(field, validator.names)
        raise InvalidInput.at(pointer, "unknown_field", f"is not a field of projects.{hint}")
    if validator.fields[name].type.name is not TypeName.STRING:
        raise InvalidInput.at(pointer, "wrong_type", "is not a text: choose a field that is one")
    try:
        return name, [str(validator.read_value(name, value)) for value in values]
    except InvalidInput as error:
        raise InvalidInput.at(pointer, *_code_and_detail(error)) from error


def _code_and_detail(error: InvalidInput) -> tuple[str, str]:
    first = error.errors[0]
    return first.code, first.detail


class VisibleRows(msgspec.Struct, frozen=True):
    """A row scope by the names of the active schema, and what its portfolios hold now.

    `held_rows` is None for a scope that names no portfolios.
    """

    rules: tuple[RowRule, ...]
    held_rows: HeldRows | None = None

    def has_project(self, project: Project) -> bool:
        """Whether a project, in the fields of the active schema, meets every rule."""
        if self.held_rows is not None and project.project_id not in self.held_rows.projects:
            return False
        return meets_rules(project, self.rules)

    def build_filters(self, schema: Schema) -> tuple[Filter, ...] | None:
        """Return the filters of the visible projects; None if no project is visible.

        A field that the schema no longer has, or not as a text, is met by none: a scope fails
        closed.
        """
        columns = _PROJECT_TYPE.indexed_columns(schema)
        filters = []
        for rule in self.rules:
            column = columns.get(rule.field)
            is_text = column is not None and column.type.name is TypeName.STRING
            if not rule.values or not (is_text or EXTENSION_NAME.fullmatch(rule.field)):
                return None
            filters.append(Filter(rule.field, Operator.IN, rule.values))
        if self.held_rows is not None:
            if not self.held_rows.projects:
                return None
            ids = tuple(sorted(self.held_rows.projects))
            filters.append(Filter(_PROJECT_TYPE.id_column, Operator.IN, ids))
        return tuple(filters)


def follow_renames(row_scope: RowScope, validator: SchemaValidator) -> tuple[RowRule, ...]:
    """Return the rules about fields by the names of the active schema, which lists earlier ones.

    A key outlives a renamed column; a name that the schema does not know stays as it is.
    """
    return tuple(
        rule
        if (name := validator.canonical_name(rule.field)) in {None, rule.field}
        else msgspec.structs.replace(rule, field=name)
        for rule in row_scope.attribute_rules
    )


def meets_rules(project: Project, rules: Sequence[RowRule]) -> bool:
    """Whether a project, in the fields of the active schema, meets every rule about a field."""
    return all(_read_text(project, rule.field) in rule.values for rule in rules)


def _read_text(project: Project, name: str) -> object:
    field = _PROJECT_TYPE.find_document_field(name)
    if field is not None and field.is_json:
        return next(iter(read_document_values(project, field)), None)
    if name not in Project.__struct_fields__:
        value = project.attributes.get(name)
        return project.hidden_attributes.get(name) if value is None else value
    return getattr(project, name)


class ScopedEntries:
    """The journal entries that record a version of a project in scope."""

    def __init__(
        self,
        dependencies: Dependencies,
        row_scope: RowScope,
        find_held: Callable[[], Awaitable[HeldRows | None]],
    ) -> None:
        self._dependencies = dependencies
        self._row_scope = row_scope
        self._find_held = find_held
        self._paths: dict[tuple[int, int], _Path] = {}

    async def has(self, entry: JournalEntry) -> bool:
        """Whether the recorded version, in the fields of the active schema, meets every rule."""
        if entry.kind != PROJECT_KIND:
            return False
        held_rows = await self._find_held()
        if held_rows is not None and entry.id not in held_rows.projects:
            return False
        schema, plans, rules = await self._find_path(entry.schema_version)
        project = decode_state(PROJECT_KIND, entry.document, schema)
        if not isinstance(project, Project):
            return False
        return meets_rules(upgrade_state(project, plans) if plans else project, rules)

    async def _find_path(self, version: int) -> _Path:
        """Return a schema version, the plans from it, and the rules where they lead.

        Thousands of versions are searched once. A stream goes on under another active version.
        """
        active = (await self._dependencies.active_schema()).schema
        path = self._paths.get((version, active.version))
        if path is None:
            schema = await find_schema(self._dependencies, version)
            plans = await plans_between(self._dependencies, version, active.version)
            rules = follow_renames(self._row_scope, compile_schema(active))
            path = self._paths[version, active.version] = (schema, plans, rules)
        return path
