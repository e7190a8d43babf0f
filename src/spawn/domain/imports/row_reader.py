"""From a raw row to a project: a mapping compiled against a schema, and what a row made of it.

A row is `column name → token`: text in CSV, any JSON value in NDJSON. Numbers stay text until the
attribute's type says what they are, so that an amount is rounded from its exact digits.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Decimal,
)

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.import_state import Reason
from spawn.domain.imports.mapping import Check, ColumnMapping, ImportMapping, OnFailure, Whitespace
from spawn.domain.json_tokens import Number, Token
from spawn.domain.money import CONTEXT, CURRENCIES, Rounding
from spawn.domain.projects.project import Project, propose
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, READ_ONLY_COLUMNS, SYSTEM_COLUMNS
from spawn.domain.schemas.model import Column, TypeName
from spawn.domain.schemas.validator import Attributes, Conformance

# 48 digits times a factor of 30 stay below the 80 of the domain's arithmetic: nothing rounds.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,23})(?:\.\d{1,24})?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,24}\.?\d{0,24}|\.\d{1,24})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_MAX_POWER = 40
_YEAR = re.compile(r"[12]\d{3}", re.ASCII)
_MODES = {
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.DOWN: ROUND_DOWN,
    Rounding.UP: ROUND_UP,
    Rounding.FLOOR: ROUND_FLOOR,
    Rounding.CEILING: ROUND_CEILING,
}
_NUMERIC = {TypeName.INTEGER, TypeName.BIGINT, TypeName.DECIMAL, TypeName.DOUBLE}
_NOT_MAPPABLE = READ_ONLY_COLUMNS | {column.name for column in SYSTEM_COLUMNS}
_STRUCTURE = frozenset({"spv", "sponsors", "milestones", "external_ref"})
_DEFAULT_SCALE = 2
_DEFAULT_CURRENCY = "USD"
_SHOWN_CHARACTERS = 60


class Draft(msgspec.Struct, frozen=True):
    """What a row made: a project or the reasons why not, and warnings in either case.

    `key` identifies the row among those of its file, whether or not it is valid; None: it has no
    key.
    """

    key: str | None
    project: Project | None = None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()


class RowReader:
    """Reads rows under one schema, through a mapping or, without one, as plain projects."""

    def __init__(
        self, conformance: Conformance, mapping: ImportMapping | None, on: date | None = None
    ) -> None:
        """Compile; `on` is the day that the Sunset of a retired column is measured by.

        Raises:
            InvalidInput: the mapping names what this schema lacks, each with its pointer.
        """
        self.conformance = conformance
        self.on = on
        self._mapping = mapping
        self._cells = _compile(mapping, conformance) if mapping else ()
        self._fields = {c.attribute: c.column or c.attribute for c in self._cells}
        if mapping and mapping.key:
            self._fields["external_ref"] = mapping.key.column

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the mapping needs."""
        return self._mapping.needed if self._mapping else frozenset()

    def key(self, source: Mapping[str, Token]) -> str | None:
        """The row's identity in its file, read without looking at anything else of it."""
        mapping = self._mapping
        if mapping is None or mapping.key is None:
            return reference_key(source.get("external_ref"))
        token = source.get(mapping.key.column)
        if not isinstance(token, str) or token.strip() in mapping.null:
            return None
        return f"{mapping.key.source}\n{token.strip()}"

    def read(self, source: Mapping[str, Token], project_id: str) -> Draft:
        """The project that a row proposes, under a new id, or all the reasons against it."""
        if self._mapping is None:
            return self._propose(source, project_id, self.key(source), [], [])
        reasons: list[Reason] = []
        warnings: list[Reason] = []
        key, tokens = self._tokens(source, reasons)
        for check in self._mapping.checks:
            failed = _examine(check, source, self._mapping.null)
            if failed is not None:
                (warnings if check.on_failure is OnFailure.WARN else reasons).append(failed)
        return self._propose(tokens, project_id, key, reasons, warnings)

    def amendment(self, source: Mapping[str, Token]) -> Attributes:
        """What a valid row says, and nothing it does not say: defaults are for new projects."""
        tokens = source if self._mapping is None else self._tokens(source, [])[1]
        return self.conformance.read(tokens, partial=True, on=self.on)

    def reason(self, error: FieldError) -> Reason:
        """A refusal of an attribute, told about the column that it came from."""
        head, slash, tail = error.pointer.removeprefix("/").partition("/")
        field = self._fields.get(head)
        if field is None:
            field = head + slash + tail
        return Reason(field, error.code, error.detail)

    def _tokens(
        self, source: Mapping[str, Token], reasons: list[Reason]
    ) -> tuple[str | None, dict[str, Token]]:
        """The row's key and the attributes' tokens, through the mapping."""
        tokens = self._convert(source, reasons)
        key = self.key(source)
        if self._mapping is not None and self._mapping.key is not None:
            self._refer(key, tokens, reasons)
        return key, tokens

    def _convert(self, source: Mapping[str, Token], reasons: list[Reason]) -> dict[str, Token]:
        """The attributes' tokens; one that cannot be converted is left out, with its reason."""
        tokens: dict[str, Token] = {}
        late: list[_Cell] = []
        for cell in self._cells:
            if cell.rounds_to_currency:
                late.append(cell)  # Its scale is that of the row's currency.
                continue
            self._put(cell, source, tokens, reasons, cell.scale)
        for cell in late:
            self._put(cell, source, tokens, reasons, _currency_scale(tokens))
        return tokens

    def _put(
        self,
        cell: "_Cell",
        source: Mapping[str, Token],
        tokens: dict[str, Token],
        reasons: list[Reason],
        scale: int,
    ) -> None:
        try:
            tokens[cell.attribute] = cell.read(source, scale)
        except _Refused as refused:
            reasons.append(Reason(self._fields[cell.attribute], refused.code, refused.detail))

    def _refer(self, key: str | None, tokens: dict[str, Token], reasons: list[Reason]) -> None:
        if key is None:
            detail = "the row has no key"
            reasons.append(Reason(self._fields["external_ref"], "key_missing", detail))
        else:
            source, _, ident = key.partition("\n")
            tokens["external_ref"] = {"source": source, "id": ident}

    def _propose(
        self,
        tokens: Mapping[str, Token],
        project_id: str,
        key: str | None,
        reasons: list[Reason],
        warnings: list[Reason],
    ) -> Draft:
        try:
            attributes = self.conformance.read(tokens, on=self.on)
            project = propose(
                project_id=project_id,
                fields=attributes.core,
                attributes=attributes.governed,
                extensions=attributes.extensions,
            )
        except InvalidInput as refused:
            told = {reason.field for reason in reasons}
            fresh = [self.reason(error) for error in refused.errors]
            reasons = [*reasons, *(reason for reason in fresh if reason.field not in told)]
            return Draft(key, reasons=tuple(reasons), warnings=tuple(warnings))
        if attributes.warnings:
            warnings = [*warnings, *(self.reason(error) for error in attributes.warnings)]
        if reasons:
            return Draft(key, reasons=tuple(reasons), warnings=tuple(warnings))
        return Draft(key, project, (), tuple(warnings))


