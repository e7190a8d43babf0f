"""The pages of portfolios: figures of the API, words instead of missing ones, access."""

from decimal import Decimal

import httpx
import pytest
from tests.http.access.conftest import Guarded, guarded
from tests.http.covenants.test_case_routes import ANY
from tests.http.covenants.test_certificate_routes import Texts
from tests.http.portfolios.test_exposure_routes import portfolio
from tests.http.portfolios.test_portfolio_routes import PORTFOLIOS, create

__all__ = ["guarded", "portfolio"]
DAY = {"on": "2026-09-30"}


def page_of(address: str) -> str:
    return address.replace("/v1/ops", "/pages")


def group(amount: str) -> str:
    return f"{Decimal(amount):,}"


def test_the_page_has_the_figures_of_the_api(client: httpx.Client, portfolio: str) -> None:
    (held, *_) = client.get(f"{portfolio}/holdings").json()["items"]
    facility = f"/v1/ops/facilities/{held['exposure_id']}/entries"
    draw = {"kind": "draw", "value_date": "2026-03-31", "amount": "60000000.00"}
    headers = {**ANY, "Idempotency-Key": f"draw-{held['holding_id']}"}
    assert client.post(facility, json=draw, headers=headers).status_code == 201
    hostile = "Debt <script>alert(1)</script> & Co"
    client.patch(portfolio, json={"name": hostile}, headers=ANY)
    response = client.get(page_of(portfolio), params=DAY)
    assert response.status_code == 200, response.text
    page = Texts(response.text)
    assert hostile in page.texts
    assert "script" not in page.elements
    assert "1 limit breached" in page.texts

    for key in ("country", "sector", "name"):
        exposure = client.get(f"{portfolio}/exposure", params={**DAY, "by": key}).json()
        for one in exposure["groups"]:
            assert group(one["exposure"]) in page.texts
            assert group(one["outstanding"]) in page.texts
    for one in exposure["limits"]:
        assert group(one["headroom"]) in page.texts
    keys = "name,country,sector,sponsor,rating"
    query = {**DAY, "by": keys, "top": "5"}
    concentration = client.get(f"{portfolio}/concentration", params=query).json()
    assert {group(one["hhi"]) for one in concentration["concentration"]} <= set(page.texts)
    forecast = client.get(f"{portfolio}/forecast", params=DAY).json()
    assert forecast["periods"]
    for one in forecast["periods"]:
        for name in ("amortisation", "principal", "interest", "fixed", "floating"):
            assert group(one[name]) in page.texts
    assert response.text.count('role="img"') == page.elements.count("desc") == 5
    for name in ("average_rate", "average_margin"):
        if forecast[name] is not None:
            assert f"{Decimal(forecast[name]).scaleb(2)} %" in response.text
    assert page.elements.count("h1") == page.elements.count("main") == 1


def test_projects_lead_to_their_pages_and_stages_add_up(
    client: httpx.Client, portfolio: str
) -> None:
    items = client.get(f"{portfolio}/holdings").json()["items"]
    first, second = (item["project_id"] for item in items)
    body = {"to": "MANDATED", "reason": "mandate signed"}
    moved = client.post(f"/v1/ops/projects/{first}/transitions", json=body, headers=ANY)
    assert moved.status_code == 200, moved.text
    text = client.get(page_of(portfolio), params=DAY).text
    name = client.get(portfolio).json()["name"]
    for one, share in ((first, "1/3"), (second, "50")):
        assert f'href="/pages/projects/{one}"' in text
        project = client.get(f"/pages/projects/{one}").text
        assert f'<a href="{page_of(portfolio)}">{name}</a>' in project
        assert {share, "2026-03-31"} <= set(Texts(project).texts)
    texts = Texts(text).texts
    stages = texts[texts.index("Projects by status, in EUR.") : texts.index("Exposure by country")]
    shown = [one for one in stages if one]
    assert shown[-10:] == [
        *("PROPOSED", "1", "0.00", "36,000,000.00", "36,000,000.00"),
        *("MANDATED", "1", "0.00", "30,000,000.00", "30,000,000.00"),
    ]


@pytest.mark.parametrize("query", [{"on": "2026-12-30"}, {**DAY, "currency": "BRL"}])
def test_a_missing_rate_is_shown_in_words(
    client: httpx.Client, portfolio: str, query: dict[str, str]
) -> None:
    (error,) = client.get(f"{portfolio}/exposure", params=query).json()["errors"]
    response = client.get(page_of(portfolio), params=query)
    assert response.status_code == 200
    texts = Texts(response.text).texts
    assert "The exposure cannot be shown" in texts
    assert error["detail"] + "." in texts


@pytest.mark.parametrize(
    "query", [{"on": "soon"}, {"currency": "brl"}, {"as_of": "9999-12-31"}, {"by": "country"}]
)
def test_a_wrong_parameter_is_an_error(
    client: httpx.Client, portfolio: str, query: dict[str, str]
) -> None:
    response = client.get(page_of(portfolio), params=query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")


def test_an_empty_portfolio_is_shown_in_words_and_listed(client: httpx.Client) -> None:
    body = {"name": "Empty <b>", "currency_code": "JPY", "limits": []}
    address = create(client, PORTFOLIOS, body)["address"]
    texts = Texts(client.get(page_of(address), params=DAY).text).texts
    assert "The portfolio has no exposure on 2026-09-30." in texts
    assert "The portfolio has no limits." in texts
    pages, path = "", page_of(PORTFOLIOS)
    while path:
        page = client.get(path).text
        pages += page
        _, has_next, rest = page.partition('<p><a href="/pages/portfolios?after=')
        cursor = rest.partition('"')[0]
        path = f"{page_of(PORTFOLIOS)}?after={cursor}" if has_next else ""
    assert f'<a href="{page_of(address)}">Empty &lt;b&gt;</a>' in pages
    unknown = page_of(f"{PORTFOLIOS}/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")
    assert client.get(unknown).status_code == 404
    assert client.get(page_of(PORTFOLIOS), params={"after": "x"}).status_code == 400


async def test_pages_need_the_scopes_of_financing_and_of_projects(guarded: Guarded) -> None:
    writer = await guarded.key("finance:write", "projects:read")
    body = {"name": "Debt", "currency_code": "EUR"}
    created = await guarded.client.post(PORTFOLIOS, json=body, headers=writer)
    path = page_of(created.headers["location"])
    expected = {
        ("finance:read",): (200, 403),
        ("projects:read",): (403, 403),
        ("finance:read", "projects:read"): (200, 200),
    }
    for scopes, statuses in expected.items():
        headers = await guarded.key(*scopes)
        for one, status in zip((page_of(PORTFOLIOS), path), statuses, strict=True):
            assert (await guarded.client.get(one, headers=headers)).status_code == status
    for one in (page_of(PORTFOLIOS), path):
        assert (await guarded.client.get(one)).status_code == 401


async def test_the_product_page_leads_to_the_pages_that_the_caller_may_read(
    guarded: Guarded,
) -> None:
    expected = {
        ("projects:read",): (False, False),
        ("projects:read", "finance:write"): (True, False),
        ("projects:read", "approvals:decide"): (False, True),
    }
    for scopes, shown in expected.items():
        headers = await guarded.key(*scopes)
        home = (await guarded.client.get("/", headers=headers)).text
        paths = ("/pages/portfolios", "/pages/approvals")
        assert tuple(f'href="{path}"' in home for path in paths) == shown
        for path, may_read in zip(paths, shown, strict=True):
            status = (await guarded.client.get(path, headers=headers)).status_code
            assert (status == 200) is may_read
