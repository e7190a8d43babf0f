"""Folders beside a store belong to it alone, and those of earlier releases are taken over."""

from pathlib import Path

import pytest

from spawn.entrypoints.composition import open_audit_log, open_dependencies
from spawn.entrypoints.settings import Settings
from spawn.ports.audit import AuditEntry, AuditKind, AuditQuery


def settings_for(file: Path) -> Settings:
    return Settings(storage_url=f"duckdb:///{file}", auth="off")


async def record(settings: Settings, actor: str) -> list[str]:
    """Record an act in the audit log of an open store, and return the actors of all."""
    async with open_dependencies(settings) as dependencies:
        log = await open_audit_log(settings)
        now = dependencies.clock.now()
        kind = AuditKind.ADMINISTRATION
        log.append(AuditEntry(time=now, kind=kind, actor=actor, operation="x", status=0))
        entries = await log.read(AuditQuery())
        await log.close()
    return [entry.actor for entry in entries]


async def test_stores_in_one_folder_share_neither_audit_log_nor_uploads(tmp_path: Path) -> None:
    first, second = (settings_for(tmp_path / name) for name in ("a.duckdb", "b.duckdb"))
    assert await record(first, "one") == ["one"]
    upload = tmp_path / "a.duckdb.spool" / "upload.part"
    upload.write_bytes(b"half")
    assert await record(second, "two") == ["two"]
    assert upload.exists()
    assert await record(first, "three") == ["three", "one"]


@pytest.mark.parametrize("has_neighbour", [False, True])
async def test_a_folder_of_an_earlier_release_goes_to_the_store_that_is_alone(
    tmp_path: Path, *, has_neighbour: bool
) -> None:
    settings = settings_for(tmp_path / "a.duckdb")
    await record(settings, "earlier")
    (tmp_path / "a.duckdb.audit").rename(tmp_path / "audit")
    if has_neighbour:
        (tmp_path / "b.duckdb.mark").touch()
    actors = await record(settings, "later")
    assert actors == (["later"] if has_neighbour else ["later", "earlier"])
    assert (tmp_path / "audit").exists() is has_neighbour
