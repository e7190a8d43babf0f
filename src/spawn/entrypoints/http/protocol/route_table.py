"""Which paths exist and what they answer to: for OPTIONS, Allow and route templates."""

import re
from collections.abc import Iterable
from typing import Final

from litestar import Litestar
from litestar.routes import HTTPRoute

GROUPS: Final = frozenset({"ops", "analysis", "data", "governance", "events", "jobs", "admin"})
"""First segments that mean the newest major when the version prefix is left out."""

NEWEST: Final = "/v1"
_PARAMETER: Final = re.compile(r"\{(\w+)(:\w+)?\}")


def canonical_path(path: str) -> str:
    """The path with its version prefix; aliases are resolved."""
    if path.startswith("/v1/"):
        return path
    if path == "/health":
        return "/monitoring/health"
    if path[1:].partition("/")[0] in GROUPS:
        return NEWEST + path
    return path


def plain_template(template: str) -> str:
    """A Litestar path template without its types: `/projects/{project_id}`."""
    return _PARAMETER.sub(r"{\1}", template) or "/"


class RouteTable:
    """The methods of every path, all handlers of a path together."""

    def __init__(self, routes: Iterable[tuple[str, frozenset[str]]]) -> None:
        merged: dict[str, set[str]] = {}
        for template, methods in routes:
            merged.setdefault(template, set()).update(methods)
        self._methods = {template: self._listed(found) for template, found in merged.items()}
        self._patterns = [
            (re.compile(_PARAMETER.sub("[^/]+", template)), template) for template in merged
        ]

    @classmethod
    def of(cls, app: Litestar) -> "RouteTable":
        """The table of an application."""
        return cls(
            (plain_template(route.path), frozenset(route.methods))
            for route in app.routes
            if isinstance(route, HTTPRoute)
        )

    @staticmethod
    def _listed(methods: set[str]) -> str:
        implied = {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        return ", ".join(sorted(methods | implied))

    def allowed(self, path: str) -> str:
        """The Allow header of a path; empty if nothing is there."""
        path = path.rstrip("/") or "/"
        if path in self._methods:
            return self._methods[path]
        for pattern, template in self._patterns:
            if pattern.fullmatch(path):
                return self._methods[template]
        return ""
