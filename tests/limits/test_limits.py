"""Every limit in the source has the figure that is written down here.

Tests of behaviour may take a limit from the code that they judge; this one may not. A change of a
limit is a change of `limits.txt`: one line each, module, name and figure. Limits are the numbers in
capitals at the top of a module, and the numbers that an option, a field of a case or a setting has
unless it is given another.
`python -m tests.limits.test_limits` writes the file anew; look at what it changed.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from tests.source import PACKAGE, list_modules, parse_module

FIGURES = Path(__file__).with_name("limits.txt")
_LIMIT = re.compile(r"_?[A-Z][A-Z0-9_]+")
_OF_THE_PROCESS = {"STDOUT"}
"""Numbers that a running service or test may replace."""

_BOUND = re.compile(r"\S+ _?(MAX|MIN|LAST)_[A-Z0-9_]+")


def read_limits() -> dict[str, str]:
    """Return the figure of each limit by its module and name."""
    limits: dict[str, str] = {}
    for path in list_modules():
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        if name.endswith(".__main__"):
            continue
        module = importlib.import_module(name)
        values = {**dict(_constants(path, module)), **dict(_defaults(module))}
        for limit, value in sorted(values.items()):
            if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
                limits[f"{name} {limit}"] = str(int(value) if isinstance(value, int) else value)
    return limits


def _constants(path: Path, module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield what is assigned to names in capitals at the top of a module."""
    for node in parse_module(path).body:
        for top in getattr(node, "targets", [getattr(node, "target", None)]):
            for target in top.elts if isinstance(top, ast.Tuple) else [top]:
                name = target.id if isinstance(target, ast.Name) else ""
                if _LIMIT.fullmatch(name) and name not in _OF_THE_PROCESS:
                    yield name, getattr(module, name, None)


def _defaults(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the defaults other than zero of the fields of a module's structs."""
    for name, value in vars(module).items():
        is_struct = isinstance(value, type) and issubclass(value, msgspec.Struct)
        if is_struct and value.__module__ == module.__name__:
            for field in msgspec.structs.fields(value):
                if field.default:
                    yield f"{name}.{field.name}", field.default


@pytest.mark.xdist_group("source")
def test_every_limit_has_its_figure() -> None:
    lines = FIGURES.read_text().splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert len(figures) > 50
    limits = read_limits()
    # Each bound is on record; another number, once it is on record, has the figure there.
    bounds = {name for name in limits.keys() | figures.keys() if _BOUND.fullmatch(name)}
    names = bounds | (limits.keys() & figures.keys())
    assert {name: limits.get(name) for name in names} == {
        name: figures.get(name) for name in names
    }, "python -m tests.limits.test_limits writes limits.txt anew"


if __name__ == "__main__":
    lines = [f"{limit} {figure}\n" for limit, figure in read_limits().items()]
    FIGURES.write_text("".join(["# module, name, figure\n", *lines]))