class _Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A column mapping compiled: `steps` turn the text of a cell into a token."""

    attribute: str
    column: str | None
    constant: Token
    nulls: frozenset[str]
    collapse: bool
    enum: dict[str, str] | None
    convert: Callable[[str, int], Token]
    scale: int
    rounds_to_currency: bool
    passes_structure: bool

    def read(self, source: Mapping[str, Token], scale: int) -> Token:
        token = self.constant if self.column is None else source.get(self.column)
        if isinstance(token, (dict, list)) and self.passes_structure:
            return token
        text = _text(token)
        if text is None:
            return None
        if self.collapse:
            text = " ".join(text.split())
        if text in self.nulls and self.column is not None:
            return None
        if self.enum is not None:
            if text not in self.enum:
                raise _Refused("unmapped_value", f"the mapping has no entry for {_shown(text)}")
            text = self.enum[text]
        return self.convert(text, scale)


def _text(token: Token) -> str | None:
    """A scalar token as the text of a cell."""
    if token is None or type(token) is str:
        return token
    if isinstance(token, str):
        return str(token)
    if isinstance(token, bool):
        return "true" if token else "false"
    raise _Refused("wrong_type", "a single value is expected here")


def reference_key(token: Token) -> str | None:
    """The row's key, if it says its external reference itself."""
    if isinstance(token, dict):
        source, ident = token.get("source"), token.get("id")
        if isinstance(source, str) and isinstance(ident, str):
            return f"{source}\n{ident}"
    return None


def _compile(mapping: ImportMapping, conformance: Conformance) -> tuple[_Cell, ...]:
    errors: list[FieldError] = []
    cells: list[_Cell] = []
    for index, column in enumerate(mapping.columns):
        try:
            cells.append(_compile_cell(column, mapping.null, conformance))
        except _Refused as refused:
            part = "" if refused.code == "not_convertible" else "/attribute"
            errors.append(FieldError(f"/columns/{index}{part}", refused.code, refused.detail))
    if errors:
        raise InvalidInput(errors)
    return tuple(cells)


def _compile_cell(column: ColumnMapping, nulls: tuple[str, ...], conformance: Conformance) -> _Cell:
    governed = _attribute(column.attribute, conformance)
    type_name = governed.type.name if governed else None
    _refuse_misfits(column, type_name)
    is_amount = governed is not None and governed.name == "total_amount"
    scale = governed.type.scale if governed else None
    constant = column.constant
    return _Cell(
        attribute=column.attribute,
        column=column.column,
        constant=constant if constant is None or isinstance(constant, bool) else str(constant),
        nulls=frozenset(nulls if column.null is None else column.null),
        collapse=column.whitespace is Whitespace.COLLAPSE,
        enum=column.enum,
        convert=_converter(column, type_name, is_amount=is_amount),
        scale=0 if scale is None else scale,
        rounds_to_currency=is_amount and column.rounding is not None,
        passes_structure=governed is None and column.enum is None and column.column is not None,
    )


