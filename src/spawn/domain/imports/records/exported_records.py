"""Rows of the datasets of facilities and of entries, as the service has exported them.

Such a row has the columns of its dataset, and not all of its aggregate: a facility without its
rate, its lenders and its schedule, an entry with the number that its ledger has assigned. So it
creates nothing, but is compared with what the store has.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.imports.export_reader import CUT_DETAIL, is_cut
from spawn.domain.imports.import_state import ImportKind
from spawn.domain.json_tokens import Token
from spawn.domain.schema_version import Column, ColumnType, TypeName, Value
from spawn.domain.schemas.value_readers import decimal_reader, token_from_text, type_reader

ID_COLUMNS: Final[Mapping[ImportKind, str]] = {
    ImportKind.FACILITY: "facility_id",
    ImportKind.ENTRY: "entry_id",
}
"""The column by which a row is recognised."""

_ASSIGNED: Final = frozenset({"version", "created_at", "updated_at"})
"""Columns of which the store may have later values."""

_MIDNIGHT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T00:00:00").fullmatch


class ExportedRecord(msgspec.Struct, frozen=True):
    """A row of an export: the id of its aggregate, and the values of its columns."""

    kind: ImportKind
    record_id: str
    values: Mapping[str, Value | None]

    @property
    def id_column(self) -> str:
        """The column of the id."""
        return ID_COLUMNS[self.kind]


class ExportedRecordReader:
    """A reader of the rows of one export.

    Args:
        kind: of the rows.
        columns: those of the dataset, but for the id and what the store assigns.
    """

    def __init__(self, kind: ImportKind, columns: Iterable[Column]) -> None:
        self._kind = kind
        self._types = {column.name: column.type for column in columns}
        self._readers: dict[str, Callable[[Token, str], Value]] = {
            name: _build_reader(type_) for name, type_ in self._types.items()
        }

    def check_header(self, names: Iterable[str]) -> None:
        """Check the header of a table.

        Raises:
            InvalidInput: it has a column that is not one of the dataset.
        """
        others = ", ".join(name for name in names if not self._is_known(name))
        if others:
            detail = f"an export of kind {self._kind} has no column {others}"[:500]
            raise InvalidInput.at("", "header_mismatch", detail)

    def read(self, source: Mapping[str, Token]) -> ExportedRecord:
        """Return the record of a row.

        Raises:
            InvalidInput: names each column whose value is not one of an export.
        """
        id_column = ID_COLUMNS[self._kind]
        record_id = source.get(id_column)
        if not isinstance(record_id, str) or not record_id:
            raise InvalidInput.at(f"/{id_column}", "missing", "is required to recognise the row")
        errors: list[FieldError] = []
        values: dict[str, Value | None] = {}
        for name, token in source.items():
            try:
                if name in self._types:
                    values[name] = None if token is None else self._read_value(name, token)
                elif not self._is_known(name):
                    raise InvalidInput.at(f"/{name}", "unknown_field", "is no column of the export")
            except InvalidInput as invalid:
                errors += invalid.errors
        if errors:
            raise InvalidInput(errors)
        return ExportedRecord(self._kind, record_id, values)

    def _is_known(self, name: str) -> bool:
        return name in self._types or name in _ASSIGNED or name == ID_COLUMNS[self._kind]

    def _read_value(self, name: str, token: Token) -> Value:
        pointer = f"/{name}"
        if isinstance(token, str) and type(token) is str:
            if is_cut(token):
                raise InvalidInput.at(pointer, "cell_cut", CUT_DETAIL)
            if self._types[name].name is TypeName.DATE and (midnight := _MIDNIGHT(token)):
                token = midnight[1]
            token = token_from_text(self._types[name], token)
        return self._readers[name](token, pointer)


def _build_reader(type_: ColumnType) -> Callable[[Token, str], Any]:
    """Return the reader of a type; decimals may be texts, as an export asked for has them."""
    if type_.name is TypeName.DECIMAL:
        return decimal_reader(type_, accept_text=True)
    return type_reader(type_)
