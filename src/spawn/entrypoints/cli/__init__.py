"""Command line: `spawn serve`, `demo`, `import`, `export`, `schema`, `doctor`."""

from spawn.entrypoints.cli.parser import main

__all__ = ["main"]
