"""Compiled schema: validates and types a request body or a query value.

Core attributes, governed attributes and extensions arrive as one flat object. Each field is read
by the reader of its column, every error is collected, and the result is input for
`project.propose` and `project.amend`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token, format_token
from spawn.domain.money import DECIMAL_CONTEXT, Rounding, fit_amount
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.extensions import check_extensions
from spawn.domain.projects.milestones import check_decided_days
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Column, ColumnType, RetiredColumn, Schema, TypeName, Value
from spawn.domain.schemas.core_columns import (
    AMOUNT_TYPE,
    CORE_ATTRIBUTES,
    CORE_BY_NAME,
    EXTENSION_PREFIX,
    PERCENT_ALIAS,
    CoreAttributes,
    get_core_columns,
)
from spawn.domain.schemas.json_schema import SchemaUse, build_state_schema, join_terms
from spawn.domain.schemas.nested_fields import NESTED_READERS
from spawn.domain.schemas.value_readers import (
    MAX_ROUNDED_DECIMALS,
    ValueReader,
    code_reader,
    column_reader,
    decimal_reader,
    read_status,
    token_from_text,
    type_reader,
    with_constraints,
)
from spawn.domain.struct_reader import (
    TokenReader,
    line_reader,
    prose_reader,
)
from spawn.domain.text import MAX_SUGGESTIONS, escape_pointer_token, suggest_name

MAX_ERRORS: Final = 100
"""Maximum errors reported for one body; further ones are dropped."""

_ROUNDED_AMOUNT: Final = ColumnType(
    TypeName.DECIMAL, precision=18 + MAX_ROUNDED_DECIMALS, scale=MAX_ROUNDED_DECIMALS
)
_CACHED_SCHEMAS: Final = 64

_DEPRECATION_WARNING: Final = "is deprecated and may go"


class ProjectInput(msgspec.Struct, frozen=True):
    """Typed attributes of a request body.

    `core` holds core and nested fields by canonical name, `governed` governed values, `extensions`
    the JSON of `x_…` fields. None stands for an explicit null, which only a partial body contains:
    remove the value. `warnings` reject nothing. `schema_version` is the version that the body was
    read under, None if it was built without one.
    """

    core: dict[str, object]
    governed: dict[str, Value | None]
    extensions: dict[str, msgspec.Raw | None]
    warnings: tuple[FieldError, ...] = ()
    schema_version: int | None = None


class _InputField(msgspec.Struct, frozen=True):
    """Reader and rules of one input name."""

    name: str  # canonical
    pointer: str  # of the input name
    read: TokenReader
    core: bool
    nullable: bool
    read_only: bool = False
    default: Value | None = None  # restored by null where a governed column must have a value


class _BodyReader:
    """State of reading one body."""

    __slots__ = (
        "core",
        "errors",
        "extensions",
        "governed",
        "is_partial",
        "on_date",
        "retired",
        "warnings",
    )

    def __init__(
        self, retired: Mapping[str, RetiredColumn], on_date: date | None, *, partial: bool
    ) -> None:
        self.retired = retired
        self.on_date = on_date
        self.is_partial = partial
        self.warnings: list[FieldError] = []
        self.core: dict[str, object] = {}
        self.governed: dict[str, Any] = {}
        self.extensions: dict[str, msgspec.Raw | None] = {}
        self.errors: list[FieldError] = []

    def read_all(
        self, tokens: Mapping[str, Token], input_fields: Mapping[str, _InputField]
    ) -> None:
        """Read every field, in one flat loop because imports run it for each row."""
        core, governed = self.core, self.governed
        for name, token in tokens.items():
            field = input_fields.get(name)
            if field is None:
                self.read_unknown(name, token, input_fields)
                if len(self.errors) >= MAX_ERRORS:
                    return  # of 30,000 unknown names the others cost 0.15 s, and are dropped
                continue
            if token is None and not field.read_only:
                self.read_null(field)
                continue
            target = core if field.core else governed
            if field.name in target:
                self.report_second_name(field)
                continue
            try:
                target[field.name] = field.read(token, field.pointer)
            except InvalidInput as error:
                self.errors.extend(error.errors)
                # The field is present but invalid: do not report it as missing too.
                target[field.name] = None

    def report_second_name(self, field: _InputField) -> None:
        """Append the error of a field that the body names twice."""
        detail = f"{field.name} is given twice, by its name and by an alias"
        self.errors.append(FieldError(field.pointer, "given_twice", detail))

    def read_null(self, field: _InputField) -> None:
        """Ignore null in a whole body; in a partial one, remove the value.

        A governed column that must have a value returns to its default, if it declares one.
        """
        if not self.is_partial:
            return
        if not field.nullable and field.default is None:
            self.errors.append(FieldError(field.pointer, "not_nullable", "cannot be removed"))
        target = self.core if field.core else self.governed
        if field.name in target:
            self.report_second_name(field)
        target[field.name] = field.default

    def read_unknown(self, name: str, token: Token, field_names: Iterable[str]) -> None:
        """Read a field of the client's own, or report the name with a similar one."""
        if name in self.retired:
            self.read_retired(name, self.retired[name])
        elif not name.startswith(EXTENSION_PREFIX):
            detail = "is not a field of this schema; fields of your own begin with x_"
            if len(self.errors) < MAX_SUGGESTIONS:
                detail += f".{hint}" if (hint := suggest_name(name, field_names)) else ""
            self.errors.append(
                FieldError(f"/{escape_pointer_token(name)}", "unknown_field", detail)
            )
        elif token is not None:
            self.extensions[name] = msgspec.Raw(format_token(token).encode())
        elif self.is_partial:
            self.extensions[name] = None

    def read_retired(self, name: str, column: RetiredColumn) -> None:
        """Ignore a retired column with a warning until its Sunset, then reject it."""
        removal_text = f"was removed by version {column.since} of the schema"
        if column.sunset is None:
            self.warnings.append(
                FieldError(f"/{name}", "retired", f"is ignored: it {removal_text}")
            )
        elif self.on_date is None or self.on_date < column.sunset:
            detail = f"is ignored: it {removal_text}, and will be rejected from {column.sunset}"
            self.warnings.append(FieldError(f"/{name}", "retired", detail))
        else:
            detail = f"{removal_text}; its Sunset was {column.sunset}"
            self.errors.append(FieldError(f"/{name}", "retired", detail))

    def check_days(self) -> None:
        """Check the days of milestones against the day on which the body is read."""
        milestones = self.core.get("milestones")
        if self.on_date is not None and isinstance(milestones, tuple | list):
            check_decided_days(milestones, self.on_date, self.errors)

    def round_amount(self, rounding: Rounding) -> None:
        """Round the amount once, to the scale of the body's currency."""
        amount, code = self.core.get("total_amount"), self.core.get("currency_code")
        if not isinstance(amount, Decimal):
            return
        if self.is_partial and code is None:
            detail = "is needed to round an amount"
            self.errors.append(FieldError("/currency_code", "missing", detail))
            return
        code = code or CORE_BY_NAME["currency_code"].default
        try:
            rounded_amount = fit_amount(
                amount, str(code), rounding=rounding, pointer="/total_amount"
            )
            self.core["total_amount"] = rounded_amount
        except InvalidInput as error:
            self.errors.extend(error.errors)


