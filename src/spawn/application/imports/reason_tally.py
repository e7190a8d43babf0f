"""Tally of the reasons of an import's rows: how many rows each has, with samples."""

from collections.abc import Iterable
from typing import Final

import msgspec

from spawn.domain.imports.import_state import RowNote
from spawn.domain.text import shorten

MAX_REASONS: Final = 200
"""Different reasons of one tally; rows with further ones are counted together."""
MAX_SAMPLES: Final = 5
"""Sample rows of one reason."""
_MAX_RAW_CHARACTERS: Final = 500
_OTHERS: Final = ("", "other_reasons")


class ReasonSample(msgspec.Struct, frozen=True):
    """A row with a reason: its line, the detail, and its raw line, shortened."""

    line: int
    detail: str
    raw_line: str | None


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """One reason: its field and code, the number of its rows, and the first of them."""

    field: str
    code: str
    rows: int
    samples: tuple[ReasonSample, ...]


class _Count:
    """The rows of one reason so far."""

    def __init__(self) -> None:
        self.rows = 0
        self.samples: list[ReasonSample] = []


class ReasonTally:
    """The reasons so far, by field and code."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def add(self, notes: Iterable[RowNote]) -> None:
        """Add the reasons of rows; a row with a reason twice counts once."""
        for note in notes:
            details = {(reason.field, reason.code): reason.detail for reason in note.reasons}
            for key, detail in details.items():
                count = self._find_count(key)
                count.rows += 1
                if len(count.samples) < MAX_SAMPLES:
                    raw = (
                        None
                        if note.raw_line is None
                        else shorten(note.raw_line, _MAX_RAW_CHARACTERS)
                    )
                    count.samples.append(ReasonSample(note.line, detail, raw))

    def list_counts(self) -> list[ReasonCount]:
        """Return the reasons, those of most rows first."""
        counts = [
            ReasonCount(field=field, code=code, rows=count.rows, samples=tuple(count.samples))
            for (field, code), count in self._counts.items()
        ]
        return sorted(counts, key=lambda count: (-count.rows, count.field, count.code))

    def _find_count(self, key: tuple[str, str]) -> _Count:
        if key not in self._counts and len(self._counts) >= MAX_REASONS:
            key = _OTHERS
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count()
        return count
