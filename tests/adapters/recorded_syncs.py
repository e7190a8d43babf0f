"""Fixture that records every fsync that Python code asks of the system."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest


class Sync(NamedTuple):
    """One fsync: the file or directory, and what was in it at that moment."""

    path: Path
    content: bytes | frozenset[str]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[Sync]:
    """Record the calls of `os.fsync` and `os.fdatasync`, and carry them out."""
    recorded: list[Sync] = []
    for name in ("fsync", "fdatasync"):
        original = getattr(os, name)

        def sync(descriptor: int, original: object = original) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            names = frozenset(child.name for child in path.iterdir()) if path.is_dir() else None
            content = path.read_bytes() if names is None else names
            recorded.append(Sync(path, content))
            assert callable(original)
            original(descriptor)

        monkeypatch.setattr(os, name, sync)
    return recorded
