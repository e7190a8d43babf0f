"""The compliance certificate: JSON and page of a test date, the same again as of a time."""

import re
from fractions import Fraction
from html.parser import HTMLParser

import httpx
from tests.http.covenants.conftest import Create, Json
from tests.http.covenants.test_case_routes import ANY
from tests.http.covenants.test_covenant_routes import TERMS, Test, case_id, covenant, run_test

__all__ = ["case_id", "covenant", "run_test"]
HTML = {"accept": "text/html"}
DAY = "2029-12-31"


def address(project_id: str, on: str = DAY, **query: str) -> str:
    parameters = "&".join(f"{name}={value}" for name, value in {"on": on, **query}.items())
    return f"/v1/ops/projects/{project_id}/compliance-certificate?{parameters}"


class Texts(HTMLParser):
    """The visible texts of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_a_certificate_states_each_test_of_the_day(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test, case_id: str
) -> None:
    early = client.get(address(project_id)).json()
    assert (early["is_complete"], early["allows_distributions"]) == (False, False)
    assert early["covenants"][0]["test"] is None
    test = run_test(DAY, figures="CASE", case_id=case_id).json()
    certificate = client.get(address(project_id)).json()
    (certified,) = certificate["covenants"]
    assert certified["test"] == test
    assert certified["covenant"]["covenant_id"] == covenant["covenant_id"]
    assert certified["headroom"]["default"]["cfads_amount"] == "-2.00"
    assert certificate["in_default"] == [covenant["covenant_id"]]
    assert certificate["is_complete"] is True
    assert certificate["allows_distributions"] is False
    free = client.get(address(project_id, "2027-12-31")).json()
    assert free["in_default"] == []


def test_the_same_date_and_time_give_the_same_certificate_later(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test, case_id: str
) -> None:
    run_test(DAY, figures="CASE", case_id=case_id)
    first = client.get(address(project_id))
    known = first.json()["as_of"]
    client.patch(f"/v1/ops/projects/{project_id}", json={"project_name": "New"}, headers=ANY)
    run_test(DAY, figures="CASE", case_id=case_id, reason="again")
    body = {"starts_on": DAY, "ends_on": DAY, "reason": "outage", "granted_by": "agent"}
    client.post(f"/v1/ops/covenants/{covenant['covenant_id']}/waivers", json=body, headers=ANY)
    client.post(f"/v1/ops/projects/{project_id}/covenants", json=TERMS)
    assert client.get(address(project_id, as_of=known)).content == first.content
    now = client.get(address(project_id)).json()
    assert (now["project_name"], len(now["covenants"])) == ("New", 2)
    assert now["covenants"][0]["waivers"][0]["reason"] == "outage"


def test_a_default_of_an_earlier_date_forbids_distributions(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test, case_id: str
) -> None:
    run_test(DAY, figures="CASE", case_id=case_id)
    terms = {
        "name": "Gearing",
        "metric": "GEARING",
        "lockup_level": "0.9",
        "test_dates": ["2030-06-30"],
    }
    other = client.post(f"/v1/ops/projects/{project_id}/covenants", json=terms).json()
    tests = f"/v1/ops/covenants/{other['covenant_id']}/tests"
    test = {"tested_on": "2030-06-30", "figures": "CASE", "case_id": case_id}
    assert client.post(tests, json=test).json()["outcome"] == "OK"
    dates = [day for day in covenant["test_dates"] if day != "2030-06-30"]
    amended = {"test_dates": dates}
    path = f"/v1/ops/covenants/{covenant['covenant_id']}"
    assert client.patch(path, json=amended, headers=ANY).status_code == 200
    certificate = client.get(address(project_id, "2030-06-30")).json()
    assert [one["covenant"]["covenant_id"] for one in certificate["covenants"]] == [
        other["covenant_id"]
    ]
    assert certificate["is_complete"] is True
    assert certificate["in_default"] == [covenant["covenant_id"]]
    assert certificate["allows_distributions"] is False
    page = client.get(address(project_id, "2030-06-30"), headers=HTML).text
    assert "without a test on this day: 1" in page


def test_a_tested_date_stays_and_no_certificate_is_of_the_future(
    client: httpx.Client, project_id: str, covenant: Json, run_test: Test, case_id: str
) -> None:
    run_test(DAY, figures="CASE", case_id=case_id)
    dates = [day for day in covenant["test_dates"] if day != DAY]
    path = f"/v1/ops/covenants/{covenant['covenant_id']}"
    kept = client.patch(path, json={"test_dates": dates}, headers=ANY)
    assert kept.status_code == 422
    assert kept.json()["errors"][0]["pointer"] == "/test_dates"
    assert DAY in kept.json()["errors"][0]["detail"]
    later = client.get(address(project_id, as_of="2999-01-01T00:00:00Z"))
    assert later.status_code == 422
    assert later.json()["errors"][0]["pointer"] == "/as_of"


def test_the_page_has_the_figures_of_the_certificate_and_escapes_texts(
    client: httpx.Client, project_id: str, run_test: Test, case_id: str
) -> None:
    hostile = "<script>alert(1)</script>"
    client.patch(f"/v1/ops/projects/{project_id}", json={"project_name": hostile}, headers=ANY)
    run_test(DAY, figures="CASE", case_id=case_id)
    response = client.get(address(project_id), headers=HTML)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = Texts(response.text)
    assert hostile in page.texts
    assert "script" not in page.elements
    certificate = client.get(address(project_id)).json()
    test = certificate["covenants"][0]["test"]
    for text in (test["printed_ratio"], test["ratio"], test["formula"], test["test_id"]):
        assert text in page.texts
    for reference in test["references"]:
        assert reference["position"] in page.texts
    assert page.elements.count("h1") == page.elements.count("main") == 1
    ids = re.findall(r' id="([^"]+)"', response.text)
    assert len(ids) == len(set(ids))
    assert client.get(address(project_id, format="html")).text.startswith("<!doctype html>")


def test_an_explanation_evaluates_to_the_figure_for_each_metric(
    client: httpx.Client, project_id: str, create_case: Create
) -> None:
    made = create_case(opening_debt="280").json()["case_id"]
    path = f"/v1/ops/projects/{project_id}/covenants"
    for metric, level in (("DSCR", "1.05"), ("LLCR", "1.1"), ("GEARING", "0.9")):
        body = {"name": metric, "metric": metric, "default_level": level, "test_dates": [DAY]}
        key = client.post(path, json=body).json()["covenant_id"]
        order = {"tested_on": DAY, "figures": "CASE", "case_id": made}
        assert client.post(f"/v1/ops/covenants/{key}/tests", json=order).status_code == 201
    certificate = client.get(address(project_id)).json()
    assert len(certificate["covenants"]) == 3
    for certified in certificate["covenants"]:
        test = certified["test"]
        inputs = {one["name"]: Fraction(one["fraction"]) for one in test["inputs"]}
        value = eval(test["formula"], {}, inputs)  # noqa: S307  # an explanation evaluates
        assert value == Fraction(test["ratio"])
        distance = value - Fraction(test["default_level"])
        sign = -1 if test["metric"] == "GEARING" else 1
        printed = Fraction(certified["headroom"]["default"]["ratio"])
        assert printed <= sign * distance < printed + Fraction(1, 10**6)


def test_a_day_without_a_test_date_has_no_certificate(
    client: httpx.Client, project_id: str, covenant: Json
) -> None:
    assert client.get(address(project_id, "2029-12-30")).status_code == 404
    known = covenant["created_at"].replace("20", "19", 1)
    assert client.get(address(project_id, as_of=known)).status_code == 404
    missing = client.get(address(project_id).partition("?")[0])
    assert missing.json()["errors"][0]["pointer"] == "/on"
    assert client.get(address(covenant["covenant_id"])).status_code == 404
