"""Renders the Markdown pages to `build/docs` and refuses a link that leads nowhere.

The figures and plots of the deal in `finance.md` are computed first, by the engine itself.
"""

import re
import runpy
import shutil
import sys
from html import escape
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "docs"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
th, td {{ border: 1px solid #ccd; padding: .3rem .6rem; text-align: left; vertical-align: top }}
pre {{ background: #f5f5f0; padding: .8rem; overflow-x: auto }}
img {{ max-width: 100% }}
</style>
{body}
</html>
"""
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    """The documentation: every page under docs/, and the two at the root that link to it."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def slug(heading: str) -> str:
    """The anchor of a heading, as forges spell it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors that a link may end with."""
    return {slug(text) for text, _ in _headings(_MARKDOWN.parse(page.read_text()))}


def links(page: Path) -> list[str]:
    """Every target of a link or picture on the page."""
    found = []
    for block in _MARKDOWN.parse(page.read_text()):
        for token in block.children or ():
            target = token.attrs.get("href") or token.attrs.get("src")
            if target:
                found.append(str(target))
    return found


def broken_links(page: Path) -> list[str]:
    """Relative links of the page that lead to no file or to no heading."""
    broken = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(link)
    return broken


def render(page: Path) -> str:
    """The page as HTML, its links to other pages leading to their renderings."""
    tokens = _MARKDOWN.parse(page.read_text())
    headings = _headings(tokens)
    for text, token in headings:
        token.attrSet("id", slug(text))
    body = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    body = re.sub(r'(href="[^":]*)\.md([#"])', r"\1.html\2", body)
    title = headings[0][0] if headings else page.stem
    return PAGE.format(title=escape(title), body=body)


def _headings(tokens: list[Token]) -> list[tuple[str, Token]]:
    return [
        (inline.content, opening)
        for opening, inline in pairwise(tokens)
        if opening.type == "heading_open"
    ]


def main() -> int:
    """Render everything; 1 if any link is broken, each named on its own line."""
    runpy.run_path(str(ROOT / "docs" / "finance_deal.py"))["write"]()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    failures = 0
    for page in pages():
        place = page.relative_to(ROOT)
        for link in broken_links(page):
            print(f"{place}: broken link {link}", file=sys.stderr)
            failures += 1
        target = (OUTPUT / place).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render(page))
    for picture in (*(ROOT / "docs").rglob("*.svg"), *(ROOT / "docs").rglob("*.png")):
        shutil.copy(picture, OUTPUT / picture.relative_to(ROOT))
    print(f"{len(pages())} pages in {OUTPUT.relative_to(ROOT)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
