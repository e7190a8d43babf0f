"""Keys that are limited to some projects: what they see, what they may change, who grants them."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.http.access.conftest import Guarded, Headers, bearer

from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.application.access.api_clients import create_api_client
from spawn.application.access.row_access import REFERENCES, limit_to_rows
from spawn.application.access.scoped_rows import WHOLE_STORE
from spawn.application.events.encoded_feed import EventFilter
from spawn.application.events.event_streams import EventStreams, StreamLimits
from spawn.application.events.feed import NEWEST, find_start, read_feed
from spawn.application.events.journal_watch import JournalWatch
from spawn.domain.change import IdempotencyKey, RecordedResponse
from spawn.domain.errors import CursorExpired, CursorInvalid, Forbidden, InvalidInput
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.principal import LOCAL_PRINCIPAL, WHOLE_STORE_SCOPES, Principal, RowScope, Scope
from spawn.domain.query import Query
from spawn.entrypoints.http.events.sse import ServerSentEvents
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record

PROJECTS = "/v1/ops/projects"
ROW_SCOPES = [scope for scope in Scope if scope not in WHOLE_STORE_SCOPES]


class Desk(msgspec.Struct):
    """A service with projects of two countries, a key of all rows and one of Spain's."""

    guarded: Guarded
    everything: Headers
    spain: Headers
    ids: dict[str, str]

    @property
    def streams(self) -> EventStreams:
        """Streams whose every pause is a heartbeat."""
        reads = self.guarded.dependencies.reads
        return EventStreams(
            reads,
            JournalWatch(reads),
            EventEnvelope("https://spawn.example", "project_schema", "0" * 32),
            ServerSentEvents(),
            limits=StreamLimits(heartbeat_s=0.0),
        )

    async def send(self, method: str, address: str, **options: Any) -> httpx.Response:
        headers = {**self.spain, **options.pop("headers", {})}
        return await self.guarded.client.request(method, address, headers=headers, **options)

    async def move(self, name: str, **fields: Any) -> None:
        """Amend a project with the key of all rows."""
        address, headers = f"{PROJECTS}/{self.ids[name]}", {**self.everything, "if-match": "*"}
        response = await self.guarded.client.patch(address, json=fields, headers=headers)
        assert response.status_code == 200, response.text

    async def names(self, query: str = "") -> list[str]:
        page = (await self.send("GET", f"{PROJECTS}{query}")).json()
        return [item["project_name"] for item in page["items"]]


async def scoped_key(guarded: Guarded, name: str, **row_scope: list[str]) -> Headers:
    issued = await create_api_client(
        guarded.dependencies,
        LOCAL_PRINCIPAL,
        name,
        frozenset(ROW_SCOPES),
        environment="test",
        row_scope=RowScope.of(row_scope),
    )
    return bearer(issued.text)


@pytest.fixture
async def desk(guarded: Guarded) -> Desk:
    everything = await guarded.key(*Scope)
    ids = {}
    for name, country, sector in (
        ("Sierra", "ESP", "wind"),
        ("Loire", "FRA", "wind"),
        ("Ebro", "ESP", "hydro"),
    ):
        body = {
            "project_name": name,
            "total_amount": "1",
            "currency_code": "EUR",
            "country_code": country,
            "sector": sector,
            "external_ref": {"source": "erp", "id": name},
            "x_region": "south" if country == "ESP" else "north",
        }
        created = await guarded.client.post(PROJECTS, json=body, headers=everything)
        ids[name] = created.json()["project_id"]
    return Desk(guarded, everything, await scoped_key(guarded, "spain", country_code=["ES"]), ids)


async def test_reads_show_the_rows_of_the_scope_alone(desk: Desk) -> None:
    assert await desk.names() == ["Sierra", "Ebro"]
    assert await desk.names("?sort=-project_name&limit=1") == ["Sierra"]
    assert await desk.names("?external_ref=erp:Loire") == []
    assert await desk.names("?external_ref=erp:Ebro") == ["Ebro"]
    assert (await desk.send("GET", f"{PROJECTS}/count")).json() == {"count": 2}
    assert (await desk.send("GET", f"{PROJECTS}/{desk.ids['Loire']}")).status_code == 404
    rows = (await desk.send("GET", "/v1/data/projects.ndjson")).text.splitlines()
    assert len(rows) == 2
    subjects = [e["subject"] for e in (await desk.send("GET", "/v1/events")).json()["events"]]
    assert subjects == [f"projects/{desk.ids[name]}" for name in ("Sierra", "Ebro")]


