"""Pointers of the threat model and the table of requirements exist; no section is left out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "security" / "threat-model.md", ROOT / "docs" / "security" / "asvs.md")
SECTIONS = {
    "V1": (1, 2, 3, 4, 5),
    "V2": (1, 2, 3, 4),
    "V3": (2, 3, 4, 5, 7),
    "V4": (1, 2, 3, 4),
    "V5": (1, 2, 3, 4),
    "V6": (1, 2, 3, 4, 5, 6, 8),
    "V7": (1, 2, 3, 4, 5, 6),
    "V8": (1, 2, 3, 4),
    "V9": (1, 2),
    "V10": (1, 2, 3, 4, 5, 6, 7),
    "V11": (1, 2, 3, 4, 5, 6),
    "V12": (1, 2, 3),
    "V13": (1, 2, 3, 4),
    "V14": (1, 2, 3),
    "V15": (1, 2, 3),
    "V16": (1, 2, 3, 4, 5),
    "V17": (1, 2, 3),
}
"""Sections of ASVS 5.0.0 with requirements of level 1 or 2."""


def rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if row[-1] != "where"]


@cache
def list_functions(path: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def find_broken_pointers(row: list[str]) -> list[str]:
    """Return the pointers of a row to files or tests that do not exist; itself if it has none."""
    pointers = re.findall(r"`([^`]+)`", row[-1])
    broken = [] if pointers else [" | ".join(row)]
    for pointer in pointers:
        name, _, test = pointer.partition("::")
        path = ROOT / name
        if not path.is_file() or (test and test not in list_functions(path)):
            broken.append(pointer)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_row_points_to_what_exists(page: Path) -> None:
    assert len(rows(page)) > 20
    assert [broken for row in rows(page) for broken in find_broken_pointers(row)] == []


def test_every_section_has_one_row() -> None:
    expected = [
        f"{chapter}.{number}" for chapter, numbers in SECTIONS.items() for number in numbers
    ]
    assert [row[0].split()[0] for row in rows(PAGES[1])] == expected


def test_a_broken_pointer_is_found() -> None:
    here = "tests/docs/test_security_pages.py"
    assert find_broken_pointers(["threat", f"`{here}::test_a_broken_pointer_is_found`"]) == []
    assert find_broken_pointers(["threat", f"`{here}::test_absent`"]) == [f"{here}::test_absent"]
    assert find_broken_pointers(["threat", "`src/absent.py`"]) == ["src/absent.py"]
    assert find_broken_pointers(["threat", "nothing"]) == ["threat | nothing"]
