"""Modules, files, metrics and event types that the documentation names exist."""

import re
import runpy
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.source import list_modules, read_module

ROOT = Path(__file__).parents[2]
PAGES: list[Path] = [
    page
    for page in runpy.run_path(str(ROOT / "docs" / "build.py"))["list_pages"]()
    if page.name != "CHANGELOG.md"
]
FOLDERS = "src|tests|docs|examples|infra|benchmarks|requirements|entrypoints|domain"
SUFFIXES_OF_A_SERIES = ("_total", "_seconds", "_info", "_rows")


@cache
def read_source() -> str:
    return "\n".join(map(read_module, list_modules()))


def spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", page.read_text())


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or a name in one."""
    try:
        if find_spec(name) is not None:
            return True
    except ModuleNotFoundError:
        pass
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(module), attribute)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_module_exists(page: Path) -> None:
    pattern = r"(?:spawn\.)?((?:domain|ports|application|adapters|entrypoints|testing)[.][\w.]+)"
    names = {match[1] for span in spans(page) if (match := re.fullmatch(pattern, span))}
    assert {name for name in names if not exists(f"spawn.{name}")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_file_exists(page: Path) -> None:
    names = {span for span in spans(page) if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]*", span)}
    places = (ROOT, ROOT / "src" / "spawn", page.parent)
    assert {name for name in names if not any((top / name).exists() for top in places)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_metric_and_event_type_exists(page: Path) -> None:
    metrics = {name for span in spans(page) for name in re.findall(r"\bspawn_[a-z_]+", span)}
    types = {name for span in spans(page) for name in re.findall(r"spawn(\.[a-z_.]+)\.v\d", span)}
    assert {name for name in metrics if not _is_metric(name)} == set()
    assert {name for name in types if f'"{name[1:]}"' not in read_source()} == set()


def _is_metric(name: str) -> bool:
    """Return whether the source names the series, with or without the suffix of its unit."""
    stems = {name, *(name.removesuffix(suffix) for suffix in SUFFIXES_OF_A_SERIES)}
    return any(f'"{stem}"' in read_source() for stem in stems)


def list_tree() -> set[str]:
    """Return the paths in the tree of the architecture page, below `src/spawn`."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page.split("\nsrc/spawn/\n", 1)[1].split("```", 1)[0]
    paths, ring = set(), ""
    for line in tree.splitlines():
        for word in line.split():
            if word.endswith("/"):
                ring = word
                continue
            folder, _, names = word.partition("{")
            paths |= {ring + folder + name for name in (names.rstrip("}").split(","))}
    return paths


def test_the_tree_of_the_architecture_exists() -> None:
    paths = list_tree()
    assert {"domain/projects", "entrypoints/http/protocol", "ports/storage"} < paths
    top = ROOT / "src" / "spawn"
    assert {p for p in paths if not ((top / p).is_dir() or (top / f"{p}.py").is_file())} == set()


def test_every_package_is_in_the_tree_of_the_architecture() -> None:
    top = ROOT / "src" / "spawn"
    packages = {
        str(path.parent.relative_to(top))
        for pattern in ("*/*/__init__.py", "entrypoints/http/*/__init__.py")
        for path in top.glob(pattern)
    }
    paths = list_tree()
    parents = {path.rsplit("/", 1)[0] for path in paths}
    assert packages - paths - parents == set()


def test_a_name_that_does_not_exist_is_found() -> None:
    assert exists("spawn.testing.storage_contract.quality")
    assert exists("spawn.domain.finance.debt_sizing.size_debt")
    assert not exists("spawn.domain.finance.batch")
    assert not _is_metric("spawn_portfolio_rows")
