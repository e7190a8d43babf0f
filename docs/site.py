"""Render the documentation with search to `build/site`: `python docs/site.py MKDOCS`.

MkDocs Material renders the pages as they are, with the groups of the index as navigation. Nothing
is loaded from elsewhere: serve the folder, and the search works without a network.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "site-pages"
OUTPUT = ROOT / "build" / "site"
BUILD = runpy.run_path(str(ROOT / "docs" / "build.py"))


def stage_pages() -> None:
    """Copy the pages, pictures and notebooks to one folder, with the paths that links have."""
    shutil.rmtree(PAGES, ignore_errors=True)
    pictures = [file for kind in ("svg", "png") for file in (ROOT / "docs").rglob(f"*.{kind}")]
    for file in (*BUILD["list_pages"](), *pictures, *(ROOT / "examples").glob("*.ipynb")):
        target = PAGES / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def build_configuration() -> dict[str, Any]:
    """Return the configuration of MkDocs; JSON is YAML."""
    groups = {
        heading: [{title: str(page.relative_to(ROOT))} for title, page in entries]
        for heading, entries in BUILD["list_groups"]().items()
    }
    return {
        "site_name": "Spawn",
        "docs_dir": str(PAGES),
        "site_dir": str(OUTPUT),
        "use_directory_urls": False,
        "theme": {"name": "material", "font": False},
        "plugins": ["search"],
        "nav": [{"Overview": "docs/index.md"}, *({name: rows} for name, rows in groups.items())],
        # build.py checks the links, with the anchors of a forge.
        "validation": {"links": {"not_found": "ignore", "anchors": "ignore"}},
    }


def main(mkdocs: str) -> int:
    """Stage the pages and render them; return the exit code of MkDocs."""
    stage_pages()
    configuration = ROOT / "build" / "mkdocs.yml"
    configuration.write_text(json.dumps(build_configuration()))
    command = [mkdocs, "build", "--quiet", "--clean", "--config-file", str(configuration)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # about a release to come
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