@pytest.mark.parametrize(
    ("row_scope", "names"),
    [
        ({"sector": ["wind"]}, ["Sierra", "Loire"]),
        ({"country_code": ["ESP", "FRA"], "sector": ["hydro"]}, ["Ebro"]),
        ({"status": ["PROPOSED"]}, ["Sierra", "Loire", "Ebro"]),
        ({"status": ["OPERATION"]}, []),
        ({"x_region": ["north"]}, ["Loire"]),
    ],
)
async def test_scope_may_be_by_any_text(
    desk: Desk, row_scope: dict[str, list[str]], names: list[str]
) -> None:
    desk.spain = await scoped_key(desk.guarded, "other", **row_scope)
    assert await desk.names() == names
    for name, key in desk.ids.items():
        status = (await desk.send("GET", f"{PROJECTS}/{key}")).status_code
        assert (status == 200) == (name in names), name
        # The second response of an unlimited caller comes from the cache of all callers.
        for _ in range(2):
            await desk.guarded.client.get(f"{PROJECTS}/{key}", headers=desk.everything)
        again = (await desk.send("GET", f"{PROJECTS}/{key}")).status_code
        assert again == status


async def test_field_that_the_schema_does_not_have_selects_nothing(desk: Desk) -> None:
    """A column that was removed or renamed since must not open the store."""
    limited = Principal(
        id="gone", scopes=frozenset(Scope), row_scope=RowScope.of({"removed_column": ["a"]})
    )
    dependencies = limit_to_rows(desk.guarded.dependencies, limited)
    assert (await dependencies.reads.page(Query())).items == ()
    assert await dependencies.reads.count(Query()) == 0
    assert (await read_feed(dependencies, limited, after=None, limit=9)).entries == ()


async def test_project_that_leaves_the_scope_is_seen_as_it_was(desk: Desk) -> None:
    address = f"{PROJECTS}/{desk.ids['Sierra']}"
    etag = (await desk.send("GET", address)).headers["etag"]
    before = (await desk.send("GET", "/v1/events")).json()
    moved_at = desk.guarded.dependencies.clock.now().isoformat().replace("+00:00", "Z")
    await desk.move("Sierra", country_code="FRA")
    for headers in ({}, {"if-none-match": etag}):
        assert (await desk.send("GET", address, headers=headers)).status_code == 404
    assert (await desk.send("GET", f"{address}/history")).status_code == 404
    assert (await desk.send("GET", f"{address}?as_of={moved_at}")).status_code == 200
    assert await desk.names(f"?as_of={moved_at}") == ["Sierra", "Ebro"]
    after = (await desk.send("GET", "/v1/events")).json()
    assert after == before
    await desk.move("Sierra", country_code="ESP")
    history = (await desk.send("GET", f"{address}/history?limit=1")).json()
    versions = [item["version"] for item in history["items"]]
    while history["next"]:
        rest = f"{address}/history?limit=1&after={history['next']}"
        history = (await desk.send("GET", rest)).json()
        versions += [item["version"] for item in history["items"]]
    assert versions == [1, 3]


async def test_receipt_of_a_project_outside_is_not_repeated(desk: Desk) -> None:
    body = {"project_name": "Duero", "total_amount": "1", "country_code": "ESP"}
    key = {"idempotency-key": "once"}
    first = await desk.send("POST", PROJECTS, json=body, headers=key)
    assert (await desk.send("POST", PROJECTS, json=body, headers=key)).text == first.text
    desk.ids["Duero"] = first.json()["project_id"]
    await desk.move("Duero", country_code="FRA")
    assert (await desk.send("POST", PROJECTS, json=body, headers=key)).status_code == 404