class SchemaValidator:
    """Validator of bodies and values under one schema; immutable and safe to share.

    `required` names the fields of a whole body, `defaults` the values of governed columns that it
    may omit, `retired` the removed columns by each name that requests used for them.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._attributes = CORE_ATTRIBUTES[schema.kind]
        self._core = get_core_columns(schema)
        columns = (*self._attributes.system_columns, *self._core, *schema.governed)
        self.fields: Mapping[str, Column] = MappingProxyType({c.name: c for c in columns})
        self._aliases = _build_aliases(columns, self._attributes)
        self.retired = _build_retired_names(schema, {*self.fields, *self._aliases})
        self._input_fields_by_rounding: dict[Rounding | None, dict[str, _InputField]] = {}
        self._deprecated_names = frozenset(c.name for c in columns if c.deprecated)
        self._lookup_readers: dict[str, ValueReader] = {}
        self._exact_fields = self._get_input_fields(None)
        self._required_core_names = tuple(c.name for c in self._core if c.required)
        self._columns_to_fill = tuple(
            c for c in schema.governed if c.required or c.default is not None
        )
        self.required = (
            *self._required_core_names,
            *(c.name for c in self._columns_to_fill if c.default is None),
        )
        self.defaults = {c.name: c.default for c in self._columns_to_fill if c.default is not None}

    def read(
        self,
        tokens: Mapping[str, Token],
        *,
        partial: bool = False,
        rounding: Rounding | None = None,
        on_date: date | None = None,
        may_lack: AbstractSet[str] = frozenset(),
    ) -> ProjectInput:
        """Validate a body, whole or (`partial`) a merge patch, on a day; return typed attributes.

        `may_lack` are required core fields that this body may omit.

        A value of a retired column is ignored with a warning, and rejected from its Sunset on;
        a milestone of a whole body is met or waived up to that day. Without a day neither is
        checked.

        With `rounding`, numbers may have up to 30 decimals and are rounded once: amounts to the
        scale of the body's currency (USD if it has none), others to the scale of their column.

        Raises:
            InvalidInput: one error for each invalid field, at most 100.
        """
        input_fields = self._exact_fields if rounding is None else self._get_input_fields(rounding)
        reader = _BodyReader(self.retired, on_date, partial=partial)
        reader.read_all(tokens, input_fields)
        if not partial:
            self._fill_defaults(reader, may_lack)
        if reader.extensions:
            extensions = {n: raw for n, raw in reader.extensions.items() if raw is not None}
            check_extensions(extensions, reader.errors)
        # The days of an amendment are compared with those that the project has.
        if not partial and "milestones" in reader.core:
            reader.check_days()
        if rounding is not None and not reader.errors:
            reader.round_amount(rounding)
        if reader.errors:
            raise InvalidInput(reader.errors[:MAX_ERRORS])
        if self._deprecated_names:
            reader.warnings.extend(self._warn_deprecated(tokens))
        return ProjectInput(
            reader.core,
            reader.governed,
            reader.extensions,
            tuple(reader.warnings),
            self.schema.version,
        )

    def read_governed(
        self, tokens: Mapping[str, Token], *, partial: bool = False, on_date: date | None = None
    ) -> ProjectInput:
        """Validate the members of a body that are no core fields; see `read`.

        Raises:
            InvalidInput: one error for each invalid field, at most 100.
        """
        fields = {name: field for name, field in self._exact_fields.items() if not field.core}
        reader = _BodyReader(self.retired, on_date, partial=partial)
        reader.read_all(tokens, fields)
        if not partial:
            self._fill_defaults(reader, frozenset(self._required_core_names))
        extensions = {n: raw for n, raw in reader.extensions.items() if raw is not None}
        check_extensions(extensions, reader.errors)
        if reader.errors:
            raise InvalidInput(reader.errors[:MAX_ERRORS])
        reader.warnings.extend(self._warn_deprecated(tokens))
        return ProjectInput(
            {}, reader.governed, reader.extensions, tuple(reader.warnings), self.schema.version
        )

    def read_value(self, name: str, text: str) -> Value:
        """Read plain text (a query parameter) as a value of a column's type.

        Only the type, an enum and the codes of currencies and countries are checked: a search may
        be for values outside bounds and pattern.

        Raises:
            InvalidInput: at `/name`: not of the type, or `unknown_field`.
        """
        canonical = self.canonical_name(name)
        if canonical is None:
            raise InvalidInput.at(
                f"/{escape_pointer_token(name)}", "unknown_field", "is not a field"
            )
        read = self._lookup_readers.get(canonical)
        if read is None:
            read = _lookup_reader(self.fields[canonical], self._attributes)
            self._lookup_readers[canonical] = read
        value = read(token_from_text(self.fields[canonical].type, text), f"/{name}")
        if canonical != name == PERCENT_ALIAS and isinstance(value, Decimal):
            return value.scaleb(-2, DECIMAL_CONTEXT)
        return value

    def to_token(self, name: str, text: str) -> Token:
        """Return the JSON token of a text (a CSV cell) under a column, for `read`."""
        canonical = self.canonical_name(name)
        return text if canonical is None else token_from_text(self.fields[canonical].type, text)

    def canonical_name(self, name: str) -> str | None:
        """Return the canonical name for a column name or alias; None if unknown."""
        return name if name in self.fields else self._aliases.get(name)

    @property
    def names(self) -> Collection[str]:
        """Names and aliases of all columns."""
        return {*self.fields, *self._aliases}

    def plain_field_readers(self) -> Mapping[str, TokenReader]:
        """Return the readers of fields that a body may set without a warning, by name."""
        return {
            name: field.read
            for name, field in self._exact_fields.items()
            if name == field.name and not field.read_only and name not in self._deprecated_names
        }

    def json_schema(self, use: SchemaUse) -> dict[str, Any]:
        """Return the JSON Schema 2020-12 of a state, as accepted or as served."""
        return build_state_schema(
            self._attributes, self._core, self.schema.governed, self.retired, use
        )

    def join_terms(self, struct_schema: dict[str, Any], use: SchemaUse) -> dict[str, Any]:
        """Return the JSON Schema 2020-12 of a state whose terms are those of a struct's schema."""
        return join_terms(
            struct_schema,
            self._attributes,
            self._core,
            self.schema.governed,
            self.retired,
            use,
        )

    def _fill_defaults(self, reader: _BodyReader, may_lack: AbstractSet[str]) -> None:
        """Fill in defaults; add an error for each missing required field."""
        required_names = (name for name in self._required_core_names if name not in may_lack)
        missing = [name for name in required_names if name not in reader.core]
        for column in self._columns_to_fill:
            if column.name in reader.governed:
                continue
            if column.default is None:
                missing.append(column.name)
            else:
                reader.governed[column.name] = column.default
        reader.errors.extend(FieldError(f"/{name}", "missing", "is required") for name in missing)

    def _warn_deprecated(self, tokens: Mapping[str, Token]) -> Iterator[FieldError]:
        for name in tokens:
            column = self.canonical_name(name)
            if column in self._deprecated_names:
                sunset = self.fields[column].announced_sunset
                detail = (
                    f"is deprecated and may go from {sunset}" if sunset else _DEPRECATION_WARNING
                )
                yield FieldError(f"/{name}", "deprecated", detail)

    def _get_input_fields(self, rounding: Rounding | None) -> dict[str, _InputField]:
        reader = self._input_fields_by_rounding.get(rounding)
        if reader is None:
            reader = self._input_fields_by_rounding[rounding] = self._build_input_fields(rounding)
        return reader

    def _build_input_fields(self, rounding: Rounding | None) -> dict[str, _InputField]:
        input_fields: dict[str, _InputField] = {}
        for column in self._core:
            read = _core_reader(column, self._attributes, rounding)
            input_fields[column.name] = _build_core_field(column, self._attributes, read)
        for column in self.schema.governed:
            input_fields[column.name] = _build_input_field(
                column, column_reader(column, rounding=rounding), core=False
            )
        for name, read_nested in NESTED_READERS[self.schema.kind].items():
            input_fields[name] = _InputField(
                name, f"/{name}", read_nested, core=True, nullable=True
            )
        for column in self._attributes.system_columns:
            input_fields[column.name] = _build_read_only_field(column.name)
        for alias, name in self._aliases.items():
            input_fields[alias] = msgspec.structs.replace(input_fields[name], pointer=f"/{alias}")
        if self._attributes.percent_name is None:
            return input_fields
        irr_field = input_fields[self._attributes.percent_name]
        input_fields[PERCENT_ALIAS] = msgspec.structs.replace(
            irr_field,
            pointer=f"/{PERCENT_ALIAS}",
            read=_percent_reader(self.fields[irr_field.name], rounding),
        )
        return input_fields


