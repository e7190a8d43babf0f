"""Names of metrics in the expressions of rules and dashboards."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from tests.infra.monitoring.servers import MONITORING, list_rules, skip_or_fail

DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def list_panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each panel with queries, after the name of its dashboard."""
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            if panel["type"] != "row":
                yield file.stem, panel


def list_expressions() -> list[tuple[str, str]]:
    """Return the place and the expression of every rule and panel, without variables."""
    rules = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in list_rules()]
    for board, panel in list_panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            rules.append((f"{board}: {panel['title']}", expression))
    return rules


def find_metrics(expression: str) -> set[str]:
    """Return the names of the series that an expression selects."""
    if find_spec("promql_parser") is None:
        skip_or_fail("promql-parser is not installed (make .venv/dev.stamp)")
    import promql_parser

    names: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name, expression
            names.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return names
