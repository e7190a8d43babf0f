"""Conformance: one compiled object that reads a body, or a text, under one schema.

Core attributes, governed attributes and extensions arrive as one flat object. Each field is read
by its column's own reader, every offence is collected and named, and the result is ready for
`project.propose` and `project.amend`.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.json_tokens import Token, write_token
from spawn.domain.money import CONTEXT, Rounding, exponent_of, fit
from spawn.domain.projects.extensions import check_extensions
from spawn.domain.projects.lifecycle import status_of
from spawn.domain.projects.project import MAX_DESCRIPTION, MAX_NAME, MAX_SECTOR
from spawn.domain.schemas.core_columns import (
    AMOUNT,
    CORE_BY_NAME,
    EXTENSION_PREFIX,
    READ_ONLY_COLUMNS,
    SYSTEM_COLUMNS,
    core_columns,
)
from spawn.domain.schemas.json_schema import project_json_schema
from spawn.domain.schemas.model import Column, ColumnType, RetiredColumn, Schema, TypeName, Value
from spawn.domain.schemas.nested_fields import (
    read_country,
    read_external_ref,
    read_line,
    read_milestones,
    read_prose,
    read_sponsors,
    read_spv,
)
from spawn.domain.schemas.value_readers import (
    MAX_ROUNDED_DECIMALS,
    Reader,
    constrained,
    decimal_reader,
    reader_for,
    token_of,
    type_reader,
    wrong_type,
)
from spawn.domain.text import pointer_token

MAX_ERRORS: Final = 100
"""Offences that one refusal names; a body with more is refused with the first ones."""

PERCENT_ALIAS: Final = "expected_tri"
"""The first generation's name of `expected_irr`, which it states as a percentage."""

_ROUNDED_AMOUNT: Final = ColumnType(
    TypeName.DECIMAL, precision=18 + MAX_ROUNDED_DECIMALS, scale=MAX_ROUNDED_DECIMALS
)
_CACHED_SCHEMAS: Final = 64

_DEPRECATED: Final = "is deprecated and may go"

FieldReader = Callable[[Token, str], object]


class Attributes(msgspec.Struct, frozen=True):
    """What a body says of a project, typed.

    `core` holds core and structural fields by their canonical names, `governed` governed values,
    `extensions` the JSON of `x_…` fields. None stands for an explicit null, which only a partial
    body keeps (remove it). `warnings` are remarks that refuse nothing. `schema_version` is that of
    the schema that the body was read under, None if it was made without one.
    """

    core: dict[str, object]
    governed: dict[str, Value | None]
    extensions: dict[str, msgspec.Raw | None]
    warnings: tuple[FieldError, ...] = ()
    schema_version: int | None = None


class _Slot(msgspec.Struct, frozen=True):
    """What to do with one input name."""

    name: str  # canonical
    pointer: str  # of the input name
    read: FieldReader
    core: bool
    nullable: bool
    read_only: bool = False
    default: Value | None = None  # what a governed column has that must have a value


