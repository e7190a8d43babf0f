"""Random histories of versions end alike whenever a service refreshes, for one kind and for two.

The registry may fail at any of those moments: it withholds a version, or its list is a stale one.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import FakeRegistries, FakeRegistry
from tests.domain.facilities.facility_terms import a_term_sheet

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, create_facility
from spawn.application.projects.commands import create_project
from spawn.application.projects.versioned_views import convert_to_version
from spawn.application.schemas.activation import SchemaPolicy, ensure_active_schema
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import NotFound, RegistryError
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.principal import LOCAL_PRINCIPAL
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schemas.validator import ProjectInput
from spawn.testing.intensity import rounds

TYPES = ("string(3)", "string(5)", "integer", "bigint", "date")
NAMES = ("aa", "bb", "cc", "dd")


def random_version(rng: random.Random, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Change some columns at random: good and bad changes alike."""
    columns = [dict(column) for column in before]
    for _ in range(rng.randrange(1, 3)):
        change = rng.randrange(6)
        names = {column["name"] for column in columns}
        free = [name for name in NAMES if name not in names]
        column = rng.choice(columns) if columns else None
        if change == 0 and free:
            columns.append({"name": rng.choice(free), "type": rng.choice(TYPES)})
        elif change == 1 and column:
            columns.remove(column)
        elif change == 2 and column and free:
            column["aliases"] = [*column.get("aliases", []), column["name"]]
            column["name"] = rng.choice(free)
        elif change == 3 and column:
            column["type"] = rng.choice(TYPES)
        elif change == 4 and column:
            column["description"] = str(rng.randrange(9))
        elif change == 5 and column:
            column.pop("aliases", None)
    return columns


VERSIONS = 7
FIRST: list[dict[str, Any]] = [
    {"name": "aa", "type": "string(3)"},
    {"name": "bb", "type": "integer"},
]
VALUES: dict[str, Any] = {"aa": "abc", "bb": 5}
KINDS = (PROJECT_KIND, FACILITY_KIND)
NO_FAULT = ("", 0)
LAST = (VERSIONS, frozenset(KINDS), NO_FAULT)
Look = tuple[int, frozenset[str], tuple[str, int]]
Looks = Sequence[Look]
"""Numbers of versions, the kinds that are refreshed at once after their publication, and a fault
of the registry at a version meanwhile."""

UNREAD: dict[str, Any] = {
    "missing": NotFound("none"),
    "forbidden": RegistryError("status 403"),
    "a page": b"<!doctype html>",
    "an error": b'{"error": "no"}',
}
FAULTS = ("", *UNREAD, "stale list", "no list")


class EndState(NamedTuple):
    """What a kind has come to: its adopted versions, and the fields of its aggregate."""

    history: list[int]
    attributes: dict[str, Any]
    hidden: dict[str, Any]
    first: dict[str, Any]


def random_history(rng: random.Random) -> list[list[dict[str, Any]]]:
    history = [FIRST]
    while len(history) < VERSIONS:
        history.append(random_version(rng, history[-1]))
    return history


async def play(
    histories: dict[str, list[list[dict[str, Any]]]], looks: Looks, folder: Path, engine: str
) -> dict[str, EndState]:
    """Publish the versions of each kind in order, and refresh kinds after some of them."""
    registries = {kind: FakeRegistry(f"{kind}_schema", kind) for kind in histories}
    policies = {kind: SchemaPolicy(schema_id=f"{kind}_schema", kind=kind) for kind in histories}
    async with open_engine_dependencies(
        engine, FakeRegistries(*registries.values()), folder
    ) as dependencies:
        for kind, history in histories.items():
            registries[kind].serve(1, *history[0])
            await ensure_active_schema(dependencies, policies[kind])
        ids = await create_aggregates(dependencies, histories)
        for number in range(2, VERSIONS + 1):
            for kind, history in histories.items():
                columns = history[number - 1] or [{"name": "none", "type": "date"}]
                registries[kind].serve(number, *columns)
            for _, kinds, fault in (one for one in (*looks, LAST) if one[0] == number):
                due = [
                    refresh(dependencies, policies[kind], registries[kind], fault)
                    for kind in kinds & ids.keys()
                ]
                await asyncio.gather(*due)
        return {kind: await read_end(dependencies, kind, ids[kind]) for kind in histories}