_CacheKey = tuple[str, str, int, str, tuple[RetiredColumn, ...]]
_validator_cache: dict[_CacheKey, SchemaValidator] = {}
_latest: dict[str, tuple[Schema, SchemaValidator]] = {}


def compile_schema(schema: Schema) -> SchemaValidator:
    """Compile a schema; the same fingerprint and retired columns return a cached object.

    A schema without a fingerprint (built in code) is compiled each time.
    """
    if not schema.fingerprint:
        return SchemaValidator(schema)
    # The key of a schema with thousands of retired columns takes longer than most requests.
    latest = _latest.get(schema.fingerprint)
    if latest is not None and latest[0] is schema:
        return latest[1]
    key = (schema.kind, schema.id, schema.version, schema.fingerprint, schema.retired)
    reader = _validator_cache.get(key)
    if reader is None:
        while len(_validator_cache) >= _CACHED_SCHEMAS:
            _validator_cache.pop(next(iter(_validator_cache)))
        reader = _validator_cache[key] = SchemaValidator(schema)
    if len(_latest) >= _CACHED_SCHEMAS:
        _latest.clear()
    _latest[schema.fingerprint] = (schema, reader)
    return reader


def _build_aliases(columns: tuple[Column, ...], attributes: CoreAttributes) -> Mapping[str, str]:
    percent_name = attributes.percent_name
    first = {} if percent_name is None else {PERCENT_ALIAS: percent_name}
    aliases = {alias: column.name for column in columns for alias in column.aliases}
    return MappingProxyType({**first, **aliases})


