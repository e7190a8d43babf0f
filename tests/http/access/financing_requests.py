"""Requests of every operation of the financing of a project, by the examples of the document."""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx
from tests.http.access.worlds import Json, World, typical_body

Ids = dict[str, str]
Send = Callable[..., Awaitable[httpx.Response]]

_PROJECT = "/v1/ops/projects/{project_id}"
_FACILITY = "/v1/ops/facilities/{facility_id}"
_CASE = "/v1/ops/cases/{case_id}"
_COVENANT = "/v1/ops/covenants/{covenant_id}"
_RESERVE = "/v1/ops/reserve-accounts/{account_id}"

COMMANDS = (
    ("post", f"{_PROJECT}/facilities", "facility_id"),
    ("patch", _FACILITY, None),
    ("post", f"{_FACILITY}/entries", None),
    ("post", f"{_FACILITY}/entries/{{number}}/reversal", None),
    ("post", f"{_PROJECT}/cases", "case_id"),
    ("patch", _CASE, None),
    ("post", f"{_PROJECT}/actuals", None),
    ("post", f"{_PROJECT}/covenants", "covenant_id"),
    ("patch", _COVENANT, None),
    ("post", f"{_COVENANT}/tests", "test_id"),
    ("post", f"{_COVENANT}/waivers", None),
    ("post", f"{_PROJECT}/reserve-accounts", "account_id"),
    ("patch", _RESERVE, None),
    ("post", f"{_RESERVE}/balances", None),
)
"""Method and path of each command, and the id of what it creates."""

FINANCING_READS: dict[str, tuple[str, ...]] = {
    f"{_PROJECT}/facilities": ("", "?limit=1"),
    _FACILITY: ("", "?as_of=2026-03-01T12:00:01Z", "?as_of={now}"),
    f"{_FACILITY}/balance": ("", "?on=2026-06-30"),
    f"{_FACILITY}/schedule": ("",),
    f"{_FACILITY}/statement": ("?from=2026-01-01&to=2026-12-31",),
    f"{_FACILITY}/entries": ("", "?limit=1", "?kind=draw"),
    f"{_FACILITY}/entries/{{number}}": ("",),
    f"{_PROJECT}/cases": ("?limit=1",),
    f"{_PROJECT}/covenants": ("",),
    f"{_PROJECT}/covenant-tests": ("", "?covenant_id={covenant_id}&limit=1"),
    f"{_PROJECT}/reserve-accounts": ("",),
    f"{_PROJECT}/actuals": ("", "?on=2027-12-31"),
    f"{_PROJECT}/compliance-certificate": ("?on=2027-12-31",),
    _CASE: ("", "?version=1", "?version=9"),
    f"{_CASE}/variance": ("",),
    _COVENANT: ("",),
    f"{_COVENANT}/headroom": ("?case_id={case_id}",),
    f"{_COVENANT}/state": ("", "?on=2028-01-01"),
    "/v1/ops/covenant-tests/{test_id}": ("",),
    _RESERVE: ("", "?case_id={case_id}&on=2027-12-31"),
}
"""Query strings for each path of a read."""


def list_financing_operations(world: World) -> set[str]:
    """Return the ids of the operations that the functions below request."""
    paths = world.paths
    commands = {paths[path][method]["operationId"] for method, path, _ in COMMANDS}
    reads = {paths[path]["get"]["operationId"] for path in FINANCING_READS}
    return commands | reads | {paths["/v1/ops/cases/compare"]["post"]["operationId"]}


async def send_financing(
    world: World, send: Send, ids: Ids, *, statuses: Iterable[int] = (200, 201)
) -> Ids:
    """Send each command about a project; what is created adds its id.

    Args:
        world: the service.
        send: sends a request, such as `World.send`.
        ids: of the project, and of what belongs to it unless the commands create it.
        statuses: those that a response may have.
    """
    ids = {"number": "1", **ids}
    for number, (method, path, created) in enumerate(COMMANDS):
        body = _fill_body(world, method, path, ids)
        headers = {"idempotency-key": f"finance-{number}-{ids['project_id']}"}
        parameters = json.dumps(world.paths[path][method].get("parameters", []))
        if "IfMatch" in parameters.replace("-", "").replace("_", ""):
            headers["if-match"] = "*"
        response = await send(method.upper(), path.format(**ids), json=body, headers=headers)
        assert response.status_code in statuses, (path, response.text)
        if created is not None and response.status_code < 300:
            ids[created] = response.json()[created]
        if response.status_code < 300 and send == world.send:
            again = await send(method.upper(), path.format(**ids), json=body, headers=headers)
            assert again.content == response.content, (path, again.text)
    return ids


def _fill_body(world: World, method: str, path: str, ids: Ids) -> Any:
    body = typical_body(world.paths[path][method])
    if "rate" in body and path.endswith("/facilities"):
        body = {**body, "rate": {"fixed_rate": "0.05"}}
    if "case_id" in body:
        body = {**body, "case_id": ids["case_id"]}
    return body


async def read_financing(
    world: World, ids: Ids, others: Ids, *, statuses: Iterable[int] = (200,)
) -> None:
    """Send each read about a project, and a comparison of its case with one of another."""
    for path, queries in FINANCING_READS.items():
        for query in queries:
            now = world.time.isoformat().replace("+00:00", "Z")
            address = (path + query).format(**ids, now=now)
            response = await world.send("GET", address)
            is_early = "12:00:01" in query or "version=9" in query
            if not is_early:
                assert response.status_code in statuses, (address, response.text)
            page: Json = json.loads(response.content)
            while page.get("next"):
                rest = f"{address}&after={page['next']}"
                page = (await world.send("GET", rest)).json()
            tag = response.headers.get("etag", '"x"')
            await world.send("GET", address, headers={"if-none-match": tag})
    cases = [{"case_id": ids["case_id"]}, {"case_id": others["case_id"]}]
    await world.send("POST", "/v1/ops/cases/compare", json={"cases": cases})