async def test_whole_response_of_an_earlier_release_is_not_repeated(desk: Desk) -> None:
    class EarlierReceipts:
        async def find_receipt(self, key: IdempotencyKey) -> RecordedResponse:
            return RecordedResponse(201, (), key.key.encode())

    dependencies = msgspec.structs.replace(
        desk.guarded.dependencies,
        commands=EarlierReceipts(),
    )
    principal = Principal(id="x", row_scope=RowScope.of({"sector": ["wind"]}))
    key = IdempotencyKey(scope="x", key="k", fingerprint="f")
    with pytest.raises(Forbidden, match="whole store"):
        await limit_to_rows(dependencies, principal).commands.find_receipt(key)


async def test_commands_stay_within_the_scope(desk: Desk) -> None:
    body = {"project_name": "New", "total_amount": "1", "country_code": "FRA"}
    outside = await desk.send("POST", PROJECTS, json=body)
    assert (outside.status_code, outside.json()["code"]) == (403, "forbidden")
    assert "country_code" in outside.json()["detail"]
    for country in ({}, {"country_code": None}):
        without = {"project_name": "New", "total_amount": "1", **country}
        assert (await desk.send("POST", PROJECTS, json=without)).status_code == 403
    any_version = {"if-match": "*"}
    address = f"{PROJECTS}/{desk.ids['Sierra']}"
    for change in ({"country_code": "FRA"}, {"country_code": None}):
        response = await desk.send("PATCH", address, json=change, headers=any_version)
        assert response.status_code == 403
    inside = await desk.send("PATCH", address, json={"sector": "solar"}, headers=any_version)
    assert inside.status_code == 200
    hidden = f"{PROJECTS}/{desk.ids['Loire']}"
    change = {"country_code": "ESP"}
    response = await desk.send("PATCH", hidden, json=change, headers=any_version)
    assert response.status_code == 404
    count = await desk.guarded.client.get(f"{PROJECTS}/count", headers=desk.everything)
    assert count.json() == {"count": 3}


async def test_status_of_the_scope_is_left_by_nobody_in_it(desk: Desk) -> None:
    desk.spain = await scoped_key(desk.guarded, "proposals", status=["PROPOSED"])
    response = await desk.send(
        "POST",
        f"{PROJECTS}/{desk.ids['Sierra']}/transitions",
        json={"to": "MANDATED", "reason": "signed"},
        headers={"if-match": "*"},
    )
    assert response.status_code == 403


async def test_references_are_released_but_not_taken(desk: Desk) -> None:
    any_version = {"if-match": "*"}
    address = f"{PROJECTS}/{desk.ids['Sierra']}"
    details = set()
    for reference in ("Loire", "nobody"):
        body = {"external_ref": {"source": "erp", "id": reference}}
        response = await desk.send("PATCH", address, json=body, headers=any_version)
        assert response.status_code == 403
        details.add(response.json()["detail"])
    assert details == {REFERENCES}
    visible = {"external_ref": {"source": "erp", "id": "Ebro"}}
    response = await desk.send("PATCH", address, json=visible, headers=any_version)
    assert (response.status_code, response.json()["code"]) == (409, "duplicate")
    same = {"external_ref": {"source": "erp", "id": "Sierra"}}
    response = await desk.send("PATCH", address, json=same, headers=any_version)
    assert response.status_code == 200
    response = await desk.send("PATCH", address, json={"external_ref": None}, headers=any_version)
    assert response.status_code == 200


async def test_operation_of_the_whole_store_says_why_it_is_forbidden(desk: Desk) -> None:
    for method, address in (
        ("POST", "/v1/ops/imports"),
        ("GET", "/v1/ops/imports"),
        ("GET", "/lineage"),
        ("GET", "/v1/governance/quality"),
        ("POST", "/v1/governance/quality/runs"),
        ("GET", "/v1/governance/schemas/project_schema/candidates"),
        ("GET", "/"),
        ("GET", "/v1/data/imports"),
    ):
        response = await desk.send(method, address)
        assert (response.status_code, response.json()["detail"]) == (403, WHOLE_STORE), address
    ready = await desk.send("GET", "/monitoring/ready")
    assert ready.json()["checks"] == {}
    catalogue = await desk.send("GET", "/catalog")
    assert catalogue.status_code == 200


