"""A release needs the tag of its version, and a section of the changelog."""

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from spawn import __version__

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
RELEASE = runpy.run_path(str(REQUIREMENTS / "release.py"))
LOWEST = runpy.run_path(str(REQUIREMENTS / "lowest.py"))
CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-11-30

### Added

- Something.

## [1.1.0] - 2026-10-30
"""


def test_the_notes_are_the_section_of_the_version() -> None:
    notes = RELEASE["check_release"]("v1.2.0", "1.2.0", CHANGELOG)
    assert notes == "### Added\n\n- Something."


@pytest.mark.parametrize(
    ("tag", "version", "reason"),
    [
        ("v1.3.0", "1.2.0", "The tag is v1.3.0 and the package has version 1.2.0."),
        ("1.2.0", "1.2.0", "The tag is 1.2.0"),
        ("v1.3.0", "1.3.0", r"no section `## \[1.3.0\]"),
        ("v1.1.0", "1.1.0", "no section"),  # an empty one
        ("v1x2x0", "1x2x0", "1x2x0 is not final"),
        ("v1.2.0rc1", "1.2.0rc1", "1.2.0rc1 is not final: production gets no pre-release"),
        ("v1.2.0-beta.1", "1.2.0-beta.1", "is not final"),
    ],
)
def test_a_tag_that_does_not_fit_stops_the_release(tag: str, version: str, reason: str) -> None:
    with pytest.raises(RELEASE["ReleaseError"], match=reason):
        RELEASE["check_release"](tag, version, CHANGELOG)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert RELEASE["read_version"]() == __version__
    assert RELEASE["main"](["v0.0.0"]) == 1
    assert f"has version {__version__}." in capsys.readouterr().err
    assert RELEASE["main"]([]) == 2


def test_every_dependency_has_a_lowest_version() -> None:
    project: dict[str, Any] = tomllib.loads((REQUIREMENTS.parent / "pyproject.toml").read_text())
    versions = LOWEST["list_lowest_versions"]()
    named = {version.split("==")[0] for version in versions}
    assert len(versions) >= len(project["project"]["dependencies"])
    assert {"duckdb", "litestar", "uvicorn", "pyarrow", "nats-py", "joserfc"} <= named
    assert not any(">" in version or "," in version for version in versions)
