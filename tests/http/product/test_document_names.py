"""Standards name the members of the product documents: none changes or goes unnoticed.

Schemas of the standards allow further members, so that a misspelled one passes them.
`document_names.json` has the names of each document.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.http.conftest import Start
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


@pytest.mark.parametrize("path", sorted(set(DOCUMENTS) - {"/openapi.json"}))
def test_documents_have_the_recorded_names(start: Start, path: str) -> None:
    recorded = msgspec.json.decode(RECORD.read_bytes(), type=dict[str, list[str]])
    service = start(product_owner="Desk", product_contact="data@spawn.example")
    with service.client() as client:
        document = read(client.get(path))
    assert sorted(set(names(document))) == recorded[path]
