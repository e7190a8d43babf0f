"""An ontology server that serves whatever schema a test has published last."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.product.ontology import answer, ontology


class Registry:
    """One document, whatever is asked."""

    def __init__(self) -> None:
        self.document = b""
        self.url = ""

    def publish(self, version: int, *columns: dict[str, Any]) -> None:
        """Serve a version with these columns from now on."""
        self.document = json.dumps(a_document(version, *columns)).encode()


def a_document(version: int, *columns: dict[str, Any]) -> dict[str, Any]:
    return {"id": "project_schema", "version": version, "name": "Projects", "columns": columns}


@contextmanager
def registry_of(*columns: dict[str, Any]) -> Iterator[Registry]:
    """A registry that begins with version 2."""
    served = Registry()
    served.publish(2, *columns)
    with ontology(lambda handler: answer(handler, 200, served.document)) as url:
        served.url = url
        yield served