class _Found:
    """What one reading has found so far."""

    __slots__ = ("core", "errors", "extensions", "governed", "notes", "on", "partial", "retired")

    def __init__(
        self, retired: Mapping[str, RetiredColumn], on: date | None, *, partial: bool
    ) -> None:
        self.retired = retired
        self.on = on
        self.partial = partial
        self.notes: list[FieldError] = []
        self.core: dict[str, object] = {}
        self.governed: dict[str, Any] = {}
        self.extensions: dict[str, msgspec.Raw | None] = {}
        self.errors: list[FieldError] = []

    def take_all(self, tokens: Mapping[str, Token], slots: Mapping[str, _Slot]) -> None:
        """Read every field; one flat loop, for an import runs through it row by row."""
        core, governed = self.core, self.governed
        for name, token in tokens.items():
            slot = slots.get(name)
            if slot is None:
                self.take_other(name, token)
                continue
            if token is None and not slot.read_only:
                self.take_null(slot)
                continue
            target = core if slot.core else governed
            if slot.name in target:
                detail = f"{slot.name} is given twice, by its name and by an alias"
                self.errors.append(FieldError(slot.pointer, "given_twice", detail))
                continue
            try:
                target[slot.name] = slot.read(token, slot.pointer)
            except InvalidInput as error:
                self.errors.extend(error.errors)
                # It was given, if badly: it must not be reported as missing too.
                target[slot.name] = None

    def take_null(self, slot: _Slot) -> None:
        """A null in a whole body is as good as nothing; in a patch it removes.

        A governed column that must have a value and declares a default gets that again.
        """
        if not self.partial:
            return
        if not slot.nullable and slot.default is None:
            self.errors.append(FieldError(slot.pointer, "not_nullable", "cannot be removed"))
        target = self.core if slot.core else self.governed
        target[slot.name] = slot.default

    def take_other(self, name: str, token: Token) -> None:
        if name in self.retired:
            self.take_retired(name, self.retired[name])
        elif not name.startswith(EXTENSION_PREFIX):
            detail = "is not a field of this schema; fields of your own begin with x_"
            self.errors.append(FieldError(f"/{pointer_token(name)}", "unknown_field", detail))
        elif token is not None:
            self.extensions[name] = msgspec.Raw(write_token(token).encode())
        elif self.partial:
            self.extensions[name] = None

    def take_retired(self, name: str, column: RetiredColumn) -> None:
        """What went is ignored, with a warning, until its Sunset."""
        went = f"went with version {column.since} of the schema"
        if column.sunset is None:
            self.notes.append(FieldError(f"/{name}", "retired", f"is ignored: it {went}"))
        elif self.on is None or self.on < column.sunset:
            detail = f"is ignored: it {went}, and will be refused from {column.sunset}"
            self.notes.append(FieldError(f"/{name}", "retired", detail))
        else:
            detail = f"{went}; its Sunset was {column.sunset}"
            self.errors.append(FieldError(f"/{name}", "retired", detail))

    def round_amount(self, rounding: Rounding) -> None:
        """Round the amount once, to the scale of the currency that stands beside it."""
        amount, code = self.core.get("total_amount"), self.core.get("currency_code")
        if not isinstance(amount, Decimal):
            return
        if self.partial and code is None:
            detail = "is needed to round an amount"
            self.errors.append(FieldError("/currency_code", "missing", detail))
            return
        code = code or CORE_BY_NAME["currency_code"].default
        try:
            fitted = fit(amount, str(code), rounding=rounding, pointer="/total_amount")
            self.core["total_amount"] = fitted
        except InvalidInput as error:
            self.errors.extend(error.errors)


