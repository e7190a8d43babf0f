"""Responses under older schema versions, their deprecation headers, and old names in writes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND, Service, Start
from tests.http.registry_stub import RegistryStub, serve_registry

PROJECTS = "/v1/ops/projects"
SCHEMA = "/v1/governance/schemas/project_schema"
TODAY = datetime.now(UTC).date()
TOMORROW = TODAY + timedelta(days=1)
UNITS = {"name": "units", "type": "integer"}
ZONE = {"name": "zone", "type": "string"}
LEAVING = {**ZONE, "deprecated": True, "sunset": TOMORROW.isoformat()}
POWER = {"name": "power_mw", "type": "decimal(10,2)", "aliases": ["capacity_mw"]}
CAPACITY = {"name": "capacity_mw", "type": "decimal(10,2)"}


@pytest.fixture
def registry() -> Iterator[RegistryStub]:
    with serve_registry(UNITS, ZONE, CAPACITY) as served:
        yield served


@pytest.fixture
def service(start: Start, registry: RegistryStub) -> Service:
    return start(ontology_url=registry.url, schema_refresh_s=86_400.0)


@pytest.fixture
def desk(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def adopt(
    desk: httpx.Client, registry: RegistryStub, version: int, *columns: dict[str, Any]
) -> None:
    registry.publish(version, *columns)
    desk.post(f"{SCHEMA}/refresh").raise_for_status()
    assert desk.get(SCHEMA).json()["version"] == version


def created(desk: httpx.Client, **fields: Any) -> str:
    answer = desk.post(PROJECTS, json={**WIND, **fields})
    assert answer.status_code == 201
    return answer.headers["location"]


def test_older_version_has_the_old_names_and_retired_columns(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    where = created(desk, units=7, zone="N", capacity_mw=1.5)
    before = desk.get(where)
    adopt(desk, registry, 3, {**UNITS, "type": "bigint"}, POWER, {"name": "hub", "type": "string"})
    desk.patch(where, json={"hub": "H", "dscr": 2}, headers={"if-match": "*"}).raise_for_status()
    now = desk.get(where).json()
    assert (now["power_mw"], now["hub"], now["units"]) == (1.5, "H", 7)
    assert not {"zone", "capacity_mw"} & now.keys()
    old = desk.get(where, params={"schema_version": 2})
    assert old.json() == {
        **before.json(),
        "version": 2,
        "dscr": 2,
        "x_hub": "H",
        "updated_at": now["updated_at"],
    }
    assert old.headers["etag"] not in {before.headers["etag"], desk.get(where).headers["etag"]}
    links = old.links
    assert links["describedby"]["url"] == f"{SCHEMA}/versions/2"
    assert links["successor-version"]["url"] == f"{SCHEMA}/versions/3"
    assert old.headers["deprecation"].startswith("@")
    assert "sunset" not in old.headers
    again = desk.get(
        where, params={"schema_version": 2}, headers={"if-none-match": old.headers["etag"]}
    )
    assert again.status_code == 304
    same = desk.get(where, params={"schema_version": 3})
    assert same.headers["etag"] == desk.get(where).headers["etag"]


def test_an_extension_is_shown_again_where_it_equals_the_new_default(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    wrote, silent = created(desk, x_c="ab"), created(desk)
    before = {where: desk.get(where).json() for where in (wrote, silent)}
    column = {"name": "c", "type": "string(3)", "default": "ab"}
    adopt(desk, registry, 3, UNITS, ZONE, CAPACITY, column)
    assert desk.get(wrote).json()["c"] == desk.get(silent).json()["c"] == "ab"
    assert "x_c" not in desk.get(wrote).json()
    asked = {"schema_version": 2}
    for where, document in before.items():
        assert desk.get(where, params=asked).json() == document
    desk.patch(wrote, json={"dscr": 2}, headers={"if-match": "*"}).raise_for_status()
    assert desk.get(wrote, params=asked).json()["x_c"] == "ab"
    rows = desk.get("/v1/data/projects.json", params=asked).json()
    assert sorted(row.get("x_c", "") for row in rows) == ["", "ab"]
    found = desk.get(PROJECTS, params={**asked, "fields": "x_c", "sort": "created_at"}).json()
    assert [item.get("x_c") for item in found["items"]] == ["ab", None]


def test_etag_of_an_older_version_is_accepted_by_patch(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    where = created(desk, units=7)
    adopt(desk, registry, 3, UNITS, ZONE, POWER)
    seen = desk.get(where, params={"schema_version": 2}).headers["etag"]
    changed = desk.patch(where, json={"units": 8}, headers={"if-match": seen})
    assert (changed.status_code, changed.json()["units"]) == (200, 8)


def test_lists_use_the_names_of_the_requested_version(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    for units, zone in ((3, "N"), (1, "N"), (2, "S")):
        created(desk, units=units, zone=zone, capacity_mw=units)
    adopt(desk, registry, 3, UNITS, POWER)
    asked: dict[str, Any] = {
        "schema_version": 2,
        "zone": "N",
        "sort": "-capacity_mw",
        "fields": "zone,capacity_mw",
    }
    first = desk.get(PROJECTS, params={**asked, "limit": 1})
    second = desk.get(first.links["next"]["url"])
    shown = [*first.json()["items"], *second.json()["items"]]
    assert [(item["zone"], item["capacity_mw"]) for item in shown] == [("N", 3), ("N", 1)]
    assert first.links["describedby"]["url"] == f"{SCHEMA}/versions/2"
    problem = desk.get(PROJECTS, params={"zone": "N"})
    assert problem.json()["errors"][0]["pointer"] == "/zone"
    assert len(desk.get(PROJECTS, params={"capacity_mw[gte]": 2}).json()["items"]) == 2


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("9", 404, "not_found"),
        ("02", 422, "invalid_input"),
        ("-1", 422, "invalid_input"),
        ("two", 422, "invalid_input"),
    ],
)
def test_version_that_was_never_active_is_not_served(
    desk: httpx.Client, asked: str, status: int, code: str
) -> None:
    where = created(desk)
    for path in (where, PROJECTS):
        problem = desk.get(path, params={"schema_version": asked})
        assert (problem.status_code, problem.json()["code"]) == (status, code)


def test_older_version_expires_with_the_sunset_of_its_column(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    past = {**ZONE, "deprecated": True, "sunset": TODAY.isoformat(), "required": False}
    where = created(desk, zone="N")
    adopt(desk, registry, 3, UNITS, past, CAPACITY)
    adopt(desk, registry, 4, UNITS, CAPACITY)
    for path in (where, PROJECTS):
        gone = desk.get(path, params={"schema_version": 3})
        assert (gone.status_code, gone.json()["code"]) == (410, "schema_version_expired")
    problem = desk.patch(where, json={"zone": "S"}, headers={"if-match": "*"})
    assert (problem.status_code, problem.json()["errors"][0]["code"]) == (422, "retired")


def test_deprecated_columns_are_announced_on_every_response_with_projects(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    where = created(desk, zone="N")
    assert "deprecation" not in desk.get(where).headers
    asked = int(datetime.now(UTC).timestamp())
    adopt(desk, registry, 3, UNITS, LEAVING, CAPACITY)
    made = desk.post(PROJECTS, json=WIND)
    patched = desk.patch(where, json={"units": 1}, headers={"if-match": "*"})
    responses = [desk.get(where), desk.get(where), desk.get(PROJECTS), made, patched]
    tag = responses[0].headers["etag"]
    responses.append(desk.get(where, headers={"if-none-match": tag}))
    assert responses[-1].status_code == 304
    for answer in responses:
        since = int(answer.headers["deprecation"].removeprefix("@"))
        assert asked <= since <= datetime.now(UTC).timestamp()
        sunset = parsedate_to_datetime(answer.headers["sunset"])
        assert (sunset.date(), sunset.time().isoformat()) == (TOMORROW, "00:00:00")
        assert answer.links["deprecation"]["url"] == f"{SCHEMA}/versions/3"
    # A later version that deprecates the same column does not begin the notice anew.
    adopt(desk, registry, 4, UNITS, LEAVING, {**CAPACITY, "description": "Rated."})
    assert desk.get(where).headers["deprecation"] == responses[0].headers["deprecation"]


def test_old_names_are_accepted_in_writes_until_the_sunset(
    desk: httpx.Client, registry: RegistryStub
) -> None:
    created(desk)
    adopt(desk, registry, 3, UNITS, LEAVING, POWER)
    adopt(desk, registry, 4, UNITS, POWER)
    made = desk.post(PROJECTS, json={**WIND, "zone": "N", "capacity_mw": 2})
    assert made.status_code == 201
    assert made.json()["power_mw"] == 2
    assert "zone" not in made.json()
    warning = made.headers["spawn-warnings"]
    assert warning.startswith(
        '"/zone";code=retired;detail="is ignored: it was removed by version 4'
    )
    assert str(TOMORROW) in warning


def test_restored_column_has_its_values_again(desk: httpx.Client, registry: RegistryStub) -> None:
    where = created(desk, zone="N")
    adopt(desk, registry, 3, UNITS, CAPACITY)
    desk.patch(where, json={"units": 5}, headers={"if-match": "*"}).raise_for_status()
    assert "zone" not in desk.get(where).json()
    adopt(desk, registry, 4, UNITS, CAPACITY, ZONE)
    assert desk.get(where).json()["zone"] == "N"
    found = desk.get(PROJECTS, params={"zone": "N"}).json()["items"]
    assert [item["project_id"] for item in found] == [where.rpartition("/")[2]]
