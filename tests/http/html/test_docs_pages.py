"""The OpenAPI document and the HTML pages."""

import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.conftest import Start

from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.protocol.problems import PROBLEMS


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_route_is_described_except_static_files(document: dict[str, Any]) -> None:
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    routed = {(one.operation.path, one.operation.method.lower()) for one in ROUTES}
    assert routed - described == {("/docs/{asset}", "get")}
    assert described <= routed


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    for reference in set(references(document)):
        node: Any = document
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]


def test_operations_have_unique_ids_and_document_their_errors(document: dict[str, Any]) -> None:
    operations = [one for item in document["paths"].values() for one in item.values()]
    ids = [one["operationId"] for one in operations]
    assert len(ids) == len(set(ids))
    for one in operations:
        assert {"400", "406", "429", "500", "503"} <= set(one["responses"]), one["operationId"]
        assert any(status.startswith("2") for status in one["responses"])


def test_writes_document_their_preconditions(document: dict[str, Any]) -> None:
    patch = document["paths"]["/v1/ops/projects/{project_id}"]["patch"]
    assert {"200", "404", "409", "412", "413", "415", "422", "428"} <= set(patch["responses"])
    names = [parameter.get("$ref", "") for parameter in patch["parameters"]]
    assert "#/components/parameters/IfMatch" in names


def test_input_schema_rejects_unknown_fields_and_has_plain_bounds(
    document: dict[str, Any],
) -> None:
    given = document["components"]["schemas"]["ProjectInput"]
    assert given["additionalProperties"] is False
    maturity = given["properties"]["maturity_years"]
    assert maturity["type"] == ["number", "null"]
    assert (maturity["minimum"], maturity["maximum"]) == (0.5, 99)
    assert type(maturity["maximum"]) is int


def test_governed_columns_of_the_active_schema_are_documented(document: dict[str, Any]) -> None:
    assert "capacity_mw" in document["components"]["schemas"]["Project"]["properties"]
    filters = document["components"]["parameters"]["ProjectFilters"]["schema"]["properties"]
    assert "capacity_mw[gte]" in filters


def test_openapi_document_has_an_etag(client: httpx.Client) -> None:
    tag = client.get("/openapi.json").headers["etag"]
    assert client.get("/openapi.json", headers={"if-none-match": tag}).status_code == 304


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_each_problem_type_has_a_page(client: httpx.Client, code: str) -> None:
    path = f"/problems/{code.replace('_', '-')}"
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    problem_type = client.get(path, headers={"accept": "application/json"}).json()
    assert (problem_type["code"], problem_type["status"]) == (code, PROBLEMS[code].status)


def test_unknown_problem_is_not_found(client: httpx.Client) -> None:
    assert client.get("/problems/nonsense").status_code == 404


@pytest.mark.parametrize("path", ["/", "/docs", "/problems"])
def test_pages_load_nothing_from_other_hosts(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for target in re.findall(r"(?:src|href)=\"?([^\s\">]+)", page.text):
        if target.startswith("#"):
            assert f'id="{target[1:]}"' in page.text, target
            continue
        assert target.startswith("/"), target
        assert client.get(target).status_code == 200, target


def test_script_of_the_docs_names_no_other_host(client: httpx.Client) -> None:
    script = client.get("/docs/docs.js").text
    assert re.findall(r"https?://|//[a-z]+\.", script) == []
    assert client.get("/docs/other.js").status_code == 404


def test_vendored_files_are_those_whose_hashes_are_listed() -> None:
    folder = Path(str(files("spawn.entrypoints.http"))) / "static" / "openapi-explorer"
    lines = (folder / "SHA256SUMS.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("  ") for line in lines]
    listed = {name: digest for digest, name in pairs}
    names = {path.name for path in folder.iterdir()} - {"SHA256SUMS.txt"}
    assert listed == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names
    }
    assert {"LICENSE.txt", "NOTICES.txt"} <= names


def test_reference_is_served_whole_and_revalidated(client: httpx.Client) -> None:
    script = client.get("/docs/reference.js")
    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert "openapi-explorer" in script.text
    tag = {"if-none-match": script.headers["etag"]}
    assert client.get("/docs/reference.js", headers=tag).status_code == 304


def test_only_the_reference_may_have_inline_styles_and_no_page_inline_scripts(
    client: httpx.Client,
) -> None:
    policies = {path: policy_of(client.get(path)) for path in ("/", "/docs", "/problems")}
    assert all(policy["script-src"] == "'self'" for policy in policies.values())
    assert all(policy["connect-src"] == "'self'" for policy in policies.values())
    allowing = [path for path, policy in policies.items() if "unsafe" in str(policy)]
    assert allowing == ["/docs"]
    assert policies["/docs"]["style-src"] == "'self' 'unsafe-inline'"


def test_docs_below_a_path_prefix_link_below_it(start: Start) -> None:
    service = start(public_url="https://spawn.example/desk")
    with service.client() as client:
        page = client.get("/docs", headers={"host": "spawn.example"}).text
    targets = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert "/desk/docs/reference.js" in targets
    assert (
        '<link rel="preload" href="/desk/openapi.json" as="fetch" crossorigin="anonymous">' in page
    )
    assert all(target.startswith("/desk/") for target in targets), targets


def policy_of(response: httpx.Response) -> dict[str, str]:
    directives = response.headers["content-security-policy"].split("; ")
    return dict(directive.split(" ", 1) for directive in directives)
