"""Column mappings compiled against a schema: from the text of a cell to the token of an attribute.

Numbers stay text until the attribute's type is known, so that an amount is rounded from its exact
digits.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Decimal,
)
from functools import partial
from itertools import chain
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.amount_currency import (
    CURRENCY_ATTRIBUTE,
    CurrencyCell,
    CurrencyPairing,
    find_pairing,
)
from spawn.domain.imports.cells.cell_text import (
    MAX_LISTED_VALUES,
    CellError,
    Converter,
    TextReader,
    locate_errors,
    quote,
)
from spawn.domain.imports.cells.date_text import (
    compile_date_parser,
    compile_instant_parser,
    parse_utc_offset,
    read_midnight,
)
from spawn.domain.imports.cells.number_text import (
    compile_number_parser,
    is_in_range,
    to_number_token,
)
from spawn.domain.imports.cells.unit_text import compile_unit_parser, read_negative, split_unit
from spawn.domain.imports.mapping import (
    Aggregation,
    CellPart,
    ColumnMapping,
    Combination,
    ExtensionType,
    ImportMapping,
    Otherwise,
    SponsorColumns,
    Whitespace,
)
from spawn.domain.iso.country_names import find_country_code
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.money import DECIMAL_CONTEXT, Rounding
from spawn.domain.projects.codes import CODE_FIELDS
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

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}

_MARKED: Final = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f\u2019]*", re.ASCII).fullmatch
_SHARES: Final = (
    # In brackets: a number, a share that is unknown, either before other facts, (60% / France).
    (
        r"(?P<name>.+?)\s*[\[(]\s*(?:(?P<share>\d[\d.,]*)\s*%?|(?:unknown|not available)\s*%?)"
        r"\s*(?:/[^\])]*)?[\])]"
    ),
    # Behind or before the name, where the sign alone tells it from a number in the name.
    r"(?P<name>.*[^\s:=\u2013-])\s*[:=\u2013-]?\s+(?P<share>\d[\d.,]*)\s*%",
    r"(?P<share>\d[\d.,]*)\s*%\s+(?:para|of)\s+(?P<name>.+)",
)
_FIND_SHARES: Final = tuple(
    re.compile(pattern, re.ASCII | re.IGNORECASE).fullmatch for pattern in _SHARES
)
"""Functions that find the name of a sponsor and its share in a text."""

_LEGAL_FORM: Final = re.compile(
    r"\s*(?:inc|incorporated|ltd|limited|llc|llp|l\.l\.c|lp|l\.p|co|corp|plc|pty|pte|sa|s\.a"
    r"|s\.a\.u|s\.l|s\.p\.a|b\.v|n\.v|gmbh|ag|a\.?s|oy|ab)\b\.?",
    re.IGNORECASE,
).match
"""Beginning of the rest of a name that contains a comma, `Alfa, Inc. (60%)`."""

ROW_COUNT: Final = "\0rows"
"""Name under which a record of several rows has their number; no column has it."""

_CALCULATIONS: Final = frozenset({Aggregation.SUM, Aggregation.MIN, Aggregation.MAX})


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled column mapping; `convert` turns the text of a cell into a token.

    `aggregate` uses several values of a column and `convert_result` their sum or extreme, which has
    a point before its decimals; None takes the only one.
    """

    attribute: str
    label: str
    sources: tuple[str, ...]
    constant: Token
    texts: "TextReader"
    convert: Converter | None
    convert_result: Converter | None
    parse_number: Callable[[str], str | None]
    aggregate: Aggregation | None
    combine: Combination
    separator: str
    decimal: str
    scale: int
    rounds_to_currency: bool
    passes_structures: bool

    def read(self, source: Mapping[str, Token], scale: int) -> Token:
        """Return the token of a row's cell.

        Raises:
            CellError: the cell cannot be converted.
        """
        if len(self.sources) == 1:
            token = source.get(self.sources[0])
            if type(token) is str:
                text = self.texts.read(token)
                if text is None or self.convert is None:
                    return text
                return self.convert(text, scale)
            return self._read_other(token, scale)
        if not self.sources:
            if self.aggregate is Aggregation.COUNT:
                return source.get(ROW_COUNT, NumberToken("1"))
            return self._convert_text(self.texts.read_constant(self.constant), scale)
        return self._read_columns([source.get(name) for name in self.sources], scale)

    @property
    def is_sum(self) -> bool:
        """Whether it adds the numbers of several rows or columns."""
        return bool(self.sources) and (
            self.aggregate is Aggregation.SUM or self.combine is Combination.SUM
        )

    def count_addends(self, source: Mapping[str, Token]) -> tuple[int, int]:
        """Return the number of addends of a sum that have a value, and of all.

        Raises:
            CellError: an addend cannot be read.
        """
        tokens = [source.get(name) for name in self.sources]
        columns = [_list_values(token) for token in tokens]
        if self.combine is Combination.FIRST:
            rows = _split_rows(tokens) if len(tokens) > 1 else None
            if rows is not None:
                return sum(any(map(self.texts.read_all, row)) for row in rows), len(rows)
            columns = [next((v for v in columns if any(map(self.texts.read_all, v))), [])]
        addends = [value for values in columns for value in values]
        return sum(bool(self.texts.read_all(value)) for value in addends), len(addends)

    def _read_columns(self, tokens: list[Token], scale: int) -> Token:
        """Return the token of several columns."""
        if self.aggregate is not None and (rows := _split_rows(tokens)) is not None:
            texts = [text for row in rows if (text := self._combine(row)) is not None]
            return self._aggregate(texts, scale)
        if self.combine is Combination.FIRST:
            for name, token in zip(self.sources, tokens, strict=True):
                with locate_errors(name):
                    value = self._read_other(token, scale)
                if value is not None:
                    return value
            return None
        return self._convert_text(self._combine(tokens), scale)

    def _combine(self, tokens: Iterable[Token]) -> str | None:
        """Return the texts of several columns as one, the first one, or the sum of numbers."""
        texts: list[str] = []
        numbers: list[Decimal] = []
        for name, token in zip(self.sources, tokens, strict=True):
            with locate_errors(name):
                column_texts = self.texts.read_all(token)
                if self.combine is Combination.SUM:
                    numbers += [read_decimal(text, self.parse_number) for text in column_texts]
            texts += column_texts
        if self.combine is Combination.FIRST:
            return texts[0] if texts else None
        if self.combine is Combination.JOIN or not texts:
            return self._join(texts)
        return format(_add(numbers), "f").replace(".", self.decimal)

    def _read_other(self, token: Token, scale: int) -> Token:
        """Return the token of a cell that may be a structure or have several values."""
        passes = self.aggregate is None and self.passes_structures
        has_values = self.aggregate is not None or (isinstance(token, list) and len(token) > 1)
        if isinstance(token, list) and has_values and not passes:
            return self._aggregate(self.texts.read_all(token), scale)
        if isinstance(token, dict | list) and self.passes_structures:
            return token
        return self._convert_text(self.texts.read(token), scale)

    def _aggregate(self, texts: list[str], scale: int) -> Token:
        if self.aggregate is Aggregation.COUNT:
            return NumberToken(len(texts))
        if not texts:
            return None
        if self.aggregate is Aggregation.JOIN:
            return self._convert_text(self._join(texts), scale)
        if self.aggregate in _CALCULATIONS:
            return self._calculate(texts, scale)
        if self.aggregate is None and len(different := dict.fromkeys(texts)) > 1:
            values = ", ".join(quote(text) for text in list(different)[:MAX_LISTED_VALUES])
            raise CellError(
                "several_values", f"{len(different)} different values: {values}; aggregate them"
            )
        return self._convert_text(texts[-1 if self.aggregate is Aggregation.LAST else 0], scale)

    def _calculate(self, texts: list[str], scale: int) -> Token:
        """Return the exact sum, or the least or greatest value: of numbers, else of dates."""
        if self.convert_result is None:
            tokens = [
                token for text in texts if isinstance(token := self._convert_text(text, scale), str)
            ]
            return (min if self.aggregate is Aggregation.MIN else max)(tokens)
        numbers = [read_decimal(text, self.parse_number) for text in texts]
        if self.aggregate is Aggregation.SUM:
            result = _add(numbers)
        else:
            result = (min if self.aggregate is Aggregation.MIN else max)(numbers)
        return self.convert_result(format(result, "f"), scale)

    def _join(self, texts: Iterable[str]) -> str | None:
        return self.separator.join(dict.fromkeys(texts)) or None

    def _convert_text(self, text: str | None, scale: int) -> Token:
        return text if text is None or self.convert is None else self.convert(text, scale)


