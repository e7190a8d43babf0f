"""Compare the tag of a release with the version and the changelog: `release.py v1.2.3`.

The package has the version, so that an image and a wheel without a repository have it too; a tag
that differs stops the release, and so does a version that is not final. The section of the
changelog is printed, as the text of the release.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FINAL = re.compile(r"\d+\.\d+\.\d+")
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """The tag cannot be released."""


def read_version() -> str:
    """Return the version of the package."""
    match = _VERSION.search((ROOT / "src" / "spawn" / "__init__.py").read_text())
    if match is None:
        raise ReleaseError("src/spawn/__init__.py has no __version__.")
    return match[1]


def find_notes(version: str, changelog: str) -> str:
    """Return the text of a version's section of the changelog.

    Raises:
        ReleaseError: there is no such section, or it is empty.
    """
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    match = re.search(heading, changelog, re.MULTILINE | re.DOTALL)
    if match is None or not match[1].strip():
        raise ReleaseError(
            f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`: rename that of the "
            "unreleased changes, and begin another one."
        )
    return match[1].strip()


def check_release(tag: str, version: str, changelog: str) -> str:
    """Return the notes of a release.

    Raises:
        ReleaseError: the tag is not that of the version, the version is not final, or the
            changelog lacks it.
    """
    if tag != f"v{version}":
        raise ReleaseError(f"The tag is {tag} and the package has version {version}.")
    if not _FINAL.fullmatch(version):
        raise ReleaseError(f"Version {version} is not final: production gets no pre-release.")
    return find_notes(version, changelog)


def main(arguments: list[str]) -> int:
    """Check the tag in the arguments; print the notes or the reason."""
    try:
        (tag,) = arguments
        print(check_release(tag, read_version(), (ROOT / "CHANGELOG.md").read_text()))
    except ValueError:
        print("usage: release.py TAG", file=sys.stderr)
        return 2
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
