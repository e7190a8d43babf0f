"""The documentation agrees with the code."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.source import list_modules, list_nodes, read_module

from spawn.domain.errors import SpawnError
from spawn.entrypoints.http.protocol.problems import PROBLEMS
from spawn.entrypoints.settings import CLI_VARIABLES, SETTING_NAMES, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILD = runpy.run_path(str(DOCS / "build.py"))
PAGES: list[Path] = BUILD["list_pages"]()
CODE_ARGUMENTS = {
    "FieldError": 1,
    "at": 1,
    "reject": 1,
    "RowReason": 1,
    "add": 1,
    "_CellError": 0,
}
"""Functions that take a field code, and the index of that argument."""


def rows(page: str, heading: str = "") -> Iterator[list[str]]:
    """Yield the cells of each table row below a heading, or of the whole page."""
    text = (DOCS / page).read_text()
    if heading:
        text = text.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]


def core_errors(root: type[SpawnError] = SpawnError) -> Iterator[type[SpawnError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == SpawnError.__module__:
            yield from core_errors(child)


@cache
def field_codes() -> frozenset[str]:
    """Return the field codes that are literals in the source."""
    codes: list[ast.expr] = []
    for module in list_modules():
        for node in list_nodes(module):
            if isinstance(node, ast.Call):
                codes += _argument(node)
            elif isinstance(node, ast.FunctionDef) and _is_check_result(node.returns):
                values = [step.value for step in ast.walk(node) if isinstance(step, ast.Return)]
                codes += [value.elts[0] for value in values if isinstance(value, ast.Tuple)]
    constants = [code.value for code in codes if isinstance(code, ast.Constant)]
    return frozenset(code for code in constants if isinstance(code, str) and code)


def _argument(call: ast.Call) -> list[ast.expr]:
    """Return the argument with the field code, if the call has one."""
    index = CODE_ARGUMENTS.get(_name(call.func), len(call.args))
    return call.args[index : index + 1]


def _is_check_result(annotation: ast.expr | None) -> bool:
    """Whether a function returns a field code with its detail, or None."""
    return annotation is not None and ast.unparse(annotation) in {
        "tuple[str, str] | None",
        "_CheckResult",
    }


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_every_problem_is_documented_with_its_status_and_title() -> None:
    documented = {
        code: (int(status), title) for code, status, title, _ in rows("errors.md", "## Problems")
    }
    assert documented == {code: (kind.status, kind.title) for code, kind in PROBLEMS.items()}


def test_every_core_error_is_a_documented_problem_with_the_same_title() -> None:
    for error in core_errors():
        assert PROBLEMS[error.code].title == error.title


@pytest.mark.xdist_group("source")
def test_every_field_code_in_the_source_is_documented() -> None:
    documented = {row[0] for row in rows("errors.md", "## Field codes")}
    assert len(field_codes()) > 50
    assert field_codes() - documented == set()


def test_no_field_code_is_documented_twice() -> None:
    documented = [row[0] for row in rows("errors.md", "## Field codes")]
    assert len(documented) == len(set(documented))


def test_every_setting_is_documented_and_no_other() -> None:
    documented = {row[0] for row in rows("configuration.md")}
    assert documented == {*SETTING_NAMES, *CLI_VARIABLES}


def test_the_documented_defaults_are_the_defaults() -> None:
    defaults = Settings()
    for variable, default, _ in rows("configuration.md"):
        if variable in {*CLI_VARIABLES, "SPAWN_PUBLIC_URL"}:
            continue
        value = getattr(defaults, variable.removeprefix("SPAWN_").lower())
        if isinstance(value, float):
            assert float(default) == value
        else:
            assert default == (str(value) if value not in (None, (), "") else "none")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_broken(page: Path) -> None:
    assert BUILD["find_broken_links"](page) == []


def test_every_adr_is_in_the_index_with_its_title() -> None:
    index = (DOCS / "adr" / "index.md").read_text()
    records = sorted((DOCS / "adr").glob("0*.md"))
    assert len(records) >= 7
    assert len({record.name[:4] for record in records}) == len(records)
    for record in records:
        number, title = record.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"[{number}]({record.name}) | {title} |" in index
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        assert record.name == f"{number}-{slug}.md"


@pytest.mark.parametrize("section", ["Context", "Decision", "Consequences"])
def test_every_adr_has_the_section(section: str) -> None:
    for record in (DOCS / "adr").glob("0*.md"):
        assert f"\n## {section}\n" in record.read_text(), record.name


def find_make_targets(text: str) -> set[str]:
    """Return the targets of `make` in code spans and in code blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    commands = [*re.findall(r"`(make [^`]+)`", text), *lines]
    words = [
        command.split("#")[0].split()[1:] for command in commands if command.startswith("make ")
    ]
    return {word for group in words for word in group if re.fullmatch(r"[a-z][a-z-]*", word)}


def test_every_documented_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert find_make_targets(page.read_text()) <= targets, page


@pytest.mark.parametrize("lock", ["build", "dev", "extras", "infra", "image", "runtime"])
def test_a_lock_file_has_hashes_and_no_url(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    pins = re.findall(r"^[a-z0-9._-]+==\S+( \\)?$", text, re.MULTILINE)
    assert pins
    assert all(pins)
    assert "://" not in text
    assert "--index" not in text


def test_the_distribution_is_not_the_package_of_that_name_on_the_index() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "duckdb-spawn"
    assert set(project["scripts"]) == {"spawn"}


def test_no_text_tells_anyone_to_install_the_package_called_spawn() -> None:
    command = re.compile(r"\bpip3? [^\n]*install [^\n]*(?<![\w./-])spawn(?![\w/-])")
    paths = [ROOT / "Containerfile", ROOT / "Makefile", *PAGES, *list_modules()]
    assert command.search("run pip install 'spawn[nats]'")
    assert [path for path in paths if command.search(read_module(path))] == []


def test_one_package_has_one_version_in_every_lock() -> None:
    pins: dict[str, set[str]] = {}
    for lock in ("dev", "extras", "infra", "image", "runtime"):
        text = (ROOT / "requirements" / f"{lock}.txt").read_text()
        for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE):
            pins.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
