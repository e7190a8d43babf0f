"""Command line: `spawn serve`, `demo`, `import`, `export`, `schema`, `doctor`."""

from spawn.entrypoints.collector import collector_paused

with collector_paused():
    from spawn.entrypoints.cli.parser import main

__all__ = ["main"]
