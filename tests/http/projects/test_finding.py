"""Finding projects: references, quoted lists, names, extensions, counts, instants, histories."""

from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.imports.case_player import load_case

from spawn.domain.query import MAX_LIMIT

PROJECTS = "/v1/ops/projects"


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post(PROJECTS, json={**WIND, **fields})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def names_of(client: httpx.Client, path: str = PROJECTS, **query: str) -> list[str]:
    response = client.get(path, params=query or None)
    assert response.status_code == 200, response.text
    return [item["project_name"] for item in response.json()["items"]]


def error_of(client: httpx.Client, **query: str) -> dict[str, str]:
    response = client.get(PROJECTS, params=query)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert isinstance(error, dict)
    return error


def rename(client: httpx.Client, project: dict[str, Any], name: str) -> str:
    """Rename a project; return when the change was recorded."""
    where = f"{PROJECTS}/{project['project_id']}"
    response = client.patch(where, json={"project_name": name}, headers={"If-Match": "*"})
    assert response.status_code == 200, response.text
    return str(response.json()["updated_at"])


def test_a_value_with_a_comma_is_quoted_in_a_list(client: httpx.Client) -> None:
    case = load_case("data", "35")
    for request in case["setup"]:
        assert client.post(request["path"], json=request["body"]).status_code == 201
    unquoted, quoted = (client.get(step["path"]) for step in case["steps"])
    names = {item["project_name"] for item in quoted.json()["items"]}
    assert names == set(case["expected"])
    (error,) = unquoted.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/project_name[in]", "malformed_list")
    assert '"Alpha, Beta"' in error["detail"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"A, 1",B', {"A, 1", "B"}),
        ('B,"say ""hi"""', {"B", 'say "hi"'}),
        ('"B"', {"B"}),
        ('"A, 1"', {"A, 1"}),
    ],
)
def test_quotes_in_a_list_are_those_of_csv(
    client: httpx.Client, text: str, names: set[str]
) -> None:
    sector = uuid4().hex
    for name in ("A, 1", "B", 'say "hi"', "A"):
        create(client, project_name=name, sector=sector)
    assert set(names_of(client, sector=sector, **{"project_name[in]": text})) == names


@pytest.mark.parametrize("text", ['"open', '"a"b', "a, b", "a ,b", '"a","b'])
def test_a_malformed_list_is_rejected(client: httpx.Client, text: str) -> None:
    assert error_of(client, **{"project_name[in]": text})["code"] == "malformed_list"


def test_a_project_is_found_by_its_reference(client: httpx.Client) -> None:
    case = load_case("data", "37")
    source, reference_id = "ref", f"P-17-{uuid4().hex}"
    create(client, project_name="Ref", external_ref={"source": source, "id": reference_id})
    path = case["steps"][4]["path"].replace("P-17", reference_id)
    assert names_of(client, path) == ["Ref"]
    assert names_of(client, **{"external_ref.id": reference_id}) == ["Ref"]
    both = {"external_ref.source": source, "external_ref.id[like]": reference_id[:9]}
    assert "Ref" in names_of(client, **both)
    assert names_of(client, external_ref=f"other:{reference_id}") == []
    listed = f'"{source}:{reference_id}",{source}:none'
    assert names_of(client, **{"external_ref[in]": listed}) == ["Ref"]


def test_a_reference_that_moves_finds_its_new_owner(client: httpx.Client) -> None:
    reference = {"source": "urn:x", "id": f"1:2-{uuid4().hex}"}
    text = f"{reference['source']}:{reference['id']}"
    first = create(client, project_name="First", external_ref=reference)
    where = f"{PROJECTS}/{first['project_id']}"
    recorded_at = client.get(where).json()["updated_at"]
    assert names_of(client, external_ref=text) == ["First"]
    released = client.patch(where, json={"external_ref": None}, headers={"If-Match": "*"})
    assert released.status_code == 200
    assert names_of(client, external_ref=text) == []
    create(client, project_name="Second", external_ref=reference)
    assert names_of(client, external_ref=text) == ["Second"]
    assert names_of(client, external_ref=text, as_of=recorded_at) == ["First"]


def test_sponsors_and_fields_of_clients_are_filters(client: httpx.Client) -> None:
    mark = uuid4().hex
    sponsors = [{"name": f"Öko {mark}, Inc", "share": "60"}, {"name": "Hydro", "share": "40"}]
    create(client, project_name="Sponsored", sponsors=sponsors, x_mark=mark, x_mw=12.5)
    assert names_of(client, **{"sponsors.name": f"Öko {mark}, Inc"}) == ["Sponsored"]
    assert names_of(client, **{"sponsors.name[like]": f"öko {mark}"}) == ["Sponsored"]
    assert names_of(client, x_mark=mark) == ["Sponsored"]
    assert names_of(client, x_mark=mark, **{"x_mw[gte]": "12.50"}) == ["Sponsored"]
    assert names_of(client, x_mark=mark, **{"x_mw[gt]": "12.5"}) == []


