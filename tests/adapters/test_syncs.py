"""Durability at the boundary of the system: what is synced, when, and in which order.

A killed process loses nothing that the page cache has, so no kill can show a missing fsync.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.ontology.conftest import ManualTime
from tests.adapters.recorded_syncs import *  # noqa: F403 -- a fixture
from tests.adapters.recorded_syncs import Sync

from spawn.adapters.duckdb.journal.high_water_mark import (
    HighWaterMark,
    JournalPosition,
    MarkNotSynced,
)
from spawn.adapters.factory import open_store
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.ontology.disk_cache import DiskCache
from spawn.adapters.ontology.published_documents import PublishedDocuments
from spawn.domain.errors import Unavailable
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_upload_is_synced_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    spool = DirectorySpool(tmp_path / "spool", reserve_bytes=0)
    await spool.receive("upload", chunks(b"ab", b"c"))
    assert syncs == [
        Sync(tmp_path / "spool" / "upload.part", b"abc"),
        Sync(tmp_path / "spool", frozenset({"upload"})),
    ]


def test_a_cached_schema_is_synced_before_it_replaces_the_last_one(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    cache = DiskCache(tmp_path)
    cache.save("key", b'{"id": "a", "version": 1, "columns": []}', ManualTime().now())
    (sync,) = syncs
    assert sync.path.name.startswith(".schema-")
    assert sync.content == (tmp_path / "key.json").read_bytes()


class TestHighWaterMark:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        return tmp_path / "store.duckdb"

    def test_a_written_mark_is_synced_once(self, database: Path, syncs: list[Sync]) -> None:
        mark = HighWaterMark(database)
        mark.sync()
        assert (syncs, mark.unsynced_s()) == ([], 0.0)
        mark.write(JournalPosition(1, 5))
        assert mark.unsynced_s() > 0.0
        mark.sync()
        mark.sync()
        assert [sync.path for sync in syncs] == [mark.path]
        assert mark.unsynced_s() == 0.0
        mark.close()
        assert len(syncs) == 1

    async def test_a_new_mark_is_synced_with_its_folder_before_the_first_change(
        self, database: Path, syncs: list[Sync]
    ) -> None:
        store = await open_store(f"duckdb:///{database}", clock=ManualClock())
        new_database, found_database, *logs, mark, folder = syncs
        assert found_database.path == database
        assert [log.path.name for log in logs] == ["store.duckdb.wal"] * len(logs)
        assert new_database == Sync(database.parent, frozenset({database.name, mark.path.name}))
        assert mark == Sync(database.with_name("store.duckdb.mark"), mark.content)
        assert isinstance(mark.content, bytes)
        assert (len(mark.content), b"\0" in mark.content) == (512, False)
        assert folder.path == database.parent
        assert isinstance(folder.content, frozenset)
        assert folder.content >= {"store.duckdb", "store.duckdb.mark"}
        await store.close()

    async def test_the_folders_of_a_new_store_are_synced_in_the_one_above(
        self, tmp_path: Path, syncs: list[Sync]
    ) -> None:
        database = tmp_path / "one" / "two" / "store.duckdb"
        await (await open_store(f"duckdb:///{database}", clock=ManualClock())).close()
        assert [sync.path for sync in syncs[:2]] == [tmp_path / "one", tmp_path]

    async def test_a_new_mark_that_is_not_confirmed_is_an_error(
        self, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(Unavailable, match="did not confirm"):
                await open_store(f"duckdb:///{database}", clock=ManualClock())
        await (await open_store(f"duckdb:///{database}", clock=ManualClock())).close()

    def test_closing_syncs_what_is_not_synced(self, database: Path, syncs: list[Sync]) -> None:
        mark = HighWaterMark(database)
        mark.write(JournalPosition(1, 5))
        mark.close()
        assert [sync.path for sync in syncs] == [mark.path]

    def test_a_failed_sync_is_an_error_and_releases_the_lock(
        self, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        mark = HighWaterMark(database)
        mark.write(JournalPosition(1, 5))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(MarkNotSynced):
                mark.sync()
            with pytest.raises(MarkNotSynced):
                mark.close()
        HighWaterMark(database).close()

    def test_a_torn_write_after_any_restart_leaves_the_newest_intact(self, database: Path) -> None:
        """The slot written next is the older one, after a restart too."""
        for position in range(1, 9):
            mark = HighWaterMark(database)
            newest = mark.read()
            assert newest == (JournalPosition(1, position - 1) if position > 1 else None)
            before = mark.path.read_bytes()
            mark.write(JournalPosition(1, position))
            mark.close()
            after = mark.path.read_bytes()
            first_slot_changed = before[:256] != after[:256]
            assert first_slot_changed is not (before[256:] != after[256:])
            # Tear the slot that was just written: the one before must be there.
            begin = 0 if first_slot_changed else 256
            mark.path.write_bytes(after[:begin] + b"?" * 100 + after[begin + 100 :])
            survivor = HighWaterMark(database)
            if newest is not None:
                assert survivor.read() == newest
            survivor.release()
            mark.path.write_bytes(after)

    def test_writes_of_one_process_alternate_between_the_slots(self, database: Path) -> None:
        mark = HighWaterMark(database)
        for position in (1, 2, 3):
            mark.write(JournalPosition(1, position))
        mark.close()
        content = mark.path.read_bytes()
        assert b'"position":3' in content[:256]
        assert b'"position":2' in content[256:]

    def test_a_later_epoch_beats_a_later_position(self, database: Path) -> None:
        mark = HighWaterMark(database)
        mark.write(JournalPosition(1, 900))
        mark.write(JournalPosition(2, 3))
        assert mark.read() == JournalPosition(2, 3)
        mark.close()


async def test_closing_a_store_syncs_its_mark_after_the_last_change(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    store = await open_store(f"duckdb:///{tmp_path}/store.duckdb", clock=ManualClock())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    await harness.create()
    await store.close()
    mark = tmp_path / "store.duckdb.mark"
    assert [sync for sync in syncs if sync.path == mark][-1].content == mark.read_bytes()


async def test_the_name_of_a_new_log_is_synced_before_its_first_change_is_acknowledged(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    store: Any = await open_store(f"duckdb:///{tmp_path}/store.duckdb", clock=ManualClock())
    await store.adopt(a_record())
    harness = StorageHarness(store, ManualClock())
    await harness.create()
    await store._writer.run(lambda: store._engine.checkpoint(store._appender._cursor), "checkpoint")
    syncs.clear()
    await harness.create()
    (content,) = [sync.content for sync in syncs if sync.path == tmp_path]
    assert isinstance(content, frozenset)
    assert "store.duckdb.wal" in content
    syncs.clear()
    await harness.create()
    assert [sync for sync in syncs if sync.path == tmp_path] == []
    await store.close()


async def test_an_idle_store_syncs_its_mark_while_it_is_open(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    store: Any = await open_store(f"duckdb:///{tmp_path}/store.duckdb", clock=ManualClock())
    await store.adopt(a_record())
    await StorageHarness(store, ManualClock()).create()
    mark = tmp_path / "store.duckdb.mark"
    before = len([sync for sync in syncs if sync.path == mark])
    await store._writer.run(store._writer._appender.maintain, "maintain the store")
    assert len([sync for sync in syncs if sync.path == mark]) == before + 1
    await store.close()


def test_a_published_document_is_synced_before_it_has_its_name(
    tmp_path: Path, syncs: list[Sync]
) -> None:
    documents = PublishedDocuments(tmp_path)
    syncs.clear()  # the bundled schema was published
    document = b'{"id": "things", "version": 2, "name": "Things", "columns": []}'
    documents.put("things", 2, document)
    (sync,) = syncs
    assert sync.path.name.startswith(".publish-")
    assert sync.content == document == (tmp_path / "things" / "2.json").read_bytes()
