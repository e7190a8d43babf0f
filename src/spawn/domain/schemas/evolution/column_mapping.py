"""Mapping between the columns of two schema versions: same, renamed, added or removed."""

from collections.abc import Collection, Container, Iterable, Mapping
from itertools import groupby

import msgspec

from spawn.domain import schema_version
from spawn.domain.schema_version import Column, RetiredColumn, Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, get_core_columns
from spawn.domain.schemas.evolution.column_meaning import ColumnMeanings

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
    """A document that was not adopted, and the aliases of its columns by name."""

    version: int
    aliases_by_name: Mapping[str, Collection[str]]


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
    passed_versions = sorted(passed_versions, key=lambda passed: passed.version)
    new_names = {column.name: column.aliases for column in new.columns}
    known_names = {c.name for c in old.columns} | {c.name for c in old.retired}
    for name in (column.name for column in old.governed):
        following = [p for p in passed_versions if old.version <= p.version < new.version]
        if left_behind := _follow(name, following, new_names):
            return left_behind
    for retired_column in old.retired:
        first = max(
            (n for n in adopted_numbers if n < retired_column.since), default=retired_column.since
        )
        following = [p for p in passed_versions if first < p.version < new.version]
        left_behind = _follow(retired_column.name, following, new_names)
        if left_behind and left_behind.target not in known_names:
            return left_behind
    return None


def _follow(
    name: str,
    passed_versions: Iterable[PassedVersion],
    new_names: Mapping[str, Collection[str]],
) -> LeftBehind | None:
    """Follow a column; a document that lacks it removes it, and it may be restored by its name."""
    found_in = {name: 0}
    for version, documents in groupby(passed_versions, key=lambda passed: passed.version):
        aliases = [document.aliases_by_name for document in documents]
        following: dict[str, int] = {}
        for known, since in found_in.items():
            for one in aliases:
                successor = _find_successor(known, one) or known
                following.setdefault(successor, since if successor == known else version)
        found_in = following
    stated_name = _find_successor(name, new_names)
    for known, since in found_in.items():
        target = _find_successor(known, new_names)
        if since and target not in {None, stated_name}:
            return LeftBehind(name, since, known, target or known)
    return None


def _find_successor(name: str, aliases_by_name: Mapping[str, Collection[str]]) -> str | None:
    """Return the column that has the values of an earlier one; None if none has them."""
    if name in aliases_by_name:
        return name
    return next((new for new, aliases in aliases_by_name.items() if name in aliases), None)


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
