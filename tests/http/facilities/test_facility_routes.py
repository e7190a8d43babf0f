"""HTTP routes of facilities, on a real server."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from spawn.entrypoints.http.facilities.routes import EXAMPLE

Json = dict[str, Any]


@pytest.fixture
def path(created: httpx.Response) -> str:
    """The path of the facilities of a new project."""
    return f"{created.headers['location']}/facilities"


def create(client: httpx.Client, path: str, **terms: Any) -> httpx.Response:
    response = client.post(path, json={**EXAMPLE, **terms})
    assert response.status_code == 201, response.text
    return response


def test_a_created_facility_is_at_its_location(client: httpx.Client, path: str) -> None:
    created = create(client, path)
    read = client.get(created.headers["location"])
    assert (read.status_code, read.json()) == (200, created.json())
    assert read.headers["etag"] == created.headers["etag"]
    body = read.json()
    assert body["commitment"] == "90000000.00"
    assert body["maturity_date"] == "2043-03-31"
    assert body["rate"]["margin_steps"] == [{"from_date": "2031-03-31", "margin": "0.02"}]
    assert body["version"] == 1


def test_a_client_that_has_the_facility_gets_it_only_after_a_change(
    client: httpx.Client, path: str
) -> None:
    created = create(client, path)
    address = created.headers["location"]
    read = client.get(address)
    has = {"if-none-match": f'"other", {read.headers["etag"]}'}
    unchanged = client.get(address, headers=has)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for name in ("etag", "link", "cache-control"):
        assert unchanged.headers[name] == read.headers[name]
    malformed = client.get(address, headers={"if-none-match": "no quotes"})
    assert malformed.status_code == 400
    tag = {"if-match": read.headers["etag"], "content-type": "application/merge-patch+json"}
    assert client.patch(address, json={"rank": 2}, headers=tag).status_code == 200
    changed = client.get(address, headers=has)
    assert (changed.status_code, changed.json()["rank"]) == (200, 2)


def test_a_repeated_creation_returns_the_first_facility(client: httpx.Client, path: str) -> None:
    headers = {"idempotency-key": str(uuid4())}
    responses = [client.post(path, json=EXAMPLE, headers=headers) for _ in range(2)]
    assert responses[0].content == responses[1].content
    assert responses[0].headers["location"] == responses[1].headers["location"]
    assert len(client.get(path).json()["items"]) == 1
    reused = client.post(path, json={**EXAMPLE, "rank": 2}, headers=headers)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


def test_facilities_are_listed_by_rank_in_pages(client: httpx.Client, path: str) -> None:
    for rank in (3, 1, 2):
        create(client, path, rank=rank)
    first = client.get(path, params={"limit": 2}).json()
    rest = client.get(path, params={"limit": 2, "after": first["next"]}).json()
    assert [f["rank"] for f in (*first["items"], *rest["items"])] == [1, 2, 3]
    assert rest["next"] is None


def test_an_amendment_merges_terms_at_the_version_that_the_client_read(
    client: httpx.Client, path: str
) -> None:
    created = create(client, path)
    address, tag = created.headers["location"], created.headers["etag"]
    change = {"rate": {"margin": "0.018", "floor": None}, "rank": 2}
    amended = client.patch(address, json=change, headers={"if-match": tag})
    assert amended.status_code == 200, amended.text
    rate = amended.json()["rate"]
    assert (rate["margin"], rate["floor"], rate["curve"]) == ("0.018", None, "EURIBOR-6M")
    stale = client.patch(address, json={"rank": 3}, headers={"if-match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    without = client.patch(address, json={"rank": 3})
    assert (without.status_code, without.json()["code"]) == (428, "precondition_required")
    same = client.patch(address, json={"rank": 2}, headers={"if-match": "*"})
    assert same.json()["version"] == 2


def test_the_terms_as_recorded_earlier_are_read(client: httpx.Client, path: str) -> None:
    created = create(client, path)
    address = created.headers["location"]
    client.patch(address, json={"rank": 2}, headers={"if-match": "*"})
    as_of = created.json()["created_at"]
    assert client.get(address, params={"as_of": as_of}).json() == created.json()
    earlier = client.get(address, params={"as_of": "2020-01-01"})
    assert earlier.status_code == 404


def test_each_invalid_term_is_named(client: httpx.Client, path: str) -> None:
    wrong: Json = {
        **EXAMPLE,
        "commitment": "1.005",
        "lenders": [{"lender": "A", "share": "99.99"}],
        "rate": {"margin": "0.01"},
    }
    response = client.post(path, json=wrong)
    assert response.status_code == 422
    assert {error["pointer"] for error in response.json()["errors"]} == {
        "/commitment",
        "/lenders",
        "/rate/fixed_rate",
        "/rate/margin",
    }
    unknown = client.post(path, json={**EXAMPLE, "comitment": 1})
    assert unknown.json()["errors"][0]["code"] == "unknown_field"


def test_a_facility_of_no_project_is_not_found(client: httpx.Client, path: str) -> None:
    nobody = "019ca000-0000-7000-8000-00000000dead"
    missing = f"/v1/ops/projects/{nobody}/facilities"
    assert client.post(missing, json=EXAMPLE).status_code == 404
    assert client.get(missing).status_code == 404
    assert client.get(f"/v1/ops/facilities/{nobody}").status_code == 404
    assert client.get(path).json()["items"] == []


def test_a_cancelled_project_gets_no_facility(client: httpx.Client, path: str) -> None:
    project = path.removesuffix("/facilities")
    body = {"to": "CANCELLED", "reason": "sponsor withdrew"}
    client.post(f"{project}/transitions", json=body, headers={"if-match": "*"})
    response = client.post(path, json=EXAMPLE)
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


def test_facilities_are_a_dataset_and_their_changes_events(client: httpx.Client, path: str) -> None:
    facility_id = create(client, path, name="Dataset loan").json()["facility_id"]
    rows = client.get("/v1/data/facilities.json", params={"name": "Dataset loan"}).json()
    assert [(row["facility_id"], row["commitment"]) for row in rows] == [
        (facility_id, "90000000.00")
    ]
    number = client.get(
        "/v1/data/facilities.ndjson", params={"name": "Dataset loan", "decimals": "number"}
    )
    assert '"commitment":90000000.00' in number.text
    subject = {"subject": f"facilities/{facility_id}", "limit": "5"}
    events = client.get("/v1/events", params=subject).json()["events"]
    assert [(event["type"], event["subject"]) for event in events] == [
        ("spawn.facility.created.v1", f"facilities/{facility_id}")
    ]