def _build_retired_names(schema: Schema, names_in_use: set[str]) -> Mapping[str, RetiredColumn]:
    """Return retired columns by each former input name that no column uses now."""
    names = {
        n: c for c in schema.retired for n in (c.name, *c.column.aliases) if n not in names_in_use
    }
    return MappingProxyType(names)


def _build_input_field(column: Column, read: TokenReader, *, core: bool) -> _InputField:
    return _InputField(
        column.name,
        f"/{column.name}",
        read,
        core=core,
        nullable=not column.required,
        default=column.default if column.required and not core else None,
    )


def _build_core_field(column: Column, attributes: CoreAttributes, read: TokenReader) -> _InputField:
    if column.name in attributes.read_only_names:
        return _build_read_only_field(column.name)
    field = _build_input_field(column, read, core=True)
    # Null cannot remove a column that always has a value, even if a new project may omit it.
    return field if column.default is None else msgspec.structs.replace(field, nullable=False)


def _build_read_only_field(name: str) -> _InputField:
    def reject(_token: Token, pointer: str) -> object:
        raise InvalidInput.at(pointer, "read_only", "is set by the service, not by a request")

    return _InputField(name, f"/{name}", reject, core=True, nullable=False, read_only=True)


def _core_reader(
    column: Column, attributes: CoreAttributes, rounding: Rounding | None
) -> TokenReader:
    """Return the domain's reader of a core attribute, plus the schema's constraints."""
    if column.name == "total_amount" and attributes.kind == PROJECT_KIND:
        # Rounded once, later, when the currency is known.
        type_ = AMOUNT_TYPE if rounding is None else _ROUNDED_AMOUNT
        return with_constraints(decimal_reader(type_, accept_text=True), column)
    special = _special_reader(attributes.by_name[column.name], attributes)
    if special is None:
        return column_reader(column, rounding=rounding)
    is_described = column is not attributes.by_name[column.name]
    return with_constraints(special, column) if is_described else special


