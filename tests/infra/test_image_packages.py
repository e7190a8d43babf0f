"""The image lacks only what the service never imports, and its files do not depend on the build."""

import importlib.util
import lzma
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
        if set(sys.argv[2].split(",")) & {name, name.split(".")[0]}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
runpy.run_path(sys.argv[1])["import_every_module"]()
from spawn.entrypoints.cli import main
main(["--help"])
"""

_USE_OF_CRYPTOGRAPHY = """
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
cipher, nonce = AESGCM(bytes(32)), bytes(12)
assert cipher.decrypt(nonce, cipher.encrypt(nonce, b"text", None), None) == b"text"
"""
_USE_OF_OBSTORE = """
from obstore.exceptions import BaseError
from obstore.store import MemoryStore
assert issubclass(BaseError, Exception)
store = MemoryStore()
store.put("name", b"text")
assert store.get("name").bytes() == b"text"
"""


def test_every_module_of_the_service_is_imported_without_the_unused_packages() -> None:
    names = {
        module
        for module, owners in packages_distributions().items()
        if {PACKAGES["_normalize"](owner) for owner in owners} <= PACKAGES["UNUSED_DISTRIBUTIONS"]
    }
    names -= PACKAGES["SHARED_FILES"]
    assert {"faker", "pygments", "rich"} <= names
    parts = {
        part.removesuffix(".py").replace("/", ".")
        for part in PACKAGES["UNUSED_PARTS"]
        if "*" not in part
    }
    assert {"numpy.testing", "spawn.testing"} <= parts
    names |= parts
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
        "used-1.0.dist-info/RECORD": "used/__init__.py,,\n",
        "numpy/__init__.py": "",
        "numpy/testing/__init__.py": "",
        "numpy/_core/_simd.cpython-313.so": "",
        "used-1.0.dist-info/direct_url.json": "{}",
        "used-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\n",
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
        f"{site}/numpy/__init__.py",
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


def test_compiled_code_replaces_the_source_and_is_the_same_each_time(tmp_path: Path) -> None:
    codes = []
    for date in (0, 1_700_000_000):
        source = tmp_path / "part" / "module.py"
        source.parent.mkdir(exist_ok=True)
        source.write_text('"""Purpose."""\n\ndef fail() -> None:\n    raise ValueError("x")\n')
        os.utime(source, (date, date))
        PACKAGES["replace_sources"](tmp_path)
        assert [file.name for file in source.parent.iterdir()] == ["module.pyc"]
        codes.append(source.with_suffix(".pyc").read_bytes())
    assert codes[0] == codes[1]
    assert codes[0][4:8] == b"\x01\x00\x00\x00"  # by hash, unchecked
    program = "from part import module; module.fail()"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f'File "{tmp_path}/part/module.py", line 4, in fail' in result.stderr


def test_only_our_own_modules_keep_their_docstrings_and_all_their_assertions(
    tmp_path: Path,
) -> None:
    text = '''"""Purpose."""
from __future__ import annotations

class Empty:
    """Nothing."""

def check(value):
    """Check."""
    assert value, "checked"
'''
    for package in ("other", "spawn"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "module.py").write_text(text)
    PACKAGES["replace_sources"](tmp_path)
    program = """
from other.module import Empty, check
from other import module as other
from spawn import module as ours
print([it.__doc__ for it in (other, Empty, check, ours, ours.Empty, ours.check)])
check(0)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stdout == "[None, None, None, 'Purpose.', 'Nothing.', 'Check.']\n"
    assert "line 9, in check" in result.stderr
    assert result.stderr.endswith("AssertionError: checked\n")


def test_metadata_keep_their_fields_and_lose_the_page_of_the_index(tmp_path: Path) -> None:
    file = tmp_path / "used-1.0.dist-info" / "METADATA"
    file.parent.mkdir()
    file.write_text("Name: used\nVersion: 1.0\nLicense: MIT\n\n# Used\n\nA page.\n")
    PACKAGES["remove_descriptions"](tmp_path)
    assert file.read_text() == "Name: used\nVersion: 1.0\nLicense: MIT\n"


def test_an_extension_of_the_engine_is_compressed_and_not_kept_twice(tmp_path: Path) -> None:
    folder = tmp_path / "duckdb_extension_x"
    folder.mkdir()
    (folder / "x.duckdb_extension").write_bytes(b"code" * 1000)
    PACKAGES["compress_extensions"](tmp_path)
    assert [file.name for file in folder.iterdir()] == ["x.duckdb_extension.xz"]
    assert lzma.decompress((folder / "x.duckdb_extension.xz").read_bytes()) == b"code" * 1000


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files in memory")
@pytest.mark.parametrize(
    ("package", "use"),
    [("cryptography", _USE_OF_CRYPTOGRAPHY), ("obstore", _USE_OF_OBSTORE)],
    ids=["cryptography", "obstore"],
)
def test_a_compressed_module_is_imported_from_memory(
    package: str, use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The preset decides the time and the size, not the content.
    monkeypatch.setitem(PACKAGES["_compress"].__globals__, "PRESET", 0)
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is an extra")
    packages = tmp_path / "site-packages"
    shutil.copytree(
        Path(found.origin).parent,
        packages / package,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    PACKAGES["compress_extensions"](packages)
    assert [file.name for file in (packages / package).rglob("*.so*")] == [
        Path(name).name + ".xz" for name in PACKAGES["PACKED_MODULES"] if name.startswith(package)
    ]
    folder = str(packages)
    program = f"import site, sys; sys.path.insert(0, {folder!r}); site.addsitedir({folder!r})\n"
    program += f"{use}\nimport {package}; assert {package}.__file__.startswith({folder!r})"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


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
