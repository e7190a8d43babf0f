"""The example of an ontology server speaks the protocol that the registry reads."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.ontology.__main__ import build_server
from tests.adapters.ontology.conftest import ManualTime

from spawn.adapters.ontology.bundled import BundledRegistry
from spawn.adapters.ontology.caching_registry import open_http_registry
from spawn.domain.errors import NotFound
from spawn.ports.schemas import Provenance

ID = "project_schema"


def document(version: int) -> str:
    columns = [{"name": f"column_{version}", "type": "date"}]
    return json.dumps({"id": ID, "version": version, "name": "Projects", "columns": columns})


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / ID).mkdir()
    for version in (1, 2, 10):
        (tmp_path / ID / f"{version}.json").write_text(document(version), encoding="utf-8")
    server = build_server(tmp_path, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_the_example_serves_lists_and_versions(url: str, time: ManualTime) -> None:
    registry = await open_http_registry(
        url, timeout_s=5.0, cache_dir=None, clock=time, bundled=BundledRegistry()
    )
    assert await registry.list_versions(ID) == (1, 2, 10)
    assert await registry.list_versions("another") is None
    (entry,) = await registry.list_schemas()
    assert (entry.schema_id, entry.title, entry.latest_version) == (ID, "Projects", 10)
    assert (await registry.refresh(ID)).schema.version == 10
    assert (await registry.refresh(ID)).provenance is Provenance.REVALIDATED
    assert (await registry.refresh(ID, 2)).schema.columns[0].name == "column_2"
    with pytest.raises(NotFound):
        await registry.refresh(ID, 3)
    await registry.close()
