"""Every limit in the source has the figure that is written down here.

Tests of behaviour may take a limit from the code that they judge; this one may not. A change of a
limit is a change of `limits.txt`: one line each, module, name and figure.
`python -m tests.limits.test_limits` writes the file anew; look at what it changed.
"""

import ast
import importlib
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
FIGURES = Path(__file__).with_name("limits.txt")
_LIMIT = re.compile(r"_?(MAX|MIN|LAST)_[A-Z0-9_]+")


def read_limits() -> dict[str, str]:
    """Return the figure of each limit that is assigned at the top of a module."""
    limits: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        names = {
            target.id
            for node in ast.parse(path.read_text()).body
            for targets in [getattr(node, "targets", [getattr(node, "target", None)])]
            for top in targets
            for target in (top.elts if isinstance(top, ast.Tuple) else [top])
            if isinstance(target, ast.Name) and _LIMIT.fullmatch(target.id)
        }
        if not names:
            continue
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for limit in sorted(names):
            value = getattr(module, limit)
            if isinstance(value, int | float):
                limits[f"{name} {limit}"] = repr(value)
    return limits


def test_every_limit_has_its_figure() -> None:
    lines = FIGURES.read_text().splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert len(figures) > 50
    assert read_limits() == figures


if __name__ == "__main__":
    lines = [f"{limit} {figure}\n" for limit, figure in read_limits().items()]
    FIGURES.write_text("".join(["# module, name, figure\n", *lines]))
