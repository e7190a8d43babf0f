"""The image lacks only what the service never imports, and its files do not depend on the build."""

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "requirements" / "image_packages.py"
PACKAGES: dict[str, Any] = runpy.run_path(str(SCRIPT))

# A finder before all others, so that an import of an unused package fails as in the image.
_WITHOUT_UNUSED = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in set(sys.argv[2].split(",")):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
files = runpy.run_path(sys.argv[1])["find_imported_files"]()
from spawn.entrypoints.cli import main
main(["--help"])
"""


def test_every_module_of_the_service_is_imported_without_the_unused_packages() -> None:
    names = {
        module
        for module, owners in packages_distributions().items()
        if {PACKAGES["_normalize"](owner) for owner in owners} <= PACKAGES["UNUSED_DISTRIBUTIONS"]
    }
    names -= PACKAGES["SHARED_FILES"]
    assert {"faker", "pygments", "rich"} <= names
    result = subprocess.run(
        [sys.executable, "-c", _WITHOUT_UNUSED, str(SCRIPT), ",".join(names)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: spawn")


def make_environment(folder: Path) -> tuple[Path, Path]:
    """Make an environment with one unused package, one used one with a test suite, and caches."""
    packages = folder / "lib" / "python3.13" / "site-packages"
    files = {
        "faker/__init__.py": "",
        "faker/data/words.py": "",
        "faker-1.0.dist-info/METADATA": "Name: faker\nVersion: 1.0\n",
        "faker-1.0.dist-info/RECORD": "faker/__init__.py,,\nfaker/data/words.py,,\n",
        "used/__init__.py": "x = 1\n",
        "used/__init__.pyi": "x: int\n",
        "used/tests/test_x.py": "",
        "used/test/__init__.py": "",
        "used/include/used.h": "",
        "used/__pycache__/__init__.cpython-313.pyc": "",
        "used-1.0.dist-info/METADATA": "Name: used\nVersion: 1.0\n",
        "used-1.0.dist-info/direct_url.json": "{}",
    }
    for name, text in files.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    for command in ("spawn", "python3", "faker"):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / command).write_text("#!/bin/sh\n")
    return folder, packages


def test_unused_packages_test_suites_and_commands_are_removed(tmp_path: Path) -> None:
    environment, packages = make_environment(tmp_path)
    PACKAGES["remove_unused"](environment, packages)
    remaining = {str(f.relative_to(environment)) for f in environment.rglob("*") if f.is_file()}
    site = "lib/python3.13/site-packages"
    assert remaining == {
        "bin/spawn",
        "bin/python3",
        f"{site}/used/__init__.py",
        f"{site}/used/test/__init__.py",  # a package, not a test suite
        f"{site}/used-1.0.dist-info/METADATA",
    }


def test_files_have_one_date_and_permissions_that_no_umask_changes(tmp_path: Path) -> None:
    environment, packages = make_environment(tmp_path)
    (packages / "used" / "__init__.py").chmod(0o664)
    (environment / "bin" / "python").symlink_to("python3")
    PACKAGES["set_dates"](environment, 1_700_000_000)
    for path in [environment, *environment.rglob("*")]:
        assert path.lstat().st_mtime == 1_700_000_000, path
        if not path.is_symlink():
            command = path.is_dir() or path.parent.name == "bin"
            assert path.stat().st_mode & 0o777 == (0o755 if command else 0o644), path


def test_compiled_code_is_valid_whatever_the_dates(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    PACKAGES["compile_files"]([source, tmp_path / "extension.so"])
    compiled = Path(importlib.util.cache_from_source(str(source)))
    first = compiled.read_bytes()
    assert first[4:8] == b"\x01\x00\x00\x00"  # by hash, unchecked
    os.utime(source, (0, 0))
    PACKAGES["compile_files"]([source])
    assert compiled.read_bytes() == first


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other formats")
def test_an_extension_module_without_symbols_is_smaller_and_runs(tmp_path: Path) -> None:
    # uvloop's wheel has symbols; the copy is imported under its own name.
    found = importlib.util.find_spec("uvloop.loop")
    assert found is not None
    assert found.origin is not None
    original = Path(found.origin)
    stripped = tmp_path / "uvloop" / original.name
    shutil.copytree(original.parent, stripped.parent)
    PACKAGES["remove_symbols"](stripped.parent)
    assert stripped.stat().st_size < original.stat().st_size / 2
    program = (
        "import uvloop; assert uvloop.loop.__file__.startswith(" + repr(str(tmp_path)) + ");"
        "loop = uvloop.new_event_loop(); loop.call_soon(loop.stop);"
        "loop.run_forever(); loop.close()"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
