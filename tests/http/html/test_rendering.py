"""Pages escape every text, whichever page shows it, and fail on names that they lack."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import jinja2
import msgspec
import pytest
from tests.application.product.conftest import SnapshotFactory
from tests.http.conftest import WIND
from tests.http.html.test_home import live_status

import spawn
from spawn.application.health import HealthStatus
from spawn.application.product.snapshot import Broker, Product
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import FieldError
from spawn.domain.lineage.run import (
    Activity,
    Assertion,
    Dataset,
    DatasetField,
    Origin,
    Run,
    RunState,
)
from spawn.domain.quality.rules import ServiceLevels
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.entrypoints.http.html import problem_pages, rendering
from spawn.entrypoints.http.html.home import render_home
from spawn.entrypoints.http.html.rendering import load_template, render
from spawn.entrypoints.http.lineage.page import (
    RUN_TEMPLATE,
    RUNS_TEMPLATE,
    build_run_page,
    build_runs_page,
)
from spawn.entrypoints.http.protocol.problems import ProblemView
from spawn.testing.builders import a_schema

ROOT = Path(spawn.__file__).parent
TEMPLATES = ROOT / "entrypoints" / "http" / "html" / "templates"
STATIC = ROOT / "entrypoints" / "http" / "static"
PAGES = ("/", "/docs", "/problems", "/problems/not-found", "/lineage?format=html")
NOW = datetime(2026, 3, 2, tzinfo=UTC)

HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "title": "</title></svg></table><img src=//evil.example>",
    "comment": "<!-- --!> <![CDATA[ ]]>",
    "template": "{{ 7 * 7 }}{% raw %}{{ status }}",
    "right-to-left": "\u202egnivaC \u05e9\u05dc\u05d5\u05dd \u0627\u0644\u0633\u062f",
    "long": "<b>" * 3_334,
    "entity": "&lt;script&gt;&amp;&#60;",
    "null and controls": "a\x00b\x1b[31m\u2028\u2029\ufeff",
}


class Outline(HTMLParser):
    """The elements of a page with their attributes' names, and its whole text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", data))

    def handle_data(self, data: str) -> None:
        self.text += data


def a_whole_product(text: str) -> Product:
    """Build a product that declares everything, so that a page shows all that it can."""
    return Product(
        id=text,
        base_url=f"https://spawn.example/{text}",
        owner=text,
        contact=f"mailto:{text}",
        environment=text,
        is_open=True,
        webhooks=True,
        brokers=(Broker(text, (text, text), text, has_id_in_subject=True),),
        levels=ServiceLevels(changed_s=3600, imported_s=86_400),
    )


def test_the_product_of_these_tests_declares_everything() -> None:
    declared, least = a_whole_product("x"), Product(id="y", base_url="")
    for name in Product.__struct_fields__:
        assert getattr(declared, name) != getattr(least, name), name


def home_page(snapshots: SnapshotFactory, text: str) -> str:
    column = Column(name="note", type=ColumnType(TypeName.STRING), description=text, unit=text)
    schema = a_schema([column], description=text, name=text)
    product = a_whole_product(text)
    checks = {
        text: {"status": "degraded"},
        "schema": {"status": "ok", "waiting": [{"version": 4, "state": text, "reason": text}]},
    }
    status = live_status(health=HealthStatus.DEGRADED, checks=checks, position=text)
    return render_home(snapshots.build(schema, product=product), status)


def a_run(text: str) -> StoredAggregate[Run]:
    dataset = Dataset(
        name=f"uploads/{text}/1",
        description=text,
        fields=(DatasetField(text, text, text),),
        version=text,
        rows=7,
    )
    checks = [
        Assertion(
            name=text,
            assertion=text,
            success=success,
            warning=warning,
            expected=text,
            actual=text,
            description=text,
        )
        for success, warning in ((True, False), (False, True), (False, False))
    ]
    run = Run(
        run_id="0190b5a0-0000-7000-8000-000000000001",
        activity=Activity.IMPORT,
        job=f"import.{text}",
        description=text,
        inputs=(dataset,),
        outputs=(msgspec.structs.replace(dataset, name=text),),
        state=RunState.FAILED,
        origins={text: (Origin(dataset=text, field=text, conversion=text),)},
        assertions=tuple(checks),
        reason=text,
    )
    return StoredAggregate(
        kind="lineage_run",
        id=run.run_id,
        version=2,
        state=run,
        created_at=NOW,
        updated_at=NOW,
        schema_version=1,
    )


def runs_page(_: SnapshotFactory, text: str) -> str:
    return render(RUNS_TEMPLATE, build_runs_page([a_run(text)]))


def run_page(_: SnapshotFactory, text: str) -> str:
    return render(RUN_TEMPLATE, build_run_page(a_run(text)))


def problem_page(_: SnapshotFactory, text: str) -> str:
    problem = {"title": text, "status": 400, "explanation": text}
    return render("problem.html", {"code": text, "problem": problem})


def problem_occurrence_page(_: SnapshotFactory, text: str) -> str:
    problem = ProblemView(
        type="/problems/internal",
        title=text,
        status=500,
        detail=text,
        instance=text,
        code=text,
        errors=(FieldError(text, text, text),),
        trace_id=text,
        oldest=text,
        error_id=text,
    )
    return render(problem_pages.TEMPLATE, {"problem": problem})


