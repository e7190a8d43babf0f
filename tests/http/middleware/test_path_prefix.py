"""Links below the path of the public URL, as a client behind a gateway follows them."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
import tenacity
from tests.http.conftest import WIND, Service, Start

HOST = "api.example"
ROOT = f"https://{HOST}/data-hub"
FIRST_PAGES = ("/", "/docs", "/lineage", "/problems", "/v1/governance/quality", "/v1/events")
LINK_MEMBER = re.compile(r"(?:^|_|-)(?:url|href|location|type|instance|producer|source|@id|id)$")
ENDLESS = "/v1/events/stream"
MAPPING = {
    "key": {"source": "desk", "column": "id"},
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "amount"},
    ],
}


class Gateway(httpx.BaseTransport):
    """A gateway that publishes the service below `ROOT` and removes the prefix."""

    def __init__(self, service: Service, *, strips: bool = True) -> None:
        self._inner = httpx.HTTPTransport()
        self._port = service.port
        self._strips = strips

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        if not path.startswith("/data-hub"):
            return httpx.Response(404, text="the gateway has no such path")
        path = path.removeprefix("/data-hub") if self._strips else path
        if not path.startswith("/"):
            path = f"/{path}"
        target = httpx.URL(f"http://127.0.0.1:{self._port}", raw_path=path.encode())
        request = httpx.Request(
            request.method, target, headers=request.headers, stream=request.stream
        )
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def client(start: Start) -> Iterator[httpx.Client]:
    with httpx.Client(transport=Gateway(start(public_url=ROOT)), base_url=ROOT) as client:
        yield client


def test_each_link_of_each_page_and_document_leads_somewhere(client: httpx.Client) -> None:
    fill(client)
    pending = [urljoin(ROOT, f"/data-hub{path}") for path in FIRST_PAGES]
    seen = set(pending)
    while pending:
        url = pending.pop()
        assert url.startswith(ROOT), url
        response = client.get(url, headers={"Accept": "text/html, */*;q=0.5"})
        assert response.status_code == 200, (url, response.text)
        for link in find_links(response):
            if link not in seen:
                seen.add(link)
                pending.append(link)
    paths = {urlsplit(url).path.removeprefix("/data-hub") for url in seen}
    expected = {
        "/contract",
        "/catalog",
        "/docs/style.css",
        "/docs/reference.js",
        "/lineage/graph",
        "/monitoring/metrics",
        "/problems/stale-version",
        "/v1/governance/quality/runs/1",
        "/v1/governance/schemas/project_schema/versions/0",
        "/v1/ops/import-mappings",
    }
    assert expected <= paths
    assert len(paths) > 60


def test_a_gateway_may_keep_the_prefix(start: Start) -> None:
    gateway = Gateway(start(public_url=ROOT), strips=False)
    with httpx.Client(transport=gateway, base_url=ROOT) as client:
        response = client.post("/v1/ops/projects", json=WIND)
        assert client.get(urljoin(ROOT, response.headers["location"])).json() == response.json()
        assert client.get(ROOT).status_code == 200
        assert client.get("https://api.example/data-hubs").status_code == 404


def test_metadata_of_the_resource_are_known_by_its_url(start: Start) -> None:
    """RFC 9728, 3.1: the path of the resource follows the well-known name."""
    well_known = "/.well-known/oauth-protected-resource"
    with start(public_url=ROOT).client() as client:
        by_url = client.get(f"{well_known}/data-hub")
        assert by_url.json()["resource"] == ROOT.rstrip("/")
        assert client.get(f"/data-hub{well_known}").json() == by_url.json()
        assert client.get(f"{well_known}/data-hubs").status_code == 404


def test_a_request_that_cannot_be_read_is_answered_below_the_prefix(start: Start) -> None:
    response = start(public_url=ROOT).send_raw(b"GET / HTTP/3.0\r\n\r\n")
    assert b'"type":"/data-hub/problems/malformed-request"' in response


def fill(client: httpx.Client) -> None:
    """Write a project, an import with quarantined rows, and a quality run; follow their links."""
    created = client.post("/v1/ops/projects", json=WIND)
    assert get(client, created.headers["location"]).json() == created.json()
    assert get(client, created.headers["location"]).headers["link"].count("/data-hub/") == 2
    client.put("/v1/ops/import-mappings/desk", json=MAPPING).raise_for_status()
    mapping = client.put("/v1/ops/import-mappings/tables", json=MAPPING)
    assert get(client, mapping.headers["location"]).status_code == 200
    accepted = client.post(
        "/v1/ops/imports?mapping=desk",
        content="id,name,amount\n1,North,5\n2,,x\n",
        headers={"Content-Type": "text/csv"},
    )
    job = wait_for_job(client, accepted.headers["location"])
    result = get(client, job["result_url"]).json()
    assert get(client, result["job_url"]).json() == job
    assert get(client, result["quarantine_url"]).text.count("\n") == 1
    assert get(client, result["reasons_url"]).json()["reasons"]
    run = client.post("/v1/governance/quality/runs")
    assert get(client, run.headers["location"]).json() == run.json()
    page = client.get("/v1/ops/projects?limit=1")
    assert len(get(client, page.links["next"]["url"]).json()["items"]) == 1
    problem = client.get("/v1/ops/projects/unknown").json()
    assert problem["instance"] == "/data-hub/v1/ops/projects/unknown"
    assert "html" in get(client, problem["type"]).headers["content-type"]
    client.get("/v1/data/projects").raise_for_status()


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(AssertionError),
    wait=tenacity.wait_fixed(0.02),
    stop=tenacity.stop_after_delay(10),
    reraise=True,
)
def wait_for_job(client: httpx.Client, location: str) -> dict[str, Any]:
    job: dict[str, Any] = get(client, location).json()
    assert job["status"] == "succeeded", job
    return job


def get(client: httpx.Client, target: str) -> httpx.Response:
    """Follow a link as a client resolves it."""
    response = client.get(urljoin(f"{ROOT}/", target))
    assert response.status_code == 200, (target, response.text)
    return response


def find_links(response: httpx.Response) -> Iterator[str]:
    """Yield the absolute addresses of this host to which a response leads."""
    base = str(response.request.url)
    targets = [str(link["url"]) for link in response.links.values()]
    kind = response.headers["content-type"]
    if "html" in kind:
        targets += re.findall(r'(?:href|src)="([^"]*)"', response.text)
    elif "json" in kind and "ndjson" not in kind:
        document = response.json()
        if "openapi" in document:
            targets += [server["url"] for server in document["servers"]]
        else:
            targets += find_members(document)
    for target in targets:
        url = urljoin(base, target.replace("&amp;", "&")).partition("#")[0]
        is_here = urlsplit(url).hostname == HOST
        if is_here and "{" not in url and not url.endswith(ENDLESS):
            yield url


def find_members(node: Any, name: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from find_members(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from find_members(value, name)
    elif isinstance(node, str) and (
        # The namespace of a dataset names the host alone, by the naming rules of OpenLineage.
        (node.startswith(f"https://{HOST}") and node != f"https://{HOST}")
        or (LINK_MEMBER.search(name) and node.startswith("/"))
    ):
        yield node
