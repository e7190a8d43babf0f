"""`spawn projects`, `size`, `completion`: results, colours, suggestions and the generated page."""

import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.http.conftest import Service, discard_access_log
from tests.loopback import free_port

from spawn.entrypoints.cli.grammar.completion import Shell
from spawn.entrypoints.cli.grammar.terminal import format_progress, has_colour
from spawn.entrypoints.cli.parser import build_parser, main
from spawn.entrypoints.settings import PREFIX

__all__ = ["discard_access_log"]

ROOT = Path(__file__).parents[2]
PROJECT = {"project_name": "Harbour Wind", "total_amount": "184.5", "currency_code": "EUR"}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["service", "file"])
def backend(
    discard_access_log: None,  # noqa: ARG001  # set up first
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    if request.param == "file":
        yield
        return
    service = Service().start()
    monkeypatch.setenv("SPAWN_URL", service.url)
    yield
    service.stop()


@pytest.mark.real
@pytest.mark.usefixtures("backend")
def test_projects_are_created_listed_and_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "one.json").write_text(json.dumps(PROJECT))
    (tmp_path / "two.json").write_text(json.dumps({**PROJECT, "project_name": "Dam"}))
    assert main(["projects", "create", "one.json"]) == 0
    project_id = capsys.readouterr().out.strip()
    assert main(["projects", "create", "two.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["project_name"] == "Dam"
    assert main(["projects", "list", "--sort", "project_name", "--limit", "1"]) == 0
    first = capsys.readouterr()
    assert first.out.endswith("184.50 EUR  Dam\n")
    cursor = first.err.rpartition("--after ")[2].strip()
    following = ["projects", "list", "--sort", "project_name", "--limit", "1", "--after", cursor]
    assert main([*following, "--json"]) == 0
    second = capsys.readouterr()
    assert json.loads(second.out)["project_id"] == project_id
    assert main(["projects", "list", "project_name=Dam", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["total_amount"] == "184.50"
    assert main(["projects", "get", project_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert main(["projects", "get", project_id]) == 0
    fields = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert fields["total_amount"] == "184.50"


@pytest.mark.real
@pytest.mark.usefixtures("backend")
def test_wrong_input_of_projects_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text('{"project_name": "", "total_amount": "1"}')
    assert main(["projects", "create", "bad.json"]) == 1
    assert "/project_name" in capsys.readouterr().err
    assert main(["projects", "create", "absent.json"]) == 1
    assert capsys.readouterr().err == "spawn: absent.json: No such file or directory\n"
    (tmp_path / "one.json").write_text(json.dumps(PROJECT))
    assert main(["projects", "create", "one.json"]) == 0
    capsys.readouterr()
    for arguments, reason in (
        (["get", "01900000-0000-7000-8000-000000000000"], "There is no project"),
        (["list", "colour=blue"], "/colour"),
        (["list", "--after", "x"], "cursor"),
        (["list", "--limit", "0"], "/limit"),
    ):
        assert main(["projects", *arguments]) == 1
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line[0] != "{"]
        assert reason in error


def test_a_debt_is_sized_without_a_service(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    inputs = ["size", "--cfads", "9.8,10.1,10.3,10.6", "--rate", "0.055", "--dscr", "1.3"]
    assert main(inputs) == 0
    assert capsys.readouterr().out.splitlines()[0] == "debt        27.46"
    assert main([*inputs, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["debt"] == pytest.approx(27.45506703451829)
    assert main([*inputs, "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    (tmp_path / "case.json").write_text(
        json.dumps({"cfads": [9.8, 10.1], "annual_rates": 0.055, "target_dscr": 1.3})
    )
    assert main(["size", "case.json"]) == 0
    assert "binding     dscr" in capsys.readouterr().out
    assert main(["size"]) == 2
    assert main([*inputs, "case.json"]) == 2
    assert main(["size", "--cfads", "1", "--rate", "0.05"]) == 1
    assert "/target_dscr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["sreve"], "did you mean serve?"),
        (["keys", "creat"], "did you mean create?"),
        (["export", "--fromat", "csv"], "did you mean --format?"),
        (["export", "--key", "a"], "spawn --key FILE COMMAND"),
    ],
)
def test_a_wrong_word_gets_the_one_that_was_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert meant in capsys.readouterr().err


def test_a_word_that_resembles_none_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--xyzzy"])
    assert "did you mean" not in capsys.readouterr().err


def test_options_of_serve_replace_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["serve", "--check-config", "--host", "a b"]) == 2
    assert "SPAWN_HOST is malformed" in capsys.readouterr().err
    monkeypatch.setenv("SPAWN_PORT", "9")
    assert main(["serve", "--check-config", "--host", "127.0.0.2", "--port", "8123"]) == 0
    monkeypatch.delenv("SPAWN_PORT")
    monkeypatch.setenv("SPAWN_LISTEN", "unix:/tmp/spawn.sock")
    assert main(["serve", "--check-config", "--port", "8123"]) == 2


def test_colours_follow_the_environment_and_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_colour(io.StringIO(), {})
    assert has_colour(io.StringIO(), {"FORCE_COLOR": "1"})
    assert not has_colour(io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"})
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["projects", "get", "a"]) == 1
    assert capsys.readouterr().err.startswith("\x1b[31mspawn:\x1b[0m ")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["projects", "get", "a"]) == 1
    assert capsys.readouterr().err.startswith("spawn: ")


def test_progress_has_rate_and_time_left() -> None:
    text = format_progress(5_000_000, 20_000_000, 2.0)
    assert text == " 25 %  5.0 of 20.0 MB  2.5 MB/s  0:06 left"
    assert format_progress(5_000_000, None, 2.0) == "5.0 MB  2.5 MB/s"
    assert format_progress(1_000_000, 5_001_000_000, 1.0).endswith("1:23:20 left")
    assert format_progress(0, 0, 0.0) == "100 %  0.0 of 0.0 MB"


@pytest.mark.real
def test_the_doctor_checks_the_service_at_the_url(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service().start()
    monkeypatch.setenv("SPAWN_URL", service.url)
    assert main(["doctor", "--json"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert json.loads(line)["detail"].startswith(f"Spawn runs at {service.url}: ")
    assert main(["doctor", "--renew-mark"]) == 2
    service.stop()
    monkeypatch.setenv("SPAWN_URL", f"http://u:hunter2@127.0.0.1:{free_port()}")
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert output.startswith("FAIL  service ")
    assert "hunter2" not in output


@pytest.mark.real
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["k"], {"keys"}),
        (["keys", ""], {"create", "rotate", "revoke", "list"}),
        (["--key", "a", "keys", "cr"], {"create"}),
        (["import", "--format", "x"], {"xml", "xlsx"}),
        (["import", "--mapping", ""], set()),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["projects", "list", "--js"], {"--json"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes_the_word(
    shell: str, words: list[str], expected: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    if shell == "bash":
        line = " ".join(f"'{word}'" for word in words)
        script += f"COMP_WORDS=(spawn {line}); COMP_CWORD={len(words)}; _spawn\n"
        script += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
    else:
        script += f'complete --do-complete "spawn {" ".join(words)}"\n'
    command = [shell, "-c", script]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert set(output.stdout.split()) == expected


@pytest.mark.parametrize("shell", [str(shell) for shell in Shell])
def test_a_completion_script_has_every_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    paths = [path for path, _ in build_parser().list_commands() if path]
    assert len(paths) > 25
    assert [path for path in paths if f"' {path}'" not in script] == []


def test_docker_ignores_the_files_that_other_builders_ignore() -> None:
    assert (ROOT / ".dockerignore").read_text() == (ROOT / ".containerignore").read_text()
