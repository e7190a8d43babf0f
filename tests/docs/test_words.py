"""The documentation uses the terms of the glossary, and names only commands that exist."""

import re
import runpy
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.house.test_names import LOST_WORDS

from spawn.entrypoints.cli.parser import build_parser

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES: list[Path] = runpy.run_path(str(ROOT / "docs" / "build.py"))["list_pages"]()
TEXTS = [
    *PAGES,
    ROOT / "Makefile",
    ROOT / "Containerfile",
    ROOT / ".ci" / "run",
    ROOT / "pyproject.toml",
    ROOT / "schemathesis.toml",
    ROOT / "requirements" / "lock",
]
"""Published texts: pages, and the comments of the files that a newcomer reads first."""

LOST_PHRASES = (
    *LOST_WORDS,
    r"who asks",
    r"out loud",
    r"in force",
    r"that rules",
    r"patience",
    r"judg(e|es|ed|ing|e?ments?)",
    r"what becomes of",
    r"set aside",
)
"""Replaced words, and phrases that only texts used."""

REPLACED_WORDS = "\n## Replaced words\n"
"""The section of the glossary that lists the words themselves."""


def remove_wire_terms(text: str) -> str:
    """Return the text without code blocks and code spans, with the same number of lines."""
    text = re.sub(
        r"^```.*?^```",
        lambda block: "\n" * block[0].count("\n"),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    return re.sub(r"`[^`\n]*`", "``", text)


@cache
def prose_of_texts() -> dict[Path, str]:
    """Return each text without wire terms, and the glossary without its list of words."""
    texts = {path: path.read_text() for path in TEXTS}
    texts[GLOSSARY] = texts[GLOSSARY].split(REPLACED_WORDS, 1)[0]
    return {path: remove_wire_terms(text) for path, text in texts.items()}


def find_phrase(phrase: str, text: str) -> list[str]:
    pattern = re.compile(rf"(?<![a-zA-Z]){phrase}(?![a-zA-Z])", re.IGNORECASE)
    lines = enumerate(text.splitlines(), start=1)
    return [f"{number}: {line.strip()}" for number, line in lines if pattern.search(line)]


def list_shell_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each `spawn` command in code spans and code blocks."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
        match = re.search(r"(?:^|[ /])spawn ((?:[a-z]|--).*)$", line)
        if match and not re.search(r"\b(podman|docker)\b", line):
            words = shlex.split(re.split(r" (?:2>|\||>)", match[1])[0], comments=True)
            yield words


def is_command(words: list[str]) -> bool:
    """Return whether the command line accepts the words; a command alone needs no arguments."""
    is_name = all(re.fullmatch(r"[a-z][a-z-]*", word) for word in words)
    try:
        build_parser().parse_args([*words, "--help"] if is_name else words)
    except SystemExit as end:
        return end.code == 0
    return True


@pytest.mark.parametrize("phrase", LOST_PHRASES)
def test_no_text_uses_a_replaced_word(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{hit}"
        for path, text in prose_of_texts().items()
        for hit in find_phrase(phrase, text)
    ]
    assert found == []


@pytest.mark.parametrize("word", LOST_PHRASES)
def test_the_glossary_lists_the_replaced_word(word: str) -> None:
    section = GLOSSARY.read_text().split(REPLACED_WORDS, 1)[1]
    rows = [line.split(" | ", 1)[0] for line in section.splitlines() if line.startswith("| ")]
    assert any(re.search(rf"\b{word}\b", row) for row in rows)


def test_wire_terms_are_exempt_and_prose_is_not() -> None:
    text = remove_wire_terms("the state `refused`\n```json\nrefused\n```\nit was Refused.\n")
    assert find_phrase("refused", text) == ["5: it was Refused."]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_command_exists(page: Path) -> None:
    for words in list_shell_commands(page.read_text()):
        assert is_command(words), f"spawn {' '.join(words)}"


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("`spawn doctor`", True),
        ("`spawn schema check`", True),
        ("`spawn scheme check`", False),
        ("`spawn serve --check-settings`", False),
        ("```sh\nSPAWN_PORT=1 .venv/bin/spawn serve\n```", True),
        ("```console\n$ .venv/bin/spawn export --shape csv | head\n```", False),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, *, is_valid: bool) -> None:
    (words,) = list_shell_commands(text)
    assert is_command(words) is is_valid
