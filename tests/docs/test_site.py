"""The site has every page of the index, and the record of packages every dependency."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SITE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "site.py"))
RECORD = ROOT / "docs" / "adr" / "0038-keep-argparse-and-name-the-work-of-each-package.md"


def test_the_navigation_has_the_pages_of_the_index() -> None:
    configuration = SITE["build_configuration"]()
    groups = [rows for group in configuration["nav"][1:] for rows in group.values()]
    entries = [entry for rows in groups for entry in rows]
    pages = {page for entry in entries for page in entry.values()}
    assert {"README.md", "docs/tutorial.md", "docs/adr/index.md"} <= pages
    assert all((ROOT / page).is_file() for page in pages)
    assert configuration["theme"]["font"] is False  # fonts would come from a public network


def test_a_page_that_loads_from_elsewhere_or_links_to_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text('<h1 id="top"><a href="../a.html#b">A</a>')
    page = tmp_path / "a.html"
    page.write_text(
        '<h2 id="b"><a href="https://example.org">out</a><img src="a%20b.png">'
        '<a href="docs/">in</a><a href="docs/index.html#top">in</a><a href="#b">here</a>'
    )
    (tmp_path / "a b.png").write_bytes(b"")
    assert list(SITE["find_faults"](tmp_path)) == []
    page.write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><script src="//cdn/x.js">'
        '</script><a href="c.html">c</a><a href="docs/index.html#end">end</a>'
    )
    assert set(SITE["find_faults"](tmp_path)) == {
        "a.html loads https://fonts.example/a.css",
        "a.html loads //cdn/x.js",
        "a.html links to c.html, which is absent",
        "a.html links to docs/index.html#end, which is absent",
        "index.html links to ../a.html#b, which is absent",
    }


def test_the_record_names_the_work_of_each_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    wanted += [one for name, group in extras.items() if name != "dev" for one in group]
    names = {re.match(r"[\w.-]+", one)[0] for one in wanted}  # type: ignore[index]  # all match
    cells = re.findall(r"^\| ([^|]+) \|", RECORD.read_text(), re.MULTILINE)
    named = {name for cell in cells for name in cell.split(", ")}
    assert names - named == set()
