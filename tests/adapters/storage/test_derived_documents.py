"""Derived documents in the file: a changed row is not believed."""

from pathlib import Path

import duckdb
import pytest

from spawn.adapters.duckdb.store import open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.local.clock import SystemClock
from spawn.ports.storage import DerivedDocument

ONE = DerivedDocument(name="sums", key="a", basis=(1, 2), document=b'{"x":1}')


@pytest.mark.parametrize("column", ["document = '{\"x\":2}'", "basis = '1.3'", "key = 'b'"])
async def test_a_row_that_was_changed_is_left_out(tmp_path: Path, column: str) -> None:
    path = tmp_path / "store.duckdb"
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    await store.save_derived([ONE])
    assert await store.load_derived("sums", ["a", "b"]) == {"a": ONE}
    await store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"update derived_documents set {column}")  # noqa: S608 -- of this test
    store = await open_duckdb(path, clock=SystemClock(), options=StoreOptions())
    assert await store.load_derived("sums", ["a", "b"]) == {}
    await store.close()
