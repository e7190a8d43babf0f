"""The wheel has every file of the package, and serves where nothing else of the clone is."""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.loopback import free_port, wait_until_listening

from spawn import __version__

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")

# One process builds the wheel for all of them.
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def clean_variables() -> dict[str, str]:
    """Return variables that lead to no clone, for a service with default settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPAWN_", "PYTHONPATH"))}
    return kept | {"SPAWN_AUTH": "off", "SPAWN_STORAGE_URL": "memory://"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from a copy, so that the clone stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "src", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(folder)],
        check=True,
        capture_output=True,
    )
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """A fresh environment with the wheel; its dependencies are those of this one."""
    folder = wheel.parents[1] / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*install, *options, str(wheel)], env=clean_variables(), check=True)
    (packages,) = folder.glob("lib/python3.*/site-packages")
    # Folders of a .pth file come last, and their own .pth files are not read: no clone is found.
    lines = dict.fromkeys([*site.getsitepackages(), *sys.path])
    folders = [line for line in lines if line.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(folders) + "\n")
    return folder


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    source = ROOT / "src"
    expected = {
        str(path.relative_to(source))
        for path in (source / "spawn").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert wheel.name == f"duckdb_spawn-{__version__}-py3-none-any.whl"


def test_the_command_names_the_version(environment: Path, tmp_path: Path) -> None:
    command = [str(environment / "bin" / "spawn"), "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_variables(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == __version__


@pytest.fixture
def url(environment: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of `spawn serve` from the wheel."""
    port = free_port()
    variables = {**clean_variables(), "SPAWN_PORT": str(port)}
    with (tmp_path / "log").open("wb") as log:
        command = [str(environment / "bin" / "spawn"), "serve"]
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log)

    def raise_if_over() -> None:
        assert process.poll() is None, (tmp_path / "log").read_text()

    try:
        wait_until_listening(port, raise_if_over)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_the_service_of_the_wheel_serves(url: str, environment: Path) -> None:
    with httpx.Client(base_url=url, timeout=20) as client:
        assert client.get("/monitoring/ready").json()["version"] == __version__
        for path in ("/", "/docs", "/openapi.json", "/contract", "/problems"):
            assert client.get(path).status_code == 200, path
        page = client.get("/docs", headers={"accept": "text/html"}).text
        assert 'src="' in page
        body = {"project_name": "Alone", "total_amount": "1.00", "currency_code": "EUR"}
        assert client.post("/v1/ops/projects", json=body).status_code == 201
    where = [str(environment / "bin" / "python"), "-c", "import spawn; print(spawn.__file__)"]
    done = subprocess.run(where, env=clean_variables(), capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(environment)
