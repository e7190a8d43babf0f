"""Standards name the members of the product documents: none changes or goes unnoticed.

Schemas of the standards allow further members, so that a misspelled one passes them.
`document_names.json` has the names of each document.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.http.conftest import Service
from tests.http.product.test_product_routes import DOCUMENTS, read

RECORD = Path(__file__).with_name("document_names.json")


def names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
        for value in node.values():
            yield from names(value)
    elif isinstance(node, list):
        for value in node:
            yield from names(value)


@pytest.fixture(scope="module")
def client(discard_access_log: None) -> Iterator[httpx.Client]:  # noqa: ARG001  # set up first
    service = Service(product_owner="Desk", product_contact="data@spawn.example").start()
    with service.client() as client:
        yield client
    service.stop()


@pytest.mark.parametrize("path", sorted(set(DOCUMENTS) - {"/openapi.json"}))
def test_documents_have_the_recorded_names(client: httpx.Client, path: str) -> None:
    recorded = msgspec.json.decode(RECORD.read_bytes(), type=dict[str, list[str]])
    assert sorted(set(names(read(client.get(path))))) == recorded[path]