def _special_reader(core_column: Column, attributes: CoreAttributes) -> ValueReader | None:
    """Return the reader of a core code or text; None if its type says how to read it."""
    name, max_length = core_column.name, core_column.type.max_length or 0
    if name in attributes.code_names:
        return read_status if name == "status" else code_reader(CODE_FIELDS[name])
    if name in attributes.line_names:
        return line_reader(max_length)
    return prose_reader(max_length) if name in attributes.prose_names else None


def _percent_reader(column: Column, rounding: Rounding | None) -> ValueReader:
    """Return a reader of percentages as exact fractions, with two decimals fewer."""
    scale, precision = column.type.scale or 0, column.type.precision or 0
    percent = decimal_reader(
        ColumnType(TypeName.DECIMAL, precision=precision, scale=scale - 2), rounding=rounding
    )

    def read(token: Token, pointer: str) -> Value:
        value = percent(token, pointer)
        return DECIMAL_CONTEXT.scaleb(value, -2) if isinstance(value, Decimal) else value

    return with_constraints(read, column)


def _lookup_reader(column: Column, attributes: CoreAttributes) -> ValueReader:
    """Return a reader of query values for a column."""
    if column.name in attributes.code_names:
        special = _special_reader(attributes.by_name[column.name], attributes)
        if special is not None:
            return special
    enum_only = Column(name=column.name, type=column.type, enum=column.enum)
    return with_constraints(type_reader(column.type), enum_only)
