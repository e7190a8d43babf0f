"""`spawn serve --check-config` reads each file that a setting names as the start reads it."""

from pathlib import Path

import pytest
from tests.adapters.publishers.certificates import write_certificate

from spawn.entrypoints.cli import main
from spawn.entrypoints.settings import SETTING_NAMES

FILES = [name for name in SETTING_NAMES if name.endswith("_FILE")]


@pytest.fixture
def sound_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Set all settings that name files, each to a sound one; return the files."""
    (tmp_path / "files").mkdir()
    write_certificate(tmp_path, "own")
    certificate = (tmp_path / "own.pem").read_bytes()
    contents = {
        "SPAWN_WEBHOOK_SECRETS_FILE": b"risk whsec_" + b"b2xk" * 8,
        "SPAWN_TLS_CERTIFICATE_FILE": certificate,
        "SPAWN_TLS_KEY_FILE": (tmp_path / "own.key.pem").read_bytes(),
        "SPAWN_TLS_CLIENT_CA_FILE": certificate,
        "SPAWN_OPENLINEAGE_KEY_FILE": b"key-of-the-collector",
        "SPAWN_BACKUP_SIGNING_KEY_FILE": b"0123456789abcdef" * 4,
        "SPAWN_ENCRYPTION_KEY_FILE": b"fedcba9876543210" * 4,
        "SPAWN_APPROVALS_FILE": b'{"rules": [{"command": "amendProject"}]}',
    }
    assert set(contents) == set(FILES)
    files = {name: tmp_path / "files" / name.lower() for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
        monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/data/spawn.duckdb")
    monkeypatch.setenv("SPAWN_BACKUP_URL", f"file://{tmp_path}/backups")
    monkeypatch.setenv("SPAWN_EVENTS_URL", "https://hooks.example/#name=risk")
    monkeypatch.setenv("SPAWN_OPENLINEAGE_URL", "https://collector.example")
    return files


def test_sound_files_are_valid(sound_files: dict[str, Path]) -> None:
    assert len(sound_files) == len(FILES)
    assert main(["serve", "--check-config"]) == 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_its_content_is_no_valid_setting(
    name: str, sound_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sound_files[name].write_bytes(b"\xff\xfe{\n")
    assert main(["serve", "--check-config"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    # The two files of a certificate are loaded together, and so are the secrets of a URL.
    assert {
        "SPAWN_TLS_KEY_FILE": "SPAWN_TLS_CERTIFICATE_FILE",
        "SPAWN_TLS_CLIENT_CA_FILE": "SPAWN_TLS_CERTIFICATE_FILE",
        "SPAWN_WEBHOOK_SECRETS_FILE": "SPAWN_EVENTS_URL",
    }.get(name, name) in line
    sound_files[name].unlink()
    assert main(["serve", "--check-config"]) == 2
    assert name in capsys.readouterr().err
