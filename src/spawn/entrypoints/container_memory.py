"""Memory that a container may use, and the engine's part of it."""

from pathlib import Path
from typing import Final

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")
_LIMIT_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")
"""Files with the limit: of control groups version 2, and of version 1."""

_MIB: Final = 1 << 20
_MAX_ENGINE_MIB: Final = 1024


def read_memory_limit(control_group: Path = _CONTROL_GROUP) -> int | None:
    """Return the bytes of memory that this process may use; None without a limit."""
    for name in _LIMIT_FILES:
        try:
            text = (control_group / name).read_text("ascii").strip()
        except OSError:
            continue
        # Version 1 has a number without a limit too, of exbibytes: the engine's maximum is less.
        return int(text) if text.isdecimal() else None
    return None


def choose_engine_memory(limit_bytes: int | None) -> str:
    """Return the memory of the storage engine in its own notation.

    Half of the limit is for the rest of the process, which would else be killed as a whole.
    """
    if limit_bytes is None:
        return f"{_MAX_ENGINE_MIB}MiB"
    return f"{max(1, min(_MAX_ENGINE_MIB, limit_bytes // 2 // _MIB))}MiB"
