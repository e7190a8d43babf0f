"""A facility over HTTP, and commands on its ledger."""

from typing import Any
from uuid import uuid4

import httpx
from tests.http.conftest import WIND

Json = dict[str, Any]

TERMS: Json = {
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "1000000.00",
    "availability_start": "2020-03-31",
    "availability_end": "2021-12-31",
    "lenders": [{"lender": "First", "share": "60"}, {"lender": "Second", "share": "40"}],
    "rate": {"fixed_rate": "0.04"},
    "day_count": "ACT/365F",
    "payment_dates": {"start": "2020-03-31", "end": "2030-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "straight_line", "grace_periods": 2},
}


class LedgerClient:
    """A new facility of a new project, on a client of a running service."""

    def __init__(self, client: httpx.Client, *, project: Json | None = None, **terms: Any) -> None:
        self.client = client
        created = client.post("/v1/ops/projects", json={**WIND, **(project or {})})
        assert created.status_code == 201, created.text
        self.project = created.headers["location"]
        response = client.post(f"{self.project}/facilities", json={**TERMS, **terms})
        assert response.status_code == 201, response.text
        self.path = response.headers["location"]

    def read(self, part: str, **query: str) -> httpx.Response:
        response = self.client.get(f"{self.path}/{part}", params=query)
        assert response.status_code == 200, response.text
        return response

    def send(self, body: Json, *, to: str = "entries", **headers: str) -> httpx.Response:
        headers = {"if-match": "*", "idempotency-key": str(uuid4()), **headers}
        return self.client.post(f"{self.path}/{to}", json=body, headers=headers)

    def record(self, kind: str, day: str, amount: str | None = None, **members: Any) -> Json:
        body = {"kind": kind, "value_date": day, **members}
        response = self.send(body if amount is None else {**body, "amount": amount})
        assert response.status_code == 201, response.text
        entry: Json = response.json()
        return entry

    def reverse(self, number: int) -> httpx.Response:
        return self.send({"reason": "mistaken"}, to=f"entries/{number}/reversal")
