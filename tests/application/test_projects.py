"""The use cases of projects, over the memory store: races, reservations, keys, scopes."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from spawn.application.dependencies import Services
from spawn.application.projects.commands import (
    MAX_ATTEMPTS,
    Call,
    Idempotency,
    Outcome,
    amend_project,
    create_project,
    get_project,
    list_projects,
    project_history,
    transition_project,
)
from spawn.domain.change import Answer, Stored
from spawn.domain.errors import Conflict, Duplicate, Forbidden, NotFound, Stale
from spawn.domain.principal import Principal
from spawn.domain.projects.lifecycle import Status
from spawn.domain.projects.project import ExternalRef, Project
from spawn.domain.query import Query
from spawn.domain.schemas.validator import Attributes
from spawn.entrypoints.composition import open_services
from spawn.entrypoints.settings import Settings

ANNA = Principal(id="anna")


def attributes(**core: object) -> Attributes:
    return Attributes(core=core, governed={}, extensions={})


async def create(services: Services, call: Call | None = None, **core: object) -> Stored[Project]:
    given = attributes(**{"project_name": "Sierra", "total_amount": Decimal(1), **core})
    outcome = await create_project(services, ANNA, attributes=given, call=call)
    assert outcome.stored is not None
    return outcome.stored


async def amend(
    services: Services, project_id: str, call: Call | None = None, **core: object
) -> Outcome:
    return await amend_project(services, ANNA, project_id, attributes=attributes(**core), call=call)


async def test_created_project_is_what_a_read_finds(services: Services) -> None:
    stored = await create(services)
    assert await get_project(services, ANNA, stored.id) == stored
    page = await list_projects(services, ANNA, Query())
    assert page.items == (stored,)


async def test_history_names_the_principal_and_what_changed(services: Services) -> None:
    stored = await create(services)
    await amend(services, stored.id, dscr=Decimal("1.4"))
    await transition_project(services, ANNA, stored.id, to=Status.MANDATED, reason="signed")
    entries = await project_history(services, ANNA, stored.id, after_version=0, limit=10)
    assert [entry.type for entry in entries] == [
        "project.created",
        "project.amended",
        "project.transitioned",
    ]
    assert {entry.actor for entry in entries} == {"anna"}
    assert entries[1].changed == ("dscr",)
    assert entries[2].reason == "signed"


async def test_amendment_without_effect_writes_nothing(services: Services) -> None:
    stored = await create(services, sector="wind")
    position = await services.reads.position()
    outcome = await amend(services, stored.id, sector="wind")
    assert outcome.stored == stored
    assert await services.reads.position() == position


async def test_amendment_on_an_old_version_is_stale(services: Services) -> None:
    stored = await create(services)
    await amend(services, stored.id, sector="wind")
    with pytest.raises(Stale) as refusal:
        await amend(services, stored.id, Call(expected_version=1), sector="solar")
    assert refusal.value.current == 2


async def test_racing_amendments_without_expectation_all_land(services: Services) -> None:
    stored = await create(services)
    fields: list[dict[str, object]] = [
        {"sector": "wind"},
        {"description": "d"},
        {"dscr": Decimal(2)},
    ]
    await asyncio.gather(*(amend(services, stored.id, None, **core) for core in fields))
    now = (await get_project(services, ANNA, stored.id)).state
    assert (now.sector, now.description, now.dscr) == ("wind", "d", Decimal(2))


async def test_a_race_lost_in_the_store_is_decided_again(tmp_path: Path) -> None:
    # In memory each amendment runs to its end at once; on disk all wait for the one writer.
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with open_services(settings) as services:
        stored = await create(services)
        fields: list[dict[str, object]] = [{"sector": "wind"}, {"description": "d"}]
        await asyncio.gather(*(amend(services, stored.id, None, **core) for core in fields))
        now = await get_project(services, ANNA, stored.id)
        assert (now.version, now.state.sector, now.state.description) == (3, "wind", "d")


async def test_who_loses_every_race_is_told_in_the_end(tmp_path: Path) -> None:
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with open_services(settings) as services:
        stored = await create(services)
        # Each round has one winner, and a command goes into as many rounds as it has attempts.
        racing = (amend(services, stored.id, sector=f"s{n}") for n in range(MAX_ATTEMPTS + 1))
        outcomes = await asyncio.gather(*racing, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [type(refusal) for refusal in refused] == [Conflict]
        assert (await get_project(services, ANNA, stored.id)).version == 1 + MAX_ATTEMPTS


async def test_racing_creations_with_one_reference_have_one_winner(services: Services) -> None:
    reference = ExternalRef(source="desk", id="7")
    results = await asyncio.gather(
        *(create(services, external_ref=reference) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Stored) for result in results) == 1
    assert sum(isinstance(result, Duplicate) for result in results) == 7


async def test_reference_moves_with_its_project_and_comes_free(services: Services) -> None:
    first = await create(services, external_ref=ExternalRef(source="a b", id="1"))
    await amend(services, first.id, external_ref=ExternalRef(source="a b", id="2"))
    second = await create(services, external_ref=ExternalRef(source="a b", id="1"))
    with pytest.raises(Duplicate):
        await amend(services, second.id, external_ref=ExternalRef(source="a b", id="2"))
    await amend(services, first.id, external_ref=None)
    await amend(services, second.id, external_ref=ExternalRef(source="a b", id="2"))


async def test_repeated_key_gives_the_recorded_answer_and_one_project(services: Services) -> None:
    def answer(stored: Stored[Project]) -> Answer:
        return Answer(201, (("etag", "x"),), stored.id.encode())

    call = Call(
        idempotency=Idempotency(scope="anna POST /p", key="k", fingerprint="f", answer=answer)
    )
    stored = await create(services, call)
    given = attributes(project_name="Sierra", total_amount=Decimal(1))
    again = await create_project(services, ANNA, attributes=given, call=call)
    assert again.replayed == Answer(201, (("etag", "x"),), stored.id.encode())
    assert len((await list_projects(services, ANNA, Query())).items) == 1


async def test_key_of_an_amendment_without_effect_is_kept_too(services: Services) -> None:
    stored = await create(services, sector="wind")
    key = Idempotency(
        scope="anna PATCH /p", key="k", fingerprint="f", answer=lambda _: Answer(200, (), b"same")
    )
    first = await amend(services, stored.id, Call(idempotency=key), sector="wind")
    assert first.stored == stored
    assert await services.commands.receipt("anna PATCH /p", "k", "f") == Answer(200, (), b"same")


async def test_missing_project_is_not_found(services: Services) -> None:
    with pytest.raises(NotFound):
        await amend(services, services.ids.new(), sector="wind")


async def test_principal_without_the_scope_is_forbidden(services: Services) -> None:
    reader = Principal(id="reader", scopes=frozenset({"read"}))
    given = attributes(project_name="x", total_amount=Decimal(1))
    with pytest.raises(Forbidden):
        await create_project(services, reader, attributes=given)
    with pytest.raises(Forbidden):
        await list_projects(services, Principal(id="nobody", scopes=frozenset()), Query())
