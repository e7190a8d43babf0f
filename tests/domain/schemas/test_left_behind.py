"""Columns that a version leaves behind are those that each column alone would be found as."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from spawn.domain.schema_version import RetiredColumn, Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.evolution.column_mapping import (
    PassedVersion,
    build_successors,
    find_left_behind,
)
from spawn.testing.intensity import rounds

NAMES = ("na", "nb", "nc", "nd", "ne")
Aliases = Mapping[str, Collection[str]]
ALIASES = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2), max_size=3
)
PASSED = st.lists(st.tuples(st.integers(1, 8), ALIASES), max_size=6)


class Case(NamedTuple):
    """Names and retirements of an active version, and the aliases of a new one, by name."""

    governed: frozenset[str]
    since_by_retired: dict[str, int]
    aliases_by_name: dict[str, list[str]]


def build_schema(number: int, aliases_by_name: Aliases) -> Schema:
    columns = [
        {"name": name, "type": "date", "aliases": [*aliases]}
        for name, aliases in aliases_by_name.items()
    ]
    document = json.dumps({"id": "project_schema", "version": number, "columns": columns})
    return read_schema(document.encode())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    governed = draw(st.frozensets(st.sampled_from(NAMES), max_size=3))
    others = sorted(set(NAMES) - governed)
    since = draw(st.dictionaries(st.sampled_from(others), st.integers(2, 6), max_size=2))
    free, aliases_by_name = set(NAMES), dict[str, list[str]]()
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)):
        if name in free:
            free.discard(name)
            aliases = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))
            aliases = [alias for alias in aliases if alias in free]
            aliases_by_name[name] = aliases
            free.difference_update(aliases)
    return Case(governed, since, aliases_by_name)


def find_successor(name: str, aliases_by_name: Aliases) -> str | None:
    if name in aliases_by_name:
        return name
    return next((new for new, aliases in aliases_by_name.items() if name in aliases), None)


def is_left_behind(
    name: str, documents: Sequence[tuple[int, Aliases]], new: Aliases, known_names: Collection[str]
) -> bool:
    """Return whether one column alone, followed from document to document, is left behind."""
    places = {name: False}
    for number in sorted({number for number, _ in documents}):
        following: dict[str, bool] = {}
        for place, is_renamed in places.items():
            for _, aliases in (one for one in documents if one[0] == number):
                successor = find_successor(place, aliases) or place
                is_moved = is_renamed or successor != place
                following[successor] = following.get(successor, True) and is_moved
        places = following
    targets = [find_successor(place, new) for place, is_renamed in places.items() if is_renamed]
    return any(t not in {None, find_successor(name, new), *known_names} for t in targets)


@settings(max_examples=rounds(100, 2_000), deadline=None)
@given(case=cases(), passed=PASSED, adopted=st.frozensets(st.integers(1, 6)))
def test_the_sweep_finds_what_each_column_alone_does(
    case: Case, passed: list[tuple[int, Aliases]], adopted: frozenset[int]
) -> None:
    active = build_schema(3, dict.fromkeys(case.governed, ()))
    pool = {c.name: c for c in build_schema(2, dict.fromkeys(case.since_by_retired, ())).governed}
    retired = [
        RetiredColumn(column=pool[name], since=since)
        for name, since in case.since_by_retired.items()
    ]
    active = msgspec.structs.replace(active, retired=tuple(retired))
    new = case.aliases_by_name
    known_names = {c.name for c in active.columns} | case.since_by_retired.keys()
    left_behind = set[str]()
    for name in case.governed:
        following = [one for one in passed if 3 <= one[0] < 7]
        if is_left_behind(name, following, new, ()):
            left_behind.add(name)
    for name, since in case.since_by_retired.items():
        first = max((n for n in adopted if n < since), default=since)
        following = [one for one in passed if first < one[0] < 7]
        if is_left_behind(name, following, new, known_names):
            left_behind.add(name)
    versions = [PassedVersion(number, build_successors(aliases)) for number, aliases in passed]
    result = find_left_behind(active, versions, build_schema(7, new), adopted_numbers=adopted)
    assert (result is None) == (not left_behind)
    assert result is None or result.name in left_behind
