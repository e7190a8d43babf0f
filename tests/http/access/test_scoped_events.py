"""The feed of a limited caller has the financing of its projects, as they were at each event."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.http.access.financing_requests import send_financing
from tests.http.access.worlds import Json, World, open_world, project, typical_body

from spawn.domain.principal import RowScope

PROJECTS = "/v1/ops/projects"
ANY = {"if-match": "*"}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    rows = RowScope.of({"country_code": ["ESP"]})
    async with open_world("memory://", None, monkeypatch, rows) as opened:
        yield opened


async def _create(world: World, country: str) -> str:
    created = await world.as_others("POST", PROJECTS, json=project("P", country))
    return str(created.json()["project_id"])


async def _record(world: World, key: str) -> str:
    """Record the financing of a project, and return the id of its facility."""
    world.step()
    return (await send_financing(world, world.as_others, {"project_id": key}))["facility_id"]


async def _lend(world: World, key: str) -> str:
    """Create another facility of a project, and return its id."""
    world.step()
    path = "/v1/ops/projects/{project_id}/facilities"
    body = {**typical_body(world.paths[path]["post"]), "rate": {"fixed_rate": "0.05"}}
    body["name"] = f"At {world.time.time()}"
    created = await world.as_others("POST", path.format(project_id=key), json=body)
    return str(created.json()["facility_id"])


async def _move(world: World, key: str, country: str) -> None:
    world.step()
    body = {"country_code": country}
    await world.as_others("PATCH", f"{PROJECTS}/{key}", json=body, headers=ANY)


async def _read(world: World, query: str = "") -> list[Json]:
    """Return the events of all pages."""
    events: list[Any] = []
    page: Json = {"events": [None], "next": None}
    while page["events"]:
        after = f"&after={page['next']}" if page["next"] else ""
        response = await world.send("GET", f"/v1/events?limit=3{query}{after}")
        assert response.status_code == 200, response.text
        page = response.json()
        events += page["events"]
    return events


async def test_events_of_the_financing_follow_the_project_of_their_time(world: World) -> None:
    mine, other = await _create(world, "ESP"), await _create(world, "FRA")
    seen, hidden = await _record(world, mine), await _record(world, other)
    await _move(world, mine, "FRA")
    gone = await _lend(world, mine)
    await _move(world, mine, "ESP")
    back = await _lend(world, mine)
    created = {
        event["subject"].partition("/")[2]
        for event in await _read(world)
        if event["type"] == "spawn.facility.created.v1"
    }
    assert created == {seen, back}
    await _move(world, mine, "FRA")
    kinds = {event["subject"].partition("/")[0] for event in await _read(world)}
    assert {"projects", "facilities", "entries", "cases", "covenants"} <= kinds
    for facility, has_events in ((seen, True), (gone, False), (hidden, False)):
        assert bool(await _read(world, f"&subject=facilities/{facility}")) is has_events


async def test_no_event_has_a_position(world: World) -> None:
    """The inputs of a covenant test are named by version, as the events are."""
    mine = await _create(world, "ESP")
    await _record(world, mine)
    events = await _read(world)
    tests = [one for one in events if one["type"] == "spawn.covenant_test.recorded.v1"]
    places = [ref["position"] for one in tests for ref in one["data"]["after"]["references"]]
    assert places
    assert all(place.count(".") >= 2 for place in places), places
    assert len({event["id"] for event in events}) == len(events)
    for event in events:
        assert (await world.send("GET", f"/v1/events?after={event['id']}")).status_code == 200


async def test_cursor_of_now_leads_to_later_events_alone(world: World) -> None:
    mine, other = await _create(world, "ESP"), await _create(world, "FRA")
    await _record(world, mine)
    newest = (await world.send("GET", "/v1/events?after=newest")).json()["next"]
    world.step()
    await _record(world, other)
    assert await _read(world, f"&after={newest}") == []
    await _move(world, mine, "ESP")
    later = await _lend(world, mine)
    events = (await world.send("GET", f"/v1/events?after={newest}&limit=500")).json()["events"]
    created = [one for one in events if one["type"] == "spawn.facility.created.v1"]
    assert [one["subject"] for one in created] == [f"facilities/{later}"]
    for wrong in ("1.at.5", "9.at.1772366400000000", "x.at.1"):
        response = await world.send("GET", f"/v1/events?after={wrong}")
        assert response.status_code in {400, 410}, wrong


async def test_cursor_names_no_version_without_an_event(world: World) -> None:
    """A released reservation has a row without event, and tells of a hidden project."""
    reference = {"source": "erp", "id": "Loire"}
    body = project("P", "FRA", external_ref=reference)
    other = str((await world.as_others("POST", PROJECTS, json=body)).json()["project_id"])
    body = {"external_ref": None}
    await world.as_others("PATCH", f"{PROJECTS}/{other}", json=body, headers=ANY)
    epoch = (await world.composition.dependencies.reads.position()).epoch
    problems = []
    for name in ("external_ref:erp:Loire", "external_ref:erp:Nobody", "nothing:x"):
        response = await world.send("GET", f"/v1/events?after={epoch}.2.{name}")
        problems.append((response.status_code, response.json()["code"], response.json()["detail"]))
    assert problems[0][:2] == (400, "cursor_invalid")
    assert problems == problems[:1] * 3


async def test_look_ups_do_not_grow_with_the_events_of_a_project(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = world.composition.dependencies.reads
    look_ups: list[str] = []
    for name in ("get", "get_many", "history"):
        _count_calls(monkeypatch, reads, name, look_ups)
    counts = []
    other, _ = await _create(world, "FRA"), await _create(world, "ESP")
    for number in (1, 4):
        for _ in range(number):
            await _lend(world, other)
        await _move(world, other, "PRT")
        await _lend(world, other)
        await _move(world, other, "FRA")
        look_ups.clear()
        assert len((await world.send("GET", "/v1/events")).json()["events"]) == 1
        counts.append(len(look_ups))
    # Each version of a project with events of its financing costs two, and one page as much.
    assert counts[1] - counts[0] <= 4, counts


def _count_calls(
    monkeypatch: pytest.MonkeyPatch, reads: Any, name: str, look_ups: list[str]
) -> None:
    method = getattr(reads, name)

    def count_and_call(*arguments: Any, **options: Any) -> Any:
        look_ups.append(name)
        return method(*arguments, **options)

    monkeypatch.setattr(reads, name, count_and_call)
