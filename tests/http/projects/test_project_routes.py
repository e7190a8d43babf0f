"""HTTP routes of projects, on a real server."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.http.conftest import WIND, Service

from spawn.domain.change import IdempotencyKey
from spawn.entrypoints.http.protocol.idempotency import find_stored_response
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.response import Response

PROJECTS = "/v1/ops/projects"


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post(PROJECTS, json={**WIND, **fields})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def test_created_project_is_at_its_location(client: httpx.Client, created: httpx.Response) -> None:
    response = client.get(created.headers["location"])
    assert response.status_code == 200
    assert response.json() == created.json()
    assert response.headers["etag"] == created.headers["etag"]
    assert response.json()["total_amount"] == "125000000.00"
    assert response.json()["version"] == 1


def test_first_generation_payload_is_accepted_and_amounts_stay_exact(client: httpx.Client) -> None:
    body = (
        b'{"project_name":"Old","total_amount":90071992547409.93,"maturity_years":20,'
        b'"expected_tri":9.5,"dscr":1.3,"description":"d","status":"ACTIVE","currency_code":"USD"}'
    )
    response = client.post(PROJECTS, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 201
    assert response.json()["total_amount"] == "90071992547409.93"
    assert '"expected_irr":0.095' in response.text
    assert response.json()["status"] == "OPERATION"


def test_each_response_with_project_data_links_its_schema(
    client: httpx.Client, created: httpx.Response
) -> None:
    for response in (created, client.get(created.headers["location"]), client.get(PROJECTS)):
        assert 'rel="describedby"' in response.headers["link"]
        target = response.headers["link"].partition("<")[2].partition(">")[0]
        assert client.get(target).json()["schema_id"] == "project_schema"


def test_known_tag_gets_304_without_body(client: httpx.Client, created: httpx.Response) -> None:
    tag = created.headers["etag"]
    response = client.get(created.headers["location"], headers={"if-none-match": f'"x", {tag}'})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == tag


def test_compressed_response_has_its_own_tag_which_is_accepted(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    client.post(PROJECTS, json={**WIND, "description": "long " * 400})
    page = client.get(f"{PROJECTS}?limit=5", headers={"accept-encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    assert page.headers["etag"].endswith('-gzip"')
    again = client.get(f"{PROJECTS}?limit=5", headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304
    plain = client.get(where, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers


def test_patch_needs_the_current_tag(client: httpx.Client, created: httpx.Response) -> None:
    where, tag = created.headers["location"], created.headers["etag"]
    patch = {"description": "130 MW"}
    absent = client.patch(where, json=patch)
    assert (absent.status_code, absent.json()["code"]) == (428, "precondition_required")
    changed = client.patch(where, json=patch, headers={"if-match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    stale = client.patch(where, json={"description": "other"}, headers={"if-match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    assert client.get(where).json()["description"] == "130 MW"


def test_tag_of_another_epoch_is_stale(client: httpx.Client, created: httpx.Response) -> None:
    version, epoch, generation = created.headers["etag"].strip('"').split("-")
    restored = f'"{version}-{int(epoch) + 1}-{generation}"'
    where, patch = created.headers["location"], {"sector": "sea"}
    response = client.patch(where, json=patch, headers={"if-match": restored})
    assert (response.status_code, response.json()["code"]) == (412, "stale_version")


def test_merge_patch_removes_with_null_and_keeps_what_it_leaves_out(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    headers = {"if-match": "*", "content-type": "application/merge-patch+json"}
    response = client.patch(where, content=b'{"sector":null,"x_note":{"a":[1]}}', headers=headers)
    assert response.status_code == 200
    assert response.json()["sector"] is None
    assert response.json()["x_note"] == {"a": [1]}
    assert response.json()["country_code"] == "ESP"


def test_patch_that_changes_nothing_writes_nothing(
    client: httpx.Client, created: httpx.Response
) -> None:
    where, tag = created.headers["location"], created.headers["etag"]
    response = client.patch(where, json={"sector": "wind"}, headers={"if-match": tag})
    assert response.status_code == 200
    assert response.headers["etag"] == tag


def test_status_moves_by_transitions_only(client: httpx.Client, created: httpx.Response) -> None:
    where, tag = created.headers["location"], created.headers["etag"]
    direct = client.patch(where, json={"status": "MANDATED"}, headers={"if-match": tag})
    assert direct.status_code == 422
    step = {"to": "MANDATED", "reason": "letter signed", "effective_on": "2026-03-01"}
    moved = client.post(f"{where}/transitions", json=step, headers={"if-match": tag})
    assert moved.status_code == 200
    assert moved.json()["status"] == "MANDATED"
    assert moved.json()["status_reason"] == "letter signed"
    illegal = client.post(
        f"{where}/transitions",
        json={"to": "OPERATION", "reason": "too soon"},
        headers={"if-match": moved.headers["etag"]},
    )
    assert (illegal.status_code, illegal.json()["code"]) == (409, "illegal_transition")


def test_history_lists_each_version_with_its_document(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    for text in ("one", "two"):
        client.patch(where, json={"description": text}, headers={"if-match": "*"})
    first = client.get(f"{where}/history?limit=2").json()
    assert [item["version"] for item in first["items"]] == [1, 2]
    assert first["items"][1]["changed"] == ["description"]
    assert first["items"][1]["document"]["description"] == "one"
    rest = client.get(f"{where}/history", params={"limit": 2, "after": first["next"]}).json()
    assert [item["version"] for item in rest["items"]] == [3]
    assert rest["next"] is None


def test_as_of_returns_the_version_recorded_at_that_instant(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    changed = client.patch(where, json={"dscr": 1.5}, headers={"if-match": "*"})
    then = created.json()["updated_at"]
    assert client.get(where, params={"as_of": then}).json()["dscr"] == 1.35
    now = changed.json()["updated_at"]
    assert client.get(where, params={"as_of": now}).json()["dscr"] == 1.5
    before = client.get(where, params={"as_of": "2020-01-01T00:00:00Z"})
    assert before.status_code == 404
    naive = client.get(where, params={"as_of": "2020-01-01T00:00:00"})
    assert naive.status_code == 422


def test_fields_select_members_under_a_tag_of_their_own(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    response = client.get(where, params={"fields": "dscr,project_name"})
    assert list(response.json()) == ["project_id", "version", "project_name", "dscr"]
    assert response.headers["etag"] != created.headers["etag"]
    assert client.get(where, params={"fields": "nonsense"}).status_code == 422


def test_if_match_takes_the_tag_of_any_view(client: httpx.Client, created: httpx.Response) -> None:
    where = created.headers["location"]
    tag = client.get(where, params={"fields": "dscr"}).headers["etag"]
    response = client.patch(where, json={"dscr": 2}, headers={"if-match": tag})
    assert response.status_code == 200


def test_same_key_and_body_get_the_first_response_byte_for_byte(client: httpx.Client) -> None:
    headers = {"idempotency-key": uuid4().hex}
    first = client.post(PROJECTS, json=WIND, headers=headers)
    again = client.post(PROJECTS, json=WIND, headers=headers)
    assert again.status_code == first.status_code == 201
    assert again.content == first.content
    for name in ("location", "etag", "content-type", "link"):
        assert again.headers[name] == first.headers[name]
    other = client.post(PROJECTS, json={**WIND, "dscr": 2}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    typed = {**headers, "content-type": "application/json; charset=utf-8"}
    otherwise = client.post(PROJECTS, content=first.request.content, headers=typed)
    assert (otherwise.status_code, otherwise.json()["code"]) == (422, "idempotency_key_reused")


def test_receipt_is_looked_up_before_if_match(
    client: httpx.Client, created: httpx.Response
) -> None:
    where = created.headers["location"]
    headers = {"idempotency-key": uuid4().hex, "if-match": created.headers["etag"]}
    first = client.patch(where, json={"dscr": 1.7}, headers=headers)
    again = client.patch(where, json={"dscr": 1.7}, headers=headers)
    assert again.status_code == first.status_code == 200
    assert again.content == first.content


def test_loser_against_the_same_request_gets_the_winners_response(
    client: httpx.Client, created: httpx.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = created.headers["location"]
    headers = {"idempotency-key": uuid4().hex, "if-match": created.headers["etag"]}
    first = client.patch(where, json={"dscr": 1.7}, headers=headers)
    looked: list[str] = []

    async def too_early(request: StrictRequest, use: IdempotencyKey | None) -> Response | None:
        # As if the first had been committed between this request's two looks.
        looked.append(request.method)
        return None if len(looked) == 1 else await find_stored_response(request, use)

    monkeypatch.setattr(
        "spawn.entrypoints.http.protocol.idempotency.find_stored_response", too_early
    )
    again = client.patch(where, json={"dscr": 1.7}, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert len(looked) == 2


def test_rejected_request_leaves_its_key_unused(client: httpx.Client) -> None:
    headers = {"idempotency-key": uuid4().hex}
    assert client.post(PROJECTS, json={"dscr": 1}, headers=headers).status_code == 422
    assert client.post(PROJECTS, json=WIND, headers=headers).status_code == 201


def test_sixteen_writers_racing_have_one_winner_per_version(service: Service) -> None:
    with service.client() as client:
        project = create(client)
        where = f"{PROJECTS}/{project['project_id']}"
        tag = client.get(where).headers["etag"]

    def write(number: int) -> int:
        with service.client() as own:
            patch = {"description": f"writer {number}"}
            return own.patch(where, json=patch, headers={"if-match": tag}).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(write, range(16)))
    assert statuses == [200, *[412] * 15]


def test_external_reference_is_unique_and_is_freed_when_it_moves(client: httpx.Client) -> None:
    name = uuid4().hex
    first = create(client, external_ref={"source": "desk", "id": name})
    taken = client.post(PROJECTS, json={**WIND, "external_ref": {"source": "desk", "id": name}})
    assert (taken.status_code, taken.json()["code"]) == (409, "duplicate")
    where = f"{PROJECTS}/{first['project_id']}"
    moved = client.patch(where, json={"external_ref": None}, headers={"if-match": "*"})
    assert moved.status_code == 200
    create(client, external_ref={"source": "desk", "id": name})


def test_pages_cover_every_project_once_during_writes(client: httpx.Client) -> None:
    mark = uuid4().hex
    wanted = {create(client, sector=mark)["project_id"] for _ in range(7)}
    seen: list[str] = []
    asked: dict[str, str | int] = {
        "sector": mark,
        "total_amount[gte]": "1",
        "limit": 3,
        "sort": "-total_amount",
    }
    response = client.get(PROJECTS, params=asked)
    while True:
        assert response.status_code == 200
        seen += [item["project_id"] for item in response.json()["items"]]
        create(client)
        if response.json()["next"] is None:
            break
        links = [value for value in response.headers.get_list("link") if 'rel="next"' in value]
        following = links[0].partition("<")[2].partition(">")[0]
        assert "[" not in following  # RFC 3986 keeps brackets for addresses
        response = client.get(following)
    assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"total_amount[gte]": "200"}, {"b", "c"}),
        ({"total_amount[lt]": "200"}, {"a"}),
        ({"project_name[in]": "a,c"}, {"a", "c"}),
        ({"project_name[like]": "B"}, {"b"}),
        ({"description[exists]": "true"}, {"c"}),
        ({"description[exists]": "false"}, {"a", "b"}),
        ({"status": "MANDATED"}, {"b"}),
        ({"status[ne]": "MANDATED"}, {"a", "c"}),
        ({"capacity_mw[gt]": "10.5"}, {"c"}),
    ],
)
def test_filters_are_typed_on_core_and_governed_fields(
    client: httpx.Client, parameters: dict[str, str], names: set[str]
) -> None:
    mark = uuid4().hex
    for name, amount, more in (
        ("a", "100", {"capacity_mw": 10.5}),
        ("b", "200", {"status": "MANDATED"}),
        ("c", "1000", {"description": "x", "capacity_mw": 11}),
    ):
        create(client, sector=mark, project_name=name, total_amount=amount, **more)
    response = client.get(PROJECTS, params={"sector": mark, **parameters})
    assert {item["project_name"] for item in response.json()["items"]} == names


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"subdivision_code": "ES-GA"}, ["a"]),
        ({"subdivision_code[in]": "ES-GA,PT-13", "sort": "-subdivision_code"}, ["b", "a"]),
        ({"subdivision_code[like]": "es-"}, ["a", "c"]),
        ({"subdivision_code[gt]": "ES-GA", "sort": "subdivision_code"}, ["c", "b"]),
        ({"subdivision_code[exists]": "false"}, ["d"]),
        ({"sort": "subdivision_code"}, ["a", "c", "b", "d"]),
    ],
)
def test_projects_are_filtered_and_sorted_by_subdivision(
    client: httpx.Client, parameters: dict[str, str], names: list[str]
) -> None:
    mark = uuid4().hex
    for name, country, subdivision in (
        ("a", "ES", "ES-GA"),
        ("b", "PT", "PT-13"),
        ("c", "ES", "ES-MD"),
        ("d", "ES", None),
    ):
        fields = {"country_code": country, "subdivision_code": subdivision}
        assert create(client, sector=mark, project_name=name, **fields)["subdivision_code"] == (
            subdivision
        )
    response = client.get(PROJECTS, params={"sector": mark, **parameters})
    assert [item["project_name"] for item in response.json()["items"]] == names
    wrong = client.get(PROJECTS, params={"subdivision_code": "ES-XX"})
    assert wrong.json()["errors"][0]["code"] == "unknown_subdivision"


def test_a_patch_keeps_subdivision_and_country_together(client: httpx.Client) -> None:
    location = f"{PROJECTS}/{create(client, subdivision_code='ES-GA')['project_id']}"

    def patch(fields: dict[str, Any]) -> httpx.Response:
        return client.patch(location, json=fields, headers={"if-match": "*"})

    for fields in ({"country_code": "PT"}, {"country_code": None}, {"subdivision_code": "PT-13"}):
        (error,) = patch(fields).json()["errors"]
        assert (error["pointer"], error["code"]) == ("/subdivision_code", "country_mismatch")
    moved = patch({"country_code": "PT", "subdivision_code": "PT-13"}).json()
    assert (moved["country_code"], moved["subdivision_code"]) == ("PRT", "PT-13")
    without = patch({"country_code": None, "subdivision_code": None}).json()
    assert (without["country_code"], without["subdivision_code"]) == (None, None)


def test_sort_runs_over_several_fields(client: httpx.Client) -> None:
    mark = uuid4().hex
    for name, amount in (("b", "5"), ("a", "5"), ("c", "7")):
        create(client, sector=mark, project_name=name, total_amount=amount)
    response = client.get(PROJECTS, params={"sector": mark, "sort": "-total_amount,project_name"})
    assert [item["project_name"] for item in response.json()["items"]] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "query",
    [
        "nonsense=1",
        "status=NOWHERE",
        "limit=0",
        "limit=501",
        "limit=ten",
        "sort=nonsense",
        "sort=dscr,dscr",
        "fields=",
        "total_amount[like]=1",
        "total_amount[gte]=much",
        "total_amount[near]=1",
        "limit=1&limit=2",
        "description[exists]=maybe",
        f"project_name={'a' * 501}",
        f"project_name[like]={'a' * 501}",
        f"project_name[in]=a,{'a' * 501}",
    ],
)
def test_list_rejects_unknown_or_invalid_parameters(client: httpx.Client, query: str) -> None:
    response = client.get(f"{PROJECTS}?{query}")
    assert response.status_code == 422, response.text
    assert response.json()["errors"]


def test_cursor_belongs_to_its_query(client: httpx.Client) -> None:
    create(client)
    create(client)
    cursor = client.get(PROJECTS, params={"limit": 1}).json()["next"]
    assert client.get(PROJECTS, params={"after": cursor, "limit": 2}).status_code == 200
    for parameters in (
        {"after": cursor, "sort": "dscr"},
        {"after": cursor, "sector": "wind"},
        {"after": "nonsense"},
        {"after": cursor[:-2] + "AA"},
    ):
        response = client.get(PROJECTS, params=parameters)
        assert (response.status_code, response.json()["code"]) == (400, "cursor_invalid")


def test_page_is_unchanged_until_the_next_write(client: httpx.Client) -> None:
    create(client)
    first = client.get(PROJECTS, params={"limit": 2})
    tag = first.headers["etag"]
    same = client.get(PROJECTS, params={"limit": 2}, headers={"if-none-match": tag})
    assert same.status_code == 304
    client.patch(
        f"{PROJECTS}/{first.json()['items'][0]['project_id']}",
        json={"description": uuid4().hex},
        headers={"if-match": "*"},
    )
    changed = client.get(PROJECTS, params={"limit": 2}, headers={"if-none-match": tag})
    assert changed.status_code == 200


@pytest.mark.parametrize(
    "project_id",
    [
        "01a205cc-cca5-770d-8b27-a71d3a3c1dc2",
        "01A205CC-CCA5-770D-8B27-A71D3A3C1DC2",
        "{01a205cc-cca5-770d-8b27-a71d3a3c1dc2}",
        "01a205cccca5770d8b27a71d3a3c1dc2",
        "urn:uuid:01a205cc-cca5-770d-8b27-a71d3a3c1dc2",
        "1",
    ],
)
def test_unknown_id_is_not_found(client: httpx.Client, project_id: str) -> None:
    response = client.get(f"{PROJECTS}/{project_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_paths_without_version_prefix_reach_the_newest_major(client: httpx.Client) -> None:
    response = client.post("/ops/projects", json=WIND)
    assert response.headers["location"].startswith("/v1/ops/projects/")
    short = response.headers["location"].removeprefix("/v1")
    assert client.get(short).content == response.content
    assert "/ops/projects" not in client.get("/openapi.json").json()["paths"]


def test_errors_name_every_invalid_field(client: httpx.Client) -> None:
    body = {"project_name": "", "total_amount": "1.005", "dscr": "high", "unknown": 1}
    response = client.post(
        PROJECTS, content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert {"/project_name", "/dscr", "/unknown"} <= {e["pointer"] for e in problem["errors"]}
    assert problem["type"] == "/problems/invalid-input"
    assert problem["instance"] == PROJECTS
    assert client.get(problem["type"]).status_code == 200
