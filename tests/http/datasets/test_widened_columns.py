"""Files and filters of an older schema version have the values of a newer, wider one unchanged."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.http.conftest import WIND, Service
from tests.http.registry_stub import RegistryStub, serve_registry

SCHEMA = "/v1/governance/schemas/project_schema"
TYPES = {
    "n": ("integer", "bigint", 3_000_000_000),
    "e": ("integer", "double", 2.5),
    "k": ("integer", "decimal(20,4)", "123456789012.1234"),
    "b": ("bigint", "decimal(38,8)", "99999999999999999999.12345678"),
    "d": ("decimal(5,2)", "decimal(20,4)", "123456.7891"),
    "f_amount": ("decimal(18,2)", "decimal(38,4)", "12345678901234567.1234"),
    "s": ("string(3)", "string(20)", "a longer text"),
    "gone": ("integer", "decimal(12,2)", "1234567890.12"),
}
GRADE = {"name": "grade", "type": "string(3)", "enum": ["A", "B"]}
NEW_NAMES = {"e": "energy", "f_amount": "fee_amount"}


def describe(place: int, names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the columns with the narrow types (0) or the wide ones (1), some under a new name."""
    names = {} if names is None else names
    return [
        {
            "name": names.get(name, name),
            "type": types[place],
            **({"aliases": [name]} if name in names else {}),
        }
        for name, types in TYPES.items()
    ]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A service at version 4, with a row of small values and one that only the wide types hold."""
    with serve_registry(*describe(0), GRADE) as registry:
        service = Service(ontology_url=registry.url, schema_refresh_s=86_400.0).start()
        try:
            with service.client() as client:
                fill(client, registry)
                yield client
        finally:
            service.stop()


def fill(client: httpx.Client, registry: RegistryStub) -> None:
    client.post(f"{SCHEMA}/refresh")  # the one of the start might still be on its way
    small = {name: "x" if name == "s" else 1 for name in TYPES} | {"grade": "A"}
    assert client.post("/v1/ops/projects", json={**WIND, **small}).status_code == 201
    widened = describe(1)
    registry.publish(3, *widened, {**GRADE, "enum": ["A", "B", "C"]})
    adopt(client, 3)
    large = ", ".join(
        f'"{name}": {json.dumps(value) if name in {"s", "f_amount"} else value}'
        for name, (_, _, value) in TYPES.items()
    )
    body = f'{json.dumps({**WIND, "project_name": "Two"})[:-1]}, {large}, "grade": "C"}}'
    headers = {"Content-Type": "application/json"}
    response = client.post("/v1/ops/projects", content=body, headers=headers)
    assert response.status_code == 201, response.text
    renamed = [one for one in describe(1, NEW_NAMES) if one["name"] != "gone"]
    registry.publish(4, *renamed, {**GRADE, "enum": ["A", "B", "C"]})
    adopt(client, 4)


def adopt(client: httpx.Client, version: int) -> None:
    result = client.post(f"{SCHEMA}/refresh").json()
    # The round of the start may still run, and adopt it first.
    assert result["verdict"] in {"adopted", "unchanged"}, result
    assert client.get(SCHEMA).json()["version"] == version


def read_file(client: httpx.Client, suffix: str) -> pa.Table:
    fields = ",".join((*TYPES, "grade"))
    response = client.get(f"/v1/data/projects.{suffix}?schema_version=2&fields={fields}")
    assert response.status_code == 200, response.text
    if suffix == "arrow":
        return pa.ipc.open_stream(response.content).read_all()
    parquet: Any = pq
    table: pa.Table = parquet.read_table(io.BytesIO(response.content))
    return table


EXPECTED: dict[str, tuple[Any, ...]] = {
    "n": ("int64", 1, 3_000_000_000),
    "e": ("double", 1.0, 2.5),
    "k": ("decimal128(20, 4)", Decimal(1), Decimal("123456789012.1234")),
    "b": ("decimal128(38, 8)", Decimal(1), Decimal("99999999999999999999.12345678")),
    "d": ("decimal128(20, 4)", Decimal(1), Decimal("123456.7891")),
    "f_amount": ("decimal128(38, 4)", Decimal(1), Decimal("12345678901234567.1234")),
    "s": ("string", "x", "a longer text"),
    "gone": ("decimal128(12, 2)", Decimal(1), Decimal("1234567890.12")),
    "grade": ("string", "A", "C"),
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_columnar_file_of_an_older_version_has_the_wider_types(
    client: httpx.Client, suffix: str
) -> None:
    table = read_file(client, suffix)
    for name, (type_name, *values) in EXPECTED.items():
        assert str(table.schema.field(name).type) == type_name, name
        assert set(table[name].to_pylist()) == {*values}, name


def test_texts_of_an_older_version_agree_with_its_columnar_file(client: httpx.Client) -> None:
    table = read_file(client, "parquet")
    fields = ",".join(EXPECTED)
    url = f"/v1/data/projects.ndjson?schema_version=2&fields={fields}"
    lines = [json.loads(line, parse_float=Decimal) for line in client.get(url).iter_lines()]
    text = client.get(url.replace("ndjson", "csv")).text
    cells = list(csv.DictReader(io.StringIO(text)))
    for name, values in table.to_pydict().items():
        for place, value in enumerate(values):
            cell = cells[place][name]
            if name in {"project_id", "s", "grade"}:
                assert value == lines[place][name] == cell
            else:
                numbers = (Decimal(str(one)) for one in (value, lines[place][name], cell))
                assert len(set(numbers)) == 1, name


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("path", ["/v1/ops/projects", "/v1/data/projects.json"])
def test_a_filter_of_an_older_version_takes_each_value_that_it_returns(
    client: httpx.Client, path: str, name: str
) -> None:
    for value in EXPECTED[name][1:]:
        found = client.get(path, params={"schema_version": "2", name: str(value)})
        assert found.status_code == 200, found.text
        rows = found.json()
        assert len(rows if isinstance(rows, list) else rows["items"]) == 1
    other = client.get(path, params={"schema_version": "2", "grade": "D"})
    assert other.json()["errors"][0]["code"] == "not_in_enum"
