"""HTML product page: purpose, quality, columns, events, documents and APIs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn import __version__
from spawn.application.health import HealthStatus
from spawn.application.product.dcat import build_schema_org_dataset
from spawn.application.product.event_messages import EVENTS_BY_MESSAGE
from spawn.application.product.links import (
    DOCS,
    DOCUMENTS,
    HEALTH,
    LINEAGE,
    QUALITY,
)
from spawn.application.product.overview import (
    describe_level,
    summarize_columns,
    summarize_dimensions,
    summarize_freshness,
)
from spawn.application.product.snapshot import (
    PURPOSE,
    TITLE,
    USAGE,
    ProductSnapshot,
    schema_path,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.quality.measures import Measurement
from spawn.entrypoints.http.html.rendering import format_age, render

TEMPLATE: Final = "home.html"
_STATUS_LABELS: Final = {
    HealthStatus.OK: "Healthy",
    HealthStatus.DEGRADED: "Degraded",
    HealthStatus.UNAVAILABLE: "Unavailable",
}
_APIS: Final = (
    ("/v1/ops/projects", "Projects, filtered and sorted on any column, in pages"),
    ("/v1/data/projects", "All projects as one file, JSON lines or CSV"),
    ("/v1/events", "Event feed, from the beginning"),
    ("/v1/governance/schemas", "Active schema and its earlier versions"),
    ("/v1/ops/import-mappings", "Import mappings"),
    ("/v1/admin/tables", "Tables of the store"),
)
_FINANCE_READERS: Final = frozenset({Scope.FINANCE_READ, Scope.FINANCE_WRITE})
_PAGES: Final = (
    ("/pages/portfolios", "Portfolios, each with its projects", _FINANCE_READERS),
    (
        "/pages/approvals",
        "Commands that wait for your decision",
        frozenset({Scope.APPROVALS_DECIDE}),
    ),
)
_MONITORING: Final = (
    (QUALITY.path, "Data quality, rule by rule"),
    (LINEAGE.path, "Data lineage: sources and targets of the projects"),
    ("/monitoring/health", "Health checks"),
    ("/monitoring/metrics", "Prometheus metrics"),
    ("/monitoring/ready", "Readiness to serve requests"),
    ("/problems", "Error types, explained"),
)


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Current health and counts; `measurement` is None if counting took too long."""

    now: datetime
    health: HealthStatus
    checks: Mapping[str, Mapping[str, Any]]
    position: str
    measurement: Measurement | None


def list_pages(principal: Principal) -> tuple[tuple[str, str], ...]:
    """Return the path and the text of each page that a principal may read."""
    if principal.row_scope is not None:
        return ()
    return tuple(
        (path, text) for path, text, scopes in _PAGES if not principal.scopes.isdisjoint(scopes)
    )


def render_home(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    """Return the page."""
    return render(TEMPLATE, build_home(snapshot, status))


def build_home(
    snapshot: ProductSnapshot, status: LiveStatus, pages: Sequence[tuple[str, str]] = ()
) -> dict[str, object]:
    """Return the context of the page's template; `pages` are those that the caller may read."""
    measurement, report = status.measurement, snapshot.report
    changed_at = measurement.changed_at if measurement is not None else None
    results = [result for _, result in snapshot.rules_with_results() if result is not None]
    return {
        "title": TITLE,
        "purpose": PURPOSE,
        "usage": USAGE,
        "package_version": __version__,
        "snapshot": snapshot,
        "product": snapshot.product,
        "contact_address": snapshot.product.contact.removeprefix("mailto:"),
        "schema": snapshot.schema,
        "schema_path": schema_path(snapshot.schema),
        "record": snapshot.record,
        "report": report,
        "position": status.position,
        "health": status.health.value,
        "health_label": _STATUS_LABELS[status.health],
        "checks": len(status.checks),
        "health_path": HEALTH.path,
        "failing_checks": [
            name for name, check in status.checks.items() if check["status"] != HealthStatus.OK
        ],
        "projects": measurement.states if measurement is not None else None,
        "changed_at": changed_at,
        "change_age": changed_at and format_age(status.now - changed_at),
        "measurement_age": report and format_age(status.now - report.measured_at),
        "levels": [result.passed for result in results if result.passed is not None],
        "waiting": status.checks.get("schema", {}).get("waiting", ()),
        "dimensions": list(summarize_dimensions(snapshot)),
        "freshness": list(summarize_freshness(snapshot)),
        "broken_levels": [describe_level(r) for r in results if r.passed is False],
        "table_columns": list(summarize_columns(snapshot)),
        "events": list(EVENTS_BY_MESSAGE.values()),
        "documents": DOCUMENTS,
        "docs_path": DOCS.path,
        "apis": ((DOCS.path, "API documentation"), *_APIS),
        "pages": pages,
        "monitoring": _MONITORING,
        "json_ld": build_schema_org_dataset(snapshot),
    }
