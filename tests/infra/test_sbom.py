"""The list of components is that of the lock."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from spawn import __version__

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
SBOM = runpy.run_path(str(REQUIREMENTS / "sbom.py"))


@pytest.mark.parametrize("lock", ["runtime", "image", "extras"])
def test_every_pinned_package_is_a_component_with_the_hashes_of_its_files(lock: str) -> None:
    text = (REQUIREMENTS / f"{lock}.txt").read_text()
    document: dict[str, Any] = SBOM["build_sbom"](lock)
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    assert [(c["name"], c["version"]) for c in document["components"]] == pins
    digests = [p["value"] for c in document["components"] for p in c["properties"]]
    assert digests == re.findall(r"sha256:(\w{64})", text)
    assert document["metadata"]["component"]["version"] == __version__
    assert document["dependencies"][0]["dependsOn"] == [
        f"pkg:pypi/{name}@{version}" for name, version in pins
    ]
    assert document == SBOM["build_sbom"](lock)


def test_names_are_normalized_for_package_urls() -> None:
    (component,) = SBOM["read_lock"]("Zope.Interface_x==1.0 \\\n    --hash=sha256:" + "0" * 64)
    assert component["purl"] == "pkg:pypi/zope-interface-x@1.0"
