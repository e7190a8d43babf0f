"""Mapping between the columns of two schema versions: same, renamed, added or removed."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from itertools import groupby

import msgspec

from spawn.domain import schema_version
from spawn.domain.schema_version import Column, ColumnType, RetiredColumn, Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, get_core_columns
from spawn.domain.schemas.evolution.column_meaning import ColumnMeanings
from spawn.domain.schemas.evolution.type_widening import is_wider_type

ColumnPairs = tuple[tuple[Column, Column], ...]
"""Pairs of an old and a new column."""


class SchemaMapping(msgspec.Struct, frozen=True, kw_only=True):
    """Every column of two versions, each once; core columns always keep their name.

    `same_name_pairs` and `renamed_pairs` pair the old column with the new one. `merged_pairs` pairs
    old columns with a new column that is the successor of another column already.
    `restored_columns` maps the name of an added column to the retired one whose values it restores;
    `conflicting_columns` are renamed columns whose new name belonged to a retired one.
    """

    same_name_pairs: ColumnPairs
    renamed_pairs: ColumnPairs
    merged_pairs: ColumnPairs
    added_columns: tuple[Column, ...]
    removed_columns: tuple[Column, ...]
    restored_columns: dict[str, RetiredColumn]
    conflicting_columns: tuple[Column, ...]


class PassedVersion(msgspec.Struct, frozen=True):
    """A document that was not adopted, and its successors of names that it has no column of."""

    version: int
    successors: Mapping[str, str]


class LeftBehind(msgspec.Struct, frozen=True):
    """Column `name` that the version passed over renames, its name there and in the new version."""

    name: str
    version: int
    new_name: str
    target: str


def map_columns(old: Schema, new: Schema) -> SchemaMapping:
    """Map the columns of `old` to those of `new`, in the order of each.

    A column whose alias is the name of a removed column is that column, renamed.
    """
    before = {column.name: column for column in (*get_core_columns(old), *old.governed)}
    after = (*get_core_columns(new), *new.governed)
    names_after = {column.name for column in after}
    missing = {name: before[name] for name in before if name not in names_after}
    renamed_pairs, merged_pairs = _pair_by_alias(
        missing, after, before, CORE_ATTRIBUTES[new.kind].by_name
    )
    new_names = {column.name for _, column in renamed_pairs}
    added_columns = tuple(
        c for c in new.governed if c.name not in before and c.name not in new_names
    )
    retired_by_name = {column.name: column for column in old.retired}
    restored_by_name = {
        column.name: _find_retired(column, retired_by_name) for column in added_columns
    }
    paired_names = _get_old_names(renamed_pairs, merged_pairs)
    return SchemaMapping(
        same_name_pairs=tuple((before[c.name], c) for c in after if c.name in before),
        renamed_pairs=renamed_pairs,
        merged_pairs=merged_pairs,
        added_columns=added_columns,
        removed_columns=tuple(c for c in missing.values() if c.name not in paired_names),
        restored_columns={
            name: column for name, column in restored_by_name.items() if column is not None
        },
        conflicting_columns=tuple(
            column for _, column in renamed_pairs if column.name in retired_by_name
        ),
    )


def build_successors(aliases_by_name: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the column of a document that has the values of each name it has no column of.

    The first column that has the name as an alias is it.
    """
    successors: dict[str, str] = {}
    for name, aliases in aliases_by_name.items():
        for alias in aliases:
            if alias not in aliases_by_name:
                successors.setdefault(alias, name)
    return successors


