"""Names of modules, classes and values, and words of docstrings, keep to the house rules."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.source import PACKAGE, list_modules, list_nodes, read_module

# One process parses the package for all who look at its nodes.
pytestmark = pytest.mark.xdist_group("source")

RINGS = ("client", "domain", "ports", "application", "adapters", "entrypoints", "testing")

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


def documented(path: Path) -> Iterator[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in list_nodes(path):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def wire_members(path: Path) -> set[ast.AST]:
    """Return the members of wire structs, which have the names that they have on the wire."""
    return {
        statement.target
        for node in list_nodes(path)
        if isinstance(node, ast.ClassDef) and node.name.endswith("View")
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }


def bound_names(path: Path) -> Iterator[str]:
    for node in {*list_nodes(path)} - wire_members(path):
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


def find_words(words: Iterable[str], text: str) -> list[str]:
    """Return the lines with one of the words; each is a pattern for a whole word."""
    pattern = re.compile(rf"(?<![a-zA-Z])(?:{'|'.join(words)})(?![a-zA-Z])", re.IGNORECASE)
    if not pattern.search(text):
        return []
    lines = enumerate(text.splitlines(), start=1)
    return [f"{number}: {line.strip()}" for number, line in lines if pattern.search(line)]


def test_no_replaced_word_is_used_again() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{hit}"
        for path in list_modules()
        for hit in find_words(LOST_WORDS, WIRE_WORDS.sub("", read_module(path)))
    ]
    assert found == []


def test_a_replaced_word_is_found_in_each_form_and_only_whole() -> None:
    text = "Refused\nby heart\nthe shelves\nrefuseniks\nan offence.\nunanswered\n_told_"
    hits = ["1: Refused", "2: by heart", "3: the shelves", "5: an offence."]
    assert find_words(LOST_WORDS, text) == [*hits, "7: _told_"]
    assert find_words(LOST_WORDS, "refuseniks, unanswered") == []


def test_no_docstring_begins_with_a_question_word() -> None:
    question = re.compile(r"(What|Who|Whoever|Whatever|Where|How|Why|Whose|Whom)\b")
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text.splitlines()[0]}"
        for path in list_modules()
        for line, text in documented(path)
        if question.match(text)
    ]
    assert found == []


def test_hardly_a_name_is_a_participle_alone() -> None:
    names = [name for path in list_modules() for name in bound_names(path)]
    found = Counter(name for name in names if is_participle(name))
    assert found.total() <= MAX_PARTICIPLES * len(names), found.most_common(30)


@pytest.mark.parametrize("ring", RINGS)
def test_no_two_modules_of_a_ring_have_one_name(ring: str) -> None:
    names = Counter(path.stem for path in (PACKAGE / ring).rglob("*.py") if path.stem not in ROLES)
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_public_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for path in list_modules()
        for node in list_nodes(path)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_folder_holds_more_files_than_one_overlooks() -> None:
    sizes = Counter(path.parent for path in list_modules() if path.name != "__init__.py")
    assert {str(f.relative_to(PACKAGE)): n for f, n in sizes.items() if n > MAX_FILES} == {}
