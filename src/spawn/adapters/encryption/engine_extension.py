"""Extension of the engine that lets it write encrypted files, from the package index.

The engine itself has no cipher that it deems safe for writing. Its extension `httpfs` brings that
of OpenSSL. It also brings file systems of the network, which are switched off again.
"""

import importlib.util
from pathlib import Path
from typing import Final

PACKAGE: Final = "duckdb_extension_httpfs"
NETWORK_FILE_SYSTEMS: Final = "HTTPFileSystem,S3FileSystem,HuggingFaceFileSystem"
"""File systems of the extension, as the engine's setting `disabled_filesystems` lists them."""


def find_engine_extension(engine_version: str) -> Path | None:
    """Return the file of the extension for a version of the engine; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "extensions" / f"v{engine_version}"
    path = folder / "httpfs.duckdb_extension"
    return path if path.is_file() else None