def _attribute(name: str, conformance: Conformance) -> Column | None:
    """The column behind an attribute's name or alias, one that went included.

    None for structure and extensions.
    """
    if name in _STRUCTURE or name.startswith(EXTENSION_PREFIX):
        return None
    if name in _NOT_MAPPABLE:
        raise _Refused("read_only", f"{name} is assigned by the service")
    canonical = name if name in conformance.fields else conformance.alias(name)
    if name in conformance.retired:
        return conformance.retired[name].column
    if canonical is None:
        raise _Refused("unknown_attribute", f"the active schema has no {name}")
    return conformance.fields[canonical]


def _refuse_misfits(column: ColumnMapping, type_name: TypeName | None) -> None:
    if column.rounding is not None and type_name not in _NUMERIC:
        raise _Refused("not_convertible", "rounding is for numbers with a scale")
    extension = column.attribute.startswith(EXTENSION_PREFIX)
    if column.unit_factor is not None and type_name not in _NUMERIC and not extension:
        raise _Refused("not_convertible", "unit_factor is for numbers")
    if column.date_format is not None and type_name is not TypeName.DATE and not extension:
        raise _Refused("not_convertible", "date_format is for dates")


def _converter(
    column: ColumnMapping, type_name: TypeName | None, *, is_amount: bool
) -> Callable[[str, int], Token]:
    if column.date_format is not None:
        form = column.date_format
        return lambda text, _: _read_date(text, form)
    if column.unit_factor is not None or column.rounding is not None:
        factor, rounding = column.unit_factor, column.rounding
        return lambda text, scale: _scaled(text, factor, rounding, scale)
    if is_amount:
        return lambda text, _: text
    if type_name in _NUMERIC:
        return lambda text, _: _number(text)
    if type_name is TypeName.BOOLEAN:
        return lambda text, _: _boolean(text)
    return lambda text, _: text


def _number(text: str) -> Token:
    """The text as a JSON number, if need be by way of its exact value."""
    if _JSON_NUMBER.fullmatch(text):
        return Number(text)
    return Number(format(_decimal(text), "f"))


def _scaled(text: str, factor: Decimal | None, rounding: Rounding | None, scale: int) -> Token:
    value = _decimal(text)
    if factor is not None:
        value = _in_range(CONTEXT.multiply(value, factor), text)
    if rounding is not None:
        value = value.quantize(Decimal(1).scaleb(-scale), _MODES[rounding], CONTEXT)
    plain = format(value or abs(value), "f")
    if rounding is None and "." in plain:
        # A factor of 0.010 brings a zero at the end that no digit of the cell asked for.
        plain = plain.rstrip("0").removesuffix(".")
    return Number(plain)


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise _Refused("not_a_number", f"{_shown(text)} is not a number")
    return _in_range(Decimal(text), text)


def _in_range(value: Decimal, text: str) -> Decimal:
    if value and not -_MAX_POWER <= value.adjusted() <= _MAX_POWER:
        raise _Refused("out_of_range", f"{_shown(text)} is out of range")
    return value


def _boolean(text: str) -> Token:
    lower = text.lower()
    if lower in {"true", "false"}:
        return lower == "true"
    raise _Refused("not_a_boolean", f"{_shown(text)} is neither true nor false")


def _read_date(text: str, form: str) -> str:
    if form in {"year", "year_end"}:
        if not _YEAR.fullmatch(text):
            raise _Refused("not_a_date", f"{_shown(text)} is not a year")
        year = int(text)
        return (date(year, 1, 1) if form == "year" else date(year, 12, 31)).isoformat()
    try:
        return datetime.strptime(text, form).date().isoformat()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise _Refused("not_a_date", f"{_shown(text)} is not a date like {form}") from None


def _currency_scale(tokens: Mapping[str, Token]) -> int:
    # An unknown currency is refused when the project is proposed; any scale will do until then.
    code = tokens.get("currency_code")
    found = CURRENCIES.get(code if isinstance(code, str) else _DEFAULT_CURRENCY)
    return _DEFAULT_SCALE if found is None or found.exponent is None else found.exponent


def _examine(check: Check, source: Mapping[str, Token], nulls: tuple[str, ...]) -> Reason | None:
    """Why a check fails, or None; skipped without addends or without the sum to compare."""
    try:
        addends = [_operand(source, name, nulls) for name in check.sum_of]
        expected = _operand(source, check.equals, nulls)
    except _Refused as refused:
        return Reason(check.equals, "check_unreadable", refused.detail)
    present = [value for value in addends if value is not None]
    if not present or expected is None:
        return None
    total = Decimal(0)
    for value in present:
        total = CONTEXT.add(total, value)
    gap = abs(CONTEXT.subtract(total, expected))
    if not gap or gap < CONTEXT.multiply(abs(expected), check.tolerance):
        return None
    detail = f"{len(present)} addends make {total}, not {expected}"
    return Reason(check.equals, "sum_differs", detail)


def _operand(source: Mapping[str, Token], name: str, nulls: tuple[str, ...]) -> Decimal | None:
    text = _text(source.get(name))
    return None if text is None or text in nulls else _decimal(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")
