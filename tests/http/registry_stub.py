"""A stub of the ontology server that serves the schema a test published last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.product.ontology import run_ontology_server, send_json


class RegistryStub:
    """One schema document, served for every request."""

    def __init__(self) -> None:
        self.document = b""
        self.url = ""

    def publish(self, version: int, *columns: dict[str, Any]) -> None:
        """Serve a version with these columns to later requests."""
        self.document = json.dumps(build_schema_document(version, *columns)).encode()


def build_schema_document(version: int, *columns: dict[str, Any]) -> dict[str, Any]:
    return {"id": "project_schema", "version": version, "name": "Projects", "columns": columns}


@contextmanager
def serve_registry(*columns: dict[str, Any]) -> Iterator[RegistryStub]:
    """Serve a registry that starts with version 2."""
    stub = RegistryStub()
    stub.publish(2, *columns)
    with run_ontology_server(lambda handler: send_json(handler, 200, stub.document)) as url:
        stub.url = url
        yield stub
