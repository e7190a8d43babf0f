"""Command line: output, exit codes, and failures in one line."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from loguru import logger
from tests.http.conftest import Service, discard_access_log
from tests.log_lines import captured_lines
from tests.loopback import free_port

from spawn.entrypoints.cli import main
from spawn.entrypoints.settings import PREFIX

__all__ = ["discard_access_log"]

ROWS = "id,name,cost\nP1,Rio Verde,104.125\nP2,Dam,NA\n"
MAPPING = {
    "null": ["NA"],
    "columns": [
        {"attribute": "project_name", "column": "name"},
        {"attribute": "total_amount", "column": "cost", "rounding": "half_even"},
    ],
    "key": {"source": "desk", "column": "id"},
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "desk.mapping.json").write_text(json.dumps(MAPPING))
    return tmp_path


@pytest.fixture
def service(
    discard_access_log: None,  # noqa: ARG001  # set up first
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Service]:
    """A service in a thread, with an empty store: the commands are what is tested."""
    service = Service().start()
    monkeypatch.setenv("SPAWN_URL", service.url)
    yield service
    service.stop()


def test_the_ontology_server_prints_the_free_port_that_it_bound(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-m", "spawn.entrypoints.cli", "ontology-server", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            assert line.startswith("ontology server on http://127.0.0.1:")
            response = httpx.get(f"{line.split()[-1]}/health", timeout=30)
            assert response.json() == {"status": "ok", "schemas": 1}
            port = line.rpartition(":")[2].strip()
            assert main(["ontology-server", "--port", port]) == 3
            assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err
        finally:
            server.terminate()
    with pytest.raises(SystemExit):
        main(["ontology-server", "--port", "65536"])


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    output = capsys.readouterr().out
    for command in (
        "serve",
        "demo",
        "import",
        "export",
        "schema",
        "ontology-server",
        "doctor",
        "keys",
    ):
        assert command in output


@pytest.mark.parametrize(
    "arguments", [[], ["sreve"], ["import"], ["export", "--format", "xml"], ["demo", "--seed", "x"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2


def test_valid_settings_can_be_checked_without_serving(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serve", "--check-config"]) == 0
    assert capsys.readouterr().out == "The settings are valid.\n"


def test_a_misspelt_setting_ends_with_one_line_that_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_ULR", "memory://")
    assert main(["serve", "--check-config"]) == 2
    output = capsys.readouterr().err
    assert output.startswith("spawn: SPAWN_STORAGE_ULR")
    assert output.count("\n") == 1


SECRET = "whsec_" + "b2xk" * 8


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("gopher://h/", "URL 1: No publisher adapter has the scheme 'gopher'."),
        ("log://,nats://h/a..b", "URL 2: A subject's prefix is"),
        ("https://u:hunter2@h/", "set SPAWN_WEBHOOK_SECRETS_FILE"),
        ("log://,log://", "two publishers named log://"),
        ("log://#name=metrics", "two publishers named metrics"),
        ("log://#volume=11", "no option 'volume'"),
    ],
)
def test_an_unusable_publisher_is_reported_before_serving(
    urls: str, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_EVENTS_URL", urls)
    assert main(["serve", "--check-config"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("spawn: SPAWN_EVENTS_URL")
    assert expected in line
    assert line.count("\n") == 1
    assert "hunter2" not in line


def test_a_secrets_file_is_checked_before_serving(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secrets"
    monkeypatch.setenv("SPAWN_EVENTS_URL", "https://hooks.example/#name=risk")
    monkeypatch.setenv("SPAWN_WEBHOOK_SECRETS_FILE", str(path))
    assert main(["serve", "--check-config"]) == 2
    path.write_text(f"other {SECRET}\n")
    assert main(["serve", "--check-config"]) == 2
    output = capsys.readouterr().err
    assert "No such file" in output
    assert "no secret for risk" in output
    assert SECRET not in output
    path.write_text(f"risk {SECRET}\n")
    assert main(["serve", "--check-config"]) == 0


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("short", "openssl rand")])
def test_the_key_of_backups_is_checked_before_serving(
    text: str | None,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = tmp_path / "backup.key"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("SPAWN_BACKUP_SIGNING_KEY_FILE", str(path))
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/data/spawn.duckdb")
    monkeypatch.setenv("SPAWN_BACKUP_URL", f"file://{tmp_path}/backups")
    assert main(["serve", "--check-config"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("spawn: SPAWN_BACKUP_SIGNING_KEY_FILE")
    assert reason in line
    assert line.count("\n") == 1


def test_an_unreachable_service_ends_with_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_URL", f"http://127.0.0.1:{free_port()}")
    assert main(["export"]) == 3
    assert "cannot be reached" in capsys.readouterr().err


def test_a_command_of_a_running_service_imports_no_application() -> None:
    # The application takes three quarters of the time of a command that does not need it.
    script = (
        "import sys; from spawn.entrypoints.cli import main; code = main(['projects', 'list']);"
        " print(code, *sorted({'duckdb', 'litestar', 'uvicorn'} & {*sys.modules}))"
    )
    environment = {**os.environ, "SPAWN_URL": f"http://127.0.0.1:{free_port()}"}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "3\n"


def test_a_store_in_memory_has_no_file_to_open(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    assert main(["export"]) == 1
    assert "set SPAWN_URL" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["export"], ["schema", "show"]])
def test_a_missing_file_is_not_created_by_reading_it(
    command: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "duckdb:///elsewhere/spawn.duckdb")
    assert main(command) == 1
    assert "elsewhere/spawn.duckdb does not exist" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_an_address_in_use_ends_with_3_before_anything_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("SPAWN_PORT", str(port))
        monkeypatch.setenv("SPAWN_STORAGE_URL", "duckdb:///data/spawn.duckdb")
        assert main(["serve"]) == 3
    output = capsys.readouterr().err.splitlines()
    assert output[-1] == f"spawn: 127.0.0.1:{port} cannot be listened on: Address already in use"
    assert not (tmp_path / "data").exists()


def test_a_demo_says_that_it_does_not_use_another_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("SPAWN_PORT", str(port))
        monkeypatch.setenv("SPAWN_URL", "http://user:secret@127.0.0.1:9")
        assert main(["demo"]) == 3
    output = capsys.readouterr().err.splitlines()
    assert output[0].startswith("spawn: SPAWN_URL is http://")
    assert "which demo does not use: it runs a service of its own on 127.0.0.1" in output[0]
    assert "secret" not in output[0]


def test_missing_files_and_unknown_formats_are_named(
    capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    assert main(["import", "absent.csv"]) == 1
    assert capsys.readouterr().err == "spawn: absent.csv: No such file or directory\n"
    (files / "rows.txt").write_text(ROWS)
    assert main(["import", "rows.txt"]) == 2
    assert "--format" in capsys.readouterr().err
    assert main(["import", "rows.csv", "--quarantine", "aside.json"]) == 2
    assert capsys.readouterr().err.startswith("spawn: aside.json: quarantined rows are written to")


@pytest.mark.real
@pytest.mark.usefixtures("service")
def test_an_export_goes_by_the_suffix_of_its_file(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "rows.csv", "--mapping", "desk.mapping.json"]) == 0
    for name in ("all.parquet", "all.csv", "all.JSON", "all.jsonl", "all"):
        assert main(["export", "--output", name]) == 0
    assert (files / "all.parquet").read_bytes()[:4] == b"PAR1"
    assert (files / "all.csv").read_text().startswith("project_id,version,")
    (project,) = json.loads((files / "all.JSON").read_text())
    row = json.loads((files / "all.jsonl").read_text())
    assert list(row) == (files / "all.csv").read_text().splitlines()[0].split(",")
    assert json.loads((files / "all").read_text()) == row
    for name, form in (("all.jsonl", project), ("all.JSON", [row])):
        nested = "text" if isinstance(form, list) else "json"
        assert main(["export", "--output", name, "--nested", nested]) == 0
        assert json.loads((files / name).read_text()) == form
    assert main(["export", "--output", "all.xls"]) == 2
    assert ".parquet" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.usefixtures("service")
def test_a_file_is_imported_into_a_running_service_and_exported_again(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["import", "rows.csv", "--mapping", "desk.mapping.json"]
    assert main([*arguments, "--quarantine", "aside.csv"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(
        "2 rows: 1 accepted, 0 unchanged, 1 quarantined (missing 1); 0 with warnings; "
        "1 without a currency, taken as USD\n"
    )
    assert (files / "aside.csv").read_text().splitlines()[1].startswith("3,cost: is required")
    # The stored mapping and its file again: neither changes anything.
    for mapping in ("desk", "desk.mapping.json"):
        assert main(["import", "rows.csv", "--mapping", mapping, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unchanged"] == 1
    assert main(["export"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["total_amount"] == "104.12"
    assert main(["export", "--format", "csv", "--output", "all.csv"]) == 0
    header, row = (files / "all.csv").read_text().splitlines()
    assert header.startswith("project_id,version,project_name,total_amount,")
    assert ",Rio Verde,104.12,USD,PROPOSED," in row
    assert not (files / "all.csv.part").exists()
    assert main(["schema", "show"]) == 0
    assert json.loads(capsys.readouterr().out)["schema_id"] == "project_schema"


@pytest.mark.real
@pytest.mark.parametrize("is_served", [True, False], ids=["service", "file"])
def test_a_file_is_tried_and_an_export_read_back(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    is_served: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    if is_served:
        request.getfixturevalue("service")
    else:
        monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{files}/own.duckdb")
    tried = ["import", "rows.csv", "--mapping", "desk.mapping.json", "--dry-run"]
    assert main(tried) == 0
    counts, reason = capsys.readouterr().out.splitlines()
    assert counts.startswith("2 rows: 1 would be accepted, 0 unchanged, 1 quarantined;")
    assert counts.endswith("nothing was written")
    assert reason == "1 x cost missing (line 3: is required; the value is 'NA')"
    assert main([*tried, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 1
    assert main(["import", "rows.csv", "--mapping", "desk.mapping.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 1
    for name in ("back.csv", "back.ndjson"):
        assert main(["export", "--output", name]) == 0
        capsys.readouterr()
        assert main(["import", name, "--from-export", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unchanged"] == 1
    assert main(["import", "back.csv", "--from-export", "--mapping", "desk"]) == 1
    assert "needs no mapping" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.usefixtures("service")
def test_a_problem_of_the_service_is_reported_in_one_line(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "rows.csv", "--mapping", "absent"]) == 1
    assert "no mapping 'absent'" in capsys.readouterr().err
    (files / "bad.json").write_text('{"columns": []}')
    assert main(["import", "rows.csv", "--mapping", "bad.json"]) == 1
    assert "/columns" in capsys.readouterr().err
    (files / "other.csv").write_text("a,b\n1,2\n")
    assert main(["import", "other.csv", "--mapping", "desk.mapping.json"]) == 1
    output = capsys.readouterr().err.splitlines()
    (line,) = (line for line in output if not line.startswith("{"))  # others are of the service
    assert "the import has failed: " in line


@pytest.mark.real
@pytest.mark.usefixtures("service")
def test_output_that_is_closed_early_is_no_error(tmp_path: Path) -> None:
    rows = tmp_path / "many.ndjson"
    row = json.dumps({"project_name": "A", "total_amount": "1.00", "description": "d" * 500})
    rows.write_text((row + "\n") * 600)
    assert main(["import", "many.ndjson"]) == 0
    command = [sys.executable, "-m", "spawn.entrypoints.cli", "export"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert json.loads(export.stdout.readline())["project_name"] == "A"
        export.stdout.close()
        assert export.stderr.read() == b""


def test_the_doctor_prints_each_check_with_advice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    monkeypatch.setenv("SPAWN_ONTOLOGY_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("SPAWN_ONTOLOGY_TIMEOUT_S", "1")
    monkeypatch.setenv("SPAWN_EVENTS_URL", f"log://,nats://u:hunter2@127.0.0.1:{free_port()}/desk")
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in output if not line.startswith(" ")] == [
        ["ok", "settings"],
        ["ok", "disk"],
        ["warn", "store"],
        ["ok", "address"],
        ["warn", "ontology"],
        ["ok", "events"],
        ["warn", "events"],
    ]
    assert not any("hunter2" in line for line in output)
    assert any("SPAWN_ONTOLOGY_URL" in line for line in output if line.startswith(" "))


@pytest.mark.parametrize("host", ["::1", "localhost", "127.0.0.2"])
def test_the_doctor_checks_any_loopback_address(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    monkeypatch.setenv("SPAWN_HOST", host)
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    assert main(["doctor"]) == 0
    assert "ok    address" in capsys.readouterr().out


def test_the_doctor_fails_where_the_service_could_not_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/file/spawn.duckdb")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    assert main(["doctor"]) == 1
    assert "FAIL  disk" in capsys.readouterr().out


def test_the_doctor_reports_a_database_that_was_removed(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "duckdb:///data/spawn.duckdb")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    assert main(["doctor"]) == 0
    assert "does not exist yet" in capsys.readouterr().out
    assert main(["import", "rows.csv", "--mapping", "desk.mapping.json"]) == 0
    (files / "data" / "spawn.duckdb").unlink()
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  store" in output
    assert "restore a backup" in output


@pytest.mark.real
def test_the_doctor_finds_the_running_service(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", "memory://")
    monkeypatch.setenv("SPAWN_PORT", str(service.port))
    assert main(["doctor"]) == 0
    assert f"Spawn runs at http://127.0.0.1:{service.port}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "restore", "promote"])
def test_process_logs_again_after_a_command_that_logs_nothing(command: str, tmp_path: Path) -> None:
    missing, target = str(tmp_path / "missing"), str(tmp_path / "new.duckdb")
    assert main([command, missing] if command == "verify" else [command, missing, target]) != 0
    with captured_lines() as lines:
        exec("logger.warning('still here')", {"__name__": "spawn.adapters", "logger": logger})  # noqa: S102
    assert [line["message"] for line in lines] == ["still here"]
