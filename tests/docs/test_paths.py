"""Every path and method that the documentation names is an operation of the service."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES: list[Path] = runpy.run_path(str(ROOT / "docs" / "build.py"))["list_pages"]()
SURFACE = json.loads((ROOT / "tests" / "http" / "openapi_surface.json").read_text())
OPERATIONS = [tuple(operation.split(" ", 1)) for operation in SURFACE["operations"]]
ROOTS = {path.split("/")[1] for _, path in OPERATIONS} - {""} | {"ops"}
"""First segments of paths; a code span such as `/total_amount` is a JSON Pointer."""

GROUPS = {
    "/v1",
    "/v1/analysis",
    "/v1/admin",
    "/v1/analysis/{calculator}/solve",
    "/v1/analysis/{calculator}/table",
}
"""Prefixes that the documentation names as groups of operations."""

METHODS = "GET|HEAD|POST|PUT|PATCH|DELETE"


def list_requests(text: str) -> Iterator[tuple[str, str]]:
    """Yield the method, or nothing, and the path of each request in code."""
    code = re.findall(r"`([^`\n]+)`", text)
    code += re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for snippet in code:
        for method, path in re.findall(rf"(?:\b({METHODS}) )?(…?/[\w./{{}}$-]*)", snippet):
            if (path.startswith("…") and method) or path.split("/")[1] in ROOTS:
                yield method, path


def find_operations(method: str, path: str) -> list[str]:
    """Return the operations that a documented request means."""
    prefixed = path if path.startswith("…") or not path.startswith("/ops") else f"/v1{path}"
    segments = prefixed.strip("…/").split("/")
    return [
        f"{verb} {template}"
        for verb, template in OPERATIONS
        if method in {"", "HEAD", verb} and _matches(segments, template, is_end=path[0] == "…")
    ]


def _matches(segments: list[str], template: str, *, is_end: bool) -> bool:
    parts = template.strip("/").split("/")
    if is_end:
        parts = parts[-len(segments) :]
    return len(parts) == len(segments) and all(
        part == segment or (part[:1] == "{" and segment != "")
        for part, segment in zip(parts, segments, strict=True)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_documented_request_is_an_operation(page: Path) -> None:
    requests = [pair for pair in list_requests(page.read_text()) if pair[1] not in GROUPS]
    assert [pair for pair in requests if not find_operations(*pair)] == []


def test_requests_are_found_in_spans_and_blocks() -> None:
    text = "`GET /v1/events?after=1` `/total_amount`\n```sh\ncurl http://h:1/lineage/graph\n```\n"
    assert list(list_requests(text)) == [("GET", "/v1/events"), ("", "/lineage/graph")]
    assert find_operations("GET", "/v1/events")
    assert find_operations("POST", "…/candidates/{n}/approve")
    assert not find_operations("PUT", "/v1/events")
    assert not find_operations("GET", "/v1/ops/parks")
