"""Names of modules, classes and values, and words of docstrings, keep to the house rules."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import spawn

ROOT = Path(spawn.__file__).parent
RINGS = ("client", "domain", "ports", "application", "adapters", "entrypoints", "testing")
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

MAX_FILES = 12
"""Source files of one folder; a fuller one gets sub-folders."""

MAX_PARTICIPLES = 0.01
"""Share of bound names that may be a participle alone."""

ROLES = frozenset(
    {"__init__", "__main__", "routes", "wire", "commands", "queries", "page", "store"}
)
"""Module names that say a role and stand in a package named for the noun."""

LOST_WORDS = (
    r"by heart",
    r"at hand",
    r"told",
    r"ruling",
    r"offen[cs]es?",
    r"offenders?",
    r"objections?",
    r"trouble",
    r"shel(f|ves)",
    r"answer(s|ed|ing)?",
    r"repl(y|ies|ied)",
    r"refus(e|es|ed|als?|ing)",
    r"whoever",
    r"whatever",
)
"""Words that the glossary has replaced; `docs/glossary.md` names the term that is used."""

WIRE_WORDS = re.compile(r'"(objections|refused|refuse)"|\bobjections=')
"""Members and values on the wire or in stored data, which keep their names."""

PARTICIPLES = frozenset(
    """
    told said shown found kept given asked wanted held made taken done known seen left sent gone
    written spelled built got put brought bought begun broken chosen come cut drawn driven fallen
    felt forgotten heard hidden laid led lent lost meant met paid read run set sought sold spent
    stood struck taught thought thrown understood won
    """.split()  # noqa: SIM905 -- a list of words reads best as words
) - {"left", "set", "read", "run", "hidden", "put", "cut", "met", "led"}
"""Irregular participles; those of `-ed` are recognised by their ending."""

NOUNS_IN_ED = frozenset({"embed", "feed", "need", "proceed", "seed", "speed", "shed", "bed"})


def documented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def wire_members(tree: ast.Module) -> set[ast.AST]:
    """Return the members of wire structs, which have the names that they have on the wire."""
    return {
        statement.target
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith("View")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }


def bound_names(tree: ast.Module) -> Iterator[str]:
    for node in {*ast.walk(tree)} - wire_members(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def is_participle(name: str) -> bool:
    word = name.strip("_")
    regular = word.isalpha() and word.endswith("ed") and word not in NOUNS_IN_ED
    return regular or word in PARTICIPLES


@pytest.mark.parametrize("word", LOST_WORDS)
def test_a_replaced_word_is_not_used_again(word: str) -> None:
    pattern = re.compile(rf"(?<![a-zA-Z]){word}(?![a-zA-Z])", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(WIRE_WORDS.sub("", line))
    ]
    assert found == []


def test_no_docstring_begins_with_a_question_word() -> None:
    question = re.compile(r"(What|Who|Whoever|Whatever|Where|How|Why|Whose|Whom)\b")
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path, tree in MODULES.items()
        for line, text in documented(tree)
        if question.match(text)
    ]
    assert found == []


def test_hardly_a_name_is_a_participle_alone() -> None:
    names = [name for tree in MODULES.values() for name in bound_names(tree)]
    found = Counter(name for name in names if is_participle(name))
    assert found.total() <= MAX_PARTICIPLES * len(names), found.most_common(30)


@pytest.mark.parametrize("ring", RINGS)
def test_no_two_modules_of_a_ring_have_one_name(ring: str) -> None:
    names = Counter(path.stem for path in (ROOT / ring).rglob("*.py") if path.stem not in ROLES)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_public_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_folder_holds_more_files_than_one_overlooks() -> None:
    sizes = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(f.relative_to(ROOT)): n for f, n in sizes.items() if n > MAX_FILES} == {}
