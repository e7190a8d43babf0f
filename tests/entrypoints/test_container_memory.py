"""The engine leaves memory to the rest of the process, whatever the container may use."""

from pathlib import Path

import duckdb
import pytest

from spawn.adapters.duckdb.store import DuckDbStore
from spawn.entrypoints import composition
from spawn.entrypoints.container_memory import choose_engine_memory, read_memory_limit
from spawn.entrypoints.settings import Settings

GIB = 1 << 30


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "536870912\n", GIB // 2),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "536870912\n", GIB // 2),
        ("other", "536870912\n", None),
    ],
)
def test_the_limit_is_read_from_either_version_of_control_groups(
    tmp_path: Path, file: str, text: str, limit: int | None
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert read_memory_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("limit", "memory"),
    [
        (None, "1024MiB"),
        (9_223_372_036_854_771_712, "1024MiB"),  # version 1 without a limit
        (8 * GIB, "1024MiB"),
        (GIB // 2, "256MiB"),
        (1000, "1MiB"),
    ],
)
def test_the_engine_gets_half_and_at_most_one_gibibyte(limit: int | None, memory: str) -> None:
    assert choose_engine_memory(limit) == memory
    with duckdb.connect(":memory:", config={"memory_limit": memory}) as connection:
        assert connection.execute("select current_setting('memory_limit')").fetchone()


async def test_a_service_opens_its_engine_with_half_of_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "read_memory_limit", lambda: GIB // 2)
    settings = Settings(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb")
    async with composition.open_dependencies(settings) as dependencies:
        store = dependencies.commands
        assert isinstance(store, DuckDbStore)
        assert store._engine._memory_limit == "256MiB"
