"""The modules of the package, read and parsed once in a test process, and only if a test asks."""

import ast
from functools import cache
from pathlib import Path

import spawn

PACKAGE = Path(spawn.__file__).parent


@cache
def list_modules() -> tuple[Path, ...]:
    """Return the files of the package in order."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def read_module(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def parse_module(path: Path) -> ast.Module:
    return ast.parse(read_module(path))


@cache
def list_nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return every node of a module, as `ast.walk` does."""
    return tuple(ast.walk(parse_module(path)))
