"""The use cases of projects, over the memory store: races, reservations, keys, scopes."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from spawn.application.command_queues import CommandQueues
from spawn.application.commands import MAX_ATTEMPTS
from spawn.application.dependencies import Dependencies
from spawn.application.projects.commands import (
    CommandContext,
    CommandResult,
    amend_project,
    create_project,
    transition_project,
)
from spawn.application.projects.queries import get_project, list_project_history, list_projects
from spawn.domain.change import (
    IdempotencyKey,
    IdempotencyReceipt,
    ResponseRecipe,
    StoredAggregate,
    VersionReference,
)
from spawn.domain.errors import Conflict, Duplicate, Forbidden, NotFound, StaleVersion
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.query import Query
from spawn.domain.schemas.validator import ProjectInput
from spawn.entrypoints.composition import open_dependencies
from spawn.entrypoints.settings import Settings

ANNA = Principal(id="anna")


def attributes(**core: object) -> ProjectInput:
    return ProjectInput(core=core, governed={}, extensions={})


async def create(
    dependencies: Dependencies, context: CommandContext | None = None, **core: object
) -> StoredAggregate[Project]:
    project_input = attributes(**{"project_name": "Sierra", "total_amount": Decimal(1), **core})
    outcome = await create_project(dependencies, ANNA, attributes=project_input, context=context)
    assert outcome.aggregate is not None
    return outcome.aggregate


async def amend(
    dependencies: Dependencies,
    project_id: str,
    context: CommandContext | None = None,
    **core: object,
) -> CommandResult:
    return await amend_project(
        dependencies, ANNA, project_id, attributes=attributes(**core), context=context
    )


async def test_a_read_returns_the_created_project(dependencies: Dependencies) -> None:
    aggregate = await create(dependencies)
    assert await get_project(dependencies, ANNA, aggregate.id) == aggregate
    page = await list_projects(dependencies, ANNA, Query())
    assert page.items == (aggregate,)


async def test_history_names_the_principal_and_the_changed_fields(
    dependencies: Dependencies,
) -> None:
    aggregate = await create(dependencies)
    await amend(dependencies, aggregate.id, dscr=Decimal("1.4"))
    await transition_project(
        dependencies, ANNA, aggregate.id, to=ProjectStatus.MANDATED, reason="signed"
    )
    entries = await list_project_history(
        dependencies, ANNA, aggregate.id, after_version=0, limit=10
    )
    assert [entry.type for entry in entries] == [
        "project.created",
        "project.amended",
        "project.transitioned",
    ]
    assert {entry.actor for entry in entries} == {"anna"}
    assert entries[1].changed == ("dscr",)
    assert entries[2].reason == "signed"


async def test_amendment_without_effect_writes_nothing(dependencies: Dependencies) -> None:
    aggregate = await create(dependencies, sector="wind")
    position = await dependencies.reads.position()
    outcome = await amend(dependencies, aggregate.id, sector="wind")
    assert outcome.aggregate == aggregate
    assert await dependencies.reads.position() == position


async def test_amendment_on_an_old_version_is_stale(dependencies: Dependencies) -> None:
    aggregate = await create(dependencies)
    await amend(dependencies, aggregate.id, sector="wind")
    with pytest.raises(StaleVersion) as error:
        await amend(dependencies, aggregate.id, CommandContext(expected_version=1), sector="solar")
    assert error.value.current == 2


async def test_racing_amendments_without_expectation_all_land(dependencies: Dependencies) -> None:
    aggregate = await create(dependencies)
    fields: list[dict[str, object]] = [
        {"sector": "wind"},
        {"description": "d"},
        {"dscr": Decimal(2)},
    ]
    await asyncio.gather(*(amend(dependencies, aggregate.id, None, **core) for core in fields))
    now = (await get_project(dependencies, ANNA, aggregate.id)).state
    assert (now.sector, now.description, now.dscr) == ("wind", "d", Decimal(2))


async def test_many_racing_amendments_without_expectation_land_in_turn(tmp_path: Path) -> None:
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with open_dependencies(settings) as dependencies:
        aggregate = await create(dependencies)
        racing = (amend(dependencies, aggregate.id, description=f"text {n}") for n in range(40))
        await asyncio.gather(*racing)
        assert (await get_project(dependencies, ANNA, aggregate.id)).version == 41


async def test_a_race_lost_in_the_store_is_decided_again(tmp_path: Path) -> None:
    # In memory each amendment runs to its end at once; on disk all wait for the one writer.
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with open_dependencies(settings) as dependencies:
        aggregate = await create(dependencies)
        fields: list[dict[str, object]] = [{"sector": "wind"}, {"description": "d"}]
        other = msgspec.structs.replace(dependencies, command_queues=CommandQueues())
        racing = zip((dependencies, other), fields, strict=True)
        await asyncio.gather(*(amend(one, aggregate.id, None, **core) for one, core in racing))
        now = await get_project(dependencies, ANNA, aggregate.id)
        assert (now.version, now.state.sector, now.state.description) == (3, "wind", "d")


async def test_an_amendment_of_another_process_lands_once_or_is_a_conflict(
    tmp_path: Path,
) -> None:
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with open_dependencies(settings) as dependencies:
        aggregate = await create(dependencies)
        # Processes share the store and no queue, so that a command may use up its attempts.
        processes = [
            msgspec.structs.replace(dependencies, command_queues=CommandQueues())
            for _ in range(4 * MAX_ATTEMPTS)
        ]
        racing = (
            amend(process, aggregate.id, sector=f"s{n}") for n, process in enumerate(processes)
        )
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(error) for error in errors} <= {Conflict}
        landed = len(outcomes) - len(errors)
        assert landed >= MAX_ATTEMPTS
        assert (await get_project(dependencies, ANNA, aggregate.id)).version == 1 + landed


async def test_racing_creations_with_one_reference_have_one_winner(
    dependencies: Dependencies,
) -> None:
    reference = ExternalRef(source="desk", id="7")
    results = await asyncio.gather(
        *(create(dependencies, external_ref=reference) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, StoredAggregate) for result in results) == 1
    assert sum(isinstance(result, Duplicate) for result in results) == 7


async def test_reference_moves_with_its_project_and_comes_free(dependencies: Dependencies) -> None:
    first = await create(dependencies, external_ref=ExternalRef(source="a b", id="1"))
    await amend(dependencies, first.id, external_ref=ExternalRef(source="a b", id="2"))
    second = await create(dependencies, external_ref=ExternalRef(source="a b", id="1"))
    with pytest.raises(Duplicate):
        await amend(dependencies, second.id, external_ref=ExternalRef(source="a b", id="2"))
    await amend(dependencies, first.id, external_ref=None)
    await amend(dependencies, second.id, external_ref=ExternalRef(source="a b", id="2"))


async def test_a_repeated_key_returns_the_recorded_response_and_one_project(
    dependencies: Dependencies,
) -> None:
    recipe = ResponseRecipe(codec="c", status=201, headers=(("warning", "x"),))
    key = IdempotencyKey(scope="anna POST /p", key="k", fingerprint="f")
    context = CommandContext(receipt=IdempotencyReceipt(key, recipe))
    aggregate = await create(dependencies, context)
    project_input = attributes(project_name="Sierra", total_amount=Decimal(1))
    again = await create_project(dependencies, ANNA, attributes=project_input, context=context)
    subject = VersionReference("project", aggregate.id, 1, aggregate.schema_version)
    assert again.replayed_response == msgspec.structs.replace(recipe, subject=subject)
    assert len((await list_projects(dependencies, ANNA, Query())).items) == 1


async def test_the_key_of_an_amendment_without_effect_is_stored_too(
    dependencies: Dependencies,
) -> None:
    aggregate = await create(dependencies, sector="wind")
    recipe = ResponseRecipe(codec="c", status=200)
    key = IdempotencyKey(scope="anna PATCH /p", key="k", fingerprint="f")
    first = await amend(
        dependencies,
        aggregate.id,
        CommandContext(receipt=IdempotencyReceipt(key, recipe)),
        sector="wind",
    )
    assert first.aggregate == aggregate
    subject = VersionReference("project", aggregate.id, 1, aggregate.schema_version)
    stored = await dependencies.commands.find_receipt(key)
    assert stored == msgspec.structs.replace(recipe, subject=subject)


async def test_missing_project_is_not_found(dependencies: Dependencies) -> None:
    with pytest.raises(NotFound):
        await amend(dependencies, dependencies.ids.new(), sector="wind")


async def test_principal_without_the_scope_is_forbidden(dependencies: Dependencies) -> None:
    reader = Principal(id="reader", scopes=frozenset({Scope.PROJECTS_READ}))
    project_input = attributes(project_name="x", total_amount=Decimal(1))
    with pytest.raises(Forbidden):
        await create_project(dependencies, reader, attributes=project_input)
    with pytest.raises(Forbidden):
        await list_projects(dependencies, Principal(id="nobody", scopes=frozenset()), Query())
