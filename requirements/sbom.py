"""Write the components of the image as a CycloneDX document: `python requirements/sbom.py image`.

The locks name every package with its version and the hashes of its files, so nothing needs to be
installed or asked for. In the build of the image, `--environment` limits the list to the packages
of the environment, and `--system` adds those of the base image.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Set as AbstractSet
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from image_packages import UNUSED_DISTRIBUTIONS

ROOT = Path(__file__).parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def read_lock(text: str) -> list[dict[str, Any]]:
    """Return the components of a lock, sorted as it is."""
    components: list[dict[str, Any]] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            name, version = normalize_name(pin[1]), pin[2]
            components.append(
                {
                    "type": "library",
                    "bom-ref": f"pkg:pypi/{name}@{version}",
                    "name": name,
                    "version": version,
                    "purl": f"pkg:pypi/{name}@{version}",
                    "properties": [],
                }
            )
        for digest in _HASH.findall(line):
            # A component has many files, and `hashes` means one: so they are properties.
            components[-1]["properties"].append({"name": "file:sha256", "value": digest})
    return components


def normalize_name(name: str) -> str:
    """Return the name of a distribution as package URLs spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_system_packages(text: str) -> list[dict[str, Any]]:
    """Return the components of Debian's list of installed packages."""
    components: list[dict[str, Any]] = []
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            purl = f"pkg:deb/debian/{name}@{quote(version)}?arch={fields['Architecture']}"
            components.append(
                {
                    "type": "library",
                    "bom-ref": purl,
                    "name": name,
                    "version": version,
                    "purl": purl,
                }
            )
    return components


def build_sbom(
    lock: str, installed: AbstractSet[str] | None = None, system: str = ""
) -> dict[str, Any]:
    """Return the document of a lock; the same lock gives the same document.

    Args:
        lock: the name of the lock.
        installed: the names of the packages that are installed; None for every one of the lock.
        system: the list of installed packages of the base image, as in `/var/lib/dpkg/status`.
    """
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = (ROOT / "src" / "spawn" / "__init__.py").read_text(encoding="utf-8")
    name, version = project["name"], re.findall(r'__version__ = "([^"]+)"', package)[0]
    components = [
        component
        for component in read_lock(text)
        if component["name"] not in UNUSED_DISTRIBUTIONS
        and (installed is None or component["name"] in installed)
    ]
    components += read_system_packages(system)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, text)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
            }
        },
        "components": components,
        "dependencies": [
            {
                "ref": f"pkg:pypi/{name}@{version}",
                "dependsOn": [component["bom-ref"] for component in components],
            }
        ],
    }


def main() -> None:
    """Write the document to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("lock", help="name of a lock of requirements/")
    parser.add_argument("--environment", type=Path, help="list the packages installed there only")
    parser.add_argument("--system", type=Path, help="list of the packages of the base image")
    options = parser.parse_args()
    installed = None
    if options.environment is not None:
        folders = [str(path) for path in options.environment.glob("lib/python3*/site-packages")]
        installed = {normalize_name(found.name) for found in distributions(path=folders)}
    system = options.system.read_text("utf-8") if options.system is not None else ""
    json.dump(build_sbom(options.lock, installed, system), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