async def test_head_of_a_download_is_forbidden_as_the_download_is(desk: Desk) -> None:
    for encoding in ("gzip", "identity"):
        headers = {**desk.spain, "accept-encoding": encoding}
        for method in ("HEAD", "GET"):
            path = "/v1/data/quality.csv"
            response = await desk.guarded.client.request(method, path, headers=headers)
            assert response.status_code == 403


async def test_kind_of_aggregate_without_a_rule_is_closed(desk: Desk) -> None:
    principal = Principal(id="x", row_scope=RowScope.of({"sector": ["wind"]}))
    reads = limit_to_rows(desk.guarded.dependencies, principal).reads
    for kind in ("import", "api_client", "quality_report", "import_mapping", "kind_of_tomorrow"):
        with pytest.raises(Forbidden):
            await reads.get(kind, "x")
        with pytest.raises(Forbidden):
            await reads.page(Query(kind=kind))
        with pytest.raises(Forbidden):
            await reads.get_many(kind, ["x"])


async def test_cursor_expires_by_the_age_of_visible_events_alone(desk: Desk) -> None:
    """The age of hidden events must not decide whether a cursor is still good."""
    principal = Principal(
        id="x", scopes=frozenset(Scope), row_scope=RowScope.of({"country_code": ["ESP"]})
    )
    dependencies = limit_to_rows(desk.guarded.dependencies, principal)
    page = await read_feed(dependencies, principal, after=None, limit=9)
    first, last = (entry.position for entry in page.entries)
    nothing_older = timedelta(microseconds=1)
    after = await read_feed(dependencies, principal, after=last, limit=9, retention=nothing_older)
    assert after.entries == ()
    with pytest.raises(CursorExpired):
        await read_feed(dependencies, principal, after=first, limit=9, retention=nothing_older)


async def test_reader_begins_behind_the_events_that_are_older_than_the_feed_covers(
    desk: Desk, tmp_path: Path
) -> None:
    """A store returns some of them; a page of them alone would hold the reader for a minute."""
    clock = ManualClock()
    store = await open_duckdb(tmp_path / "s.duckdb", clock=clock, options=StoreOptions())
    await store.adopt(a_record())
    harness = StorageHarness(store, clock)
    principal = Principal(
        id="x", scopes=frozenset(Scope), row_scope=RowScope.of({"status": ["PROPOSED"]})
    )
    dependencies = limit_to_rows(
        msgspec.structs.replace(desk.guarded.dependencies, reads=store, schemas=store, clock=clock),
        principal,
    )
    retention = timedelta(seconds=5)
    await read_feed(dependencies, principal, after=None, limit=1, retention=retention)
    for _ in range(3):
        clock.advance(timedelta(seconds=2))
        await harness.create(status="PROPOSED")
    clock.advance(timedelta(seconds=2))
    newest = await harness.create(status="PROPOSED")
    clock.advance(timedelta(seconds=4))
    page = await read_feed(dependencies, principal, after=None, limit=1, retention=retention)
    await store.close()
    assert [entry.id for entry in page.entries] == [newest.project_id]


async def test_reader_advances_over_more_hidden_events_than_one_request_scans(desk: Desk) -> None:
    principal = Principal(
        id="x", scopes=frozenset(Scope), row_scope=RowScope.of({"country_code": ["ESP"]})
    )
    dependencies = limit_to_rows(desk.guarded.dependencies, principal)
    page = await read_feed(dependencies, principal, after=None, limit=9)
    last = page.entries[-1].position
    for number in range(45):
        await desk.move("Loire", description=f"version {number}")
    await desk.move("Ebro", description="seen")
    seen: list[str] = []
    for _ in range(3):
        page = await read_feed(dependencies, principal, after=last, limit=1)
        seen += [entry.id for entry in page.entries]
    assert seen[0] == desk.ids["Ebro"]


