"""Every finding of `spawn doctor` names a remedy, and no finding hides the others."""

import os
from pathlib import Path

import pytest
from tests.http.conftest import Service
from tests.loopback import free_port

from spawn.adapters.memory.store import MemoryStore
from spawn.application import diagnosis
from spawn.domain.errors import StorageFull
from spawn.entrypoints.cli import main
from spawn.entrypoints.settings import PREFIX


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    monkeypatch.chdir(tmp_path)


def test_the_doctor_names_a_remedy_for_each_check_that_a_running_service_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail_probe(_store: MemoryStore) -> float:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(MemoryStore, "probe", fail_probe)
    service = Service().start()
    monkeypatch.setenv("SPAWN_PORT", str(service.port))
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out.splitlines()
    finding = output.index("warn  service   storage is degraded: Reads go on. The disk is full.")
    assert "check the disk" in output[finding + 1]
    service.stop()


def test_every_check_of_the_service_has_a_remedy_of_its_own() -> None:
    with Service().start().client() as client:
        checks = client.get("/monitoring/health").json()["checks"]
    assert set(diagnosis.SERVICE_REMEDIES) == set(checks)


def test_a_finding_without_a_remedy_is_an_error() -> None:
    with pytest.raises(ValueError, match="remedy"):
        diagnosis.CheckResult("disk", diagnosis.CheckStatus.WARNING, "nearly full")


def test_the_doctor_names_the_cause_and_the_remedy_of_a_file_that_cannot_be_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "spawn.duckdb").write_bytes(b"no database" * 2_000)
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out.splitlines()
    finding = next(n for n, line in enumerate(output) if line.startswith("FAIL  store"))
    assert "not a valid DuckDB database file" in output[finding]
    assert "restore all three" in output[finding + 1]
    assert main(["export"]) == 1
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert "(cause: IOException: IO Error:" in sentence


def test_the_doctor_reports_a_file_that_this_user_may_not_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "spawn.duckdb").touch()
    (tmp_path / "spawn.duckdb.mark").mkdir()
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  store     IsADirectoryError" in output
    assert "readable and writable for this user" in output
    assert "ok    ontology" in output


def test_the_doctor_checks_the_rest_although_a_publisher_is_misconfigured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPAWN_EVENTS_URL", "https://consumer.example/hook")
    monkeypatch.setenv("SPAWN_WEBHOOK_SECRETS_FILE", str(tmp_path / "missing"))
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "ok    ontology" in output
    assert "FAIL  events" in output


def test_the_doctor_names_a_setting_whose_file_is_absent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_EVENTS_URL", "https://consumer.example/hook")
    monkeypatch.setenv("SPAWN_WEBHOOK_SECRETS_FILE", "absent.txt")
    assert main(["doctor"]) == 1
    line = "FAIL  settings  SPAWN_WEBHOOK_SECRETS_FILE names absent.txt: No such file or directory"
    assert line in capsys.readouterr().out.splitlines()
