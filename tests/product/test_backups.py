"""Backups of a real service under load: what a kill leaves, and what a restore has."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.product.service import Service
from tests.product.test_durability import AcknowledgedWrites, load_and_kill

pytestmark = pytest.mark.real

UNCHECKED = "are not checked: name the key in SPAWN_BACKUP_SIGNING_KEY_FILE"


def run(*arguments: str, code: int = 0, **settings: str) -> str:
    """Run a command and return its output."""
    process = subprocess.run(
        [sys.executable, "-m", "spawn.entrypoints.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), **settings},
        check=False,
    )
    assert process.returncode == code, process.stderr + process.stdout
    return process.stdout + process.stderr


def read_versions(url: str) -> set[tuple[str, int]]:
    """Return every version of every project in the feed of a service."""
    versions: set[tuple[str, int]] = set()
    with httpx.Client(base_url=url, timeout=30) as client:
        cursor = ""
        while True:
            page = client.get(f"/v1/events?limit=500{cursor}").json()
            versions |= {
                (event["subject"].rpartition("/")[2], int(event["sequence"]))
                for event in page["events"]
                if event["type"].startswith("spawn.project.")
            }
            if not page["events"]:
                return versions
            cursor = f"&after={page['next']}"


async def test_backups_of_a_killed_service_are_whole_and_restore_what_was_acknowledged(
    service_in: Callable[..., Service], tmp_path: Path
) -> None:
    archive, copy, restored = tmp_path / "backups", tmp_path / "c.duckdb", tmp_path / "r.duckdb"
    service = service_in(SPAWN_BACKUP_URL=archive.as_uri(), SPAWN_BACKUP_INTERVAL_S="0.05")
    writes = AcknowledgedWrites()
    service.start()
    await load_and_kill(service, writes, 300)
    verified = run("verify", str(archive))
    assert verified.startswith("ok")
    assert UNCHECKED not in verified
    run("restore", str(archive), str(copy), "--copy")
    assert run("verify", str(copy)).startswith("ok")

    service.start()
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        backup = (await client.post("/v1/admin/backups")).json()
        assert (await client.get("/v1/admin/backups")).json()["error"] is None
        metrics = (await client.get("/monitoring/metrics")).text
    assert "spawn_backup_age_seconds" in metrics
    expected = await asyncio.to_thread(read_versions, service.url)
    acknowledged = {(name, n) for name, names in writes.names.items() for n in names}
    assert acknowledged <= expected
    assert "restored to position 2." in run("restore", str(archive), str(restored))

    # The earlier store stops: another has its place now.
    await asyncio.to_thread(service._process.wait, 30)  # type: ignore[union-attr]
    assert "superseded by epoch 2" in service.log.read_text()
    assert "superseded" in run("serve", code=1, **service.environment)
    other = Service(tmp_path, SPAWN_STORAGE_URL=f"duckdb:///{restored}")
    other.start()
    try:
        assert await asyncio.to_thread(read_versions, other.url) == expected
        old_cursor = backup["position"]
        response = await asyncio.to_thread(httpx.get, f"{other.url}/v1/events?after={old_cursor}")
        assert response.status_code == 410
    finally:
        other.stop()


async def test_a_promoted_follower_has_all_that_was_backed_up_before_the_leader_died(
    service_in: Callable[..., Service], tmp_path: Path
) -> None:
    archive, file, key = tmp_path / "backups", tmp_path / "f.duckdb", tmp_path / "key"
    key.write_text("0123456789abcdef" * 4)
    key.chmod(0o600)
    leader = service_in(
        SPAWN_BACKUP_URL=archive.as_uri(),
        SPAWN_BACKUP_INTERVAL_S="0",
        SPAWN_BACKUP_SIGNING_KEY_FILE=str(key),
    )
    leader.start()
    writes = AcknowledgedWrites()
    async with httpx.AsyncClient(base_url=leader.url, timeout=60) as client:
        response = await client.post(
            "/v1/ops/projects", json={"project_name": "first", "total_amount": "1.00"}
        )
        writes.record(response.json())
        await client.post("/v1/admin/backups")
    followed = run("follow", str(archive), str(file), "--once")
    assert "follows up to 1." in followed
    assert UNCHECKED in followed
    await load_and_kill(leader, writes, 20)
    # The interval of backups is what may be lost: here everything since the only one.
    promoted = run("promote", str(archive), str(file), SPAWN_BACKUP_SIGNING_KEY_FILE=str(key))
    assert "promoted at position 2." in promoted
    assert UNCHECKED not in promoted
    follower = Service(tmp_path, SPAWN_STORAGE_URL=f"duckdb:///{file}")
    follower.start()
    try:
        (project_id,) = {name for name, _ in await asyncio.to_thread(read_versions, follower.url)}
        assert writes.names[project_id] == {1: "first"}
    finally:
        follower.stop()
    assert "superseded by epoch 2" in run("serve", code=1, **leader.environment)
