"""Extension of the engine that lets it write encrypted files, from the package index.

The engine itself has no cipher that it deems safe for writing. Its extension `httpfs` brings that
of OpenSSL. It also brings file systems of the network, which are switched off again.
"""

import functools
import importlib.util
import lzma
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PACKAGE: Final = "duckdb_extension_httpfs"
NETWORK_FILE_SYSTEMS: Final = "HTTPFileSystem,S3FileSystem,HuggingFaceFileSystem"
"""File systems of the extension, as the engine's setting `disabled_filesystems` lists them."""

_FILE_NAME = "httpfs.duckdb_extension"


def find_engine_extension(engine_version: str) -> Path | None:
    """Return the file of the extension for a version of the engine; None if it is not installed.

    The container image has it as a compressed file, with the suffix `.xz`.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "extensions" / f"v{engine_version}"
    paths = (folder / _FILE_NAME, folder / f"{_FILE_NAME}.xz")
    return next((path for path in paths if path.is_file()), None)


@contextmanager
def loadable_extension(path: Path) -> Iterator[Path]:
    """Yield a file that the engine can load: the extension, or a link to it in memory.

    A compressed extension is 5 MB in place of 22. It is never unpacked to a disk, where another
    process could change it, and where a file system may forbid code.
    """
    if path.suffix != ".xz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="spawn-extension-") as folder:
        # The engine takes the name of the extension from the name of the file.
        link = Path(folder) / _FILE_NAME
        link.symlink_to(f"/proc/self/fd/{_unpack_to_memory(path)}")
        yield link


@functools.cache
def _unpack_to_memory(path: Path) -> int:
    """Return the descriptor of a file in memory, which stays open as long as the process."""
    descriptor = os.memfd_create(_FILE_NAME)
    with open(descriptor, "wb", closefd=False) as file, lzma.open(path) as packed:
        file.write(packed.read())
    return descriptor