def test_a_day_bounds_a_time_from_its_first_instant_to_its_last(client: httpx.Client) -> None:
    sector = uuid4().hex
    day = create(client, project_name="Dated", sector=sector)["created_at"][:10]
    for operator, names in (("gte", ["Dated"]), ("lte", ["Dated"]), ("lt", []), ("gt", [])):
        assert names_of(client, sector=sector, **{f"created_at[{operator}]": day}) == names
        path = f"/v1/data/projects.ndjson?sector={sector}&created_at[{operator}]={day}"
        assert len(client.get(path).text.splitlines()) == len(names)
    assert error_of(client, created_at=day)["code"] == "not_an_instant"


def test_projects_are_counted_under_the_filters_of_a_list(client: httpx.Client) -> None:
    case, sector = load_case("data", "39"), uuid4().hex
    for _ in range(3):
        create(client, sector=sector)
    expected = {"count": 3}
    response = client.get(f"{PROJECTS}/count", params={"sector": sector})
    assert response.json() == expected, case["why"]
    etag = response.headers["etag"]
    same = client.get(response.url, headers={"If-None-Match": etag})
    assert same.status_code == 304
    create(client, sector=sector, status="MANDATED")
    assert client.get(response.url, headers={"If-None-Match": etag}).json() == {"count": 4}
    mandated = {"sector": sector, "status": "MANDATED"}
    assert client.get(f"{PROJECTS}/count", params=mandated).json() == {"count": 1}
    rejected = client.get(f"{PROJECTS}/count", params={"limit": "1"})
    assert rejected.json()["errors"][0]["code"] == "unknown_parameter"
    assert client.get(f"{PROJECTS}/count", params={"external_ref": "no:one"}).json()["count"] == 0


@pytest.mark.parametrize(
    ("query", "suggestion"),
    [
        ({"contry_code": "ESP"}, "country_code"),
        ({"secto[in]": "a"}, "sector"),
        ({"sponsor.name": "a"}, "sponsors.name"),
        ({"sort": "-total_amont"}, "total_amount"),
        ({"fields": "project_nme"}, "project_name"),
        ({"as_off": "2026-12-31"}, "as_of"),
    ],
)
def test_an_unknown_name_comes_with_a_similar_one(
    client: httpx.Client, query: dict[str, str], suggestion: str
) -> None:
    assert f"Did you mean '{suggestion}'?" in error_of(client, **query)["detail"]


def test_an_unknown_field_of_a_body_comes_with_a_similar_one(client: httpx.Client) -> None:
    response = client.post(PROJECTS, json={**WIND, "contry_code": "ESP"})
    (error,) = response.json()["errors"]
    assert error["pointer"] == "/contry_code"
    assert "Did you mean 'country_code'?" in error["detail"]
    response = client.get("/v1/jobs", params={"limt": "1"})
    if response.status_code == 422:
        assert "Did you mean 'limit'?" in response.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ({"external_ref": "P-17"}, "/external_ref", "not_a_reference"),
        ({"external_ref[lt]": "a:b"}, "/external_ref[lt]", "operator_unsuitable"),
        ({"sponsors.name[exists]": "maybe"}, "/sponsors.name[exists]", "wrong_type"),
        ({"x_a[over]": "1"}, "/x_a[over]", "unknown_operator"),
        ({"as_of": "yesterday"}, "/as_of", "not_an_instant"),
        ({"as_of": "2026-02-30"}, "/as_of", "out_of_range"),
        ({"as_of": "2026-02-28T10:00:00"}, "/as_of", "naive_time"),
        ({"sort": "sponsors.name"}, "/sort", "unknown_field"),
    ],
)
def test_an_unsuitable_filter_is_reported_by_its_parameter(
    client: httpx.Client, query: dict[str, str], pointer: str, code: str
) -> None:
    error = error_of(client, **query)
    assert (error["pointer"], error["code"]) == (pointer, code)