def problems_page(_: SnapshotFactory, text: str) -> str:
    problem = {"title": text, "status": 400}
    context = {"problems": [(text, problem)], "problem_path": lambda code: f"/problems/{code}"}
    return render("problems.html", context)


PAGE_BUILDERS = (
    *(home_page, runs_page, run_page),
    *(problem_page, problem_occurrence_page, problems_page),
)


@pytest.mark.parametrize("build", PAGE_BUILDERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_changes_neither_elements_nor_attributes_of_a_page(
    snapshots: SnapshotFactory, build: Any, name: str
) -> None:
    hostile, plain = (Outline(build(snapshots, text)) for text in (HOSTILE[name], "plain"))
    assert hostile.elements == plain.elements
    # A parser drops NUL, as a browser does; every other character arrives.
    assert HOSTILE[name].replace("\x00", "")[:20] in hostile.text.replace("\x00", "")


@pytest.mark.parametrize("build", [runs_page, run_page])
def test_a_long_name_is_shortened(snapshots: SnapshotFactory, build: Any) -> None:
    assert len(build(snapshots, "x" * 10_000)) < len(build(snapshots, "x")) + 50_000


def test_the_diagram_shortens_a_long_name_to_its_box() -> None:
    page = render(RUNS_TEMPLATE, build_runs_page([a_run("x" * 10_000)]))
    labels = re.findall(r"<text[^>]*>([^<]*)", page)
    assert max(map(len, labels)) == 24


@pytest.mark.parametrize("path", PAGES)
def test_hostile_names_of_stored_data_never_become_markup(client: httpx.Client, path: str) -> None:
    name = '</title><script>alert("1")</script><img src=x onerror=alert(1)>'
    mapping = {
        "columns": [
            {"attribute": "project_name", "column": name},
            {"attribute": "total_amount", "column": "cost"},
        ],
        "key": {"source": "desk", "column": name},
    }
    assert client.post("/v1/ops/projects", json=WIND | {"project_name": name}).status_code == 201
    client.put("/v1/ops/import-mappings/hostile", json=mapping).raise_for_status()
    rows = f'"{name.replace(chr(34), chr(34) * 2)}",cost\nx,1\n'.encode()
    client.post(
        "/v1/ops/imports?mapping=hostile", content=rows, headers={"content-type": "text/csv"}
    ).raise_for_status()
    response = client.get(path)
    assert response.status_code == 200
    assert "alert(" not in "".join(re.findall(r"<script.*?</script>", response.text, re.DOTALL))
    assert "<img" not in response.text
    policy = response.headers["content-security-policy"]
    # The reference writes its colours into style elements; no page has inline scripts.
    assert "unsafe" not in policy.replace("style-src 'self' 'unsafe-inline'", "")
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("template", sorted(path.name for path in TEMPLATES.iterdir()))
def test_no_template_switches_escaping_off_or_holds_scripts_and_styles(template: str) -> None:
    source = (TEMPLATES / template).read_text(encoding="utf-8")
    assert re.search(r"\|\s*safe|autoescape|Markup|style=|<style|\son\w+=", source) is None
    inline_scripts = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", source)
    assert inline_scripts in ([], [' type="application/ld+json"'])
    load_template(template)


def test_a_name_that_the_context_lacks_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="problem"):
        render("problem.html", {"code": "not_found"})


def test_a_value_is_escaped_whatever_the_suffix_of_the_template() -> None:
    environment = rendering._environment()
    assert environment.from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"
    assert environment.undefined is jinja2.StrictUndefined


def test_the_script_of_the_docs_makes_text_nodes_only() -> None:
    script = (STATIC / "docs.js").read_text(encoding="utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|\.src\b"
    )
    assert re.search(forbidden, script) is None


def test_every_file_of_the_package_is_installed_with_it() -> None:
    pyproject = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = pyproject["tool"]["setuptools"]["package-data"]["spawn"]
    others = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    ]
    assert len(others) > 10
    assert [
        name
        for name in others
        if not any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for pattern in patterns)
    ] == []


_START = """
import asyncio, sys
from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

async def start():
    async with open_composition(Settings(storage_url="memory://", ontology_url="bundled://")):
        print(*sorted({"attr", "httpx", "jinja2", "numpy", "pyarrow", "pydantic"} & {*sys.modules}))

asyncio.run(start())
"""


def test_the_start_imports_no_library_that_only_some_requests_need() -> None:
    command = [sys.executable, "-c", _START]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_same_frame(client: httpx.Client, path: str) -> None:
    page = client.get(path).text
    assert page.startswith("<!doctype html>\n<html lang=")
    for part in ('<a class="skip" href="#main">', '<nav class="site"', "<h1>", '<main id="main">'):
        assert page.count(part) == 1, part
    for target in ("/", "/docs", "/lineage", "/problems"):
        assert f'<li><a href="{target}">' in page


async def test_a_page_that_shows_the_same_values_is_rendered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[str] = []

    def render_and_record(template: str, context: Any) -> str:
        rendered.append(context["code"])
        return render(template, context)

    monkeypatch.setattr(rendering, "render", render_and_record)
    problem = {"title": "Not found", "status": 404, "explanation": "x"}
    for code in ("a", "a", "b", "a"):
        response = await rendering.page_response("problem.html", {"code": code, "problem": problem})
        assert f"<code>{code}</code>" in response.payload.decode()
    assert rendered == ["a", "b", "a"]
