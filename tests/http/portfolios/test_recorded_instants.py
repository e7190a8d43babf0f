"""Finance on record as of an instant: one that is yet to come is an error wherever it is read."""

from typing import Any

import httpx
import pytest
from tests.http.conftest import WIND
from tests.http.covenants.conftest import case_body, period
from tests.http.covenants.test_covenant_routes import TERMS
from tests.http.covenants.test_reserve_routes import DSRA
from tests.http.portfolios.test_exposure_routes import FACILITY
from tests.http.portfolios.test_portfolio_routes import BODY, create

TAGS = {"facilities", "covenants", "portfolios"}
TESTED_ON = "2027-12-31"
CONVERSION = {"amount": "10.00", "from": "EUR", "to": "USD", "source": "instants"}
QUERIES = {
    "convertAmount": {**CONVERSION, "on": "2026-09-28"},
    "getComplianceCertificate": {"on": TESTED_ON},
    "getStatement": {"from": "2027-01-01", "to": TESTED_ON},
}
"""Parameters of the reads that need some."""


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


def find_reads(client: httpx.Client) -> dict[str, str]:
    """Return the path of each read of finance on record as of an instant, by operation."""
    document: dict[str, Any] = client.get("/openapi.json").json()
    shared = document["components"]["parameters"]
    reads: dict[str, str] = {}
    for path, item in document["paths"].items():
        operation = item.get("get", {})
        parameters = [
            shared[one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one
            for one in operation.get("parameters", ())
        ]
        if TAGS.intersection(operation.get("tags", ())) and any(
            one.get("name") == "as_of" for one in parameters
        ):
            reads[operation["operationId"]] = path
    return reads


def test_no_read_of_finance_is_as_of_an_instant_to_come(
    client: httpx.Client, ids: dict[str, str]
) -> None:
    reads = find_reads(client)
    assert QUERIES.keys() < reads.keys()
    newest = client.get(f"/v1/ops/portfolios/{ids['portfolio_id']}/exposure").json()["as_of"]
    for name, path in reads.items():
        address, query = path.format(**ids), QUERIES.get(name, {})
        then = client.get(address, params={**query, "as_of": newest})
        assert then.status_code == 200 or "/as_of" not in then.text, (name, then.text)
        later = client.get(address, params={**query, "as_of": "9999-12-31"})
        assert later.status_code == 422, name
        errors = [(one["pointer"], one["code"]) for one in later.json()["errors"]]
        assert errors == [("/as_of", "in_the_future")], name


def test_a_test_of_the_actuals_is_as_of_an_instant_that_has_passed(
    client: httpx.Client, ids: dict[str, str]
) -> None:
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
