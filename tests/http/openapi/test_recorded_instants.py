"""What is on record as of an instant: one that is yet to come is an error wherever it is read."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.covenants.conftest import case_body, period
from tests.http.covenants.test_covenant_routes import TERMS
from tests.http.covenants.test_reserve_routes import DSRA
from tests.http.portfolios.test_exposure_routes import FACILITY
from tests.http.portfolios.test_portfolio_routes import BODY, create

TESTED_ON = "2027-12-31"
CONVERSION = {"amount": "10.00", "from": "EUR", "to": "USD", "source": "instants"}
QUERIES = {
    "convertAmount": {**CONVERSION, "on": "2026-09-28"},
    "getComplianceCertificate": {"on": TESTED_ON},
    "getStatement": {"from": "2027-01-01", "to": TESTED_ON},
}
"""Parameters of the reads that need some."""

STRESS = {"scenarios": 10}


@pytest.fixture
def ids(client: httpx.Client) -> dict[str, str]:
    """Return the path parameters of one of each: a project and all that is recorded for it."""
    project_id = create(client, "/v1/ops/projects", WIND)["project_id"]
    path = f"/v1/ops/projects/{project_id}"
    facility_id = create(client, f"{path}/facilities", FACILITY)["facility_id"]
    case_id = create(client, f"{path}/cases", case_body())["case_id"]
    covenant = create(client, f"{path}/covenants", TERMS)
    figures = {"figures": "CASE", "case_id": case_id, "tested_on": TESTED_ON}
    create(client, f"{covenant['address']}/tests", figures)
    rates = {
        "on": "2026-09-28",
        "source": CONVERSION["source"],
        "base_currency": "EUR",
        "rates": {"USD": "1.25"},
    }
    published = client.post("/v1/ops/fx-rate-sets", json=rates).json()
    portfolio = create(client, "/v1/ops/portfolios", {**BODY, "fx_source": CONVERSION["source"]})
    holding = {"facility_id": facility_id, "share": "50", "since": "2026-03-31"}
    held = create(client, f"{portfolio['address']}/holdings", holding)
    return {
        "project_id": project_id,
        "facility_id": facility_id,
        "case_id": case_id,
        "covenant_id": covenant["covenant_id"],
        "account_id": create(client, f"{path}/reserve-accounts", DSRA)["account_id"],
        "portfolio_id": portfolio["portfolio_id"],
        "holding_id": held["holding_id"],
        "name": published["set_id"],
    }


Read = tuple[str, str, dict[str, Any]]
"""The method and the path of an operation, and the operation."""


def find_reads(document: dict[str, Any]) -> dict[str, Read]:
    """Return each operation with the parameter `as_of`, by its name."""
    shared = document["components"]["parameters"]
    reads: dict[str, Read] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = [
                shared[one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one
                for one in operation.get("parameters", ())
            ]
            if any(one["name"] == "as_of" for one in parameters):
                reads[operation["operationId"]] = (method, path, operation)
    return reads


def find_orders(document: dict[str, Any]) -> set[str]:
    """Return the names of the operations whose body has the property `as_of`."""
    schemas = document["components"]["schemas"]
    names = [name for name, one in schemas.items() if "as_of" in one.get("properties", {})]
    return {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if any(f"/{name}'" in str(operation.get("requestBody")) for name in names)
    }


def test_nothing_is_read_as_of_an_instant_to_come(
    client: httpx.Client, ids: dict[str, str]
) -> None:
    reads = find_reads(client.get("/openapi.json").json())
    assert {"getProject", "readDataset", "getPortfolioPage", *QUERIES} < reads.keys()
    newest = client.get(f"/v1/ops/portfolios/{ids['portfolio_id']}/exposure").json()["as_of"]
    for name, (method, path, operation) in reads.items():
        address = path.format(**ids, dataset="projects.json")
        body = STRESS if "requestBody" in operation else None
        then, later = (
            client.request(
                method, address, params={**QUERIES.get(name, {}), "as_of": as_of}, json=body
            )
            for as_of in (newest, "9999-12-31")
        )
        assert then.status_code == 200 or "/as_of" not in then.text, (name, then.text)
        assert later.status_code == 422, name
        errors = [(one["pointer"], one["code"]) for one in later.json()["errors"]]
        assert errors == [("/as_of", "in_the_future")], name


def test_a_test_of_the_actuals_is_as_of_an_instant_that_has_passed(
    client: httpx.Client, ids: dict[str, str]
) -> None:
    assert find_orders(client.get("/openapi.json").json()) == {"testCovenant"}
    actuals = {"currency_code": "EUR", **period(0, "30")}
    client.post(f"/v1/ops/projects/{ids['project_id']}/actuals", json=actuals)
    order = {
        "tested_on": "2028-06-30",
        "figures": "ACTUALS",
        "as_of": "9999-12-31T23:59:59Z",
    }
    ordered = client.post(f"/v1/ops/covenants/{ids['covenant_id']}/tests", json=order)
    assert ordered.status_code == 422
    errors = [(one["pointer"], one["code"]) for one in ordered.json()["errors"]]
    assert errors == [("/as_of", "in_the_future")]
    path = f"/v1/ops/covenants/{ids['covenant_id']}"
    assert client.get(path).json()["version"] == 2
