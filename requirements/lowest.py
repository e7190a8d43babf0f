"""Print the lowest supported version of each dependency, as constraints for pip.

python requirements/lowest.py > build/lowest.txt
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?(?:==|>=)([^,;\s]+)")


def list_lowest_versions() -> list[str]:
    """Return `name==version` for the dependencies of the service and its extras.

    Raises:
        ValueError: a dependency has no lower bound.
    """
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"]]
    for name in sorted(extras.keys() - {"dev", "infra"}):
        requirements += extras[name]
    versions: list[str] = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            raise ValueError(f"{requirement} has no lower bound")
        versions.append(f"{match[1]}=={match[2]}")
    return versions


if __name__ == "__main__":
    print("\n".join(list_lowest_versions()))
