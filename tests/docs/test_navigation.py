"""Every page can be found from the index, and the rendered pages have its groups."""

import re
import runpy
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILD = runpy.run_path(str(DOCS / "build.py"))
INDEX = DOCS / "index.md"
GENERATED = ("cli_reference.py", "metrics_reference.py", "event_types_reference.py")


@cache
def find_reachable_pages() -> frozenset[Path]:
    """Return the pages that links lead to from the index."""
    found, waiting = {INDEX}, [INDEX]
    while waiting:
        page = waiting.pop()
        links = (urlsplit(link) for link in BUILD["list_links"](page))
        targets = {(page.parent / link.path).resolve() for link in links if not link.netloc}
        pages = {target for target in targets if target.suffix == ".md"} - found
        found |= pages
        waiting += pages
    return frozenset(found)


def test_every_page_is_reachable_from_the_index() -> None:
    assert set(DOCS.rglob("*.md")) - find_reachable_pages() == set()


def test_every_page_at_the_top_of_the_documentation_is_in_one_group() -> None:
    pages = [page for entries in BUILD["list_groups"]().values() for _, page in entries]
    assert len(set(pages)) == len(pages)
    assert {*DOCS.glob("*.md")} - {INDEX, *pages} == set()


@pytest.mark.parametrize("page", [INDEX, DOCS / "runbooks" / "disk.md", ROOT / "README.md"])
def test_a_rendered_page_links_to_every_page_of_the_groups(page: Path) -> None:
    html = BUILD["render_page"](page)
    navigation = re.search(r"<nav.*?</nav>", html, re.DOTALL)
    assert navigation
    links = re.findall(r'href="([^"]+)"', navigation[0])
    entries = [p for group in BUILD["list_groups"]().values() for _, p in group]
    targets = [(page.parent / link).resolve().with_suffix("") for link in links]
    assert targets == [target.with_suffix("") for target in (INDEX, *entries)]
    assert {Path(link).suffix for link in links} == {".html", ".ipynb"}
    assert navigation[0].count('aria-current="page"') == (page in {INDEX, *entries})
    assert "<script" not in html


def test_names_in_tables_break_after_underscores_and_others_do_not() -> None:
    html = BUILD["render_page"](DOCS / "metrics.md")
    assert "<td><code>spawn_<wbr>jobs_<wbr>running</code></td>" in html
    assert "…_bucket" in html


@pytest.mark.parametrize("script", GENERATED)
def test_a_generated_page_is_that_of_the_code(script: str) -> None:
    page = runpy.run_path(str(DOCS / script))
    assert page["PAGE"].read_text() == page["render_page"](), f"run python docs/{script}"


def test_metrics_in_calls_tables_and_counters_are_read() -> None:
    source = """
ROWS: tuple = (("spawn_a_bytes", "Size.", 1), ("spawn_b_rows", "Rows.", 2))
for name, text, value in ROWS:
    yield GaugeMetricFamily(name, text, labels=("kind",))
yield CounterMetricFamily("spawn_c", "Ends " "of runs.", value=1)
self.d = meter.create_counter("spawn_d", description="Events.")
self.d.add(0, {"type": "x"})
"""
    assert sorted(runpy.run_path(str(DOCS / GENERATED[1]))["read_metrics"](source)) == [
        ("spawn_a_bytes", "gauge", ("kind",), "Size."),
        ("spawn_b_rows", "gauge", ("kind",), "Rows."),
        ("spawn_c_total", "counter", (), "Ends of runs."),
        ("spawn_d_total", "counter", ("type",), "Events."),
    ]
