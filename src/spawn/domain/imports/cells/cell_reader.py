"""Column mappings compiled against a schema: from the text of a cell to the token of an attribute.

Numbers stay text until the attribute's type is known, so that an amount is rounded from its exact
digits.
"""

from collections.abc import Callable, Mapping
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Decimal,
)
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.date_text import (
    compile_date_parser,
    compile_instant_parser,
    parse_utc_offset,
)
from spawn.domain.imports.cells.number_text import (
    compile_number_parser,
    is_in_range,
    to_number_token,
)
from spawn.domain.imports.mapping import (
    ColumnMapping,
    ExtensionType,
    ImportMapping,
    Otherwise,
    Whitespace,
)
from spawn.domain.iso.country_names import find_country_code
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.money import DECIMAL_CONTEXT, Rounding
from spawn.domain.schema_version import Column, TypeName
from spawn.domain.schemas.core_columns import (
    EXTENSION_PREFIX,
    NESTED_FIELDS,
    READ_ONLY_COLUMNS,
    SYSTEM_COLUMNS,
)
from spawn.domain.schemas.validator import SchemaValidator

_DECIMAL_MODES = {
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.DOWN: ROUND_DOWN,
    Rounding.UP: ROUND_UP,
    Rounding.FLOOR: ROUND_FLOOR,
    Rounding.CEILING: ROUND_CEILING,
}
_NUMERIC = {TypeName.INTEGER, TypeName.BIGINT, TypeName.DECIMAL, TypeName.DOUBLE}
_DATED = {TypeName.DATE, TypeName.TIMESTAMP}
_NOT_MAPPABLE = READ_ONLY_COLUMNS | {column.name for column in SYSTEM_COLUMNS}
_COUNTRY: Final = "country_code"
_MAX_QUOTED_CHARACTERS: Final = 60

Converter = Callable[[str, int], Token]
"""Function of text and decimal places; raises `CellError`."""


class CellError(Exception):
    """A cell that cannot be converted: a stable code, and a sentence with its text."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled column mapping; `convert` turns the text of a cell into a token."""

    attribute: str
    column: str | None
    constant: Token
    nulls: frozenset[str]
    collapse: bool
    enum: dict[str, str] | None
    otherwise: Otherwise
    convert: Converter | None
    scale: int
    rounds_to_currency: bool
    passes_structures: bool

    def read(self, source: Mapping[str, Token], scale: int) -> Token:
        """Return the token of a row's cell.

        Raises:
            CellError: the cell cannot be converted.
        """
        text = token = self.constant if self.column is None else source.get(self.column)
        if type(text) is not str:
            if isinstance(token, (dict, list)) and self.passes_structures:
                return token
            text = to_cell_text(token)
            if text is None:
                return None
        if self.collapse:
            text = " ".join(text.split())
        if text in self.nulls and self.column is not None:
            return None
        if self.enum is not None:
            translated = self._translate(text, self.enum)
            if translated is None:
                return None
            text = translated
        return text if self.convert is None else self.convert(text, scale)

    def _translate(self, text: str, enum: Mapping[str, str]) -> str | None:
        translated = enum.get(text)
        if translated is None and self.otherwise is Otherwise.KEEP:
            return text
        if translated is None and self.otherwise is Otherwise.QUARANTINE:
            raise CellError("unmapped_value", f"the mapping has no entry for {quote(text)}")
        return translated


def to_cell_text(token: Token) -> str | None:
    """Return a scalar token as the text of a cell.

    Raises:
        CellError: the token is an object or an array.
    """
    if token is None or type(token) is str:
        return token
    if isinstance(token, str):
        return str(token)
    if isinstance(token, bool):
        return "true" if token else "false"
    raise CellError("wrong_type", "a single value is expected here")


def compile_cells(mapping: ImportMapping, validator: SchemaValidator) -> tuple[Cell, ...]:
    """Return the compiled column mappings.

    Raises:
        InvalidInput: a column names an unknown attribute or an impossible conversion.
    """
    errors: list[FieldError] = []
    cells: list[Cell] = []
    for index, column in enumerate(mapping.columns):
        try:
            cells.append(_compile_cell(column, mapping, validator))
        except CellError as error:
            member = "" if error.code == "not_convertible" else "/attribute"
            errors.append(FieldError(f"/columns/{index}{member}", error.code, error.detail))
    if errors:
        raise InvalidInput(errors)
    return tuple(cells)


