"""Errors of the command line: the option that is wrong, problems with `--json`, paths as given."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from spawn.entrypoints.cli.parser import build_parser, main
from spawn.entrypoints.settings import PREFIX


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    monkeypatch.chdir(tmp_path)


LEAVES = [path for path, command in build_parser().list_commands() if not command.commands]


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_names_an_option_that_it_does_not_have(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*path.split(), "--no-such-option", "2"])
    assert exit_info.value.code == 2
    assert "unrecognized arguments: --no-such-option\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["projects", "list", "--limt", "2"], "--limt; did you mean --limit?"),
        (["projects", "list", "--limt=2"], "--limt; did you mean --limit?"),
        (["export", "--fromat", "csv"], "--fromat; did you mean --format?"),
        (["projects", "list", "--key", "x"], "--key; it goes before the command"),
    ],
)
def test_a_misspelt_option_gets_the_one_that_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert f"unrecognized arguments: {meant}" in capsys.readouterr().err


def test_beginnings_of_options_and_words_after_two_dashes_are_accepted() -> None:
    parser = build_parser()
    assert parser.parse_args(["projects", "list", "--lim", "2"]).limit == 2
    assert parser.parse_args(["import", "--", "--odd.csv"]).file == Path("--odd.csv")


def run_failing(
    capsys: pytest.CaptureFixture[str], expected_code: int, *words: str
) -> dict[str, Any]:
    """Return the problem of a command that fails, which is one line of stderr."""
    try:
        code = main([*words, "--json"])
    except SystemExit as exit_info:
        code = int(exit_info.code or 0)
    output = capsys.readouterr()
    assert (code, output.out) == (expected_code, "")
    assert output.err.count("\n") == 1
    problem: dict[str, Any] = json.loads(output.err)
    assert problem["exit_code"] == expected_code
    assert problem["title"]
    return problem


def test_an_error_of_a_command_with_json_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = run_failing(capsys, 2, "projects", "list", "--limt", "2")
    assert usage["code"] == "wrong_usage"
    assert usage["detail"] == "unrecognized arguments: --limt; did you mean --limit?"
    Path("one.json").write_text('{"project_name": "Dam", "total_amount": "-1"}')
    invalid = run_failing(capsys, 1, "projects", "create", "one.json")
    assert invalid["code"] == "invalid_input"
    assert "/total_amount" in {error["pointer"] for error in invalid["errors"]}
    absent = run_failing(capsys, 1, "projects", "create", "absent.json")
    assert absent["code"] == "command_failed"
    assert "absent.json" in absent["detail"]
    monkeypatch.setenv("SPAWN_URL", "http://127.0.0.1:9")
    assert run_failing(capsys, 3, "projects", "list")["code"] == "unreachable"
    monkeypatch.setenv("SPAWN_PORT", "x")
    assert run_failing(capsys, 2, "projects", "list")["detail"].startswith(
        "SPAWN_PORT is malformed"
    )


def book_project() -> None:
    Path("one.json").write_text(
        '{"project_name": "Dam", "total_amount": "1", "currency_code": "EUR"}'
    )
    assert main(["projects", "create", "one.json"]) == 0


def test_the_schema_is_json_with_and_without_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    book_project()
    capsys.readouterr()
    assert main(["schema", "show"]) == 0
    plain = capsys.readouterr().out
    assert main(["schema", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(plain)


def test_the_package_runs_as_a_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["spawn", "--version"])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_module("spawn", run_name="__main__")
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("spawn ")


def test_an_output_that_cannot_be_written_is_named_as_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    book_project()
    capsys.readouterr()
    assert main(["export", "--output", "nope/p.csv"]) == 1
    assert capsys.readouterr().err == "spawn: nope/p.csv: No such file or directory\n"
