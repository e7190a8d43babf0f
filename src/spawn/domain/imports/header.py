"""The header of a CSV file: which column of the file each name of a mapping means."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from spawn.domain.text import normalize

QUARANTINE_COLUMNS: Final = ("line", "reasons", "raw_line")
"""First columns of quarantined rows in CSV; `spawn_` precedes a name that the file has too."""

_MAX_LISTED_NAMES: Final = 40
_MAX_LISTED_CHARACTERS: Final = 60


class ColumnIndexes(msgspec.Struct, frozen=True):
    """The index of each name in a header; names that it lacks, or has more than once."""

    indexes: dict[str, int]
    missing: tuple[str, ...]
    repeated_names: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether the header has each name once."""
        return not self.missing and not self.repeated_names


def find_columns(header: Sequence[str], names: Iterable[str]) -> ColumnIndexes:
    """Return the indexes of names: of the equal name, else of one that differs only in blanks.

    Blanks include line breaks; letters are compared in normalization form C. Empty names at the end
    of a header belong to trailing delimiters.
    """
    header = header[: count_named_columns(header)]
    exact: defaultdict[str, list[int]] = defaultdict(list)
    loose: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(header):
        exact[name].append(index)
        loose[_fold(name)].append(index)
    indexes: dict[str, int] = {}
    missing: list[str] = []
    repeated_names: list[str] = []
    for name in sorted(names):
        candidates = exact.get(name) or loose.get(_fold(name), [])
        if len(candidates) == 1:
            indexes[name] = candidates[0]
        else:
            (repeated_names if candidates else missing).append(name)
    return ColumnIndexes(indexes, tuple(missing), tuple(repeated_names))


def count_named_columns(header: Sequence[str]) -> int:
    """Return the length of a header without the empty names at its end."""
    count = len(header)
    while count > 1 and not header[count - 1].strip():
        count -= 1
    return count


def describe_mismatch(header: Sequence[str], columns: ColumnIndexes) -> str:
    """Return what a header lacks or repeats, and what it has."""
    problems = []
    if columns.missing:
        problems.append(f"lacks {', '.join(map(_show, columns.missing))}")
    if columns.repeated_names:
        problems.append(f"has more than one {', '.join(map(_show, columns.repeated_names))}")
    names = ", ".join(_show(name) for name in header[:_MAX_LISTED_NAMES])
    more = ", …" if len(header) > _MAX_LISTED_NAMES else ""
    return f"The header {' and '.join(problems)}; it has: {names}{more}"


def is_quarantine_header(header: Sequence[str]) -> bool:
    """Return whether a header is that of quarantined rows, downloaded to be corrected."""
    return len(header) > len(QUARANTINE_COLUMNS) and all(
        name in {expected, f"spawn_{expected}"}
        for name, expected in zip(header, QUARANTINE_COLUMNS, strict=False)
    )


def _fold(name: str) -> str:
    return " ".join(normalize(name).split())


def _show(name: str) -> str:
    """Return a name as it can be read: quoted where blanks or nothing would not show."""
    if len(name) > _MAX_LISTED_CHARACTERS:
        name = name[:_MAX_LISTED_CHARACTERS] + "…"
    return name if name and name == name.strip() and name.isprintable() else repr(name)
