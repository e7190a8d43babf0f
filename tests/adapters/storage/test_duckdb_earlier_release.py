"""A store of an earlier release knows each core attribute that is younger than it."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.adapters.duckdb.store import DuckDbStore
from spawn.adapters.factory import open_store
from spawn.adapters.local.clock import SystemClock
from spawn.domain.change import Change, Write
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.query import Filter, Operator, Query, Sort

EARLIER_RELEASE = Path(__file__).parents[2] / "http/projects/earlier_release"


@pytest.fixture
def earlier_url(tmp_path: Path) -> str:
    store = gzip.decompress((EARLIER_RELEASE / "store.duckdb.gz").read_bytes())
    (tmp_path / "store.duckdb").write_bytes(store)
    mark = (EARLIER_RELEASE / "store.duckdb.mark").read_bytes()
    (tmp_path / "store.duckdb.mark").write_bytes(mark)
    return f"duckdb:///{tmp_path}/store.duckdb"


async def test_projects_are_filtered_and_sorted_by_a_younger_attribute(earlier_url: str) -> None:
    store: Any = await open_store(earlier_url, clock=SystemClock())
    assert isinstance(store, DuckDbStore)
    by_subdivision = Query(sort=(Sort("subdivision_code"),))
    items = (await store.page(by_subdivision)).items
    assert items
    assert {item.state.subdivision_code for item in items} == {None}
    oldest = items[-1]
    galician = msgspec.structs.replace(oldest.state, country_code="ESP", subdivision_code="ES-GA")
    write = Write(PROJECT_KIND, oldest.id, oldest.version, galician)
    active = await store.active()
    assert active is not None
    change = Change(writes=(write,), actor="analyst", schema_version=active.schema.version)
    await store.commit(change)
    in_galicia = Query(filters=(Filter("subdivision_code", Operator.EQ, ("ES-GA",)),))
    for _ in range(2):
        (found,) = (await store.page(in_galicia)).items
        assert found.id == oldest.id
        assert (await store.page(by_subdivision)).items[0].id == oldest.id
        await store.close()
        store = await open_store(earlier_url, clock=SystemClock())
    await store.close()
