"""Rows by the names of a mapping: which of them are records, and under which key."""

from collections.abc import Mapping, Sequence
from typing import Final

from spawn.domain.imports.cells.amount_currency import AMOUNTS, find_pairing
from spawn.domain.imports.cells.cell_reader import ROW_COUNT
from spawn.domain.imports.cells.cell_text import CellError, to_cell_text
from spawn.domain.imports.cells.nested_path import (
    MAX_VALUES,
    PathStep,
    choose_elements,
    parse_path,
    read_texts,
    select_values,
)
from spawn.domain.imports.cells.sheet_cell import ERROR_VALUES
from spawn.domain.imports.import_state import FILTERED_ROW, RowReason
from spawn.domain.imports.mapping import ImportMapping, RowCondition, RowKey
from spawn.domain.json_tokens import NumberToken, Token
from spawn.domain.text import normalize, trim

_KEY_SEPARATOR: Final = "|"
_NOTES: Final = "\0notes"
"""Name under which a row has the notes on its chosen elements; no column has it."""

_EXCESS: Final = "\0excess"
"""Name under which a row has its columns with too many values; no column has it."""


class RowSelector:
    """Selector of rows under one mapping."""

    def __init__(self, mapping: ImportMapping) -> None:
        self._mapping = mapping
        self._nulls = frozenset(mapping.null)
        self._paths: list[tuple[str, tuple[PathStep, ...]]] = [
            (name, steps)
            for name in sorted(mapping.source_columns)
            if (steps := parse_path(name)) is not None and (len(steps) > 1 or steps[0].condition)
        ]
        self._absent_parts = self._nulls | ERROR_VALUES
        self._names = tuple(mapping.source_columns)
        self._conditions = [_Condition(c, self._nulls) for c in mapping.where]
        self._pairing = find_pairing(mapping)
        has_elements = mapping.choose or mapping.record_element or self._paths
        self._is_plain = not (has_elements or self._conditions or self._pairing)

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row with the values at the mapping's paths, or why it is skipped."""
        if self._is_plain:
            return source
        row = dict(source)
        if self._mapping.choose:
            row, notes = choose_elements(row, self._mapping.choose)
            if notes:
                row[_NOTES] = [*notes]
        if self._pairing is not None:
            row[AMOUNTS] = self._pairing.pair(row)
        values = {n: select_values(row, steps) for n, steps in self._paths if n not in row}
        for name in self._names:
            if isinstance(value := row.get(name), dict | list):
                row[name] = read_texts(value)
        row.update(values)
        if excess := [name for name, value in values.items() if _has_excess(value)]:
            # It is a record that cannot be read, whether or not a condition says that it is none.
            row[_EXCESS] = [*excess]
            return row
        if not all(condition.is_met(row) for condition in self._conditions):
            return FILTERED_ROW
        return row

    def note(self, source: Mapping[str, Token]) -> list[str]:
        """Return the notes on the elements that were chosen in a located row."""
        notes = source.get(_NOTES)
        # Rows of a group without a note have None in its place.
        return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []

    def list_faults(self, source: Mapping[str, Token]) -> list[RowReason]:
        """Return the reasons against a located row that its cells do not show."""
        names = source.get(_EXCESS)
        detail = f"the path selects more than {MAX_VALUES} values"
        columns = dict.fromkeys(names if isinstance(names, list) else ())
        return [RowReason(name, "too_many", detail) for name in columns if isinstance(name, str)]

    def read_key(self, source: Mapping[str, Token], key: RowKey) -> str | None:
        """Return the key of a located row: its source and its id; None if a part is absent."""
        parts = [self._read_part(source.get(name)) for name in key.id_columns]
        origin = key.source
        if key.source_column is not None:
            origin = self._read_part(source.get(key.source_column))
        if origin is None or any(part is None for part in parts):
            return None
        return f"{origin}\n{join_parts([part or '' for part in parts])}"

    def read_group(self, source: Mapping[str, Token]) -> tuple[str | None, ...]:
        """Return the values by which a located row belongs to its group."""
        return tuple(self._read_part(source.get(name)) for name in self._mapping.group_by)

    def merge(self, rows: Sequence[Mapping[str, Token]]) -> Mapping[str, Token]:
        """Return the located rows of a group as one, with all values of each column."""
        group_row: dict[str, Token] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values: list[Token] = []
            for row in rows:
                value = row.get(name)
                values += value if isinstance(value, list) else [value]
            group_row[name] = values
        # A row that was quarantined as a group comes back with the values of all its rows.
        first = group_row.get(self._mapping.group_by[0])
        group_row[ROW_COUNT] = NumberToken(len(first) if isinstance(first, list) else len(rows))
        return group_row

    def _read_part(self, token: Token) -> str | None:
        tokens = token if isinstance(token, list) else [token]
        texts = (normalize(trim(item)) for item in tokens if isinstance(item, str))
        return next((text for text in texts if text not in self._absent_parts), None)


def _has_excess(value: Token) -> bool:
    return isinstance(value, list) and len(value) > MAX_VALUES


class _Condition:
    """A condition that is tested on the texts of a row, trimmed."""

    def __init__(self, condition: RowCondition, nulls: frozenset[str]) -> None:
        self._column = condition.column
        self._is_null = condition.is_null
        self._is_negative = condition.not_in is not None
        self._texts = frozenset(condition.texts or condition.not_in or ())
        self._nulls = nulls

    def is_met(self, row: Mapping[str, Token]) -> bool:
        token = row.get(self._column)
        tokens = token if isinstance(token, list) else [token]
        texts = [_to_text(item) for item in tokens]
        if self._is_null is not None:
            return all(text is None or text in self._nulls for text in texts) is self._is_null
        return any(text in self._texts for text in texts) is not self._is_negative


def _to_text(token: Token) -> str | None:
    try:
        text = to_cell_text(token)
    except CellError:
        return None
    return None if text is None else text.strip()


def join_parts(parts: Sequence[str]) -> str:
    """Return the parts of a key as one text; different parts never give the same text."""
    if len(parts) == 1:
        return parts[0]
    escaped_parts = (p.replace("\\", "\\\\").replace(_KEY_SEPARATOR, "\\|") for p in parts)
    return _KEY_SEPARATOR.join(escaped_parts)
