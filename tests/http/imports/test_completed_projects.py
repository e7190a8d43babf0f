"""An import completes no project whose ledgers have debt."""

from typing import Any

import httpx
from tests.http.facilities.ledger_client import TERMS
from tests.http.imports.case_player import put_mapping, run_import

MAPPING: dict[str, Any] = {
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "amount"},
        {"attribute": "currency_code", "column": "currency"},
        {"attribute": "status", "column": "status"},
    ],
    "key": {"source": "register", "column": "id"},
    "on_existing": "update",
}
HEADER = "id,name,amount,currency,status\n"


async def record(client: httpx.AsyncClient, facility: str, kind: str, key: str) -> None:
    body = {"kind": kind, "value_date": "2020-06-01", "amount": "100000.00"}
    headers = {"if-match": "*", "idempotency-key": key}
    response = await client.post(f"{facility}/entries", json=body, headers=headers)
    assert response.status_code == 201, response.text


async def test_a_row_completes_a_project_once_its_debt_is_repaid(
    client: httpx.AsyncClient,
) -> None:
    await put_mapping(client, "register", MAPPING)
    rows = f"{HEADER}1,Owing,5,EUR,OPERATION\n2,Free,5,EUR,OPERATION\n"
    await run_import(client, rows, mapping="register")
    projects = (await client.get("/v1/ops/projects")).json()["items"]
    addresses = {p["project_name"]: f"/v1/ops/projects/{p['project_id']}" for p in projects}
    created = await client.post(f"{addresses['Owing']}/facilities", json=TERMS)
    facility = created.headers["location"]
    await record(client, facility, "draw", "draw")
    completed = rows.replace("OPERATION", "COMPLETED")
    result = await run_import(client, completed, mapping="register")
    assert (result["accepted"], result["warnings"]) == (1, 1)
    warnings = await client.get(result["quarantine_url"].replace("quarantine", "warnings"))
    (reason,) = warnings.json()["reasons"]
    assert reason["code"] == "status_out_of_reach"
    assert "without debt; some is outstanding" in reason["detail"]
    statuses = {n: (await client.get(a)).json()["status"] for n, a in addresses.items()}
    assert statuses == {"Owing": "OPERATION", "Free": "COMPLETED"}
    await record(client, facility, "prepayment", "repaid")
    again = await run_import(client, completed + "\n", mapping="register")
    assert again["warnings"] == 0
    assert (await client.get(addresses["Owing"])).json()["status"] == "COMPLETED"
