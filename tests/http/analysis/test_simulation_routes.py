"""Simulations over HTTP: a job, its result, idempotency keys, errors, cancellation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from spawn.application.analysis.calculation_requests import read_simulation
from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.json_tokens import parse_object
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.http.analysis.wire import SIMULATION_EXAMPLE
from spawn.entrypoints.http.protocol.response import encode_json
from spawn.entrypoints.settings import Settings

SIMULATION = "/v1/analysis/simulation"
POLL_S = 0.002
"""Pause between two reads of a job."""


@pytest.fixture(params=["memory://", "duckdb"])
async def client(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[httpx.AsyncClient]:
    url = f"duckdb:///{tmp_path}/spawn.duckdb" if request.param == "duckdb" else request.param
    settings = Settings(storage_url=url, rate_limit=0, auth="off")
    async with open_composition(settings) as composition:
        transport = httpx.ASGITransport(composition.app)  # type: ignore[arg-type]  # ours is ASGI
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000"
        ) as client:
            yield client


async def wait_for_end(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    while True:
        job: dict[str, Any] = (await client.get(response.headers["Location"])).json()
        if job["status"] not in {"queued", "running"}:
            return job
        await asyncio.sleep(POLL_S)  # the job shares this loop, and its figures are of a process


async def test_a_simulation_is_a_job_whose_result_repeats_to_the_last_digit(
    client: httpx.AsyncClient,
) -> None:
    results = []
    for _ in range(2):
        job = await wait_for_end(client, await client.post(SIMULATION, json=SIMULATION_EXAMPLE))
        assert (job["status"], job["kind"], job["error"]) == ("succeeded", "simulation", None)
        assert job["progress"] == {"done": 2000, "total": 2000}
        run = await client.get(job["result_url"])
        assert run.headers["cache-control"] == "no-store"
        results.append(run.json())
    first, second = results
    assert first["simulation_id"] != second["simulation_id"]
    assert first["request_sha256"] == second["request_sha256"]
    assert encode_json(first["result"]) == encode_json(second["result"])
    case = read_simulation(parse_object(encode_json(SIMULATION_EXAMPLE)))
    assert encode_json(first["result"]) == encode_json(simulate_portfolio(case))
    assert [level["name"] for level in first["result"]["portfolio"]["breaches"]] == [
        "payment default",
        "lock-up",
        "default",
    ]


async def test_a_key_returns_the_first_response_again(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "s-1"}
    first = await client.post(SIMULATION, json=SIMULATION_EXAMPLE, headers=headers)
    await wait_for_end(client, first)
    repeated = await client.post(SIMULATION, json=SIMULATION_EXAMPLE, headers=headers)
    assert (repeated.status_code, repeated.content) == (202, first.content)
    other = await client.post(SIMULATION, json={**SIMULATION_EXAMPLE, "seed": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_simulation_can_be_cancelled(client: httpx.AsyncClient) -> None:
    project = SIMULATION_EXAMPLE["projects"][0]
    projects = [{**project, "name": f"P{number}"} for number in range(90)]
    request = {**SIMULATION_EXAMPLE, "projects": projects, "scenarios": 100_000}
    response = await client.post(SIMULATION, json=request)
    path = response.headers["Location"]
    assert (await client.delete(path)).json()["status"] == "cancelled"
    job = await wait_for_end(client, response)
    assert job["status"] == "cancelled"
    assert job["result_url"] == f"/v1/analysis/simulations/{job['job_id']}"
    run = (await client.get(job["result_url"])).json()
    assert run["result"] is None
    assert (await client.delete(path)).status_code == 409


IN_MEMORY = pytest.mark.parametrize("client", ["memory://"], indirect=True)
"""Mark of tests whose request never reaches the store."""


@IN_MEMORY
@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"projects": []}, "/projects", "empty"),
        ({"scenarios": 1e9}, "/scenarios", "out_of_range"),
        ({"seed": "x"}, "/seed", "wrong_type"),
        (
            {"shocks": {"cfads": {"distribution": "cauchy"}}},
            "/shocks/cfads/distribution",
            "not_in_enum",
        ),
        ({"shocks": {"fx": {}}}, "/shocks/fx", "unknown_field"),
        (
            {
                "shocks": {
                    "cfads": {
                        "distribution": "normal",
                        "mean": 1,
                        "standard_deviation": 0.1,
                        "loadings": {"global": 2},
                    }
                }
            },
            "/shocks/cfads/loadings/global",
            "out_of_range",
        ),
        (
            {"projects": [{"name": "a", "equity": [1], "cfads": [1e308]}]},
            "/projects/0/cfads/0",
            "out_of_range",
        ),
        (
            {"projects": [{"name": "a", "equity": [1], "cfads": [1], "currency_code": "QQQ"}]},
            "/projects/0/currency_code",
            "unknown_currency",
        ),
        (
            {
                "projects": [
                    {"name": "a", "equity": [1], "cfads": [1]},
                    {"name": "b", "equity": [1], "cfads": [1], "currency_code": "EUR"},
                ]
            },
            "/projects/1/currency_code",
            "mixed_currencies",
        ),
    ],
)
async def test_bad_input_is_rejected_with_a_pointer_to_its_field(
    client: httpx.AsyncClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    response = await client.post(SIMULATION, json={**SIMULATION_EXAMPLE, **change})
    assert response.status_code == 422
    result = {error["pointer"]: error["code"] for error in response.json()["errors"]}
    assert result.get(pointer) == code, result


async def test_an_unknown_simulation_is_not_found(client: httpx.AsyncClient) -> None:
    for name in ("019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", "x"):
        assert (await client.get(f"/v1/analysis/simulations/{name}")).status_code == 404
