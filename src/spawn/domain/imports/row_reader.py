"""The row reader: a mapping compiled against a schema, which converts source rows to projects.

A row is `column name → token`: text in CSV, any JSON value in NDJSON. Numbers stay text until the
attribute's type is known, so that an amount is rounded from its exact digits.
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
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.mapping import (
    ColumnMapping,
    ImportMapping,
    OnFailure,
    SumCheck,
    Whitespace,
)
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.money import CURRENCIES, DECIMAL_CONTEXT, Rounding
from spawn.domain.projects.project import Project, propose_project
from spawn.domain.schema_version import Column, TypeName
from spawn.domain.schemas.core_columns import (
    EXTENSION_PREFIX,
    NESTED_FIELDS,
    READ_ONLY_COLUMNS,
    SYSTEM_COLUMNS,
)
from spawn.domain.schemas.validator import ProjectInput, SchemaValidator

# 48 digits times a factor of 30 stay below the 80 digits of DECIMAL_CONTEXT: nothing rounds.
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,23})(?:\.\d{1,24})?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,24}\.?\d{0,24}|\.\d{1,24})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_MAX_EXPONENT = 40
_YEAR = re.compile(r"[12]\d{3}", re.ASCII)
_DECIMAL_MODES = {
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.DOWN: ROUND_DOWN,
    Rounding.UP: ROUND_UP,
    Rounding.FLOOR: ROUND_FLOOR,
    Rounding.CEILING: ROUND_CEILING,
}
_NUMERIC = {TypeName.INTEGER, TypeName.BIGINT, TypeName.DECIMAL, TypeName.DOUBLE}
_NOT_MAPPABLE = READ_ONLY_COLUMNS | {column.name for column in SYSTEM_COLUMNS}
_DEFAULT_SCALE = 2
_DEFAULT_CURRENCY = "USD"
_MAX_QUOTED_CHARACTERS = 60


class RowResult(msgspec.Struct, frozen=True):
    """The result of a row: a project or the reasons against it, and warnings.

    `key` identifies the row in its file, whether or not it is valid; None if it has no key.
    """

    key: str | None
    project: Project | None = None
    reasons: tuple[RowReason, ...] = ()
    warnings: tuple[RowReason, ...] = ()


class RowReader:
    """A reader of rows under one schema, through a mapping or as plain projects."""

    def __init__(
        self, validator: SchemaValidator, mapping: ImportMapping | None, on_date: date | None = None
    ) -> None:
        """Compile the mapping; `on_date` is compared with the Sunset of retired columns.

        Raises:
            InvalidInput: the mapping names unknown attributes, each with its pointer.
        """
        self.validator = validator
        self.on_date = on_date
        self._mapping = mapping
        self._cells = _compile_cells(mapping, validator) if mapping else ()
        self._fields = {c.attribute: c.column or c.attribute for c in self._cells}
        if mapping and mapping.key:
            self._fields["external_ref"] = mapping.key.column

    @property
    def source_columns(self) -> frozenset[str]:
        """The columns that the mapping reads."""
        return self._mapping.source_columns if self._mapping else frozenset()

    def read_key(self, source: Mapping[str, Token]) -> str | None:
        """Return the row's key in its file, without reading anything else of the row."""
        mapping = self._mapping
        if mapping is None or mapping.key is None:
            return read_reference_key(source.get("external_ref"))
        token = source.get(mapping.key.column)
        if not isinstance(token, str) or token.strip() in mapping.null:
            return None
        return f"{mapping.key.source}\n{token.strip()}"

    def read(self, source: Mapping[str, Token], project_id: str) -> RowResult:
        """Return the row's project under a new id, or all the reasons against it."""
        if self._mapping is None:
            return self._build_result(source, project_id, self.read_key(source), [], [])
        reasons: list[RowReason] = []
        warnings: list[RowReason] = []
        key, tokens = self._convert_row(source, reasons)
        for check in self._mapping.checks:
            reason = _run_check(check, source, self._mapping.null)
            if reason is not None:
                (warnings if check.on_failure is OnFailure.WARN else reasons).append(reason)
        return self._build_result(tokens, project_id, key, reasons, warnings)

    def read_amendment(self, source: Mapping[str, Token]) -> ProjectInput:
        """Return the values of a valid row, without defaults: those are for new projects only."""
        tokens = source if self._mapping is None else self._convert_row(source, [])[1]
        return self.validator.read(tokens, partial=True, on_date=self.on_date)

    def to_reason(self, error: FieldError) -> RowReason:
        """Return an attribute's error as a reason that names the source column."""
        head, slash, tail = error.pointer.removeprefix("/").partition("/")
        field = self._fields.get(head)
        if field is None:
            field = head + slash + tail
        return RowReason(field, error.code, error.detail)

    def _convert_row(
        self, source: Mapping[str, Token], reasons: list[RowReason]
    ) -> tuple[str | None, dict[str, Token]]:
        """Return the row's key and the attributes' tokens, through the mapping."""
        tokens = self._convert_cells(source, reasons)
        key = self.read_key(source)
        if self._mapping is not None and self._mapping.key is not None:
            self._add_reference(key, tokens, reasons)
        return key, tokens

    def _convert_cells(
        self, source: Mapping[str, Token], reasons: list[RowReason]
    ) -> dict[str, Token]:
        """Return the attributes' tokens; an invalid one is left out and adds a reason."""
        tokens: dict[str, Token] = {}
        currency_cells: list[_Cell] = []
        for cell in self._cells:
            if cell.rounds_to_currency:
                currency_cells.append(cell)  # Its scale depends on the row's currency.
                continue
            self._convert_cell(cell, source, tokens, reasons, cell.scale)
        for cell in currency_cells:
            self._convert_cell(cell, source, tokens, reasons, _get_currency_scale(tokens))
        return tokens

    def _convert_cell(
        self,
        cell: "_Cell",
        source: Mapping[str, Token],
        tokens: dict[str, Token],
        reasons: list[RowReason],
        scale: int,
    ) -> None:
        try:
            tokens[cell.attribute] = cell.read(source, scale)
        except _CellError as error:
            reasons.append(RowReason(self._fields[cell.attribute], error.code, error.detail))

    def _add_reference(
        self, key: str | None, tokens: dict[str, Token], reasons: list[RowReason]
    ) -> None:
        if key is None:
            detail = "the row has no key"
            reasons.append(RowReason(self._fields["external_ref"], "key_missing", detail))
        else:
            source, _, ident = key.partition("\n")
            tokens["external_ref"] = {"source": source, "id": ident}

    def _build_result(
        self,
        tokens: Mapping[str, Token],
        project_id: str,
        key: str | None,
        reasons: list[RowReason],
        warnings: list[RowReason],
    ) -> RowResult:
        try:
            attributes = self.validator.read(tokens, on_date=self.on_date)
            project = propose_project(
                project_id=project_id,
                fields=attributes.core,
                attributes=attributes.governed,
                extensions=attributes.extensions,
            )
        except InvalidInput as invalid:
            fields = {reason.field for reason in reasons}
            additions = [self.to_reason(error) for error in invalid.errors]
            reasons = [*reasons, *(reason for reason in additions if reason.field not in fields)]
            return RowResult(key, reasons=tuple(reasons), warnings=tuple(warnings))
        if attributes.warnings:
            warnings = [*warnings, *(self.to_reason(error) for error in attributes.warnings)]
        if reasons:
            return RowResult(key, reasons=tuple(reasons), warnings=tuple(warnings))
        return RowResult(key, project, (), tuple(warnings))


