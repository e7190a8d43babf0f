"""The paths of the application and their methods, for OPTIONS, Allow and route templates."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Final

ALIASED_SEGMENTS: Final = frozenset(
    {"ops", "analysis", "data", "governance", "events", "jobs", "admin"}
)
"""First segments that address the newest major version without a version prefix."""

NEWEST_PREFIX: Final = "/v1"
_PARAMETER: Final = re.compile(r"\{(\w+)(:\w+)?\}")


def canonical_path(path: str) -> str:
    """Return the path with its version prefix; aliases are resolved."""
    if path.startswith("/v1/"):
        return path
    if path == "/health":
        return "/monitoring/health"
    if path[1:].partition("/")[0] in ALIASED_SEGMENTS:
        return NEWEST_PREFIX + path
    return path


def plain_template(template: str) -> str:
    """Return a Litestar path template without its types: `/projects/{project_id}`."""
    return _PARAMETER.sub(r"{\1}", template) or "/"


class RouteTable:
    """The methods of every path, from the method and template of each route."""

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        merged: dict[str, set[str]] = {}
        for method, template in routes:
            merged.setdefault(template, set()).add(method)
        self._methods = {
            template: self._format_allow(methods) for template, methods in merged.items()
        }

    @staticmethod
    def _format_allow(methods: set[str]) -> str:
        implied = {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        return ", ".join(sorted(methods | implied))

    def allowed_methods(self, path: str) -> str:
        """Return the Allow header of a path; empty if the path has no route."""
        path = path.rstrip("/") or "/"
        if path in self._methods:
            return self._methods[path]
        for pattern, template in self._patterns:
            if pattern.fullmatch(path):
                return self._methods[template]
        return ""

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Patterns of the templates with parameters, compiled for the first path that needs one."""
        return [
            (re.compile(_PARAMETER.sub("[^/]+", template)), template)
            for template in self._methods
            if "{" in template
        ]