async def test_stream_goes_on_after_the_last_visible_event(desk: Desk) -> None:
    """A heartbeat has the cursor of the event before it, although hidden events followed."""
    streams, dependencies = desk.streams, desk.guarded.dependencies
    principal = Principal(
        id="x", scopes=frozenset(Scope), row_scope=RowScope.of({"country_code": ["ESP"]})
    )
    limited = limit_to_rows(dependencies, principal)
    received: list[bytes] = []
    permissions = 5

    async def write(messages: bytes) -> None:
        received.append(messages)

    async def is_permitted() -> bool:
        nonlocal permissions
        permissions -= 1
        if permissions == 3:
            await desk.move("Loire", description="hidden")
        if permissions == 2:
            await desk.move("Ebro", description="seen")
        return permissions > 0

    start = await find_start(limited, streams.envelope, NEWEST)
    await streams.follow_visible(
        start, EventFilter(), write, reads=limited.reads, is_permitted=is_permitted
    )
    cursors = re.findall(r"^id: (\S+)$", b"".join(received).decode(), re.MULTILINE)
    start_of_stream, *_, last = (cursor.partition(".")[2] for cursor in cursors)
    assert start_of_stream.startswith("at.")
    assert cursors[:4] == [cursors[0]] * 4
    assert last == f"2.{desk.ids['Ebro']}"
    assert b"hidden" not in b"".join(received)
    begun = await find_start(limited, streams.envelope, cursors[0])
    entries = (await read_feed(limited, principal, after=begun.position, limit=9)).entries
    assert [(entry.id, entry.version) for entry in entries] == [(desk.ids["Ebro"], 2)]
    again = await find_start(limited, streams.envelope, cursors[-1])
    assert (await read_feed(limited, principal, after=again.position, limit=9)).entries == ()
    with pytest.raises(CursorInvalid):
        await find_start(limited, streams.envelope, f"{cursors[0][:13]}.1.{desk.ids['Loire']}")
    with pytest.raises(CursorExpired):
        await find_start(limited, streams.envelope, f"1.1.{desk.ids['Ebro']}")


@pytest.mark.parametrize(
    ("row_scope", "pointer"),
    [
        ({}, "/row_scope"),
        ({"country_code": ["ZZZ"]}, "/row_scope/country_code"),
        ({"status": ["SOLD"]}, "/row_scope/status"),
        ({"total_amount": ["1"]}, "/row_scope/total_amount"),
        ({"cuontry_code": ["ESP"]}, "/row_scope/cuontry_code"),
        ({"x_region": ["7"]}, "/row_scope/x_region"),
        ({"sector": []}, "/row_scope/sector"),
        ({"sector": "wind"}, "/row_scope/sector"),
    ],
)
async def test_invalid_row_scope_is_rejected_by_field(
    guarded: Guarded, row_scope: object, pointer: str
) -> None:
    body = {"name": "desk", "scopes": ["projects:read"], "row_scope": row_scope}
    admin = await guarded.key("admin")
    response = await guarded.client.post("/v1/admin/clients", json=body, headers=admin)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


async def test_client_shows_its_row_scope_in_canonical_form(guarded: Guarded) -> None:
    admin = await guarded.key("admin")
    scope = {"sector": ["wind", "solar", "wind"], "country_code": ["ES", "PRT"]}
    body = {"name": "desk", "scopes": ["projects:read"], "row_scope": scope}
    created = await guarded.client.post("/v1/admin/clients", json=body, headers=admin)
    expected = {"country_code": ["ESP", "PRT"], "sector": ["solar", "wind"]}
    assert created.json()["client"]["row_scope"] == expected
    shown = await guarded.client.get("/v1/admin/clients/desk", headers=admin)
    assert shown.json()["row_scope"] == expected


async def test_row_scope_contradicts_scopes_of_the_whole_store(guarded: Guarded) -> None:
    for scope in WHOLE_STORE_SCOPES:
        with pytest.raises(InvalidInput) as failure:
            await create_api_client(
                guarded.dependencies,
                LOCAL_PRINCIPAL,
                "desk",
                frozenset({scope, Scope.PROJECTS_READ}),
                environment="test",
                row_scope=RowScope.of({"sector": ["wind"]}),
            )
        assert failure.value.errors[0].pointer == "/row_scope"
        assert scope in failure.value.errors[0].detail