def test_the_portfolio_is_listed_as_recorded_at_an_instant(client: httpx.Client) -> None:
    sector = uuid4().hex
    projects = [create(client, project_name=f"N{n}", sector=sector) for n in range(5)]
    instant = projects[-1]["updated_at"]
    query = {"sector": sector, "as_of": instant, "sort": "project_name", "limit": "2"}
    names: list[str] = []
    response = client.get(PROJECTS, params=query)
    while True:
        page = response.json()
        names += [item["project_name"] for item in page["items"]]
        for project in projects:
            rename(client, project, f"Z{len(names)}")
        create(client, sector=sector)
        if page["next"] is None:
            break
        response = client.get(PROJECTS, params={**query, "after": page["next"]})
    assert names == ["N0", "N1", "N2", "N3", "N4"]
    count = client.get(f"{PROJECTS}/count", params={"sector": sector, "as_of": instant})
    assert count.json() == {"count": 5}
    assert names_of(client, sector=sector, as_of="2020-12-31") == []
    newest = client.get(PROJECTS, params={"sector": sector, "sort": "-updated_at"}).json()["items"][
        0
    ]
    assert len(names_of(client, sector=sector, as_of=newest["updated_at"])) == 8


def test_a_cursor_belongs_to_its_instant(client: httpx.Client) -> None:
    sector = uuid4().hex
    instant = [create(client, sector=sector) for _ in range(3)][-1]["updated_at"]
    query = {"sector": sector, "limit": "1"}
    page = client.get(PROJECTS, params={**query, "as_of": instant}).json()
    other = client.get(PROJECTS, params={**query, "after": page["next"]})
    assert (other.status_code, other.json()["code"]) == (400, "cursor_invalid")


def test_a_single_project_is_read_as_of_a_day(client: httpx.Client) -> None:
    project = create(client)
    where = f"{PROJECTS}/{project['project_id']}"
    today = client.get(where, params={"as_of": project["updated_at"][:10]})
    assert today.json()["errors"][0]["code"] == "in_the_future"
    assert client.get(where, params={"as_of": "2020-01-01"}).status_code == 404


def test_the_newest_version_of_a_long_history_comes_first(client: httpx.Client) -> None:
    case = load_case("integration", "31")
    project = create(client)
    times = [project["updated_at"], *(rename(client, project, f"N{n}") for n in range(2, 7))]
    step = case["steps"][0]["path"].replace("{id}", project["project_id"])
    (newest,) = client.get(step).json()["items"]
    assert newest["version"] == 6
    where = f"{PROJECTS}/{project['project_id']}/history"
    versions: list[int] = []
    response = client.get(where, params={"sort": "-version", "version[gte]": "2", "limit": "2"})
    while True:
        versions += [entry["version"] for entry in response.json()["items"]]
        if response.json()["next"] is None:
            break
        link = response.headers["link"].split(", ")[-1]
        following = link.partition("<")[2].partition(">")[0]
        assert parse_qs(urlsplit(following).query)["sort"] == ["-version"]
        response = client.get(following)
    assert versions == [6, 5, 4, 3, 2]
    ranged = {"recorded_at[gte]": times[1], "recorded_at[lte]": times[3]}
    found = client.get(where, params=ranged).json()["items"]
    assert [entry["version"] for entry in found] == [2, 3, 4]
    limited = client.get(where, params={"version[lte]": "3", "recorded_at[gte]": times[0][:10]})
    assert [entry["version"] for entry in limited.json()["items"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"sort": "recorded_at"}, "/sort"),
        ({"version[gte]": "0"}, "/version[gte]"),
        ({"recorded_at[lte]": "soon"}, "/recorded_at[lte]"),
        ({"versoin[gte]": "1"}, "/versoin[gte]"),
    ],
)
def test_an_invalid_part_of_a_history_is_reported(
    client: httpx.Client, query: dict[str, str], pointer: str
) -> None:
    project = create(client)
    response = client.get(f"{PROJECTS}/{project['project_id']}/history", params=query)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_a_weak_tag_is_explained_where_it_does_not_match(client: httpx.Client) -> None:
    response = client.post(PROJECTS, json=WIND)
    where, etag = response.headers["location"], response.headers["etag"]
    weak = f"W/{etag}"
    stale = client.patch(where, json={"sector": "x"}, headers={"If-Match": weak})
    assert stale.status_code == 412
    assert "without the W/" in stale.json()["detail"]
    assert client.get(where, headers={"If-None-Match": weak}).status_code == 304


def test_a_limit_is_a_number_from_1_to_the_cap(client: httpx.Client) -> None:
    assert client.get(PROJECTS, params={"limit": str(MAX_LIMIT)}).status_code == 200
    for limit in ("0", str(MAX_LIMIT + 1), "-1", "1.0", "x"):
        (error,) = client.get(PROJECTS, params={"limit": limit}).json()["errors"]
        assert (error["pointer"], error["code"]) == ("/limit", "out_of_range"), limit
