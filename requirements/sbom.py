"""Write the components of a lock as a CycloneDX document: `python requirements/sbom.py image`.

The locks name every package with its version and the hashes of its files, so nothing needs to be
installed or asked for.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def read_lock(text: str) -> list[dict[str, Any]]:
    """Return the components of a lock, sorted as it is."""
    components: list[dict[str, Any]] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            name, version = re.sub(r"[-_.]+", "-", pin[1]).lower(), pin[2]
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


def build_sbom(lock: str) -> dict[str, Any]:
    """Return the document of a lock; the same lock gives the same document."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = (ROOT / "src" / "spawn" / "__init__.py").read_text(encoding="utf-8")
    name, version = project["name"], re.findall(r'__version__ = "([^"]+)"', package)[0]
    components = read_lock(text)
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


if __name__ == "__main__":
    json.dump(build_sbom(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")
