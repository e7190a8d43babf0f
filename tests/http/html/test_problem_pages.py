"""A browser that opens a page reads a problem as a page; programs read it as JSON."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import Start

from spawn.entrypoints.http.app import ROUTES
from spawn.entrypoints.http.protocol.operation import HTML

BROWSER = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
}
UNKNOWN = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"
PAGES = [one.operation for one in ROUTES if HTML in one.operation.media_types]


def raising(*_: object, **__: object) -> Any:
    raise RuntimeError("a secret of the service")


def test_an_error_of_the_service_is_a_page_with_the_id_of_its_log_line(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spawn.entrypoints.http.html.docs_pages.build_home", raising)
    problem = client.get("/")
    assert (problem.status_code, problem.json()["code"]) == (500, "internal")
    shown = client.get("/", headers=BROWSER)
    assert shown.status_code == 500
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert f"<h1>{problem.json()['title']}</h1>" in shown.text
    assert 'href="/problems/internal"' in shown.text
    assert ", error <code>" in shown.text
    assert "secret" not in shown.text


@pytest.mark.parametrize("operation", PAGES, ids=lambda one: one.id)
def test_every_page_shows_its_problems_as_pages(client: httpx.Client, operation: Any) -> None:
    path = operation.path.replace("{code}", "nothing")
    for name in operation.path_parameters:
        path = path.replace(f"{{{name}}}", UNKNOWN)
    # No page knows this parameter.
    response = client.get(path, params={"nonsense": "1"}, headers=BROWSER)
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert '<html lang="en">' in response.text
    assert response.text.count("<h1>") == response.text.count('<main id="main">') == 1


def test_a_rejected_caller_reads_a_page_with_the_same_headers(start: Start) -> None:
    service = start(auth="on")
    with httpx.Client(base_url=service.url) as client:
        problem, shown = client.get("/"), client.get("/", headers=BROWSER)
    assert problem.status_code == shown.status_code == 401
    assert shown.headers["www-authenticate"] == problem.headers["www-authenticate"]
    assert "<title>" in shown.text


def test_a_limited_client_reads_a_page(start: Start) -> None:
    with start(rate_limit=1.0).client() as client:
        responses = [client.get("/problems", headers=BROWSER) for _ in range(3)]
    limited = responses[-1]
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert "<h1>" in limited.text


@pytest.mark.parametrize("accept", ["*/*", "", "application/json", "application/json, text/html"])
def test_programs_read_json_of_a_page(client: httpx.Client, accept: str) -> None:
    response = client.get("/problems/nothing", headers={"accept": accept})
    assert response.headers["content-type"] == "application/problem+json"


def test_operations_without_pages_have_json_only(client: httpx.Client) -> None:
    response = client.get(f"/v1/ops/projects/{UNKNOWN}", headers={"accept": "text/html, */*;q=0.1"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_the_document_states_the_page_of_a_problem(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for operation in PAGES:
        declared = document["paths"][operation.path][operation.method.lower()]
        for status, response in declared["responses"].items():
            if "$ref" in response:
                name = response["$ref"].rpartition("/")[2]
                assert HTML in document["components"]["responses"][name]["content"], status
