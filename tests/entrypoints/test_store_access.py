"""A store that the service's user cannot use: the start and the doctor name owner and remedy."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.loopback import free_port

from spawn.entrypoints.cli import main
from spawn.entrypoints.store_access import find_access_problem

NOBODY = 65534
# Everything is imported before the user changes, who may not read the environment.
_RUN = f"""
import os, sys
from spawn.entrypoints.cli import main, serve
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
sys.exit(main(sys.argv[1:]))
"""


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    return subprocess.run(
        [sys.executable, "-c", _RUN, command],
        env=environment | {"SPAWN_STORAGE_URL": f"duckdb:///{folder}/spawn.duckdb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    # Pytest's own folders cannot be entered by another user.
    with TemporaryDirectory(ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "data"
        folder.mkdir()
        folder.chmod(0o500)
        yield folder


@pytest.mark.real
def test_a_service_names_the_owner_of_a_foreign_folder_and_the_remedy(foreign_folder: Path) -> None:
    user = NOBODY if os.getuid() == 0 else os.getuid()
    group = NOBODY if os.getuid() == 0 else os.getgid()
    owner = foreign_folder.stat()
    result = run(foreign_folder, "serve")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert f"{foreign_folder} belongs to user {owner.st_uid} and group {owner.st_gid}" in line
    assert f"with the permissions 500, so this service, user {user} and group {group}" in line
    assert f"chown -R {user}:{group} {foreign_folder}" in line
    assert not any(foreign_folder.iterdir())


@pytest.mark.real
def test_no_service_asks_for_a_folder_above_that_of_the_store(foreign_folder: Path) -> None:
    result = run(foreign_folder / "below", "serve")
    assert f"create or reach {foreign_folder}/below: create it with install -d" in result.stderr
    assert "chown" not in result.stderr


def test_the_doctor_reports_a_foreign_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("SPAWN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    monkeypatch.setenv("SPAWN_PORT", str(free_port()))
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert f"FAIL  disk      {tmp_path} belongs to user" in output
    assert f"FAIL  store     {tmp_path}/spawn.duckdb cannot be opened" in output


def test_a_folder_that_is_created_later_is_judged_by_the_one_above(tmp_path: Path) -> None:
    assert find_access_problem(tmp_path / "new" / "folder" / "spawn.duckdb") == ""
    (tmp_path / "file").touch()
    problem = find_access_problem(tmp_path / "file" / "below" / "spawn.duckdb")
    assert f"{tmp_path}/file is not a folder" in problem


def test_each_file_of_a_store_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "spawn.duckdb"
    for suffix in ("", ".wal", ".mark"):
        (tmp_path / f"spawn.duckdb{suffix}").touch()
    assert find_access_problem(store) == ""
    for suffix in ("", ".wal", ".mark"):
        foreign = tmp_path / f"spawn.duckdb{suffix}"
        with monkeypatch.context() as patch:
            # Root may read and write every file, so the system's judgement is replaced.
            patch.setattr(os, "access", lambda path, _mode, foreign=foreign: path != foreign)
            assert find_access_problem(store).startswith(f"{foreign} belongs to user")
