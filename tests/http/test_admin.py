"""Tables and log level over HTTP."""

import httpx


def test_tables_of_the_store_are_listed(client: httpx.Client) -> None:
    tables = client.get("/v1/admin/tables").json()["items"]
    assert tables
    name = tables[0]["name"]
    assert client.get(f"/v1/admin/tables/{name}").json()["name"] == name
    assert client.get("/v1/admin/tables/nonsense").status_code == 404


def test_log_level_can_be_set_to_valid_levels_only(client: httpx.Client) -> None:
    assert client.put("/v1/admin/log-level", json={"level": "WARNING"}).status_code == 200
    for body, pointer, code in (
        ({"level": "LOUD"}, "/level", "not_in_enum"),
        ({"level": 3}, "/level", "wrong_type"),
        ({}, "/level", "missing"),
        ({"level": "INFO", "x": 1}, "/x", "unknown_field"),
    ):
        response = client.put("/v1/admin/log-level", json=body)
        assert response.status_code == 422
        (error,) = response.json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, code)
