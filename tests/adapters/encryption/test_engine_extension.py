"""A compressed extension of the engine, as the container image has it, encrypts a file."""

import lzma
import sys
from functools import cache
from pathlib import Path

import duckdb
import pytest
from tests.adapters.storage.encryption_keys import KEY, needs_encryption

from spawn.adapters.duckdb.connection import Engine, quote_path
from spawn.adapters.encryption.engine_extension import (
    PACKAGE,
    find_engine_extension,
    loadable_extension,
)

pytestmark = [
    needs_encryption,
    pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files in memory"),
]


@cache
def compress(original: Path) -> bytes:
    """Return the compressed content of an extension, which takes a second."""
    return lzma.compress(original.read_bytes(), preset=0)


@pytest.fixture
def compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package in the place of the real one that has its extension compressed alone."""
    original = find_engine_extension(duckdb.__version__)
    assert original is not None
    folder = tmp_path / "packages" / PACKAGE / "extensions" / f"v{duckdb.__version__}"
    folder.mkdir(parents=True)
    (tmp_path / "packages" / PACKAGE / "__init__.py").write_text("")
    file = folder / f"{original.name}.xz"
    file.write_bytes(compress(original))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return file


def test_a_compressed_extension_is_found_and_loaded_twice_without_a_file_on_the_disk(
    compressed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert find_engine_extension(duckdb.__version__) == compressed
    for _ in range(2):  # a restore opens a second engine
        connection = duckdb.connect(":memory:")
        with loadable_extension(compressed) as file:
            assert file.is_symlink()
            connection.execute(f"load {quote_path(file)}")
        connection.close()
    assert list(temporary.iterdir()) == []


def test_a_compressed_extension_writes_a_file_that_only_the_key_opens(
    compressed: Path, tmp_path: Path
) -> None:
    assert compressed.is_file()
    path = tmp_path / "s.duckdb"
    engine = Engine(path, memory_limit="100MB", log_limit_bytes=1_000_000, key=KEY)
    engine.cursor().execute("create table sponsors as select 'CANARY' as name")
    engine.close()
    assert b"CANARY" not in path.read_bytes()
    with pytest.raises(duckdb.Error):
        duckdb.connect(str(path))