async def refresh(
    dependencies: Dependencies, policy: SchemaPolicy, registry: FakeRegistry, fault: tuple[str, int]
) -> None:
    """Refresh a kind while its registry has a fault."""
    name, number = fault
    if name in UNREAD:
        registry.faults = {number: UNREAD[name]}
    elif name == "stale list":
        registry.listed = tuple(range(1, number))
    elif name == "no list":
        registry.error = RegistryError("the registry no longer lists the versions of the schema")
    with suppress(RegistryError):
        await refresh_schema(dependencies, policy)
    registry.faults, registry.listed, registry.error = {}, None, None


async def create_aggregates(dependencies: Dependencies, kinds: Any) -> dict[str, str]:
    """Create a project, and a facility if the kind is among the kinds; return their ids."""
    core = {"project_name": "One", "total_amount": Decimal(1)}
    project = await create_project(
        dependencies, LOCAL_PRINCIPAL, attributes=ProjectInput(core, VALUES, {})
    )
    assert project.aggregate is not None
    ids = {PROJECT_KIND: project.aggregate.id}
    if FACILITY_KIND in kinds:
        facility = await create_facility(
            dependencies,
            LOCAL_PRINCIPAL,
            ids[PROJECT_KIND],
            a_term_sheet(),
            FinanceContext(),
            ProjectInput({}, VALUES, {}),
        )
        assert facility.aggregate is not None
        ids[FACILITY_KIND] = facility.aggregate.id
    return ids


async def read_end(dependencies: Dependencies, kind: str, aggregate_id: str) -> EndState:
    aggregate: Any = await dependencies.reads.get(kind, aggregate_id)
    first = await convert_to_version(dependencies, aggregate, 1)
    history = [schema.version for schema in await dependencies.schemas.version_history(kind)]
    state = aggregate.state
    return EndState(
        history,
        dict(state.attributes),
        dict(state.hidden_attributes),
        dict(first.state.attributes),
    )


def check_no_loss(end: EndState) -> None:
    """Each value is served, or hidden and served to the clients of version 1."""
    assert {*map(str, (*end.attributes.values(), *end.hidden.values()))} >= {"abc", "5"}
    assert end.first == VALUES


NUMBERS = st.integers(2, VERSIONS)
SOME_FAULT = st.tuples(st.sampled_from(FAULTS), NUMBERS)
LOOKS_AT_PROJECTS = st.lists(
    st.tuples(NUMBERS, st.just(frozenset({PROJECT_KIND})), SOME_FAULT), max_size=6
)
LOOKS_AT_BOTH = st.lists(
    st.tuples(NUMBERS, st.frozensets(st.sampled_from(KINDS), min_size=1), SOME_FAULT), max_size=8
)
ALWAYS: Looks = tuple((number, frozenset(KINDS), NO_FAULT) for number in range(2, VERSIONS + 1))
SEEDS = st.integers(0, 2**32)
quickly = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=rounds(10, 40),
)


@quickly
@given(seed=SEEDS, looks=LOOKS_AT_PROJECTS)
async def test_the_end_does_not_depend_on_the_moments_of_refreshing(
    seed: int, looks: Looks, tmp_path: Path
) -> None:
    histories = {PROJECT_KIND: random_history(random.Random(seed))}
    always = await play(histories, ALWAYS, tmp_path, "memory")
    assert await play(histories, looks, tmp_path, "memory") == always
    check_no_loss(always[PROJECT_KIND])


@quickly
@given(seed=SEEDS, looks=LOOKS_AT_BOTH)
async def test_nor_does_that_of_two_kinds_whose_refreshes_meet(
    seed: int, looks: Looks, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    histories = {kind: random_history(rng) for kind in KINDS}
    always = await play(histories, ALWAYS, tmp_path, "memory")
    assert await play(histories, looks, tmp_path, "memory") == always
    for kind, end in always.items():
        alone = {kind: histories[kind]}
        check_no_loss(end)
        if kind == PROJECT_KIND:
            # A kind ends as it would beside no other.
            assert (await play(alone, looks, tmp_path, "memory"))[kind] == end


@settings(quickly, max_examples=rounds(2, 4))
@given(seed=SEEDS, looks=LOOKS_AT_BOTH)
async def test_the_engine_ends_as_the_store_in_memory(
    seed: int, looks: Looks, tmp_path_factory: Any
) -> None:
    rng = random.Random(seed)
    histories = {kind: random_history(rng) for kind in KINDS}
    folder = tmp_path_factory.mktemp("store")
    in_memory = await play(histories, ALWAYS, folder, "memory")
    assert await play(histories, looks, folder, "duckdb") == in_memory
