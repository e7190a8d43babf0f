"""The lines of the service's log, as they would be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger

from spawn.entrypoints.logging import log_line


@contextmanager
def captured_lines() -> Iterator[list[dict[str, Any]]]:
    """Collect the lines that are logged meanwhile."""
    lines: list[dict[str, Any]] = []
    sink = logger.add(
        lambda message: lines.append(log_line(message.record)), level="WARNING", catch=False
    )
    try:
        yield lines
    finally:
        logger.remove(sink)
