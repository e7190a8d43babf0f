"""HTTP routes of the product documents: negotiation, ETags, links, agreement with the data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
import tenacity
from tests.http.conftest import WIND, Start
from tests.http.registry_stub import serve_registry

DOCUMENTS = {
    "/contract": "application/yaml",
    "/product": "application/yaml",
    "/catalog": "application/ld+json",
    "/context.jsonld": "application/ld+json",
    "/asyncapi.json": "application/json",
    "/openapi.json": "application/json",
    "/.well-known/api-catalog": "application/linkset+json",
}


def read(answer: httpx.Response) -> Any:
    if answer.headers["content-type"] == "application/yaml":
        return msgspec.yaml.decode(answer.content)
    return answer.json()


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize(("path", "media_type"), DOCUMENTS.items())
def test_document_has_a_strong_tag_and_gets_304(
    client: httpx.Client, path: str, media_type: str
) -> None:
    client.headers["accept-encoding"] = "identity"  # a compressed one has a tag of its own
    first = client.get(path)
    assert first.status_code == 200
    assert first.headers["content-type"].split(";")[0] == media_type
    tag = first.headers["etag"]
    assert tag.startswith('"')
    again = client.get(path, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    head = client.head(path)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
    assert head.headers["link"] == first.headers["link"]


@pytest.mark.parametrize("path", ["/contract", "/product"])
def test_yaml_and_json_are_equal_and_have_their_own_tags(client: httpx.Client, path: str) -> None:
    yaml = client.get(path, headers={"accept": "application/yaml"})
    as_json = client.get(path, headers={"accept": "application/json"})
    assert as_json.headers["content-type"] == "application/json"
    assert read(yaml) == as_json.json()
    assert yaml.headers["etag"] != as_json.headers["etag"]
    for name, same in (("yaml", yaml), ("json", as_json)):
        asked = client.get(path, params={"format": name}, headers={"accept": "text/html"})
        assert asked.content == same.content
    assert client.get(path, headers={"accept": "text/html"}).status_code == 406
    problem = client.get(path, params={"format": "xml"})
    assert (problem.status_code, problem.json()["errors"][0]["pointer"]) == (422, "/format")


@pytest.mark.parametrize(
    "path", ["/contract", "/openapi.json", "/asyncapi.json", "/context.jsonld"]
)
@pytest.mark.parametrize(
    ("version", "status", "code"), [("9", 404, "not_found"), ("x", 422, "invalid_input")]
)
def test_a_document_of_an_unknown_version_is_an_error(
    client: httpx.Client, path: str, version: str, status: int, code: str
) -> None:
    problem = client.get(path, params={"schema_version": version})
    assert (problem.status_code, problem.json()["code"]) == (status, code)
    assert client.get(path, params={"schema_version": "0"}).content == client.get(path).content


@pytest.mark.parametrize("path", DOCUMENTS)
def test_unknown_parameters_are_rejected(client: httpx.Client, path: str) -> None:
    assert client.get(path, params={"version": "1"}).status_code == 422


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_address_in_a_document_and_its_headers_responds(
    client: httpx.Client, created: httpx.Response, path: str
) -> None:
    assert created.status_code == 201
    answer = client.get(path)
    base = str(client.base_url).rstrip("/")
    inside = {text for text in texts(read(answer)) if text.startswith(base)}
    linked = re.findall(r"<([^>]+)>", answer.headers["link"])
    assert len(linked) >= 7
    if path != "/openapi.json":
        assert inside
    for target in {*inside, *linked}:
        address = target.partition("#")[0]
        with client.stream("GET", address) as found:  # one of them has no end
            assert found.status_code < 400, (path, target)


def test_documents_list_exactly_the_served_columns(
    client: httpx.Client, created: httpx.Response
) -> None:
    served = {name for name in created.json() if not name.startswith("x_")}
    contract = read(client.get("/contract"))
    assert {one["name"] for one in contract["schema"][0]["properties"]} == served
    context = client.get("/context.jsonld").json()["@context"]
    lower = {name for name in context if name[0].islower()}
    assert lower - {"items", "next"} == served
    dataset = next(
        node for node in client.get("/catalog").json()["@graph"] if "dcat:Dataset" in node["@type"]
    )
    structure = {"spv", "sponsors", "milestones", "external_ref"}
    variables = {one["schema:name"] for one in dataset["schema:variableMeasured"]}
    assert variables == served - structure
    payload = client.get("/asyncapi.json").json()["components"]["schemas"]["Project"]
    assert set(payload["properties"]) == served - {"version", "created_at", "updated_at"}


def test_addresses_begin_with_the_public_url(start: Start) -> None:
    service = start(public_url="https://spawn.example/data", product_id="iberia")
    with service.client() as client:
        contract = read(client.get("/contract"))
        product = read(client.get("/product"))
        linkset = client.get("/.well-known/api-catalog").json()["linkset"]
        server = client.get("/asyncapi.json").json()["servers"]["api"]
    assert contract["id"] == "iberia.projects"
    assert product["id"] == "iberia"
    servers = [one["location"] for one in contract["servers"] if one["type"] == "api"]
    assert servers[0] == "https://spawn.example/data/v1/data/projects.ndjson?nested=json"
    ports = [one for one in product["outputPorts"] if one["contractId"] == contract["id"]]
    assert len(servers) == len(ports) + 1 == 5
    assert all(one["anchor"].startswith("https://spawn.example/data/") for one in linkset)
    assert (server["host"], server["pathname"]) == ("spawn.example", "/data")


def test_api_catalogue_links_each_api_to_its_descriptions(client: httpx.Client) -> None:
    answer = client.get("/.well-known/api-catalog")
    assert 'profile="https://www.rfc-editor.org/info/rfc9727"' in answer.headers["content-type"]
    first, *apis = answer.json()["linkset"]
    assert [item["href"] for item in first["item"]] == [api["anchor"] for api in apis]
    for api in apis:
        assert {"service-desc", "service-doc", "service-meta", "status"} <= set(api)
    found = client.head("/.well-known/api-catalog").headers["link"]
    assert '</openapi.json>; rel="service-desc"' in found


def ended(client: httpx.Client, job: str) -> None:
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(20),
        reraise=True,
    ):
        with attempt:
            assert client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded"


def test_events_are_as_asyncapi_describes_them(start: Start) -> None:
    with start().client() as client:
        made = client.post("/v1/ops/projects", json={**WIND, "capacity_mw": 49.5})
        where = made.headers["location"]
        client.patch(where, json={"dscr": 2}, headers={"if-match": "*"})
        step = {"to": "MANDATED", "reason": "signed"}
        client.post(f"{where}/transitions", json=step, headers={"if-match": "*"})
        row = json.dumps(WIND) + "\n"
        ndjson = {"content-type": "application/x-ndjson"}
        job = client.post("/v1/ops/imports", content=row, headers=ndjson).json()["job_id"]
        ended(client, job)
        page = client.get("/v1/events").json()
        named = {"type": "spawn.lineage.started.v1,spawn.lineage.completed.v1"}
        page["events"] += client.get("/v1/events", params=named).json()["events"]
        document = client.get("/asyncapi.json").json()
    components = document["components"]
    by_type = {message["name"]: message for message in components["messages"].values()}
    assert len(page["events"]) >= 4
    for event in page["events"]:
        payload = {**by_type[event["type"]]["payload"], "components": components}
        validator = jsonschema_rs.validator_for(payload)
        validator.validate(event)
        broken = {**event, "data": {**event["data"], "after": {"project_id": 7, "job": 7}}}
        assert not validator.is_valid(broken)


def test_openapi_has_the_products_owner_and_contact(start: Start) -> None:
    service = start(product_owner="Iberia desk", product_contact="https://desk.example")
    with service.client() as client:
        info = client.get("/openapi.json").json()["info"]
        assert info["contact"] == {"name": "Iberia desk", "url": "https://desk.example"}
        text = json.dumps(read(client.get("/catalog")))
        assert "Iberia desk" in text


def test_data_can_be_read_as_linked_data(client: httpx.Client, created: httpx.Response) -> None:
    named = re.search(
        r'<([^>]+)>; rel="http://www.w3.org/ns/json-ld#context"', created.headers["link"]
    )
    assert named is not None
    terms = client.get(named[1]).json()["@context"]
    unexplained = [name for name in created.json() if name not in terms and name[:2] != "x_"]
    assert unexplained == []


def test_home_page_shows_the_product_and_its_data(start: Start) -> None:
    service = start(product_id="iberia", product_owner="Iberia desk")
    with service.client() as client:
        client.post("/v1/ops/projects", json=WIND)
        client.post("/v1/governance/quality/runs")
        page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "</.well-known/api-catalog>" in page.headers["link"]
    for expected in (
        "iberia",
        "Iberia desk",
        "project_schema version 0",
        "capacity_mw",
    ):
        assert expected in page.text, expected
    met = re.search(r"(\d+) of (\d+)", page.text)
    assert met is not None
    assert met[1] == met[2] != "0"
    linked = re.search(r'<script type="application/ld\+json">(.*?)</script>', page.text)
    assert linked is not None
    assert json.loads(linked[1])["@type"] == "Dataset"


UNITS = {"name": "units", "type": "integer"}
TARIFF = {"name": "tariff_class", "type": "string(1)", "enum": ["A", "B"], "aliases": ["rating"]}


def test_documents_follow_the_schema_without_a_restart(start: Start, tmp_path: Path) -> None:
    with serve_registry(UNITS) as registry:
        service = start(
            ontology_url=registry.url,
            storage_url=f"duckdb:///{tmp_path}/store.duckdb",
            schema_refresh_s=86_400.0,
        )
        with service.client() as client:
            client.headers["accept-encoding"] = "identity"
            made = client.post("/v1/ops/projects", json={**WIND, "units": 3})
            assert made.status_code == 201
            before = {path: client.get(path) for path in DOCUMENTS}
            registry.publish(3, {**UNITS, "deprecated": True, "sunset": "2040-01-31"}, TARIFF)
            client.post("/v1/governance/schemas/project_schema/refresh").raise_for_status()
            for path, old in before.items():
                same = path == "/.well-known/api-catalog"
                known = {"if-none-match": old.headers["etag"]}
                assert client.get(path, headers=known).status_code == (304 if same else 200), path
            contract = read(client.get("/contract"))
            earlier = {
                path: client.get(path, params={"schema_version": 2})
                for path in ("/openapi.json", "/asyncapi.json", "/context.jsonld", "/contract")
            }
            after = {path: client.get(path).text for path in DOCUMENTS}
            page = client.get("/").text
    for path, document in earlier.items():
        assert "tariff_class" not in document.text, path
        assert '/versions/2>; rel="describedby"' in document.headers["link"], path
    for path in ("/openapi.json", "/asyncapi.json", "/context.jsonld"):
        assert earlier[path].content == before[path].content, path
    old_contract = read(earlier["/contract"])
    assert old_contract["version"] == "1.0.0"
    location = old_contract["servers"][0]["location"]
    assert location.endswith("/v1/data/projects.ndjson?nested=json&schema_version=2")
    columns = {one["name"]: one for one in contract["schema"][0]["properties"]}
    assert contract["version"] == "1.1.0"
    assert columns["units"]["deprecated"] is True
    assert columns["tariff_class"]["synonyms"][0]["synonym"] == "rating"
    (ending,) = [one for one in contract["slaProperties"] if one["property"] == "endOfSupport"]
    assert (ending["element"], ending["value"]) == ("projects.units", "2040-01-31")
    for path in ("/contract", "/catalog", "/context.jsonld", "/asyncapi.json", "/openapi.json"):
        assert "tariff_class" not in before[path].text, path
        assert "tariff_class" in after[path], path
    assert "project_schema version 3" in page
    assert "Served until 2040-01-31." in page
