"""HTML product page: purpose, quality, columns, events, documents and APIs."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
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
    YAML,
    Endpoint,
)
from spawn.application.product.odcs_properties import is_never_null
from spawn.application.product.snapshot import (
    PURPOSE,
    TITLE,
    USAGE,
    ProductSnapshot,
    schema_path,
)
from spawn.domain.quality.measures import Measurement
from spawn.domain.quality.report import RuleResult
from spawn.domain.quality.rules import Dimension, MeasureUnit, QualityRule
from spawn.domain.schemas.core_columns import CORE_BY_NAME, SYSTEM_COLUMNS
from spawn.domain.schemas.json_schema import to_json_literal
from spawn.entrypoints.http.html.rendering import format_age, render

TEMPLATE: Final = "home.html"
_STATUS_LABELS: Final = {
    HealthStatus.OK: "Healthy",
    HealthStatus.DEGRADED: "Degraded",
    HealthStatus.UNAVAILABLE: "Unavailable",
}
_SYSTEM_NAMES: Final = frozenset(column.name for column in SYSTEM_COLUMNS)
_UNIT_LABELS: Final = {"a": "years", "1": ""}
"""Readable labels of UCUM unit codes."""

_APIS: Final = (
    ("/v1/ops/projects", "Projects, filtered and sorted on any column, in pages"),
    ("/v1/data/projects", "All projects as one file, JSON lines or CSV"),
    ("/v1/events", "Event feed, from the beginning"),
    ("/v1/governance/schemas", "Active schema and its earlier versions"),
    ("/v1/ops/import-mappings", "Import mappings"),
    ("/v1/admin/tables", "Tables of the store"),
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


class DimensionSummary(msgspec.Struct, frozen=True):
    """Share rules of one dimension: their number, the results and those met, the lowest."""

    name: str
    rules: int
    met: int
    results: int
    lowest: float | None


class FreshnessSummary(msgspec.Struct, frozen=True):
    """A freshness rule: its limit and the measured age, in seconds, if there are any."""

    description: str
    limit_s: float | None
    age_s: float | None
    is_met: bool | None


class BrokenLevel(msgspec.Struct, frozen=True):
    """A service level that is not met; `met` of so many `projects` follow it."""

    description: str
    met: int | None
    projects: int | None
    required_percent: str | None


class ColumnSummary(msgspec.Struct, frozen=True):
    """A column of a project; `share` is that of the projects with a value, if measured."""

    name: str
    marks: tuple[str, ...]
    type: str
    unit: str
    description: str
    sunset: date | None
    share: float | None
    is_system: bool


class DocumentLink(msgspec.Struct, frozen=True):
    """A document and the path at which a browser displays it."""

    title: str
    path: str
    browser_path: str
    standard: str


def render_home(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    """Return the page."""
    return render(TEMPLATE, build_home(snapshot, status))


def build_home(snapshot: ProductSnapshot, status: LiveStatus) -> dict[str, object]:
    """Return the context of the page's template."""
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
        "projects": measurement.projects if measurement is not None else None,
        "changed_at": changed_at,
        "change_age": changed_at and format_age(status.now - changed_at),
        "measurement_age": report and format_age(status.now - report.measured_at),
        "levels": [result.passed for result in results if result.passed is not None],
        "waiting": status.checks.get("schema", {}).get("waiting", ()),
        "dimensions": list(_summarize_dimensions(snapshot)),
        "freshness": list(_summarize_freshness(snapshot)),
        "broken_levels": [_describe_level(r) for r in results if r.passed is False],
        "table_columns": list(_summarize_columns(snapshot)),
        "events": list(EVENTS_BY_MESSAGE.values()),
        "documents": [_link_document(document) for document in DOCUMENTS],
        "docs_path": DOCS.path,
        "apis": ((DOCS.path, "API documentation"), *_APIS),
        "monitoring": _MONITORING,
        "json_ld": build_schema_org_dataset(snapshot),
    }


def _summarize_dimensions(snapshot: ProductSnapshot) -> Iterator[DimensionSummary]:
    """Yield each dimension that has share rules with a threshold."""
    for dimension in Dimension:
        pairs = [
            (rule, result)
            for rule, result in snapshot.rules_with_results()
            if rule.dimension is dimension
            and rule.unit is MeasureUnit.SHARE
            and rule.threshold is not None
        ]
        if not pairs:
            continue
        results = [result for _, result in pairs if result and result.passed is not None]
        values = [result.value for result in results if result.value is not None]
        yield DimensionSummary(
            name=dimension.value.capitalize(),
            rules=len(pairs),
            met=sum(bool(result.passed) for result in results),
            results=len(results),
            lowest=min(values, default=None),
        )


def _summarize_freshness(snapshot: ProductSnapshot) -> Iterator[FreshnessSummary]:
    for rule, result in snapshot.rules_with_results():
        if rule.unit is MeasureUnit.SECONDS:
            yield FreshnessSummary(
                description=rule.description,
                limit_s=None if rule.threshold is None else float(rule.threshold),
                age_s=None if result is None else result.value,
                is_met=None if result is None else result.passed,
            )


def _describe_level(result: RuleResult) -> BrokenLevel:
    threshold = result.rule.threshold
    return BrokenLevel(
        description=result.rule.description,
        met=result.met,
        projects=None if result.met is None else result.checked,
        required_percent=None if threshold is None else f"{to_json_literal(threshold * 100):g}",
    )


def _summarize_columns(snapshot: ProductSnapshot) -> Iterator[ColumnSummary]:
    results = {
        rule.columns[0]: result
        for rule, result in snapshot.rules_with_results()
        if _is_column_completeness(rule)
    }
    for column in snapshot.columns:
        result, is_system = results.get(column.name), column.name in _SYSTEM_NAMES
        marks = {
            "governed": column.name not in CORE_BY_NAME and not is_system,
            "required": is_never_null(column),
            "deprecated": column.deprecated,
        }
        yield ColumnSummary(
            name=column.name,
            marks=tuple(name for name, is_set in marks.items() if is_set),
            type=str(column.type),
            unit=_UNIT_LABELS.get(column.unit or "", column.unit or ""),
            description=column.description,
            sunset=column.announced_sunset,
            share=None if result is None else result.value,
            is_system=is_system,
        )


def _is_column_completeness(rule: QualityRule) -> bool:
    return rule.dimension is Dimension.COMPLETENESS and len(rule.columns) == 1


def _link_document(document: Endpoint) -> DocumentLink:
    """Return the link of a document; a browser displays JSON and would only download YAML."""
    browser_path = document.path
    if document.media_type == YAML:
        browser_path += "?format=json"
    return DocumentLink(document.title, document.path, browser_path, document.standard)