class _CellError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled column mapping; `convert` turns the text of a cell into a token."""

    attribute: str
    column: str | None
    constant: Token
    nulls: frozenset[str]
    collapse: bool
    enum: dict[str, str] | None
    convert: Callable[[str, int], Token]
    scale: int
    rounds_to_currency: bool
    passes_structures: bool

    def read(self, source: Mapping[str, Token], scale: int) -> Token:
        token = self.constant if self.column is None else source.get(self.column)
        if isinstance(token, (dict, list)) and self.passes_structures:
            return token
        text = _to_cell_text(token)
        if text is None:
            return None
        if self.collapse:
            text = " ".join(text.split())
        if text in self.nulls and self.column is not None:
            return None
        if self.enum is not None:
            if text not in self.enum:
                raise _CellError("unmapped_value", f"the mapping has no entry for {_quote(text)}")
            text = self.enum[text]
        return self.convert(text, scale)


def _to_cell_text(token: Token) -> str | None:
    """Return a scalar token as the text of a cell."""
    if token is None or type(token) is str:
        return token
    if isinstance(token, str):
        return str(token)
    if isinstance(token, bool):
        return "true" if token else "false"
    raise _CellError("wrong_type", "a single value is expected here")


def read_reference_key(token: Token) -> str | None:
    """Return the key of a row from its own external reference, or None."""
    if isinstance(token, dict):
        source, ident = token.get("source"), token.get("id")
        if isinstance(source, str) and isinstance(ident, str):
            return f"{source}\n{ident}"
    return None


def _compile_cells(mapping: ImportMapping, validator: SchemaValidator) -> tuple[_Cell, ...]:
    errors: list[FieldError] = []
    cells: list[_Cell] = []
    for index, column in enumerate(mapping.columns):
        try:
            cells.append(_compile_cell(column, mapping.null, validator))
        except _CellError as error:
            member = "" if error.code == "not_convertible" else "/attribute"
            errors.append(FieldError(f"/columns/{index}{member}", error.code, error.detail))
    if errors:
        raise InvalidInput(errors)
    return tuple(cells)


def _compile_cell(
    column: ColumnMapping, nulls: tuple[str, ...], validator: SchemaValidator
) -> _Cell:
    target = _find_column(column.attribute, validator)
    type_name = target.type.name if target else None
    _check_conversions(column, type_name)
    is_amount = target is not None and target.name == "total_amount"
    scale = target.type.scale if target else None
    constant = column.constant
    return _Cell(
        attribute=column.attribute,
        column=column.column,
        constant=constant if constant is None or isinstance(constant, bool) else str(constant),
        nulls=frozenset(nulls if column.null is None else column.null),
        collapse=column.whitespace is Whitespace.COLLAPSE,
        enum=column.enum,
        convert=_build_converter(column, type_name, is_amount=is_amount),
        scale=0 if scale is None else scale,
        rounds_to_currency=is_amount and column.rounding is not None,
        passes_structures=target is None and column.enum is None and column.column is not None,
    )


def _find_column(name: str, validator: SchemaValidator) -> Column | None:
    """Return the column of an attribute's name or alias, retired ones included.

    Structured fields and extensions have none.
    """
    if name in NESTED_FIELDS or name.startswith(EXTENSION_PREFIX):
        return None
    if name in _NOT_MAPPABLE:
        raise _CellError("read_only", f"{name} is assigned by the service")
    canonical = name if name in validator.fields else validator.canonical_name(name)
    if name in validator.retired:
        return validator.retired[name].column
    if canonical is None:
        raise _CellError("unknown_attribute", f"the active schema has no {name}")
    return validator.fields[canonical]


def _check_conversions(column: ColumnMapping, type_name: TypeName | None) -> None:
    if column.rounding is not None and type_name not in _NUMERIC:
        raise _CellError("not_convertible", "rounding applies only to numbers with a scale")
    is_extension = column.attribute.startswith(EXTENSION_PREFIX)
    if column.unit_factor is not None and type_name not in _NUMERIC and not is_extension:
        raise _CellError("not_convertible", "unit_factor applies only to numbers")
    if column.date_format is not None and type_name is not TypeName.DATE and not is_extension:
        raise _CellError("not_convertible", "date_format applies only to dates")


def _build_converter(
    column: ColumnMapping, type_name: TypeName | None, *, is_amount: bool
) -> Callable[[str, int], Token]:
    if column.date_format is not None:
        date_format = column.date_format
        return lambda text, _: _read_date(text, date_format)
    if column.unit_factor is not None or column.rounding is not None:
        factor, rounding = column.unit_factor, column.rounding
        return lambda text, scale: _scale_number(text, factor, rounding, scale)
    if is_amount:
        return lambda text, _: text
    if type_name in _NUMERIC:
        return lambda text, _: _read_number(text)
    if type_name is TypeName.BOOLEAN:
        return lambda text, _: _read_boolean(text)
    return lambda text, _: text


def _read_number(text: str) -> Token:
    """Return the text as a JSON number, through its exact value if necessary."""
    if _JSON_NUMBER.fullmatch(text):
        return NumberToken(text)
    return NumberToken(format(_read_decimal(text), "f"))


def _scale_number(
    text: str, factor: Decimal | None, rounding: Rounding | None, scale: int
) -> Token:
    value = _read_decimal(text)
    if factor is not None:
        value = _check_range(DECIMAL_CONTEXT.multiply(value, factor), text)
    if rounding is not None:
        value = value.quantize(Decimal(1).scaleb(-scale), _DECIMAL_MODES[rounding], DECIMAL_CONTEXT)
    digits = format(value or abs(value), "f")
    if rounding is None and "." in digits:
        # A factor of 0.010 adds a trailing zero that is not in the cell.
        digits = digits.rstrip("0").removesuffix(".")
    return NumberToken(digits)


def _read_decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise _CellError("not_a_number", f"{_quote(text)} is not a number")
    return _check_range(Decimal(text), text)


def _check_range(value: Decimal, text: str) -> Decimal:
    if value and not -_MAX_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        raise _CellError("out_of_range", f"{_quote(text)} is out of range")
    return value


def _read_boolean(text: str) -> Token:
    lower = text.lower()
    if lower in {"true", "false"}:
        return lower == "true"
    raise _CellError("not_a_boolean", f"{_quote(text)} is neither true nor false")


def _read_date(text: str, date_format: str) -> str:
    if date_format in {"year", "year_end"}:
        if not _YEAR.fullmatch(text):
            raise _CellError("not_a_date", f"{_quote(text)} is not a year")
        year = int(text)
        return (date(year, 1, 1) if date_format == "year" else date(year, 12, 31)).isoformat()
    try:
        return datetime.strptime(text, date_format).date().isoformat()  # noqa: DTZ007 - a day, no instant
    except ValueError:
        raise _CellError("not_a_date", f"{_quote(text)} is not a date like {date_format}") from None


def _get_currency_scale(tokens: Mapping[str, Token]) -> int:
    # An unknown currency is rejected when the project is built; until then any scale works.
    code = tokens.get("currency_code")
    currency = CURRENCIES.get(code if isinstance(code, str) else _DEFAULT_CURRENCY)
    return _DEFAULT_SCALE if currency is None or currency.exponent is None else currency.exponent


def _run_check(
    check: SumCheck, source: Mapping[str, Token], nulls: tuple[str, ...]
) -> RowReason | None:
    """Return the reason of a failed check; None also without addends or expected sum."""
    try:
        addends = [_read_operand(source, name, nulls) for name in check.sum_of]
        expected = _read_operand(source, check.equals, nulls)
    except _CellError as error:
        return RowReason(check.equals, "check_unreadable", error.detail)
    present = [value for value in addends if value is not None]
    if not present or expected is None:
        return None
    total = Decimal(0)
    for value in present:
        total = DECIMAL_CONTEXT.add(total, value)
    gap = abs(DECIMAL_CONTEXT.subtract(total, expected))
    if not gap or gap < DECIMAL_CONTEXT.multiply(abs(expected), check.tolerance):
        return None
    detail = f"{len(present)} addends make {total}, not {expected}"
    return RowReason(check.equals, "sum_differs", detail)


def _read_operand(source: Mapping[str, Token], name: str, nulls: tuple[str, ...]) -> Decimal | None:
    text = _to_cell_text(source.get(name))
    return None if text is None or text in nulls else _read_decimal(text)


def _quote(text: str) -> str:
    return repr(
        text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"
    )
