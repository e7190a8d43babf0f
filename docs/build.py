"""Render the Markdown pages to `build/docs` and fail on a broken link.

Each page has the groups of the index as navigation.

The figures and plots of `finance.md` and other pages are computed first, by the engine itself, and
the notebook of the examples is run against a service.
"""

import os
import re
import runpy
import shutil
import sys
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "docs"
PAGE_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 74rem }}
body {{ margin: 2rem auto; padding: 0 1rem }}
main {{ min-width: 0; max-width: 54rem }}
nav h2 {{ font-size: 1rem; margin: 1rem 0 .2rem }}
nav ul {{ list-style: none; margin: 0; padding: 0 }}
[aria-current] {{ font-weight: bold; color: inherit; text-decoration: none }}
@media (min-width: 60rem) {{
  body {{ display: grid; grid-template-columns: 14rem 1fr; gap: 2.5rem }}
  nav {{ order: -1 }}
}}
@media (max-width: 60rem) {{ nav ul {{ display: flex; flex-wrap: wrap; gap: 0 1rem }} }}
@media print {{ nav {{ display: none }} body {{ display: block }} }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
td code {{ overflow-wrap: anywhere }}
th, td {{ border: 1px solid #ccd; padding: .3rem .6rem; text-align: left; vertical-align: top }}
pre {{ background: #f5f5f0; padding: .8rem; overflow-x: auto }}
img {{ max-width: 100% }}
</style>
<main>
{body}
</main>
<nav aria-label="Pages">
{navigation}
</nav>
</html>
"""
INDEX = ROOT / "docs" / "index.md"
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def list_pages() -> list[Path]:
    """Return the pages at the root, the page of the examples and every page under docs/."""
    examples = ROOT / "examples" / "README.md"
    return [*sorted(ROOT.glob("*.md")), examples, *sorted((ROOT / "docs").rglob("*.md"))]


def build_anchor(heading: str) -> str:
    """Return the anchor of a heading, as code forges build it."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return text.replace(" ", "-")


@cache
def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page."""
    return {build_anchor(text) for text, _ in _list_headings(_MARKDOWN.parse(page.read_text()))}


def list_links(page: Path) -> list[str]:
    """Return the target of every link and picture on the page."""
    targets = []
    for block in _MARKDOWN.parse(page.read_text()):
        for token in block.children or ():
            target = token.attrs.get("href") or token.attrs.get("src")
            if target:
                targets.append(str(target))
    return targets


def find_broken_links(page: Path) -> list[str]:
    """Return the relative links of the page whose file or heading does not exist."""
    broken_links = []
    for link in list_links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        is_valid = target.exists() and target.is_relative_to(ROOT)
        if not is_valid or (parts.fragment and parts.fragment not in list_anchors(target)):
            broken_links.append(link)
    return broken_links


def render_page(page: Path) -> str:
    """Return the page as HTML, with links to the HTML of other pages."""
    tokens = _MARKDOWN.parse(page.read_text())
    headings = _list_headings(tokens)
    for text, token in headings:
        token.attrSet("id", build_anchor(text))
    body = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    body = re.sub(r"(?<=<td><code>)\w+(?=</code>)", _allow_breaks, body)
    title = headings[0][0] if headings else page.stem
    return PAGE_TEMPLATE.format(
        title=escape(title),
        navigation=_link_to_html(render_navigation(page)),
        body=_link_to_html(body),
    )


def list_groups() -> dict[str, list[tuple[str, Path]]]:
    """Return the pages in the tables of the index by its headings, each with its title."""
    groups: dict[str, list[tuple[str, Path]]] = {}
    for section in INDEX.read_text().split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", text, re.MULTILINE)
        groups[heading] = [(title, (INDEX.parent / target).resolve()) for title, target in rows]
    return groups


def render_navigation(page: Path) -> str:
    """Return the groups of the index as lists of links, relative to the page."""
    home = _render_entry("Overview", INDEX, page)
    parts = [f"<ul>{home}</ul>"]
    for heading, entries in list_groups().items():
        items = "".join(_render_entry(title, target, page) for title, target in entries)
        parts.append(f"<h2>{escape(heading)}</h2>\n<ul>{items}</ul>")
    return "\n".join(parts)


def _render_entry(title: str, target: Path, page: Path) -> str:
    link = escape(Path(os.path.relpath(target, page.parent)).as_posix())
    current = ' aria-current="page"' if target == page else ""
    return f'<li><a href="{link}"{current}>{escape(title)}</a></li>'


def _allow_breaks(name: re.Match[str]) -> str:
    """Return a long name that may break after its underscores, so that a table fits its page."""
    return name[0].replace("_", "_<wbr>")


def _link_to_html(text: str) -> str:
    return re.sub(r'(href="[^":]*)\.md([#"])', r"\1.html\2", text)


def _list_headings(tokens: list[Token]) -> list[tuple[str, Token]]:
    return [
        (inline.content, opening)
        for opening, inline in pairwise(tokens)
        if opening.type == "heading_open"
    ]


def main() -> int:
    """Render all pages; print each broken link and return 1 if there is one."""
    for script in (
        "finance_deal.py",
        "three_facilities.py",
        "wind_farm.py",
        "finance_sensitivity.py",
        "cli_reference.py",
        "metrics_reference.py",
        "event_types_reference.py",
        "notebook.py",
    ):
        runpy.run_path(str(ROOT / "docs" / script))["write_page"]()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    failures = 0
    for page in list_pages():
        relative_path = page.relative_to(ROOT)
        for link in find_broken_links(page):
            print(f"{relative_path}: broken link {link}", file=sys.stderr)
            failures += 1
        target = (OUTPUT / relative_path).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render_page(page))
    pictures = (*(ROOT / "docs").rglob("*.svg"), *(ROOT / "docs").rglob("*.png"))
    for file in (*pictures, *(ROOT / "examples").glob("*.ipynb")):
        shutil.copy(file, OUTPUT / file.relative_to(ROOT))
    print(f"{len(list_pages())} pages in {OUTPUT.relative_to(ROOT)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
