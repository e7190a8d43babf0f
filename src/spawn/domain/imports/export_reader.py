"""Rows that the service has exported, read back as they were.

An export has members that no request may set: the id, version and times, which the store assigns
anew, and what transitions record about the status, which is kept. A project without an external
reference keeps its id, by which the same store recognises it.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

import msgspec

from spawn.domain.errors import FieldError, InvalidInput, MalformedBody
from spawn.domain.imports.import_state import RowReason
from spawn.domain.json_tokens import Token, parse_object, parse_token
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import Project
from spawn.domain.schemas.core_columns import NESTED_FIELDS, READ_ONLY_COLUMNS, SYSTEM_COLUMNS
from spawn.domain.schemas.validator import SchemaValidator

EXTENSIONS_COLUMN: Final = "extensions"
"""CSV column with all `x_` fields as one JSON object, since projects differ in them."""

EMPTY_TEXT: Final = "\0"
"""Cell of a CSV file with an empty text in quotes; without quotes the value is absent."""

EXPORT_COLUMNS: Final = frozenset({"project_name", "total_amount"})
"""Columns by which the header of an export is recognised."""

_SYSTEM_NAMES: Final = frozenset(column.name for column in SYSTEM_COLUMNS)
_UUID_7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class RowResult(msgspec.Struct, frozen=True):
    """The result of a row: a project or the reasons against it, and warnings.

    `key` identifies the row in its file, whether or not it is valid; None if it has no key.
    """

    key: str | None
    project: Project | None = None
    reasons: tuple[RowReason, ...] = ()
    warnings: tuple[RowReason, ...] = ()


class SystemValues(msgspec.Struct, frozen=True, kw_only=True):
    """The values of an exported project that no request may set."""

    project_id: str | None = None
    status: Mapping[str, Token] = {}


class ExportReader:
    """Reader of exported rows under one schema."""

    def __init__(self, validator: SchemaValidator) -> None:
        self._validator = validator

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row of an export; CSV has its structures as JSON and its types as text."""
        if EXTENSIONS_COLUMN not in source:
            return source
        row: dict[str, Token] = {}
        for name, cell in source.items():
            if not isinstance(cell, str) or not cell:
                continue
            try:
                if name == EXTENSIONS_COLUMN:
                    row.update(parse_object(cell.encode()))
                elif name in NESTED_FIELDS:
                    row[name] = parse_token(cell.encode())
                else:
                    row[name] = self._to_token(name, cell)
            except (InvalidInput, MalformedBody, UnicodeError):
                return RowReason(name, "malformed", f"the column {name} is not JSON")
        return row

    def _to_token(self, name: str, cell: str) -> Token:
        return "" if cell == EMPTY_TEXT else self._validator.to_token(name, cell)

    def split(self, row: Mapping[str, Token]) -> tuple[dict[str, Token], SystemValues]:
        """Return what a request may set, and the rest."""
        values = {
            name: token
            for name, token in row.items()
            if name not in _SYSTEM_NAMES and name not in READ_ONLY_COLUMNS
        }
        ident = row.get("project_id")
        is_own = values.get("external_ref") is None and isinstance(ident, str)
        status = {n: t for n in READ_ONLY_COLUMNS if (t := row.get(n)) is not None}
        keeps_id = is_own and _UUID_7.fullmatch(str(ident)) is not None
        return values, SystemValues(project_id=str(ident) if keeps_id else None, status=status)

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
