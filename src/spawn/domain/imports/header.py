"""The header of a CSV file: which column of the file each name of a mapping means."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from spawn.domain.text import normalize

QUARANTINE_COLUMNS: Final = ("line", "reasons", "raw_line")
"""First columns of quarantined rows in CSV; `spawn_` precedes a name that the file has too."""

_NUMBERED = re.compile(r"(.*)#([1-9]\d?)", re.DOTALL)
_DELIMITERS: Final = (",", ";", "|", "\t")
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

    Beside `name#2`, the second column of a name, the name means the first one. Blanks include line
    breaks; letters are compared in normalization form C. Empty names at the end
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
    names = sorted(names)
    numbered_names = {match[1] for name in names if (match := _NUMBERED.fullmatch(name))}
    for name in names:
        candidates = exact.get(name) or loose.get(_fold(name), [])
        if not candidates:
            candidates = _find_numbered(name, loose)
        elif name in numbered_names:
            candidates = candidates[:1]
        if len(candidates) == 1:
            indexes[name] = candidates[0]
        else:
            (repeated_names if candidates else missing).append(name)
    return ColumnIndexes(indexes, tuple(missing), tuple(repeated_names))


def _find_numbered(name: str, indexes: Mapping[str, list[int]]) -> list[int]:
    """Return the index of `name#2`: the second of the columns of one name."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return []
    candidates = indexes.get(_fold(match[1]), [])
    number = int(match[2])
    return candidates[number - 1 : number] if len(candidates) > 1 else []


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
        first = _show(columns.repeated_names[0])
        problems.append(
            f"has more than one {', '.join(map(_show, columns.repeated_names))} "
            f"(name the second `{first}#2`)"
        )
    names = ", ".join(_show(name) for name in header[:_MAX_LISTED_NAMES])
    more = ", …" if len(header) > _MAX_LISTED_NAMES else ""
    return f"The header {' and '.join(problems)}; it has: {names}{more}{_guess_delimiter(header)}"


def _guess_delimiter(header: Sequence[str]) -> str:
    """Return a hint if the header is one name with several delimiters of another kind."""
    if count_named_columns(header) != 1:
        return ""
    mark = max(_DELIMITERS, key=header[0].count) if header else ""
    return f"; is {mark!r} the delimiter?" if header and header[0].count(mark) else ""


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