class Conformance:
    """A schema, compiled. Immutable to its users and safe to share.

    `required` names what a whole body must have, `defaults` the values of governed columns that it
    may leave out, `retired` the columns that went by every name that requests used for them.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._core = core_columns(schema)
        columns = (*SYSTEM_COLUMNS, *self._core, *schema.governed)
        self.fields: Mapping[str, Column] = MappingProxyType({c.name: c for c in columns})
        self._aliases = _aliases(columns)
        self.retired = _retired(schema, {*self.fields, *self._aliases})
        self._slots: dict[Rounding | None, dict[str, _Slot]] = {}
        self._deprecated = frozenset(c.name for c in columns if c.deprecated)
        self._lookups: dict[str, Reader] = {}
        self._exact = self._slots_for(None)
        self._required = tuple(c.name for c in self._core if c.required)
        self._absent = tuple(c for c in schema.governed if c.required or c.default is not None)
        self.required = (*self._required, *(c.name for c in self._absent if c.default is None))
        self.defaults = {c.name: c.default for c in self._absent if c.default is not None}

    def read(
        self,
        tokens: Mapping[str, Token],
        *,
        partial: bool = False,
        rounding: Rounding | None = None,
        on: date | None = None,
    ) -> Attributes:
        """The typed attributes of a body, whole or (`partial`) a merge patch, on a day.

        What a retired column is given is ignored with a warning, and refused from its Sunset on;
        without a day no Sunset counts.

        With `rounding` named, decimals may carry up to 30 decimals and are rounded once: amounts to
        the scale of the body's currency (USD if it names none), others to their column's.

        Raises:
            InvalidInput: naming each offending field, at most 100.
        """
        slots = self._exact if rounding is None else self._slots_for(rounding)
        found = _Found(self.retired, on, partial=partial)
        found.take_all(tokens, slots)
        if not partial:
            self._complete(found)
        if found.extensions:
            given = {n: raw for n, raw in found.extensions.items() if raw is not None}
            check_extensions(given, found.errors)
        if rounding is not None and not found.errors:
            found.round_amount(rounding)
        if found.errors:
            raise InvalidInput(found.errors[:MAX_ERRORS])
        if self._deprecated:
            found.notes.extend(self._notes(tokens))
        return Attributes(
            found.core,
            found.governed,
            found.extensions,
            tuple(found.notes),
            self.schema.version,
        )

    def read_value(self, name: str, text: str) -> Value:
        """A plain text (a query parameter) as a value of a column's type.

        Only the type, an enum and the codes of currencies and countries are checked: a bound or a
        pattern says nothing about what one may look for.

        Raises:
            InvalidInput: at `/name`: not of the type, or `unknown_field`.
        """
        canonical = self.alias(name)
        if canonical is None:
            raise InvalidInput.at(f"/{pointer_token(name)}", "unknown_field", "is not a field")
        read = self._lookups.get(canonical)
        if read is None:
            read = self._lookups[canonical] = _lookup_reader(self.fields[canonical])
        value = read(token_of(self.fields[canonical].type, text), f"/{name}")
        if name == PERCENT_ALIAS and isinstance(value, Decimal):
            return value.scaleb(-2, CONTEXT)
        return value

    def token(self, name: str, text: str) -> Token:
        """The JSON token that a text (a CSV cell) stands for under this column, for `read`."""
        canonical = self.alias(name)
        return text if canonical is None else token_of(self.fields[canonical].type, text)

    def alias(self, name: str) -> str | None:
        """The canonical name of a column or of one of its aliases; None if it is neither."""
        return name if name in self.fields else self._aliases.get(name)

    def plain_fields(self) -> Mapping[str, FieldReader]:
        """How the token of each field is read that a body may set without a remark, by its name."""
        return {
            name: slot.read
            for name, slot in self._exact.items()
            if name == slot.name and not slot.read_only and name not in self._deprecated
        }

    def json_schema(self, *, for_input: bool) -> dict[str, Any]:
        """JSON Schema 2020-12 of a project under this schema, as served or as accepted."""
        return project_json_schema(
            self._core, self.schema.governed, self._aliases, for_input=for_input
        )

    def _complete(self, found: "_Found") -> None:
        """Fill in defaults, and name what a whole body must have and has not."""
        missing = [name for name in self._required if name not in found.core]
        for column in self._absent:
            if column.name in found.governed:
                continue
            if column.default is None:
                missing.append(column.name)
            else:
                found.governed[column.name] = column.default
        found.errors.extend(FieldError(f"/{name}", "missing", "is required") for name in missing)

    def _notes(self, tokens: Mapping[str, Token]) -> Iterator[FieldError]:
        for name in tokens:
            column = self.alias(name)
            if column in self._deprecated:
                sunset = self.fields[column].announced_sunset
                detail = f"is deprecated and may go from {sunset}" if sunset else _DEPRECATED
                yield FieldError(f"/{name}", "deprecated", detail)

    def _slots_for(self, rounding: Rounding | None) -> dict[str, _Slot]:
        found = self._slots.get(rounding)
        if found is None:
            found = self._slots[rounding] = self._compile(rounding)
        return found

    def _compile(self, rounding: Rounding | None) -> dict[str, _Slot]:
        slots: dict[str, _Slot] = {}
        for column in self._core:
            slots[column.name] = _core_slot(column, _core_reader(column, rounding))
        for column in self.schema.governed:
            slots[column.name] = _slot(column, reader_for(column, rounding=rounding), core=False)
        for name, read in _STRUCTURE.items():
            slots[name] = _Slot(name, f"/{name}", read, core=True, nullable=True)
        for column in SYSTEM_COLUMNS:
            slots[column.name] = _read_only(column.name)
        for alias, name in self._aliases.items():
            slots[alias] = msgspec.structs.replace(slots[name], pointer=f"/{alias}")
        irr = slots["expected_irr"]
        slots[PERCENT_ALIAS] = msgspec.structs.replace(
            irr, pointer=f"/{PERCENT_ALIAS}", read=_percent_reader(self.fields[irr.name], rounding)
        )
        return slots


_Key = tuple[str, int, str, tuple[RetiredColumn, ...]]
_compiled: dict[_Key, Conformance] = {}


def compile_schema(schema: Schema) -> Conformance:
    """The schema, compiled; the same fingerprint and history give the same object.

    A schema without a fingerprint (built by hand) is compiled anew each time.
    """
    if not schema.fingerprint:
        return Conformance(schema)
    key = (schema.id, schema.version, schema.fingerprint, schema.retired)
    found = _compiled.get(key)
    if found is None:
        while len(_compiled) >= _CACHED_SCHEMAS:
            _compiled.pop(next(iter(_compiled)))
        found = _compiled[key] = Conformance(schema)
    return found


def _aliases(columns: tuple[Column, ...]) -> Mapping[str, str]:
    aliases = {alias: column.name for column in columns for alias in column.aliases}
    return MappingProxyType({PERCENT_ALIAS: "expected_irr", **aliases})


def _retired(schema: Schema, taken: set[str]) -> Mapping[str, RetiredColumn]:
    """Retired columns by every name that requests used for them and that no column has now."""
    names = {n: c for c in schema.retired for n in (c.name, *c.column.aliases) if n not in taken}
    return MappingProxyType(names)


def _slot(column: Column, read: FieldReader, *, core: bool) -> _Slot:
    return _Slot(
        column.name,
        f"/{column.name}",
        read,
        core=core,
        nullable=not column.required,
        default=column.default if column.required and not core else None,
    )


def _core_slot(column: Column, read: FieldReader) -> _Slot:
    if column.name in READ_ONLY_COLUMNS:
        return _read_only(column.name)
    slot = _slot(column, read, core=True)
    # Null cannot remove what always has a value, even where a new project may leave it out.
    return slot if column.default is None else msgspec.structs.replace(slot, nullable=False)


def _read_only(name: str) -> _Slot:
    def refuse(_token: Token, pointer: str) -> object:
        raise InvalidInput.at(pointer, "read_only", "is set by the service, not by a request")

    return _Slot(name, f"/{name}", refuse, core=True, nullable=False, read_only=True)


def _core_reader(column: Column, rounding: Rounding | None) -> FieldReader:
    """The domain's own reading of a core attribute, then what the schema tightens."""
    if column.name == "total_amount":
        # Rounded once, when the currency is known: not here.
        type_ = AMOUNT if rounding is None else _ROUNDED_AMOUNT
        return constrained(decimal_reader(type_, text_too=True), column)
    special = _SPECIAL.get(column.name)
    if special is None:
        return reader_for(column, rounding=rounding)
    return special if column is CORE_BY_NAME[column.name] else constrained(special, column)


