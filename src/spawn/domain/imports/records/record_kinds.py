"""The kinds of records that a file may have besides projects: facilities, and ledger entries.

A record is the body of its command with a reference to what it belongs to. Its columns follow from
the struct, so that a new term of a facility can be imported without a change here.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from spawn.domain.facilities.facility import FacilityTermSheet
from spawn.domain.facilities.ledger import EntryFacts
from spawn.domain.imports.import_state import ImportKind
from spawn.domain.projects.project import ExternalRef
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.domain.struct_reader import compile_reader

ANY_ITEM: Final = "*"
"""Part of a path that stands for the number of an item."""


class FacilityRecord(FacilityTermSheet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A facility of a file: its terms and its project, by id or by external reference."""

    project_id: str | None = None
    project_ref: ExternalRef | None = None


class EntryRecord(EntryFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of a file, and its facility: by id, or by its name and its project."""

    facility_id: str | None = None
    facility_name: str | None = None
    project_id: str | None = None
    project_ref: ExternalRef | None = None


class RecordKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of records: its struct, its reader, and the column of each path to a value.

    `lists` are the paths of lists and objects, which JSON states whole.
    """

    kind: ImportKind
    struct: type[FacilityRecord | EntryRecord]
    read: Callable[[Any, str], Any]
    columns: Mapping[str, Column]
    lists: frozenset[str]

    def find_column(self, path: str) -> Column | None:
        """Return the column of a path such as `rate.margin` or `lenders.0.share`, or None."""
        return self.columns.get(generalise(path))


def generalise(path: str) -> str:
    """Return a path with `*` in place of the number of each item."""
    return ".".join(ANY_ITEM if part.isdecimal() else part for part in path.split("."))


_TYPES: Final[dict[type[inspect.Type], TypeName]] = {
    inspect.DecimalType: TypeName.DECIMAL,
    inspect.DateType: TypeName.DATE,
    inspect.IntType: TypeName.INTEGER,
    inspect.BoolType: TypeName.BOOLEAN,
}


def _list_paths(described: inspect.Type, path: str) -> Iterator[tuple[str, TypeName | None]]:
    """Yield each path below a type, with the type of its values; None for lists and objects."""
    if isinstance(described, inspect.UnionType):
        described = next(t for t in described.types if not isinstance(t, inspect.NoneType))
    if isinstance(described, inspect.StructType):
        if path:
            yield path, None
        for field in described.fields:
            yield from _list_paths(field.type, f"{path}.{field.encode_name}".lstrip("."))
    elif isinstance(described, inspect.VarTupleType):
        yield path, None
        yield from _list_paths(described.item_type, f"{path}.{ANY_ITEM}")
    else:
        yield path, _TYPES.get(type(described), TypeName.STRING)


_STRUCTS: Final[Mapping[ImportKind, type[Any]]] = {
    ImportKind.FACILITY: FacilityRecord,
    ImportKind.ENTRY: EntryRecord,
}


@cache
def get_record_kind(kind: ImportKind) -> RecordKind:
    """Return the kind of record of an import, compiled when the first one begins.

    Raises:
        KeyError: projects have a reader of their own.
    """
    struct = _STRUCTS[kind]
    paths = list(_list_paths(inspect.type_info(struct), ""))
    return RecordKind(
        kind=kind,
        struct=struct,
        read=compile_reader(struct, null_is_absent=True),
        columns={
            path: Column(name=path, type=ColumnType(name))
            for path, name in paths
            if name is not None
        },
        lists=frozenset(path for path, name in paths if name is None),
    )


ENTRY_FACTS: Final = EntryFacts.__struct_fields__
"""Names of the fields of an entry that its client states."""


def to_entry_facts(record: EntryRecord) -> EntryFacts:
    """Return the fact that a record states."""
    return EntryFacts(**{name: getattr(record, name) for name in ENTRY_FACTS})


def to_term_sheet(record: FacilityRecord) -> FacilityTermSheet:
    """Return the terms that a record states."""
    names = FacilityTermSheet.__struct_fields__
    return FacilityTermSheet(**{name: getattr(record, name) for name in names})