def _list_values(token: Token) -> list[Token]:
    return token if isinstance(token, list) else [token]


def _split_rows(tokens: list[Token]) -> list[tuple[Token, ...]] | None:
    """Return the tokens of each row of a group; None if columns differ in their values' number."""
    lists = [token for token in tokens if isinstance(token, list)]
    if len(lists) < len(tokens) or len({len(values) for values in lists}) > 1:
        return None
    return list(zip(*lists, strict=True))


def _add(numbers: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = Decimal(0)
    for number in numbers:
        total = DECIMAL_CONTEXT.add(total, number)
    return total


class SponsorsCell(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of sponsors, each with its name and its share in percent."""

    label: str
    columns: tuple[SponsorColumns, ...]
    texts: TextReader
    parse_number: Callable[[str], str | None]
    separator: str | None = None
    attribute: str = "sponsors"
    scale: int = 0
    rounds_to_currency: bool = False

    def read(self, source: Mapping[str, Token], _: int) -> Token:
        """Return the sponsors that have a name; a share without a name must be zero.

        Raises:
            CellError: a share is no number, or has no name.
        """
        return [sponsor for _, sponsor in self._list_sponsors(source)] or None

    def find_column(self, source: Mapping[str, Token], index: int, member: str) -> str:
        """Return the column with the name or the share of a sponsor, by its index."""
        pairs = [pair for pair, _ in self._list_sponsors(source)]
        pair = pairs[index] if index < len(pairs) else self.columns[0]
        return pair.share if member == "share" and pair.share is not None else pair.name

    def _list_sponsors(
        self, source: Mapping[str, Token]
    ) -> Iterator[tuple[SponsorColumns, dict[str, Token]]]:
        for pair in self.columns:
            with locate_errors(pair.name):
                token = source.get(pair.name)
                sponsors = (
                    self._split(token, self.separator)
                    if self.separator is not None
                    else self._pair_shares(self.texts.read_all(token), pair, source)
                )
            for sponsor in sponsors:
                yield pair, sponsor

    def _pair_shares(
        self, names: list[str], pair: SponsorColumns, source: Mapping[str, Token]
    ) -> list[dict[str, Token]]:
        """Return the sponsors of a pair of columns."""
        shares: list[str] = []
        with locate_errors(pair.share):
            if pair.share is not None:
                shares = self.texts.read_all(source.get(pair.share))
            numbers = [read_decimal(share, self.parse_number) for share in shares]
            if len(numbers) > len(names) and any(numbers):
                detail = f"{quote(shares[-1])} has no name of a sponsor"
                raise CellError("share_without_name", detail)
        shares = [format(number, "f") for number in numbers]
        absent: list[Token] = [None] * len(names)
        return [
            {"name": name, "share": share}
            for name, share in zip(names, [*shares, *absent], strict=False)
        ]

    def _split(self, token: Token, separator: str) -> list[dict[str, Token]]:
        """Return the sponsors in one cell, such as `Alpha [60%]; Beta 40%`."""
        texts = chain.from_iterable(_split_names(t, separator) for t in self.texts.read_all(token))
        sponsors: list[dict[str, Token]] = []
        for text in filter(None, map(str.strip, texts)):
            match = next(filter(None, (find(text) for find in _FIND_SHARES)), None)
            name, share = (text, None) if match is None else match.group("name", "share")
            number = None if share is None else read_decimal(share, self.parse_number)
            sponsors.append(
                {"name": name, "share": None if number is None else format(number, "f")}
            )
        return sponsors


def _split_names(text: str, separator: str) -> Iterator[str]:
    """Yield the parts of a text between separators outside brackets and before no legal form."""
    whole = ""
    for part in text.split(separator):
        is_open = whole.count("(") + whole.count("[") > whole.count(")") + whole.count("]")
        if whole and (is_open or _LEGAL_FORM(part) is not None):
            whole += separator + part
            continue
        yield whole
        whole = part
    yield whole


AnyCell = Cell | SponsorsCell | CurrencyCell
"""A compiled column mapping."""


FindColumn = Callable[[str], Column | None]
"""Function of the name of an attribute; None for one that is not a column, `CellError` for none."""


def compile_cells(mapping: ImportMapping, find_column: FindColumn) -> tuple[AnyCell, ...]:
    """Return the compiled column mappings.

    Raises:
        InvalidInput: a column names an unknown attribute or an impossible conversion.
    """
    errors: list[FieldError] = []
    cells: list[AnyCell] = []
    for index, column in enumerate(mapping.columns):
        try:
            cells.append(_compile_cell(column, mapping, find_column))
        except CellError as error:
            member = "" if error.code == "not_convertible" else "/attribute"
            errors.append(FieldError(f"/columns/{index}{member}", error.code, error.detail))
    if errors:
        raise InvalidInput(errors)
    pairing = find_pairing(mapping)
    return tuple(cells if pairing is None else _pair_currency(cells, pairing))


def _pair_currency(cells: list[AnyCell], pairing: CurrencyPairing) -> Iterator[AnyCell]:
    """Yield the cells, that of the currency with what it needs to know of the amounts."""
    amount = next(cell for cell in cells if cell.attribute == pairing.attribute)
    for cell in cells:
        if not (isinstance(cell, Cell) and cell.attribute == CURRENCY_ATTRIBUTE):
            yield cell
        elif isinstance(amount, Cell):
            yield CurrencyCell(
                attribute=cell.attribute,
                label=cell.label,
                sources=cell.sources,
                texts=cell.texts,
                convert=cell.convert,
                combines_amounts=amount.combine,
                aggregates_amounts=amount.aggregate,
                amount_texts=amount.texts,
                read_amount=partial(read_decimal, parse=amount.parse_number),
                own_columns=pairing.own_columns,
                read_record=cell.read,
            )


def _compile_cell(
    column: ColumnMapping, mapping: ImportMapping, find_column: FindColumn
) -> AnyCell:
    texts = TextReader(
        nulls=frozenset(mapping.null if column.null is None else column.null),
        collapse=column.whitespace is Whitespace.COLLAPSE,
        enum=column.enum,
        otherwise=column.otherwise or Otherwise.QUARANTINE,
        takes_unit=column.part is CellPart.UNIT,
    )
    parse = _compile_parser(column, mapping)
    if column.sponsor_columns:
        pairs = column.sponsor_columns
        return SponsorsCell(
            label=column.label,
            columns=pairs,
            texts=texts,
            parse_number=parse,
            separator=None if column.separator is None else column.separator.strip(),
        )
    target = find_column(column.attribute)
    _check_conversions(column, target.type.name if target else None)
    is_amount = target is not None and target.name == "total_amount"
    scale = target.type.scale if target else None
    constant = column.constant
    plain = compile_number_parser(".", None)
    return Cell(
        attribute=column.attribute,
        label=column.label,
        sources=column.sources,
        constant=constant if constant is None or isinstance(constant, bool) else str(constant),
        texts=texts,
        convert=_build_converter(column, target, parse),
        convert_result=_build_number_converter(column, target, plain),
        parse_number=parse,
        # The rows of a group agree in most columns, and the first one stands for them.
        aggregate=column.aggregate or (Aggregation.FIRST if mapping.group_by else None),
        combine=column.combine or Combination.FIRST,
        separator=" " if column.separator is None else column.separator,
        decimal=mapping.decimal if column.decimal is None else column.decimal,
        scale=0 if scale is None else scale,
        rounds_to_currency=is_amount and column.rounding is not None,
        passes_structures=target is None and column.enum is None and bool(column.sources),
    )


def _compile_parser(column: ColumnMapping, mapping: ImportMapping) -> Callable[[str], str | None]:
    """Return the parser of numbers with the marks of the column, or else of the mapping."""
    parse = compile_number_parser(
        mapping.decimal if column.decimal is None else column.decimal,
        mapping.thousands if column.thousands is None else column.thousands,
    )
    return compile_unit_parser(parse, column.units) if column.units else parse


def find_project_column(validator: SchemaValidator, name: str) -> Column | None:
    """Return the column of an attribute's name or alias, retired ones included.

    Structured fields and extensions have none.

    Raises:
        CellError: the schema has no such attribute, or the service assigns it.
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
    if column.units and type_name not in _NUMERIC and not is_extension:
        raise CellError("not_convertible", "units apply only to numbers; `part` reads them")
    sums = Aggregation.SUM is column.aggregate or column.combine is Combination.SUM
    if sums and type_name not in _NUMERIC and not is_extension:
        raise CellError("not_convertible", "a sum applies only to numbers")
    formats = column.all_date_formats
    if formats and type_name not in _DATED and not is_extension:
        raise CellError("not_convertible", "date_formats apply only to dates and timestamps")
    if formats and type_name is TypeName.TIMESTAMP and column.utc_offset is None:
        if not all(text == "iso" or "%z" in text for text in formats):
            raise CellError("not_convertible", "a local time needs utc_offset")
    elif column.utc_offset is not None and type_name is not TypeName.TIMESTAMP:
        raise CellError("not_convertible", "utc_offset applies only to timestamps")


def _build_converter(
    column: ColumnMapping, target: Column | None, parse: Callable[[str], str | None]
) -> Converter | None:
    """Return the conversion of a column's text, None if the text is the token."""
    type_name = target.type.name if target else None
    if type_name is TypeName.DATE and not column.all_date_formats:
        return lambda text, _: read_midnight(text) or text
    if column.all_date_formats or column.extension_type is ExtensionType.DATE:
        return _build_date_converter(column, type_name)
    if type_name is TypeName.BOOLEAN or column.extension_type is ExtensionType.BOOLEAN:
        return lambda text, _: _read_boolean(text)
    if target is not None and target.name == _COUNTRY:
        return lambda text, _: find_country_code(text) or text
    if target is not None and target.name in CODE_FIELDS:
        codes = frozenset(CODE_FIELDS[target.name].codes)
        return lambda text, _: code if (code := text.strip().upper()) in codes else text
    return _build_number_converter(column, target, parse)


def _build_number_converter(
    column: ColumnMapping, target: Column | None, parse: Callable[[str], str | None]
) -> Converter | None:
    """Return the conversion of a number, None if the column has none."""
    if column.unit_factor is not None or column.rounding is not None:
        factor, rounding = column.unit_factor, column.rounding
        return lambda text, scale: _scale_number(text, parse, factor, rounding, scale)
    if column.extension_type is ExtensionType.INTEGER:
        return lambda text, _: _read_integer(text, parse)
    is_number = target is not None and target.type.name in _NUMERIC
    sums = Aggregation.SUM is column.aggregate or column.combine is Combination.SUM
    calculates = target is None and (sums or bool(column.units))
    if is_number or calculates or column.extension_type is ExtensionType.NUMBER:
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
        digits = parse(read_negative(text))
    if digits is None:
        raise CellError("not_a_number", f"{quote(text)} is not a number{_suggest(text, parse)}")
    return digits


def _suggest(text: str, parse: Callable[[str], str | None]) -> str:
    """Return the members of a mapping that may make a number of a text."""
    number, unit = split_unit(text)
    if number and unit and parse(number) is not None:
        return f"; say in `units` what {quote(unit)} is worth"
    if number and not unit and _MARKED(number):
        return "; say its marks in `decimal` and `thousands`"
    return ""


def _out_of_range(text: str) -> CellError:
    return CellError("out_of_range", f"{quote(text)} is out of range")


def _read_boolean(text: str) -> Token:
    result = _BOOLEANS.get(text.strip().lower())
    if result is None:
        raise CellError("not_a_boolean", f"{quote(text)} is neither true nor false, yes nor no")
    return result
