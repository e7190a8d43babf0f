"""The row reader: a mapping compiled against a schema, which converts source rows to projects.

A row is `column name → token`: text in CSV, any JSON value in NDJSON. Numbers stay text until the
attribute's type is known, so that an amount is rounded from its exact digits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Final

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.cell_reader import (
    AnyCell,
    Cell,
    SponsorsCell,
    compile_cells,
    find_project_column,
    read_decimal,
)
from spawn.domain.imports.cells.cell_text import CellError, add_content, to_cell_text
from spawn.domain.imports.cells.number_text import compile_number_parser
from spawn.domain.imports.cells.stated_values import check_stated_values
from spawn.domain.imports.export_reader import ExportReader, RowResult
from spawn.domain.imports.import_state import RowReason
from spawn.domain.imports.mapping import ImportMapping, MissingAmount, OnFailure, SumCheck
from spawn.domain.imports.row_selector import RowSelector
from spawn.domain.json_tokens import Token
from spawn.domain.money import CURRENCIES, DECIMAL_CONTEXT
from spawn.domain.projects.project import propose_project
from spawn.domain.schemas.core_columns import CORE_COLUMNS, MAY_BE_UNKNOWN
from spawn.domain.schemas.validator import ProjectInput, SchemaValidator
from spawn.domain.text import normalize, trim

_KEPT_IF_ABSENT = MAY_BE_UNKNOWN.union(c.name for c in CORE_COLUMNS if c.default is not None)
"""Fields that keep their value if a later edition of a file has none."""

_AMOUNT: Final = "total_amount"
_DEFAULT_SCALE: Final = 2
_DEFAULT_CURRENCY: Final = "USD"


class RowReader:
    """A reader of rows under one schema, through a mapping or as plain projects."""

    def __init__(
        self,
        validator: SchemaValidator,
        mapping: ImportMapping | None,
        on_date: date | None = None,
        *,
        from_export: bool = False,
    ) -> None:
        """Compile the mapping; `on_date` is compared with the Sunset of retired columns.

        With `from_export`, of the mapping too, the rows are projects as the service exports them.

        Raises:
            InvalidInput: the mapping names unknown attributes, each with its pointer.
        """
        self.validator = validator
        from_export = from_export or (mapping is not None and mapping.from_export)
        # An export may be older than a Sunset: what it has beyond the schema is ignored.
        self.on_date = None if from_export else on_date
        mapping = None if from_export else mapping
        self._mapping = mapping
        self._cells = (
            compile_cells(mapping, partial(find_project_column, validator)) if mapping else ()
        )
        self._sponsors = next((one for one in self._cells if isinstance(one, SponsorsCell)), None)
        self._sums = [cell for cell in self._cells if isinstance(cell, Cell) and cell.is_sum]
        self._fields = {cell.attribute: cell.label for cell in self._cells}
        self._labels = _list_labels(mapping) if mapping else {}
        if mapping and mapping.key:
            self._fields["external_ref"] = mapping.key.label
        self._rows = RowSelector(mapping) if mapping else None
        self.export_reader = ExportReader(validator) if from_export else None
        self._allows_unknown_amount = from_export or (
            mapping is not None and mapping.missing_amount is MissingAmount.UNKNOWN
        )
        decimal, thousands = (mapping.decimal, mapping.thousands) if mapping else (".", None)
        self._parse_number = compile_number_parser(decimal, thousands)

    def check_stated_values(self) -> None:
        """Check that the attributes can have what the mapping itself states.

        Rows are read without it: a mapping may be older than the check, or than the schema, and
        quarantines the rows that use a bad value.

        Raises:
            InvalidInput: the values that they cannot have, each with its pointer.
        """
        if self._mapping is not None:
            check_stated_values(self._mapping.columns, self._cells, self._validate_token)

    def _validate_token(self, attribute: str, token: Token) -> None:
        """Check that an attribute can have a token.

        Raises:
            InvalidInput: it cannot.
        """
        self.validator.read({attribute: token}, partial=True)

    @property
    def source_columns(self) -> frozenset[str]:
        """The columns that the mapping reads."""
        return self._mapping.source_columns if self._mapping else frozenset()

    def read_key(self, source: Mapping[str, Token]) -> str | None:
        """Return the row's key in its file, without reading anything else of the row."""
        if self._mapping is None or self._mapping.key is None or self._rows is None:
            return read_reference_key(source.get("external_ref"))
        return self._rows.read_key(source, self._mapping.key)

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row by the names of the mapping, or the reason for which it is skipped."""
        if self.export_reader is not None:
            return self.export_reader.locate(source)
        return source if self._rows is None else self._rows.locate(source)

    def read_group(self, source: Mapping[str, Token]) -> tuple[str | None, ...]:
        """Return the values by which a located row belongs to its group; none without groups."""
        return () if self._rows is None else self._rows.read_group(source)

    def merge_rows(self, rows: Sequence[Mapping[str, Token]]) -> Mapping[str, Token]:
        """Return the located rows of a group as one, with all values of each column."""
        return {} if self._rows is None else self._rows.merge(rows)

    def read(
        self, source: Mapping[str, Token], project_id: str, *, with_amendment: bool = False
    ) -> RowResult:
        """Return a located row's project under a new id, or all the reasons against it.

        With an amendment, the result of a valid row also has what `read_amendment` returns, if
        that is valid too.
        """
        build = partial(self._build_result, with_amendment=with_amendment)
        if self.export_reader is not None:
            values, system = self.export_reader.split(source)
            key = self.read_key(values)
            values = _drop_unknown_amount(values)
            result = build(system.project_id or project_id, key, values, values, [], [])
            return self.export_reader.restore(result, system)
        if self._mapping is None or self._rows is None:
            return build(project_id, self.read_key(source), source, source, [], [])
        reasons = self._rows.list_faults(source)
        warnings = [RowReason("", "elements_chosen", note) for note in self._rows.note(source)]
        key, tokens = self._convert_row(source, reasons)
        for check in self._mapping.checks:
            reason = _run_check(check, source, self._mapping.null, self._parse_number)
            if reason is not None:
                (warnings if check.on_failure is OnFailure.WARN else reasons).append(reason)
        if self._allows_unknown_amount and not reasons and tokens.get(_AMOUNT) is None:
            field = self._fields.get(_AMOUNT, _AMOUNT)
            warnings.append(RowReason(field, "amount_unknown", "the row has no amount"))
            tokens = _drop_unknown_amount(tokens)
        if not reasons:
            warnings += self._describe_partial_sums(source)
        return build(project_id, key, source, tokens, reasons, warnings)

    def _describe_partial_sums(self, source: Mapping[str, Token]) -> Iterator[RowReason]:
        """Yield a warning for each sum of which some addends are unknown."""
        for cell in self._sums:
            known, total = cell.count_addends(source)
            if 0 < known < total:
                detail = f"{total - known} of {total} values are unknown; the sum has the others"
                yield RowReason(cell.label, "partial_sum", detail)

    def read_amendment(self, source: Mapping[str, Token]) -> ProjectInput:
        """Return the values of a valid row, without defaults: those are for new projects only."""
        tokens = source
        if self.export_reader is not None:
            tokens = _drop_unknown_amount(self.export_reader.split(source)[0])
        if self._mapping is not None:
            tokens = self._convert_row(source, [])[1]
        stated = self._select_stated(tokens)
        return self.validator.read(stated, partial=True, on_date=self.on_date)

    def to_reason(self, error: FieldError, source: Mapping[str, Token] | None = None) -> RowReason:
        """Return an attribute's error as a reason with the source column and its content."""
        head, slash, tail = error.pointer.removeprefix("/").partition("/")
        field = self._fields.get(head, head + slash + tail)
        if source is None:
            return RowReason(field, error.code, error.detail)
        index, _, member = tail.partition("/")
        if self._sponsors and head == self._sponsors.attribute and index.isdecimal():
            field = self._sponsors.find_column(source, int(index), member)
        return RowReason(field, error.code, add_content(error.detail, source.get(field)))

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
        currency_cells: list[AnyCell] = []
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
        cell: AnyCell,
        source: Mapping[str, Token],
        tokens: dict[str, Token],
        reasons: list[RowReason],
        scale: int,
    ) -> None:
        try:
            tokens[cell.attribute] = cell.read(source, scale)
        except CellError as error:
            field = error.column or self._fields[cell.attribute]
            reasons.append(RowReason(field, error.code, error.detail))

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
        project_id: str,
        key: str | None,
        source: Mapping[str, Token],
        tokens: Mapping[str, Token],
        reasons: list[RowReason],
        warnings: list[RowReason],
        *,
        with_amendment: bool,
    ) -> RowResult:
        try:
            may_lack = MAY_BE_UNKNOWN if self._allows_unknown_amount else frozenset[str]()
            attributes = self.validator.read(tokens, on_date=self.on_date, may_lack=may_lack)
            project = propose_project(
                project_id=project_id,
                fields=attributes.core,
                attributes=attributes.governed,
                extensions=attributes.extensions,
                allows_unknown_amount=self._allows_unknown_amount,
            )
        except InvalidInput as invalid:
            additions = [self.to_reason(error, source) for error in invalid.errors]
            reasons = [*reasons, *self._drop_consequences(additions, reasons)]
            return RowResult(key, reasons=tuple(reasons), warnings=tuple(warnings))
        if attributes.warnings:
            warnings = [*warnings, *(self.to_reason(error) for error in attributes.warnings)]
        if reasons:
            return RowResult(key, reasons=tuple(reasons), warnings=tuple(warnings))
        amendment = self._build_amendment(tokens, attributes) if with_amendment else None
        has_currency = "currency_code" in attributes.core
        return RowResult(key, project, (), tuple(warnings), amendment, has_currency)

    def _drop_consequences(
        self, additions: Iterable[RowReason], reasons: Sequence[RowReason]
    ) -> Iterator[RowReason]:
        """Yield the additions that do not follow from a cell that could not be converted."""
        fields = {reason.field for reason in reasons}
        lacking = {label for field in fields for label in self._labels.get(field, ())}
        for reason in additions:
            is_lacking = reason.code == "missing" and reason.field in lacking
            if not is_lacking and reason.field not in fields:
                yield reason

    def _build_amendment(
        self, tokens: Mapping[str, Token], attributes: ProjectInput
    ) -> ProjectInput | None:
        """Return what `read_amendment` returns for a valid row; None if that is invalid."""
        stated = self._select_stated(tokens)
        count = len(attributes.core) + len(attributes.governed) + len(attributes.extensions)
        if count == len(stated) and None not in stated.values():
            return attributes  # Nothing is removed, and no default was added.
        try:
            return self.validator.read(stated, partial=True, on_date=self.on_date)
        except InvalidInput:
            return None

    def _select_stated(self, tokens: Mapping[str, Token]) -> Mapping[str, Token]:
        """Return what a row says about a project that exists already.

        A cell without a value says nothing about what a project always has.
        """
        if self._mapping is None:
            return tokens
        return {n: t for n, t in tokens.items() if t is not None or n not in _KEPT_IF_ABSENT}


