"""A service with a key: every file below its folders is encrypted, and its settings are checked."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.adapters.storage.encryption_keys import needs_encryption

from spawn.domain.imports.import_state import FileFormat
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.parser import main
from spawn.entrypoints.settings import read_settings
from spawn.ports.backend import UploadedFile

CANARY = "CANARYofAWindFarm"
PROJECT = {"project_name": CANARY, "total_amount": "12.00", "currency_code": "EUR"}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the variables of an encrypted service, and return them."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, digit in (("first", "1"), ("second", "2")):
        (keys / name).write_text(digit * 64 + "\n")
    variables = {
        "SPAWN_STORAGE_URL": f"duckdb:///{tmp_path / 'data' / 's.duckdb'}",
        "SPAWN_BACKUP_URL": (tmp_path / "backups").as_uri(),
        "SPAWN_ENCRYPTION_KEY_FILE": str(keys / "first"),
        "SPAWN_AUTH": "off",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def find_canary(*folders: Path) -> list[str]:
    """Return the files that have the name of the project, or the text of a key."""
    texts = [CANARY.encode(), CANARY.lower().encode(), b"1" * 32, b"2" * 32]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 4
    return [str(path) for path in files if any(text in path.read_bytes() for text in texts)]


async def fill(environment: dict[str, str], folders: tuple[Path, Path]) -> None:
    """Create, import and back up projects, and look at every file meanwhile."""
    rows = [json.dumps(PROJECT | {"project_name": f"{CANARY} {n}"}).encode() for n in range(30)]

    async def chunks() -> AsyncIterator[bytes]:
        yield b"\n".join(rows)

    async with open_backend(read_settings(environment), create=True) as backend:
        await backend.create_project(json.dumps(PROJECT).encode())
        upload = UploadedFile(chunks=chunks(), file_format=FileFormat.NDJSON)
        await backend.import_file(upload, lambda *_: None)
        await backend.create_api_client(
            json.dumps({"name": CANARY.lower(), "scopes": ["projects:read"]}).encode()
        )
        assert CANARY.lower().encode() in await backend.read_audit_log({})
        await backend.take_backup()
        assert find_canary(*folders) == []


@needs_encryption
def test_every_file_is_encrypted_and_the_key_can_be_changed(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folders = (tmp_path / "data", tmp_path / "backups")
    asyncio.run(fill(environment, folders))
    assert find_canary(*folders) == []
    store, archive, keys = folders[0] / "s.duckdb", str(folders[1]), tmp_path / "keys"
    assert main(["verify", str(store)]) == 0
    assert main(["verify", archive]) == 0

    monkeypatch.setenv("SPAWN_ENCRYPTION_KEY_FILE", str(keys / "second"))
    renewed = tmp_path / "renewed" / "s.duckdb"
    assert main(["restore", archive, str(renewed)]) == 1
    assert main(["restore", archive, str(renewed), "--source-key", str(keys / "first")]) == 0
    assert main(["verify", str(renewed)]) == 0
    assert find_canary(*folders, renewed.parent) == []
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{renewed}")
    monkeypatch.setenv("SPAWN_BACKUP_URL", (tmp_path / "new-backups").as_uri())
    capfd.readouterr()
    assert main(["export", "--format", "csv"]) == 0
    assert capfd.readouterr().out.count(CANARY) == 31
    assert main(["backup"]) == 0
    assert find_canary(*folders, renewed.parent, tmp_path / "new-backups") == []

    monkeypatch.setenv("SPAWN_ENCRYPTION_KEY_FILE", str(keys / "first"))
    assert main(["verify", str(renewed)]) == 1
    assert main(["doctor"]) == 1
    output = capfd.readouterr()
    assert "is encrypted with another key" in output.err
    assert "SPAWN_ENCRYPTION_KEY_FILE" in output.out
    assert "1" * 32 not in output.out + output.err


@needs_encryption
def test_the_doctor_names_the_key_first(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(fill(environment, (tmp_path / "data", tmp_path / "backups")))

    def examine() -> tuple[str, str]:
        """Return the line of the store, and the one after it."""
        main(["doctor"])
        lines = capsys.readouterr().out.splitlines()
        number = next(n for n, line in enumerate(lines) if line[6:].startswith("store"))
        return lines[number], lines[number + 1]

    assert "intact" in examine()[0]
    cases = {
        str(tmp_path / "keys" / "second"): "is encrypted with another key",
        "": "is encrypted and no key is given",
        str(tmp_path / "none"): "follow the advice on the settings first",
    }
    for path, advice in cases.items():
        monkeypatch.setenv("SPAWN_ENCRYPTION_KEY_FILE", path)
        finding, remedy = examine()
        assert finding.startswith("FAIL")
        assert "key" in finding
        assert "release" not in finding
        assert advice in remedy


@needs_encryption
def test_a_key_is_checked_before_the_start(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert environment
    assert main(["serve", "--check-config"]) == 0
    cases = {
        str(tmp_path / "none"): "No such file",
        str(tmp_path / "short"): "openssl rand -hex 32",
        str(tmp_path / "data" / "key"): "the folder of SPAWN_STORAGE_URL",
        str(tmp_path / "backups" / "deep" / "key"): "the folder of SPAWN_BACKUP_URL",
    }
    (tmp_path / "short").write_text("short")
    for path, sentence in cases.items():
        monkeypatch.setenv("SPAWN_ENCRYPTION_KEY_FILE", path)
        assert main(["serve", "--check-config"]) == 2
        line = capsys.readouterr().err
        assert line.startswith("spawn: SPAWN_ENCRYPTION_KEY_FILE names")
        assert sentence in line
        assert line.count("\n") == 1


def test_a_key_without_effect_is_rejected(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    monkeypatch.delenv("SPAWN_BACKUP_URL")
    assert main(["serve", "--check-config"]) == 2
    assert "SPAWN_ENCRYPTION_KEY_FILE needs a store in a file" in capsys.readouterr().err


def test_a_missing_package_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment
    monkeypatch.setattr(
        "spawn.entrypoints.settings._is_installed", lambda module: module == "cryptography"
    )
    assert main(["serve", "--check-config"]) == 2
    assert "SPAWN_ENCRYPTION_KEY_FILE needs the extra encryption" in capsys.readouterr().err
