"""Which column of one schema version is which of the next: kept, renamed, added or removed."""

from collections.abc import Iterable

import msgspec

from spawn.domain.schemas.core_columns import CORE_BY_NAME, core_columns
from spawn.domain.schemas.model import Column, RetiredColumn, Schema


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """Every column of two versions, each once; core columns are always kept.

    `kept` and `renamed` pair the old column with the new one. `merged` names old columns whose
    place is taken by a column that is another one's already. `returning` gives, by the name of an
    added column, the retired one whose values it takes up; `occupied` the renamed columns whose new
    name belonged to a retired one.
    """

    kept: tuple[tuple[Column, Column], ...]
    renamed: tuple[tuple[Column, Column], ...]
    merged: tuple[tuple[Column, Column], ...]
    added: tuple[Column, ...]
    removed: tuple[Column, ...]
    returning: dict[str, RetiredColumn]
    occupied: tuple[Column, ...]


def succession(old: Schema, new: Schema) -> Succession:
    """The columns of `old` beside those of `new`, in the order of each.

    A column that declares the name of one that went as an alias is that column, renamed.
    """
    before = {column.name: column for column in (*core_columns(old), *old.governed)}
    after = (*core_columns(new), *new.governed)
    kept = tuple((before[c.name], c) for c in after if c.name in before)
    gone = {name: before[name] for name in before if name not in {c.name for c in after}}
    renamed, merged = _renamed(gone, after, before)
    taken = {column.name for _, column in renamed}
    added = tuple(c for c in new.governed if c.name not in before and c.name not in taken)
    retired = {column.name: column for column in old.retired}
    return Succession(
        kept=kept,
        renamed=renamed,
        merged=merged,
        added=added,
        removed=tuple(c for c in gone.values() if c.name not in _names(renamed, merged)),
        returning={c.name: found for c in added if (found := _returning(c, retired)) is not None},
        occupied=tuple(column for _, column in renamed if column.name in retired),
    )


def succeed(old: Schema, new: Schema) -> Schema:
    """`new` as the successor of `old`: with every column that went, now or before, as retired."""
    pairs = succession(old, new)
    back = {column.name for column in pairs.returning.values()}
    kept = [column for column in old.retired if column.name not in back]
    went = [*pairs.removed, *(column for column, _ in pairs.merged)]
    gone = [RetiredColumn(column=column, since=new.version) for column in went]
    return msgspec.structs.replace(new, retired=(*kept, *gone))


_Pairs = tuple[tuple[Column, Column], ...]


def _renamed(
    gone: dict[str, Column], after: Iterable[Column], before: dict[str, Column]
) -> tuple[_Pairs, _Pairs]:
    """Columns that went by a name which another declares as alias: one each, the rest merge."""
    renamed: list[tuple[Column, Column]] = []
    merged: list[tuple[Column, Column]] = []
    for column in after:
        free = column.name not in before and column.name not in CORE_BY_NAME
        for alias in column.aliases:
            if alias in gone:
                (renamed if free else merged).append((gone[alias], column))
                free = False
    return tuple(renamed), tuple(merged)


def _names(*pairs: _Pairs) -> set[str]:
    return {old.name for group in pairs for old, _ in group}


def _returning(column: Column, retired: dict[str, RetiredColumn]) -> RetiredColumn | None:
    return next((retired[n] for n in (column.name, *column.aliases) if n in retired), None)