def _list_labels(mapping: ImportMapping) -> Mapping[str, set[str]]:
    """Return the labels of the attributes that are read from each column of several."""
    labels: dict[str, set[str]] = {}
    for column in mapping.columns:
        shares = [pair.share for pair in column.sponsor_columns if pair.share is not None]
        names = [pair.name for pair in column.sponsor_columns]
        for name in (*column.sources, *names, *shares):
            labels.setdefault(name, set()).add(column.label)
    return labels


def _drop_unknown_amount(tokens: dict[str, Token]) -> dict[str, Token]:
    """Return the tokens without an amount that is null."""
    if tokens.get(_AMOUNT, "") is not None:
        return tokens
    return {name: token for name, token in tokens.items() if name != _AMOUNT}


def read_reference_key(token: Token) -> str | None:
    """Return the key of a row from its own external reference, or None."""
    if isinstance(token, dict):
        source, ident = token.get("source"), token.get("id")
        if isinstance(source, str) and isinstance(ident, str):
            return f"{normalize(trim(source))}\n{normalize(trim(ident))}"
    return None


def _get_currency_scale(tokens: Mapping[str, Token]) -> int:
    # An unknown currency is rejected when the project is built; until then any scale works.
    code = tokens.get("currency_code")
    currency = CURRENCIES.get(code if isinstance(code, str) else _DEFAULT_CURRENCY)
    return _DEFAULT_SCALE if currency is None or currency.exponent is None else currency.exponent


def _run_check(
    check: SumCheck,
    source: Mapping[str, Token],
    nulls: tuple[str, ...],
    parse: Callable[[str], str | None],
) -> RowReason | None:
    """Return the reason of a failed check; None also without addends or expected sum."""
    try:
        addends = [_read_operand(source, name, nulls, parse) for name in check.sum_of]
        expected = _read_operand(source, check.equals, nulls, parse)
    except CellError as error:
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


def _read_operand(
    source: Mapping[str, Token],
    name: str,
    nulls: tuple[str, ...],
    parse: Callable[[str], str | None],
) -> Decimal | None:
    token = source.get(name)
    texts = map(to_cell_text, token if isinstance(token, list) else [token])
    values = [read_decimal(t, parse) for t in texts if t is not None and t.strip() not in nulls]
    return sum(values, Decimal(0)) if values else None
