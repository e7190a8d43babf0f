"""Run the notebook of the examples and write it with its results.

The source is a Python file whose cells begin with `# %%` (`# %% [markdown]` for text), the form
that Jupyter, VS Code, PyCharm and Spyder open. Running ten cells needs no Jupyter, which the docs
build would have to install.
"""

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "examples" / "register_to_debt.py"
NOTEBOOK = SOURCE.with_suffix(".ipynb")
STARTUP_S = 60.0
_ADDRESS = re.compile(r"serving (http://127\.0\.0\.1:\d+) ")


def render_notebook(url: str) -> str:
    """Run every cell against a service, and return the notebook (nbformat 4.5)."""
    names: dict[str, Any] = {"__name__": "__main__"}
    environment = {"SPAWN_URL": url, "SPAWN_EXAMPLES": str(SOURCE.parent)}
    os.environ |= environment
    try:
        cells = [_render_cell(number, *cell, names) for number, cell in enumerate(read_cells(), 1)]
    finally:
        for name in environment:
            del os.environ[name]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def read_cells() -> Iterator[tuple[bool, str]]:
    """Yield for each cell of the source whether it is text, and its lines."""
    for part in re.split(r"^# %%", SOURCE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        is_text = "[markdown]" in title
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if is_text else body
        yield is_text, text.strip()


def _render_cell(number: int, is_text: bool, text: str, names: dict[str, Any]) -> dict[str, Any]:  # noqa: FBT001 - a pair of the cell
    cell: dict[str, Any] = {"id": f"cell-{number:02}", "metadata": {}, "source": _to_lines(text)}
    if is_text:
        return {"cell_type": "markdown", **cell}
    outputs = list(_run_cell(text, names))
    return {"cell_type": "code", "execution_count": number, **cell, "outputs": outputs}


def _run_cell(text: str, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run a cell; yield what it printed, and the value of its last line if that is one."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(SOURCE), "exec"), names)  # noqa: S102 - our own example
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(SOURCE), "eval"), names)  # noqa: S307 - our own example
    if printed.getvalue():
        yield {"name": "stdout", "output_type": "stream", "text": _to_lines(printed.getvalue())}
    if value is not None:
        picture = value._repr_svg_()
        yield {
            "data": {"image/svg+xml": _to_lines(picture)},
            "metadata": {},
            "output_type": "display_data",
        }


def _to_lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@contextlib.contextmanager
def run_service() -> Iterator[str]:
    """Run a service in memory on a free port, and yield its address."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SPAWN_")}
    environment |= {"SPAWN_STORAGE_URL": "memory://", "SPAWN_PORT": "0", "SPAWN_AUTH": "off"}
    process = subprocess.Popen(
        [sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    try:
        address = next(m[1] for line in process.stderr if (m := _ADDRESS.search(line)))
        _wait_until_ready(address)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=STARTUP_S)


def _wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + STARTUP_S
    while True:
        try:
            urlopen(f"{address}/monitoring/ready").close()  # noqa: S310 - our own service
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def write_page() -> None:
    """Run the notebook against a service of its own, and write it."""
    with run_service() as url:
        NOTEBOOK.write_text(render_notebook(url), encoding="utf-8")
