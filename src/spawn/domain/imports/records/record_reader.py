"""The reader of records: rows of a file to facilities or entries, by a mapping or by their names.

Without a mapping the columns of a table are the fields themselves, by their paths (`name`,
`rate.margin`, `lenders.0.share`); lines of JSON are the bodies of the commands.
"""

from collections.abc import Mapping, Sequence

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.cells.cell_reader import AnyCell, compile_cells
from spawn.domain.imports.cells.cell_text import CellError, add_content
from spawn.domain.imports.cells.stated_values import check_stated_values
from spawn.domain.imports.header import QUARANTINE_COLUMNS, is_quarantine_header
from spawn.domain.imports.import_state import ImportKind, RowReason
from spawn.domain.imports.mapping import ColumnMapping, ImportMapping
from spawn.domain.imports.records.exported_records import ExportedRecord, ExportedRecordReader
from spawn.domain.imports.records.nested_tokens import nest_tokens
from spawn.domain.imports.records.record_kinds import (
    EntryRecord,
    FacilityRecord,
    generalise,
    get_record_kind,
)
from spawn.domain.imports.row_selector import RowSelector
from spawn.domain.json_tokens import Token
from spawn.domain.schema_version import Column
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.validator import ProjectInput, SchemaValidator

_NO_TOKENS: Mapping[str, Token] = {}


class DraftedRecord(msgspec.Struct, frozen=True):
    """A row as a record with its governed attributes, or the reasons against it."""

    record: FacilityRecord | EntryRecord | ExportedRecord | None
    governed_input: ProjectInput | None = None
    reasons: tuple[RowReason, ...] = ()


class RecordReader:
    """A reader of the rows of one file.

    Args:
        kind: of the records.
        mapping: of the columns; None reads them by their own names.
        columns: the header of a table; none of JSON.
        validator: of the governed attributes of the kind; None if it has none.
        exports: the reader of rows that the service has exported; None for other files.
    """

    def __init__(
        self,
        kind: ImportKind,
        mapping: ImportMapping | None,
        columns: Sequence[str] = (),
        validator: SchemaValidator | None = None,
        exports: ExportedRecordReader | None = None,
    ) -> None:
        """Compile the mapping, or the header in its place.

        Raises:
            InvalidInput: a column names no field of the kind.
        """
        self._kind = get_record_kind(kind)
        self._validator = validator
        self._exports = exports
        self._cells: tuple[AnyCell, ...] = ()
        if exports is not None:
            exports.check_header(columns)
        elif mapping is not None:
            self._cells = compile_cells(mapping, self._find_column)
        elif columns:
            mapping = _map_header(kind, columns)
            self._cells = self._compile_header(mapping)
        is_plain = mapping is None or exports is not None
        self._columns = () if is_plain or mapping is None else mapping.columns
        self._rows = None if is_plain or mapping is None else RowSelector(mapping)
        self._labels = {cell.attribute: cell.label for cell in self._cells}

    def check_stated_values(self) -> None:
        """Check that the fields can have what the mapping itself states; rows are read without it.

        Raises:
            InvalidInput: the values that they cannot have, each with its pointer.
        """
        check_stated_values(self._columns, self._cells, self._validate_token)

    def _validate_token(self, path: str, token: Token) -> None:
        """Check that a field can have a token, beside others that are absent here.

        Raises:
            InvalidInput: it cannot.
        """
        try:
            self._read_members(nest_tokens({path: token}))
        except InvalidInput as invalid:
            pointer = f"/{path.replace('.', '/')}"
            errors = [error for error in invalid.errors if error.pointer == pointer]
            if errors:
                raise InvalidInput(errors) from None

    def _compile_header(self, mapping: ImportMapping) -> tuple[AnyCell, ...]:
        """Return the cells of columns that have the names of fields.

        Raises:
            InvalidInput: one has another name.
        """
        try:
            return compile_cells(mapping, self._find_column)
        except InvalidInput as invalid:
            details = "; ".join(error.detail for error in invalid.errors)
            detail = f"{details}: correct the header, or name a mapping"
            raise InvalidInput.at("", "header_mismatch", detail) from None

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row by the names of the mapping, or the reason for which it is skipped."""
        return source if self._rows is None else self._rows.locate(source)

    def merge_rows(self, rows: Sequence[Mapping[str, Token]]) -> Mapping[str, Token]:
        """Return the first of some rows; records have no groups."""
        return rows[0] if rows else _NO_TOKENS

    def read(self, source: Mapping[str, Token]) -> DraftedRecord:
        """Return a located row's record, or all the reasons against it."""
        if self._exports is not None:
            try:
                return DraftedRecord(self._exports.read(source))
            except InvalidInput as invalid:
                failures = (self.to_reason(error, source) for error in invalid.errors)
                return DraftedRecord(None, reasons=tuple(failures))
        reasons = [] if self._rows is None else self._rows.list_faults(source)
        values = self._convert_cells(source, reasons) if self._cells else source
        if reasons:
            return DraftedRecord(None, reasons=tuple(reasons))
        try:
            record, governed_input = self._read_members(nest_tokens(values))
        except InvalidInput as invalid:
            failures = (self.to_reason(error, source) for error in invalid.errors)
            return DraftedRecord(None, reasons=tuple(failures))
        return DraftedRecord(record, governed_input)

    def to_reason(self, error: FieldError, source: Mapping[str, Token] = _NO_TOKENS) -> RowReason:
        """Return a field's error as a reason with the source column and its content."""
        path = error.pointer.removeprefix("/").replace("/", ".")
        label = self._labels.get(path, path)
        return RowReason(label, error.code, add_content(error.detail, source.get(label)))

    def _read_members(
        self, tokens: dict[str, Token]
    ) -> tuple[FacilityRecord | EntryRecord, ProjectInput | None]:
        names = frozenset(self._kind.struct.__struct_fields__)
        if self._validator is None:
            return self._kind.read(tokens, ""), None
        others = {name: token for name, token in tokens.items() if name not in names}
        record = self._kind.read({n: t for n, t in tokens.items() if n in names}, "")
        return record, self._validator.read_governed(others)

    def _convert_cells(
        self, source: Mapping[str, Token], reasons: list[RowReason]
    ) -> dict[str, Token]:
        """Return the values by path; an invalid one adds a reason."""
        values: dict[str, Token] = {}
        for cell in self._cells:
            try:
                values[cell.attribute] = cell.read(source, 0)
            except CellError as error:
                field = error.column or cell.label
                reasons.append(RowReason(field, error.code, error.detail))
        return values

    def _find_column(self, path: str) -> Column | None:
        """Return the column of a path; None of a list, an object or an extension.

        Raises:
            CellError: the kind has no such field.
        """
        column = self._kind.find_column(path)
        if column is not None or generalise(path) in self._kind.lists:
            return column
        if self._validator is not None:
            if path.startswith(EXTENSION_PREFIX):
                return None
            field = self._validator.fields.get(path)
            if field is not None and path not in self._kind.struct.__struct_fields__:
                return field
        raise CellError("unknown_attribute", f"a record of kind {self._kind.kind} has no {path}")


def _map_header(kind: ImportKind, columns: Sequence[str]) -> ImportMapping:
    """Return the mapping by which each named column is the field of its name."""
    first = len(QUARANTINE_COLUMNS) if is_quarantine_header(columns) else 0
    return ImportMapping(
        name="columns",
        kind=kind,
        columns=tuple(
            ColumnMapping(attribute=name.strip(), column=name)
            for name in columns[first:]
            if name.strip()
        ),
    )
