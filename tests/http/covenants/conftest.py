"""A service with a project, and requests of cases and covenants."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND

Json = dict[str, Any]
CFADS = ("30", "70", "29", "68", "27", "55", "30", "70", "33", "71")
"""CFADS of the half years of docs/covenant-windows.md, on 40 of debt service each."""

Create = Callable[..., httpx.Response]


def period(number: int, cfads: str, **fields: Any) -> Json:
    year, is_first = 2027 + number // 2, number % 2 == 0
    starts_on, ends_on = ("01-01", "06-30") if is_first else ("07-01", "12-31")
    return {
        "starts_on": f"{year}-{starts_on}",
        "ends_on": f"{year}-{ends_on}",
        "cfads": cfads,
        "interest": "12",
        "principal": "28",
        **fields,
    }


def case_body(**fields: Any) -> Json:
    return {
        "name": "Wind base",
        "kind": "BASE",
        "currency_code": "EUR",
        "opening_debt": "320.10",
        "equity": "120",
        "periods": [period(number, cfads) for number, cfads in enumerate(CFADS)],
        **fields,
    }


@pytest.fixture
def project_id(client: httpx.Client) -> str:
    response = client.post("/v1/ops/projects", json=WIND)
    assert response.status_code == 201, response.text
    key: str = response.json()["project_id"]
    return key


@pytest.fixture
def create_case(client: httpx.Client, project_id: str) -> Create:
    def create(headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        path = f"/v1/ops/projects/{project_id}/cases"
        return client.post(path, json=case_body(**fields), headers=headers)

    return create
