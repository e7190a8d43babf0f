"""Rows that the service has exported, read back as they were.

An export has members that no request may set: the id, version and times, which the store assigns
anew, and what transitions record about the status, which is kept. A project without an external
reference keeps its id, by which the same store recognises it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput, MalformedBody
from spawn.domain.imports.import_state import RowReason
from spawn.domain.json_tokens import Token, parse_object, parse_token
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import Project
from spawn.domain.schema_version import TypeName
from spawn.domain.schemas.core_columns import (
    EXTENSION_PREFIX,
    NESTED_FIELDS,
    READ_ONLY_COLUMNS,
    SYSTEM_COLUMNS,
)
from spawn.domain.schemas.validator import ProjectInput, SchemaValidator

EXTENSIONS_COLUMN: Final = "extensions"
"""CSV column with all `x_` fields as one JSON object, since projects differ in them."""

EMPTY_TEXT: Final = "\0"
"""Cell of a CSV file with an empty text in quotes; without quotes the value is null."""

EXPORT_COLUMNS: Final = frozenset({"project_name", "total_amount"})
"""Columns by which the header of an export is recognised."""

_MAX_CELL_CHARACTERS: Final = 32_767
"""UTF-16 code units of a cell of a workbook, at most."""

CUT_DETAIL: Final = (
    "the workbook has only the start of this text; import the CSV or the NDJSON export"
)
"""Reason against a text that `is_cut`."""

_CUT_END: Final = re.compile(r"… \(\d+ characters\)\Z").search
_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?").fullmatch
"""Time of a workbook, which has no offset: exports have UTC."""
_MIDNIGHT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T00:00:00").fullmatch
_SYSTEM_NAMES: Final = frozenset(column.name for column in SYSTEM_COLUMNS)
_UUID_7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class RowResult(msgspec.Struct, frozen=True):
    """The result of a row: a project or the reasons against it, and warnings.

    `key` identifies the row in its file, whether or not it is valid; None if it has no key.
    `amendment` has the values for a project that exists already, if they were asked for.
    `has_currency` is false if the row has none, and the project that of the product.
    """

    key: str | None
    project: Project | None = None
    reasons: tuple[RowReason, ...] = ()
    warnings: tuple[RowReason, ...] = ()
    amendment: ProjectInput | None = None
    has_currency: bool = True


class SystemValues(msgspec.Struct, frozen=True, kw_only=True):
    """The values of an exported project that no request may set."""

    project_id: str | None = None
    status: Mapping[str, Token] = {}


class ExportReader:
    """Reader of exported rows under one schema."""

    def __init__(self, validator: SchemaValidator) -> None:
        self._validator = validator

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row of an export; cells have structures as JSON and other types as text."""
        row: dict[str, Token] = {}
        for name, token in source.items():
            if type(token) is not str:
                row[name] = token
                continue
            if is_cut(token):
                return RowReason(name, "cell_cut", CUT_DETAIL)
            try:
                if name == EXTENSIONS_COLUMN:
                    row.update(parse_object(token.encode()))
                elif name in NESTED_FIELDS:
                    row[name] = parse_token(token.encode())
                else:
                    row[name] = self._to_token(name, token)
            except (InvalidInput, MalformedBody, UnicodeError):
                return RowReason(name, "malformed", f"the column {name} is not JSON")
        return row

    def _to_token(self, name: str, text: str) -> Token:
        canonical = self._validator.canonical_name(name)
        if canonical is None:
            return text
        kind = self._validator.fields[canonical].type.name
        if kind is TypeName.TIMESTAMP and _LOCAL_TIME(text):
            return f"{text}Z"
        if kind is TypeName.DATE and (midnight := _MIDNIGHT(text)):
            return midnight[1]
        return self._validator.to_token(name, text)

    def split(self, row: Mapping[str, Token]) -> tuple[dict[str, Token], SystemValues]:
        """Return what a request may set, and the rest."""
        values = {
            name: token
            for name, token in row.items()
            if name not in _SYSTEM_NAMES
            and name not in READ_ONLY_COLUMNS
            and (token is not None or self._may_remove(name))
        }
        ident = row.get("project_id")
        is_own = values.get("external_ref") is None and isinstance(ident, str)
        status = {n: t for n in READ_ONLY_COLUMNS if (t := row.get(n)) is not None}
        keeps_id = is_own and _UUID_7.fullmatch(str(ident)) is not None
        return values, SystemValues(project_id=str(ident) if keeps_id else None, status=status)

    def _may_remove(self, name: str) -> bool:
        """Return whether null in an export stands for a value that the project does not have.

        It does not in a column that the schema has no more, or that requires a value by now.
        """
        if name in NESTED_FIELDS or name.startswith(EXTENSION_PREFIX):
            return True
        canonical = self._validator.canonical_name(name)
        return canonical is not None and not self._validator.fields[canonical].required

    def restore(self, result: RowResult, system: SystemValues) -> RowResult:
        """Return the result with what transitions recorded about the status."""
        if result.project is None or not system.status:
            return result
        try:
            project = msgspec.structs.replace(result.project, **_read_status(system.status))
        except InvalidInput as invalid:
            reasons = tuple(
                RowReason(e.pointer.removeprefix("/"), e.code, e.detail) for e in invalid.errors
            )
            return RowResult(result.key, reasons=reasons, warnings=result.warnings)
        return msgspec.structs.replace(result, project=project)


def mark_empty_texts(raw: bytes, cells: Sequence[str], delimiter: str) -> Sequence[str]:
    """Return the cells of a row of CSV in which empty texts, `""`, differ from null."""
    if b'""' not in raw:
        return cells
    raw_cells = _compile_cell(delimiter).findall(raw.rstrip(b"\r\n"))
    if len(raw_cells) != len(cells):
        return cells
    pairs = zip(cells, raw_cells, strict=True)
    return [EMPTY_TEXT if raw_cell == b'""' else cell for cell, raw_cell in pairs]


@lru_cache
def _compile_cell(delimiter: str) -> re.Pattern[bytes]:
    """Return the pattern of one cell, in quotes or without."""
    mark = re.escape(delimiter.encode())
    return re.compile(rb'(?:^|(?<=%b))("(?:[^"]|"")*"|[^%b"]*)(?=%b|$)' % (mark, mark, mark))


def is_cut(text: str) -> bool:
    """Return whether a workbook has only the start of a text that no cell can hold."""
    if len(text) < _MAX_CELL_CHARACTERS // 2 or not _CUT_END(text):
        return False
    return len(text.encode("utf-16-le", "surrogatepass")) // 2 >= _MAX_CELL_CHARACTERS - 1


def _read_status(tokens: Mapping[str, Token]) -> dict[str, object]:
    """Return the typed members that transitions set."""
    values: dict[str, object] = {}
    errors: list[FieldError] = []
    types = {"status_effective_on": date.fromisoformat, "suspended_from": ProjectStatus}
    for name, token in tokens.items():
        convert = types.get(name, str)
        try:
            values[name] = convert(token) if isinstance(token, str) else None
        except ValueError:
            errors.append(FieldError(f"/{name}", "invalid_value", "is not as it was exported"))
    if errors:
        raise InvalidInput(errors)
    return values
