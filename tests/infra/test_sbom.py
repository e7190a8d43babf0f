"""The list of components is that of the image: of its lock, and of the base image."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from spawn import __version__

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
SBOM = runpy.run_path(str(REQUIREMENTS / "sbom.py"))


@pytest.mark.parametrize("lock", ["runtime", "image", "extras"])
def test_every_pinned_package_of_the_image_is_a_component_with_the_hashes_of_its_files(
    lock: str,
) -> None:
    text = (REQUIREMENTS / f"{lock}.txt").read_text()
    document: dict[str, Any] = SBOM["build_sbom"](lock)
    pins = re.findall(r"^([\w.-]+)==([\w.]+)((?:.*\\\n)+.*)", text, re.MULTILINE)
    pins = [pin for pin in pins if pin[0] not in SBOM["UNUSED_DISTRIBUTIONS"]]
    assert [(c["name"], c["version"]) for c in document["components"]] == [
        (name, version) for name, version, _ in pins
    ]
    digests = [p["value"] for c in document["components"] for p in c["properties"]]
    assert digests == [d for _, _, rest in pins for d in re.findall(r"sha256:(\w{64})", rest)]
    assert document["metadata"]["component"]["version"] == __version__
    assert document["dependencies"][0]["dependsOn"] == [
        f"pkg:pypi/{name}@{version}" for name, version, _ in pins
    ]
    assert document == SBOM["build_sbom"](lock)


def test_only_what_is_installed_is_listed_with_the_packages_of_the_base() -> None:
    status = (
        "Package: libc6\nStatus: install ok installed\n"
        "Architecture: amd64\nVersion: 2.41-12+deb13u1\n"
        "\nPackage: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    document = SBOM["build_sbom"]("image", {"duckdb", "faker"}, status)
    assert [component["name"] for component in document["components"]] == ["duckdb", "libc6"]
    assert document["components"][1]["purl"] == (
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64"
    )


def test_names_are_normalized_for_package_urls() -> None:
    (component,) = SBOM["read_lock"]("Zope.Interface_x==1.0 \\\n    --hash=sha256:" + "0" * 64)
    assert component["purl"] == "pkg:pypi/zope-interface-x@1.0"