def find_left_behind(
    old: Schema,
    passed_versions: Iterable[PassedVersion],
    new: Schema,
    *,
    adopted_numbers: Collection[int] = (),
) -> LeftBehind | None:
    """Return a column whose values `new` would hide, since a version passed over renames it.

    Had the `passed_versions` been adopted, the values would be in a column of `new` that does not
    name the old one. Several documents of one number count each. A column that was removed since
    is followed from the last of the `adopted_numbers` that had it: its values would be restored.
    """
    columns = {column.name: column.aliases for column in new.columns}
    successors = build_successors(columns) | {name: name for name in columns}
    known_names = {c.name for c in old.columns} | {c.name for c in old.retired}
    first_by_name = _find_first_numbers(old, adopted_numbers)
    retired_names = first_by_name.keys() - {column.name for column in old.governed}
    renames = _RenameSweep(first_by_name)
    renames.follow(passed for passed in passed_versions if passed.version < new.version)
    places_by_name = renames.list_places()
    for name in first_by_name:
        for known, since in places_by_name[name]:
            target = successors.get(known)
            is_followed = since and target not in {None, successors.get(name)}
            if is_followed and not (name in retired_names and target in known_names):
                return LeftBehind(name, since, known, target or known)
    return None


def find_unread_removal(
    old: Schema,
    unread_numbers: Iterable[int],
    new: Schema,
    *,
    adopted_numbers: Collection[int] = (),
) -> tuple[str, int] | None:
    """Return a column that `new` lacks after a version that nobody has read, and that version.

    The unread one may have renamed the column, and then the values would be in another one. It may
    have restored a removed one under the name of a column that `new` adds, too.
    """
    numbers = sorted(number for number in unread_numbers if number < new.version)
    if not numbers:
        return None
    first_by_name = _find_first_numbers(old, adopted_numbers)
    for name in _list_lost_names(old, map_columns(old, new)):
        index = bisect_left(numbers, first_by_name[name])
        if index < len(numbers):
            return name, numbers[index]
    return None


def _list_lost_names(old: Schema, mapping: SchemaMapping) -> list[str]:
    """Return the columns that are removed now, and those whose values an added one may have."""
    names = {column.name for column in old.governed}
    restored_names = {column.name for column in mapping.restored_columns.values()}
    types = {c.type for c in mapping.added_columns if c.name not in mapping.restored_columns}
    return [
        *(column.name for column in mapping.removed_columns if column.name in names),
        *(
            retired.name
            for retired in old.retired
            if retired.name not in restored_names and _may_become(retired.column.type, types)
        ),
    ]


def _may_become(old: ColumnType, types: Iterable[ColumnType]) -> bool:
    """Return whether values of a type may be in a column of one of these, once it is restored."""
    return any(old.name is new.name or is_wider_type(old, new) for new in types)


def _find_first_numbers(old: Schema, adopted_numbers: Collection[int]) -> dict[str, int]:
    """Return the first number that may rename each column, those of `old` before retired ones."""
    numbers = sorted(adopted_numbers)
    first_by_name = {column.name: old.version for column in old.governed}
    for retired_column in old.retired:
        index = bisect_left(numbers, retired_column.since)
        last = numbers[index - 1] if index else retired_column.since
        first_by_name.setdefault(retired_column.name, last + 1)
    return first_by_name