def _compile_cell(
    column: ColumnMapping, mapping: ImportMapping, validator: SchemaValidator
) -> Cell:
    target = _find_column(column.attribute, validator)
    type_name = target.type.name if target else None
    _check_conversions(column, type_name)
    is_amount = target is not None and target.name == "total_amount"
    scale = target.type.scale if target else None
    constant = column.constant
    return Cell(
        attribute=column.attribute,
        column=column.column,
        constant=constant if constant is None or isinstance(constant, bool) else str(constant),
        nulls=frozenset(mapping.null if column.null is None else column.null),
        collapse=column.whitespace is Whitespace.COLLAPSE,
        enum=column.enum,
        otherwise=column.otherwise or Otherwise.QUARANTINE,
        convert=_build_converter(column, mapping, target),
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
        raise CellError("read_only", f"{name} is assigned by the service")
    canonical = name if name in validator.fields else validator.canonical_name(name)
    if name in validator.retired:
        return validator.retired[name].column
    if canonical is None:
        raise CellError("unknown_attribute", f"the active schema has no {name}")
    return validator.fields[canonical]


def _check_conversions(column: ColumnMapping, type_name: TypeName | None) -> None:
    if column.rounding is not None and type_name not in _NUMERIC:
        raise CellError("not_convertible", "rounding applies only to numbers with a scale")
    is_extension = column.attribute.startswith(EXTENSION_PREFIX)
    if column.unit_factor is not None and type_name not in _NUMERIC and not is_extension:
        raise CellError("not_convertible", "unit_factor applies only to numbers")
    formats = column.all_date_formats
    if formats and type_name not in _DATED and not is_extension:
        raise CellError("not_convertible", "date_formats apply only to dates and timestamps")
    if formats and type_name is TypeName.TIMESTAMP and column.utc_offset is None:
        if not all(text == "iso" or "%z" in text for text in formats):
            raise CellError("not_convertible", "a local time needs utc_offset")
    elif column.utc_offset is not None and type_name is not TypeName.TIMESTAMP:
        raise CellError("not_convertible", "utc_offset applies only to timestamps")


def _build_converter(
    column: ColumnMapping, mapping: ImportMapping, target: Column | None
) -> Converter | None:
    """Return the conversion of a column's text, None if the text is the token."""
    type_name = target.type.name if target else None
    if column.all_date_formats or column.extension_type is ExtensionType.DATE:
        return _build_date_converter(column, type_name)
    if type_name is TypeName.BOOLEAN or column.extension_type is ExtensionType.BOOLEAN:
        return lambda text, _: _read_boolean(text)
    if target is not None and target.name == _COUNTRY:
        return lambda text, _: find_country_code(text) or text
    return _build_number_converter(column, mapping, target)


def _build_number_converter(
    column: ColumnMapping, mapping: ImportMapping, target: Column | None
) -> Converter | None:
    """Return the conversion of a number, None if the column has none."""
    decimal = mapping.decimal if column.decimal is None else column.decimal
    thousands = mapping.thousands if column.thousands is None else column.thousands
    parse = compile_number_parser(decimal, thousands)
    if column.unit_factor is not None or column.rounding is not None:
        factor, rounding = column.unit_factor, column.rounding
        return lambda text, scale: _scale_number(text, parse, factor, rounding, scale)
    if target is not None and target.name == "total_amount":
        has_marks = decimal != "." or thousands is not None
        return (lambda text, _: _read_number(text, parse)) if has_marks else None
    if column.extension_type is ExtensionType.INTEGER:
        return lambda text, _: _read_integer(text, parse)
    is_number = target is not None and target.type.name in _NUMERIC
    if is_number or column.extension_type is ExtensionType.NUMBER:
        return lambda text, _: _read_number(text, parse)
    return None


def _build_date_converter(column: ColumnMapping, type_name: TypeName | None) -> Converter:
    formats = column.all_date_formats or ("iso",)
    if type_name is TypeName.TIMESTAMP:
        parse = compile_instant_parser(formats, parse_utc_offset(column.utc_offset or ""))
        code, noun = "not_a_timestamp", "time"
    else:
        parse = compile_date_parser(formats, column.period)
        code, noun = "not_a_date", "date"
    names = " or ".join(formats)

    def convert(text: str, _: int) -> Token:
        result = parse(text)
        if result is None:
            raise CellError(code, f"{quote(text)} is not a {noun} like {names}")
        return result

    return convert


def _read_number(text: str, parse: Callable[[str], str | None]) -> Token:
    """Return the text as a JSON number, through its exact value if necessary."""
    token = to_number_token(_parse_number(text, parse))
    if token is None:
        raise _out_of_range(text)
    return token


def _read_integer(text: str, parse: Callable[[str], str | None]) -> Token:
    """Return the text of a whole number; 1990.0 is one."""
    value = read_decimal(text, parse)
    if value != value.to_integral_value():
        raise CellError("not_an_integer", f"{quote(text)} is not a whole number")
    return NumberToken(format(value.to_integral_value(), "f"))


def _scale_number(
    text: str,
    parse: Callable[[str], str | None],
    factor: Decimal | None,
    rounding: Rounding | None,
    scale: int,
) -> Token:
    value = read_decimal(text, parse)
    if factor is not None:
        value = DECIMAL_CONTEXT.multiply(value, factor)
        if not is_in_range(value):
            raise _out_of_range(text)
    if rounding is not None:
        value = value.quantize(Decimal(1).scaleb(-scale), _DECIMAL_MODES[rounding], DECIMAL_CONTEXT)
    digits = format(value or abs(value), "f")
    if rounding is None and "." in digits:
        # A factor of 0.010 adds a trailing zero that is not in the cell.
        digits = digits.rstrip("0").removesuffix(".")
    return NumberToken(digits)


def read_decimal(text: str, parse: Callable[[str], str | None]) -> Decimal:
    """Return the exact value of a number.

    Raises:
        CellError: the text is no number, or out of range.
    """
    value = Decimal(_parse_number(text, parse))
    if not is_in_range(value):
        raise _out_of_range(text)
    return value


def _parse_number(text: str, parse: Callable[[str], str | None]) -> str:
    digits = parse(text)
    if digits is None:
        digits = parse(text.strip())
    if digits is None:
        raise CellError("not_a_number", f"{quote(text)} is not a number")
    return digits


def _out_of_range(text: str) -> CellError:
    return CellError("out_of_range", f"{quote(text)} is out of range")


def _read_boolean(text: str) -> Token:
    lower = text.strip().lower()
    if lower in {"true", "false"}:
        return lower == "true"
    raise CellError("not_a_boolean", f"{quote(text)} is neither true nor false")


def quote(text: str) -> str:
    """Return the text in quotes, cut to the length of an error message."""
    return repr(
        text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"
    )
