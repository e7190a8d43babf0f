"""The mutation run: every change is one change, and changed lines are found."""

import ast
from pathlib import Path

import pytest
from tests.mutation import __main__ as mutation
from tests.mutation.__main__ import TestChooser as Chooser
from tests.mutation.__main__ import changed_lines
from tests.mutation.coverage_map import CoverageMap
from tests.mutation.mutants import Mutant, build_mutant, list_mutants

ROOT = Path(__file__).parents[2]


def changes(source: str) -> list[str]:
    """Return each changed text of a module."""
    mutants = list_mutants("m.py", source)
    return [ast.unparse(build_mutant(source, mutant.number)) for mutant in mutants]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a == b != c", ["a != b != c", "a == b == c"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("a + b", ["a - b"]),
        ("'x y' + b", []),
        ("LIMIT = 5", ["LIMIT = 6"]),
        ("is_on = True", ["is_on = False"]),
        ("code = 'too_long'", ["code = 'too_long_'"]),
        ("text = 'too long'", []),
        ("f'{a}b'", []),
        ("min(a, b)", ["pass", "max(a, b)"]),
        ("zip(a, b, strict=True)", ["pass", "zip(a, b)", "zip(a, b, strict=False)"]),
        ("a += b", ["pass", "a -= b"]),
        ("a.b = c", ["pass"]),
        ("a = b", []),
        ("raise a", ["pass"]),
        ("if a:\n    b", ["if not a:\n    b"]),
        ("x = a if b else c", ["x = a if not b else c"]),
        ("def f(a: int) -> int:\n    return a", ["def f(a: int) -> int:\n    return None"]),
        ("for a in b:\n    break", ["for a in b:\n    continue"]),
        ("def f():\n    'Say it.'", []),
        ("class A(B, kw_only=True):\n    pass", []),
        ("class A(B, frozen=True):\n    pass", ["class A(B, frozen=False):\n    pass"]),
        ("logger.info(1, a + b)", []),
        ("logger.opt(1).info(2)", []),
    ],
)
def test_each_change_of_a_statement_is_listed(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


def test_a_mutant_names_its_place() -> None:
    source = "class A:\n    def f(self):\n        return (\n            self.x < 3\n        )\n"
    mutant = list_mutants("m.py", source)[1]
    assert mutant == Mutant("m.py", 1, 4, 3, "A.f", "self.x < 3", "self.x <= 3")
    assert mutant.key() == "m.py: A.f: self.x < 3 -> self.x <= 3"


def test_every_mutant_of_a_module_differs_from_it_and_compiles() -> None:
    source = Path(ROOT / "src/spawn/domain/dates.py").read_text()
    original = ast.unparse(ast.parse(source))
    mutants = list_mutants("dates.py", source)
    assert len(mutants) > 30
    for mutant in mutants:
        tree = build_mutant(source, mutant.number)
        assert ast.unparse(tree) != original, mutant
        compile(tree, "dates.py", "exec")


def test_changed_lines_are_those_of_the_new_file() -> None:
    diff = (
        "--- a/src/a.py\n+++ b/src/a.py\n@@ -1,2 +1,0 @@\n-x\n-y\n@@ -9 +7,2 @@\n-z\n+z\n+w\n"
        "--- a/src/b.md\n+++ b/src/b.md\n@@ -1 +1 @@\n-a\n+b\n"
        "--- /dev/null\n+++ b/src/c.py\n@@ -0,0 +1 @@\n+c\n"
    )
    assert changed_lines(diff) == {"src/a.py": {7, 8}, "src/c.py": {1}}


def test_near_and_quick_tests_come_first_and_constants_lead_to_their_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = "src/spawn/domain/money.py"
    source = (ROOT / path).read_text()
    line = next(n for n, text in enumerate(source.splitlines(), 1) if "def " in text) + 1
    tests = [
        "tests/http/test_a.py::a",
        "tests/domain/test_money.py::b",
        "tests/domain/test_c.py::c",
    ]
    coverage = CoverageMap(
        tests=[*tests, "tests/domain/test_money.py::d"],
        durations_s=[0.1, 3.0, 0.2, 1.0],
        lines={path: {line: [0, 1, 2, 3]}},
        sources={path: source},
    )
    mutant = Mutant(path, 0, line, line, "f", "a", "b")
    assert Chooser(coverage).choose(mutant) == [3, 1, 2, 0]
    coverage.tests.append("tests/house/test_frozen_structs.py::e")
    coverage.durations_s.append(0.1)
    assert Chooser(coverage).choose(mutant._replace(line=1, statement_line=1))[-1] == 4
    monkeypatch.setattr(mutation, "MAX_TESTS", 2)
    assert Chooser(coverage).choose(mutant) == [3, 1]
    assert Chooser(coverage).choose(mutant._replace(line=1, statement_line=1)) == [3, 1, 4]
    monkeypatch.setattr(mutation, "MAX_TESTS", 150)
    coverage.sources[path] = "# an older text"
    assert Chooser(coverage).choose(mutant._replace(line=1, statement_line=1)) == [3, 1, 2, 0]


def test_maps_of_two_processes_become_one() -> None:
    first = CoverageMap(["a", "b"], [0.1, 0.2], {"m.py": {1: [0, 1], 2: [1]}}, {"m.py": "m"})
    first.add(
        CoverageMap(["c"], [0.3], {"m.py": {2: [0], 3: [0]}, "n.py": {1: [0]}}, {"n.py": "n"})
    )
    assert first.tests == ["a", "b", "c"]
    assert first.durations_s == [0.1, 0.2, 0.3]
    assert first.lines == {"m.py": {1: [0, 1], 2: [1, 2], 3: [2]}, "n.py": {1: [2]}}
    assert first.sources == {"m.py": "m", "n.py": "n"}