class _RenameSweep:
    """The names under which the values of columns would be, as versions in order rename them.

    A document that lacks a column removes it, and it may be restored by its name. Each version
    costs its renames alone: 999 versions of 300 columns took 3.5 s name by name.
    """

    def __init__(self, first_by_name: Mapping[str, int]) -> None:
        self._starts = sorted((first, name) for name, first in first_by_name.items())
        self._next_start = 0
        self._columns_by_place: dict[str, dict[str, int]] = {}

    def follow(self, passed_versions: Iterable[PassedVersion]) -> None:
        """Move the values as versions would, in the order of their numbers."""
        in_order = sorted(passed_versions, key=lambda passed: passed.version)
        for version, documents in groupby(in_order, key=lambda passed: passed.version):
            self._begin_columns(version)
            self._move(version, [document.successors for document in documents])

    def list_places(self) -> dict[str, list[tuple[str, int]]]:
        """Return each name of a column's values, and the version that gave it; 0 for none."""
        places_by_column = defaultdict[str, list[tuple[str, int]]](list)
        for place, since_by_name in self._columns_by_place.items():
            for name, since in since_by_name.items():
                places_by_column[name].append((place, since))
        return places_by_column

    def _begin_columns(self, version: int) -> None:
        while self._next_start < len(self._starts) and self._starts[self._next_start][0] <= version:
            name = self._starts[self._next_start][1]
            self._columns_by_place.setdefault(name, {})[name] = 0
            self._next_start += 1

    def _move(self, version: int, documents: list[Mapping[str, str]]) -> None:
        """Move the values of each place to its successors in all documents of one number."""
        for place, targets, names in self._list_moves(documents):
            if place not in targets:
                del self._columns_by_place[place]
            for target in targets:
                since_by_name = dict.fromkeys(names, version)
                self._columns_by_place[target] = since_by_name | self._columns_by_place.get(
                    target, {}
                )

    def _list_moves(
        self, documents: list[Mapping[str, str]]
    ) -> list[tuple[str, list[str], list[str]]]:
        """Return the places that have successors, those, and the columns of the place now."""
        columns_by_place = self._columns_by_place
        first, *others = documents
        if not others:
            return [
                (place, [target], [*columns_by_place[place]])
                for place, target in first.items()
                if place in columns_by_place
            ]
        return [
            (place, sorted({d.get(place, place) for d in documents}), [*columns_by_place[place]])
            for place in sorted(columns_by_place.keys() & set[str]().union(*documents))
        ]


def carry_retired_columns(old: Schema, new: Schema) -> Schema:
    """Return `new` as the successor of `old`, with every column removed so far as retired."""
    if [column.name for column in old.columns] == [column.name for column in new.columns]:
        return msgspec.structs.replace(new, retired=old.retired)
    mapping = map_columns(old, new)
    restored_names = {column.name for column in mapping.restored_columns.values()}
    still_retired = [column for column in old.retired if column.name not in restored_names]
    removed_columns = [*mapping.removed_columns, *(column for column, _ in mapping.merged_pairs)]
    meanings = ColumnMeanings(old)
    newly_retired = [meanings.retire(column, new.version) for column in removed_columns]
    retired = _limit_indexed((*still_retired, *newly_retired))
    return msgspec.structs.replace(new, retired=retired)


def _limit_indexed(columns: tuple[RetiredColumn, ...]) -> tuple[RetiredColumn, ...]:
    """Return retired columns of which the last ones alone are indexed.

    One that is indexed no more stays so when later ones are restored: tables have dropped it.
    """
    indexed_names = [column.name for column in columns if column.is_indexed]
    dropped_names = {*indexed_names[: -schema_version.MAX_INDEXED_RETIRED]}
    if not dropped_names:
        return columns
    return tuple(
        msgspec.structs.replace(column, is_indexed=False)
        if column.name in dropped_names
        else column
        for column in columns
    )


def _pair_by_alias(
    missing: dict[str, Column],
    after: Iterable[Column],
    before: dict[str, Column],
    core: Container[str],
) -> tuple[ColumnPairs, ColumnPairs]:
    """Pair missing columns with those that declare their name: one rename each, the rest merge."""
    renamed_pairs: list[tuple[Column, Column]] = []
    merged_pairs: list[tuple[Column, Column]] = []
    for column in after:
        is_new = column.name not in before and column.name not in core
        for alias in column.aliases:
            if alias in missing:
                (renamed_pairs if is_new else merged_pairs).append((missing[alias], column))
                is_new = False
    return tuple(renamed_pairs), tuple(merged_pairs)


def _get_old_names(*groups: ColumnPairs) -> set[str]:
    return {old.name for group in groups for old, _ in group}


def _find_retired(
    column: Column, retired_by_name: dict[str, RetiredColumn]
) -> RetiredColumn | None:
    return next(
        (retired_by_name[n] for n in (column.name, *column.aliases) if n in retired_by_name), None
    )
