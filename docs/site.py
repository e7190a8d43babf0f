"""Render the documentation with search to `build/site`: `python docs/site.py MKDOCS`.

MkDocs Material renders the pages as they are, with the groups of the index as navigation. Nothing
is loaded from elsewhere: serve the folder, and the search works without a network. A page that
loads something, or links to nothing, ends the build with exit code 1.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "site-pages"
OUTPUT = ROOT / "build" / "site"
BUILD = runpy.run_path(str(ROOT / "docs" / "build.py"))


def stage_pages() -> None:
    """Copy pages, pictures, programs and notebooks to one folder, with the paths of links."""
    shutil.rmtree(PAGES, ignore_errors=True)
    kinds = ("svg", "png", "py")
    others = [file for kind in kinds for file in (ROOT / "docs").rglob(f"*.{kind}")]
    for file in (*BUILD["list_pages"](), *others, *(ROOT / "examples").glob("*.ipynb")):
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
        # find_faults checks the rendered links.
        "validation": {"links": {"not_found": "ignore", "anchors": "ignore"}},
    }


class _Page(HTMLParser):
    """Anchors, links and loaded resources of one rendered page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values["id"]} if "id" in values else set()
        if tag == "a":
            self.links += [values["href"]] if "href" in values else []
        else:
            self.resources += [values[name] for name in ("href", "src") if name in values]


def find_faults(site: Path) -> Iterator[str]:
    """Yield what a page loads from another host, and its links to absent pages and anchors."""
    pages = {file.resolve(): _Page(file.read_text("utf-8")) for file in site.rglob("*.html")}
    for file, page in pages.items():
        if file.name == "404.html":  # served for any address, so its links begin at the root
            continue
        for link in (*page.resources, *page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                if link in page.resources:
                    yield f"{file.name} loads {link}"
                continue
            target = (file.parent / unquote(url.path)).resolve() if url.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                url.fragment and target in pages and url.fragment not in pages[target].anchors
            ):
                yield f"{file.name} links to {link}, which is absent"


def main(mkdocs: str) -> int:
    """Stage the pages, render and check them; return the exit code."""
    stage_pages()
    configuration = ROOT / "build" / "mkdocs.yml"
    configuration.write_text(json.dumps(build_configuration()))
    command = [mkdocs, "build", "--quiet", "--clean", "--config-file", str(configuration)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # about a release to come
    exit_code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
    faults = [] if exit_code else sorted(set(find_faults(OUTPUT)))
    print(*faults, sep="\n", end="\n" if faults else "")
    return exit_code or bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
