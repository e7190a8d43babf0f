"""The page of a project: its figures are those of the API, its charts have text, no script."""

import re
from decimal import Decimal

import httpx
import pytest
from tests.http.access.conftest import Guarded, guarded
from tests.http.conftest import WIND
from tests.http.covenants.conftest import Json, create_case, project_id
from tests.http.covenants.test_case_routes import ANY
from tests.http.covenants.test_certificate_routes import Texts
from tests.http.covenants.test_covenant_routes import Test, case_id, covenant, run_test
from tests.http.facilities.ledger_client import TERMS, LedgerClient

from spawn.entrypoints.http.pages.project_page import MAX_PAGE_ITEMS

LEVELS = {"Lock-up": "lockup", "Default": "default"}
__all__ = ["case_id", "covenant", "create_case", "guarded", "project_id", "run_test"]


def test_the_page_shows_loans_cash_ratios_and_state_of_the_project(
    client: httpx.Client, project_id: str, case_id: str, covenant: Json, run_test: Test
) -> None:
    hostile = "Wind <script>alert(1)</script> & Co"
    client.patch(f"/v1/ops/projects/{project_id}", json={"project_name": hostile}, headers=ANY)
    assert run_test("2029-12-31", figures="CASE", case_id=case_id).status_code == 201
    response = client.get(f"/pages/projects/{project_id}")
    assert response.status_code == 200, response.text
    page = Texts(response.text)
    assert hostile in page.texts
    assert "script" not in page.elements
    outlook = client.get(
        f"/v1/ops/covenants/{covenant['covenant_id']}/headroom", params={"case_id": case_id}
    ).json()
    for one in outlook["dates"]:
        assert one["printed_ratio"] in page.texts
    levels = {f"{name} below {covenant[f'{key}_level']}" for name, key in LEVELS.items()}
    assert levels | {"DSCR", "CFADS", "Debt service"} <= set(page.texts)
    assert response.text.count('role="img"') == page.elements.count("desc") == 2
    ids = re.findall(r' id="([^"]+)"', response.text)
    assert len(ids) == len(set(ids))
    assert page.elements.count("h1") == page.elements.count("main") == 1


def test_the_balance_of_a_facility_is_that_of_the_api(client: httpx.Client) -> None:
    ledger = LedgerClient(client)
    ledger.record("draw", "2020-03-31", "180000.01")
    texts = Texts(client.get(ledger.project.replace("/v1/ops", "/pages")).text).texts
    balance = ledger.read("balance").json()
    for name in ("balance", "undrawn"):
        assert f"{Decimal(balance[name]):,}" in texts
    arrears = sum(Decimal(balance[n]) for n in ("principal_arrears", "interest_due", "fees_due"))
    assert arrears > 0
    assert f"{arrears:,}" in texts


def test_a_project_without_financing_has_a_page_and_an_unknown_one_has_none(
    client: httpx.Client, project_id: str
) -> None:
    page = client.get(f"/pages/projects/{project_id}").text
    assert "No facility is recorded." in page
    assert "No covenant is recorded." in page
    unknown = project_id[:-12] + "000000000000"
    assert client.get(f"/pages/projects/{unknown}").status_code == 404


@pytest.mark.parametrize("name", ["<b>Wind</b> & " + "W" * 186, "\u0645\u062d\u0637\u0629 " * 39])
def test_a_hostile_name_and_many_loans_are_shown_in_part(client: httpx.Client, name: str) -> None:
    ledger = LedgerClient(client, name=name[:200].strip())
    ledger.record("draw", "2020-03-31", "180000.01")
    for number in range(MAX_PAGE_ITEMS):
        created = client.post(
            f"{ledger.project}/facilities", json={**TERMS, "name": f"Loan {number}"}
        )
        assert created.status_code == 201, created.text
    client.patch(ledger.project, json={"project_name": name.strip()}, headers=ANY)
    text = client.get(ledger.project.replace("/v1/ops", "/pages")).text
    page = Texts(text)
    assert name.strip() in page.texts
    assert "b" not in page.elements
    assert f"The project has more facilities than these {MAX_PAGE_ITEMS}: " in text
    # Only the drawn loan has a curve: balance, draws, schedule and commitment.
    assert text.count('id="facility-') == 2
    assert {"Balance", "Drawn", "Commitment"} <= set(page.texts)


async def test_the_page_needs_the_scopes_of_projects_and_of_financing(guarded: Guarded) -> None:
    writer = await guarded.key("projects:write", "projects:read")
    created = await guarded.client.post("/v1/ops/projects", json=WIND, headers=writer)
    path = created.headers["location"].replace("/v1/ops", "/pages")
    expected = {
        ("finance:read",): 403,
        ("projects:read",): 403,
        ("finance:read", "projects:read"): 200,
    }
    for scopes, status in expected.items():
        headers = await guarded.key(*scopes)
        assert (await guarded.client.get(path, headers=headers)).status_code == status