def _percent_reader(column: Column, rounding: Rounding | None) -> Reader:
    """A percentage as the fraction it is, exactly: two decimals fewer are allowed."""
    scale, precision = column.type.scale or 0, column.type.precision or 0
    percent = decimal_reader(
        ColumnType(TypeName.DECIMAL, precision=precision, scale=scale - 2), rounding=rounding
    )

    def read(token: Token, pointer: str) -> Value:
        value = percent(token, pointer)
        return CONTEXT.scaleb(value, -2) if isinstance(value, Decimal) else value

    return constrained(read, column)


def _read_currency(token: Token, pointer: str) -> Value:
    if type(token) is not str:
        raise wrong_type(pointer, "a currency code", token)
    exponent_of(token, pointer=pointer)
    return token


def _read_status(token: Token, pointer: str) -> Value:
    if type(token) is not str:
        raise wrong_type(pointer, "a string", token)
    return status_of(token, pointer=pointer)


_SPECIAL: Final[Mapping[str, Reader]] = {
    "project_name": read_line(MAX_NAME),
    "currency_code": _read_currency,
    "status": _read_status,
    "description": read_prose(MAX_DESCRIPTION),
    "sector": read_line(MAX_SECTOR),
    "country_code": read_country,
}
_STRUCTURE: Final[Mapping[str, FieldReader]] = {
    "spv": read_spv,
    "sponsors": read_sponsors,
    "milestones": read_milestones,
    "external_ref": read_external_ref,
}
_CODES: Final = frozenset({"currency_code", "status", "country_code"})


def _lookup_reader(column: Column) -> Reader:
    """The reader of what one may look for in a column."""
    if column.name in _CODES:
        return _SPECIAL[column.name]
    only_members = Column(name=column.name, type=column.type, enum=column.enum)
    return constrained(type_reader(column.type), only_members)
