"""Every command prints its result as JSON, or has a reason not to."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from spawn.entrypoints.cli.parser import build_parser, main
from spawn.entrypoints.settings import PREFIX

PROJECT = {"project_name": "Harbour Wind", "total_amount": "184.5", "currency_code": "EUR"}
REASONS = {
    "completion": "its result is the script of a shell",
    "demo": "it serves until it is stopped, and its log is JSON",
    "export": "its result is the data, and --format json is one of its formats",
    "ontology-server": "it serves until it is stopped",
}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    monkeypatch.setenv("SPAWN_BACKUP_URL", f"file://{tmp_path}/backups")
    monkeypatch.chdir(tmp_path)


def test_every_command_has_json_or_a_reason_not_to() -> None:
    without = {
        path
        for path, command in build_parser().list_commands()
        if not command.commands
        and not any("--json" in action.option_strings for action in command.actions)
    }
    assert without == set(REASONS)


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what a command prints, which must be one JSON object on one line."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    result: dict[str, Any] = json.loads(output)
    return result


def test_restore_follow_and_promote_print_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.json").write_text(json.dumps(PROJECT))
    run_json(capsys, "projects", "create", "one.json")
    newest = run_json(capsys, "backup")["head"]["position"]
    copy = run_json(capsys, "restore", "backups", "copy.duckdb", "--copy")
    assert (copy["target"], copy["position"]) == ("copy.duckdb", newest)
    followed = run_json(capsys, "follow", "backups", "second.duckdb", "--once")
    assert followed["position"] == followed["rows"] == newest
    again = run_json(capsys, "follow", "backups", "second.duckdb", "--once")
    assert (again["position"], again["rows"]) == (newest, 0)
    promoted = run_json(capsys, "promote", "backups", "second.duckdb")
    assert promoted["is_claimed"] is True
    assert promoted["epoch"] == followed["epoch"] + 1
    restored = run_json(capsys, "restore", "backups", "third.duckdb")
    assert restored["epoch"] > promoted["epoch"]


def test_a_check_of_the_settings_prints_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = ("serve", "--check-config")
    assert run_json(capsys, *check) == {"is_valid": True, "error": None}
    assert main(["serve", "--json"]) == 2
    assert "--json of serve needs --check-config" in capsys.readouterr().err
    monkeypatch.setenv("SPAWN_PORT", "x")
    assert main([*check, "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["is_valid"] is False
    assert result["error"].startswith("SPAWN_PORT")
