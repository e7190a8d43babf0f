"""HTML product page: purpose, quality, columns, events, documents and APIs.

It is plain HTML without scripts, so it works offline, on a phone and with a screen reader.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

import msgspec

from spawn import __version__
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
    format_instant,
    schema_path,
)
from spawn.domain.quality.measures import Measurement
from spawn.domain.quality.report import RuleResult
from spawn.domain.quality.rules import Dimension, MeasureUnit, QualityRule
from spawn.domain.schema_version import Column
from spawn.domain.schemas.core_columns import CORE_BY_NAME, SYSTEM_COLUMNS
from spawn.domain.schemas.json_schema import to_json_literal
from spawn.entrypoints.http.health import HealthStatus
from spawn.entrypoints.http.html.elements import code, link, section, table
from spawn.entrypoints.http.protocol.response import encode_json

_STATUS_LABELS: Final = {
    HealthStatus.OK: "Healthy",
    HealthStatus.DEGRADED: "Degraded",
    HealthStatus.UNAVAILABLE: "Unavailable",
}
_ABSENT: Final = "—"
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
_TIME_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Current health and counts; `measurement` is None if counting took too long."""

    now: datetime
    health: HealthStatus
    checks: Mapping[str, Mapping[str, Any]]
    position: str
    measurement: Measurement | None


def render_home(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    """Return the body of the page."""
    sections = (
        _tiles(snapshot, status),
        _waiting_versions(snapshot, status),
        _quality_section(snapshot, status),
        _columns_section(snapshot),
        _events_section(snapshot, status),
        _documents(),
        _first_steps(snapshot),
    )
    return (
        f'<a class="skip" href="#main">Skip to the content</a>{_header(snapshot, status)}'
        f'<main id="main">{"".join(sections)}</main>{_footer(snapshot)}'
        f'<script type="application/ld+json">{_json_ld(snapshot)}</script>'
    )


def _json_ld(snapshot: ProductSnapshot) -> str:
    """Return the dataset as JSON-LD, escaped so that no text can end the script element."""
    return encode_json(build_schema_org_dataset(snapshot)).decode().replace("<", "\\u003c")


def _header(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    product = snapshot.product
    identity = [f"Data product {code(product.id)}", f"version {escape(snapshot.version)}"]
    if product.owner:
        identity.append(f"by {escape(product.owner)}")
    if product.contact:
        address = product.contact.removeprefix("mailto:")
        identity.append(f'<a href="{escape(product.contact)}">{escape(address)}</a>')
    health = f'<p class="grade {status.health.value}">{_STATUS_LABELS[status.health]}</p>'
    return (
        f'<header class="top">{health}<h1>{escape(TITLE)}</h1><p>{escape(PURPOSE)}</p>'
        f'<p class="quiet">{" · ".join(identity)}</p>{_navigation()}</header>'
    )


def _navigation() -> str:
    parts = (
        ("quality", "Quality"),
        ("data", "Data"),
        ("events", "Events"),
        ("places", "Documents and APIs"),
        ("start", "First steps"),
    )
    links = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for anchor, name in parts)
    return f'<nav aria-label="On this page"><ul>{links}</ul></nav>'


def _tiles(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    """Return tiles with the product's key figures."""
    schema = snapshot.schema
    tiles = [
        _tile("Projects", *_project_count(snapshot, status)),
        _tile("Last change", *_last_change(status)),
        _tile("Quality", *_levels_met(snapshot)),
        _tile(
            "Schema",
            f"Version {schema.version}",
            f"{code(schema.id)}, {escape(snapshot.record.provenance.value)}, "
            f"active since {_format_time(snapshot.record.recorded_at)}",
        ),
        _tile("Health", _STATUS_LABELS[status.health], _health_link(status)),
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(name: str, value: str, details: str) -> str:
    return (
        f'<div class="tile"><h2>{escape(name)}</h2><p class="value">{escape(value)}</p>'
        f'<p class="quiet">{details}</p></div>'
    )


def _project_count(snapshot: ProductSnapshot, status: LiveStatus) -> tuple[str, str]:
    if status.measurement is None:
        return _ABSENT, "the count took too long"
    return (
        f"{status.measurement.projects:,}",
        f"each with {len(snapshot.columns)} columns and its history",
    )


def _last_change(status: LiveStatus) -> tuple[str, str]:
    changed_at = status.measurement and status.measurement.changed_at
    if not changed_at:
        return _ABSENT, "no changes yet"
    return _format_age(status.now - changed_at), _format_time(changed_at)


def _levels_met(snapshot: ProductSnapshot) -> tuple[str, str]:
    """Return how many of the service levels are met."""
    results = [
        result
        for _, result in snapshot.rules_with_results()
        if result and result.passed is not None
    ]
    if not results or snapshot.report is None:
        return _ABSENT, "not measured yet"
    met = sum(bool(result.passed) for result in results)
    return (
        f"{met} of {len(results)}",
        f"service levels met, measured {_format_time(snapshot.report.measured_at)}",
    )


def _health_link(status: LiveStatus) -> str:
    """Return a link to the health checks that names those that fail."""
    failing = [name for name, check in status.checks.items() if check["status"] != HealthStatus.OK]
    text = f"all {len(status.checks)} checks pass"
    if failing:
        text = f"{', '.join(failing)}: see the checks"
    return link(HEALTH.path, text)


def _waiting_versions(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    """Return a notice of the schema versions that wait for a decision, or nothing."""
    waiting = status.checks.get("schema", {}).get("waiting", ())
    if not waiting:
        return ""
    items = "".join(
        f"<li>Version {version['version']} is {escape(str(version['state']))}"
        f"{': ' + escape(str(version['reason'])) if version['reason'] else '.'}</li>"
        for version in waiting
    )
    title = "Schema versions that were not adopted"
    candidates_path = f"/v1/governance/schemas/{snapshot.schema.id}/candidates"
    candidates = f"<p>{link(candidates_path, 'Review their changes')}</p>"
    return f'<div class="notice" role="status"><h2>{title}</h2><ul>{items}</ul>{candidates}</div>'


def _columns_section(snapshot: ProductSnapshot) -> str:
    schema = snapshot.schema
    results = {
        rule.columns[0]: result
        for rule, result in snapshot.rules_with_results()
        if _is_column_completeness(rule)
    }
    rows = [_column_row(column, results.get(column.name)) for column in snapshot.columns]
    caption = f"{len(rows)} columns of a project, and the share of projects with a value"
    headers = ("Column", "Type", "Description", "Filled")
    version = link(schema_path(schema), f"{schema.id} version {schema.version}")
    text = (
        f"<p>The active schema is {version}. Projects also have an SPV, sponsors, milestones and "
        f"an external reference: see {link(DOCS.path, 'the API documentation')}.</p>"
    )
    return section("data", "Data", text, table(caption, headers, rows))


def _is_column_completeness(rule: QualityRule) -> bool:
    return rule.dimension is Dimension.COMPLETENESS and len(rule.columns) == 1


def _column_row(column: Column, result: RuleResult | None) -> Sequence[str]:
    marks = [
        ("governed", column.name not in CORE_BY_NAME and column.name not in _SYSTEM_NAMES),
        ("required", is_never_null(column)),
        ("deprecated", column.deprecated),
    ]
    badges = "".join(
        f' <span class="mark {name}">{name}</span>' for name, is_set in marks if is_set
    )
    description = escape(column.description)
    unit = _UNIT_LABELS.get(column.unit or "", column.unit or "")
    kind = f'<code class="type">{escape(str(column.type))}</code> <span>{escape(unit)}</span>'
    if column.announced_sunset is not None:
        description += f" Served until {column.announced_sunset.isoformat()}."
    return code(column.name) + badges, kind, description, _fill_meter(column, result)


def _fill_meter(column: Column, result: RuleResult | None) -> str:
    """Return the share of projects with a value, as a number and a bar."""
    value = result.value if result is not None else None
    if value is None:
        return '<span class="quiet">always</span>' if column.name in _SYSTEM_NAMES else _ABSENT
    # Rounded down: only a full share may read 100 %.
    percent = f"{int(value * 1000) / 10:g} %"
    return f'<meter min="0" max="1" value="{value:.4f}">{percent}</meter> {percent}'


def _quality_section(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    rows = list(_dimension_rows(snapshot))
    headers = ("Dimension", "Rules", "Met", "Lowest share")
    caption = "Quality rules with a threshold, by dimension, and the last measurement"
    parts = [table(caption, headers, rows), *_freshness_table(snapshot), *_broken_levels(snapshot)]
    if snapshot.report is None:
        parts.append("<p>Quality has not been measured yet.</p>")
    else:
        age = _format_age(status.now - snapshot.report.measured_at)
        scope = (
            f"{snapshot.report.projects:,} projects at position {code(snapshot.report.position)}"
        )
        report = link("/v1/governance/quality", "quality report")
        parts.append(
            f'<p class="quiet">Measured {age}, over {scope}. The {report} has every rule with its '
            "counts.</p>"
        )
    return section("quality", "Quality and service levels", *parts)


def _dimension_rows(snapshot: ProductSnapshot) -> Iterator[Sequence[str]]:
    """Yield a row for each dimension that has share rules with a threshold."""
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
        results = [
            result for _, result in pairs if result is not None and result.passed is not None
        ]
        values = [result.value for result in results if result.value is not None]
        met = f"{sum(bool(r.passed) for r in results)} of {len(results)}" if results else _ABSENT
        lowest = f"{int(min(values) * 10_000) / 100:g} %" if values else _ABSENT
        rules = "1 rule" if len(pairs) == 1 else f"{len(pairs)} rules"
        yield dimension.value.capitalize(), rules, met, lowest


def _freshness_table(snapshot: ProductSnapshot) -> Iterator[str]:
    """Yield the table of the data's ages and their limits, if there are any."""
    rows = [
        _freshness_row(rule, result)
        for rule, result in snapshot.rules_with_results()
        if rule.unit is MeasureUnit.SECONDS
    ]
    if rows:
        yield table("Freshness of the data", ("Age", "Limit", "Measured", "Met"), rows)


def _freshness_row(rule: QualityRule, result: RuleResult | None) -> Sequence[str]:
    limit = "no limit"
    if rule.threshold is not None:
        limit = f"at most {_format_duration(float(rule.threshold))}"
    age = _ABSENT if result is None or result.value is None else _format_duration(result.value)
    met = {None: _ABSENT, True: "yes", False: "no"}[result.passed if result else None]
    return escape(rule.description), limit, age, met


def _broken_levels(snapshot: ProductSnapshot) -> Iterator[str]:
    """Yield a notice of the service levels that are not met, if there are any."""
    items = [
        f"<li>{escape(rule.description)} {_describe_counts(result)}</li>"
        for rule, result in snapshot.rules_with_results()
        if result is not None and result.passed is False
    ]
    if items:
        title = "Service levels not met"
        yield f'<div class="notice"><h3>{title}</h3><ul>{"".join(items)}</ul></div>'


def _describe_counts(result: RuleResult) -> str:
    if result.met is None or result.checked is None:
        return ""
    threshold = result.rule.threshold
    required = "" if threshold is None else f"; {to_json_literal(threshold * 100):g} % required"
    return f"True for {result.met:,} of {result.checked:,}{required}."


def _events_section(snapshot: ProductSnapshot, status: LiveStatus) -> str:
    rows = [(code(event.type), escape(event.description)) for event in EVENTS_BY_MESSAGE.values()]
    base = escape(snapshot.product.base_url)
    return section(
        "events",
        "Events",
        f"<p>Every change is an event in the journal, now at position {code(status.position)}. "
        "Read the events in pages: request the next page with the <code>next</code> of the last. "
        f"Or stream them as they happen.{_describe_publishers(snapshot)}</p>",
        f"<pre>curl -s {base}/v1/events?limit=10\ncurl --no-buffer {base}/v1/events/stream</pre>",
        table("Event types", ("Type", "When"), rows),
    )


def _describe_publishers(snapshot: ProductSnapshot) -> str:
    """Describe the configured publishers in sentences; empty without any."""
    product = snapshot.product
    webhooks = " They are also posted to webhooks." if product.webhooks else ""
    brokers = "".join(
        f" They are also published to NATS at {code(broker.host)}, under {code(broker.prefix)}."
        for broker in product.brokers
    )
    return webhooks + brokers


def _documents() -> str:
    documents = [
        (
            link(_browser_path(document), document.title),
            code(document.path),
            escape(document.standard),
        )
        for document in DOCUMENTS
    ]
    headers = ("Document", "Path", "Standard")
    return section(
        "places",
        "Documents and APIs",
        table("Machine-readable documents, generated from the active schema", headers, documents),
        _link_list("API", ((DOCS.path, "API documentation"), *_APIS)),
        _link_list("Monitoring", _MONITORING),
    )


def _browser_path(endpoint: Endpoint) -> str:
    """Return the path at which a browser displays a document; it would only download YAML."""
    return f"{endpoint.path}?format=json" if endpoint.media_type == YAML else endpoint.path


def _link_list(title: str, links: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li>{link(path, text)} {code(path)}</li>" for path, text in links)
    return f'<h3>{escape(title)}</h3><ul class="places">{items}</ul>'


def _first_steps(snapshot: ProductSnapshot) -> str:
    base = escape(snapshot.product.base_url)
    return section(
        "start",
        "First steps",
        f"<p>{escape(USAGE)}</p>",
        f'<pre>curl -s "{base}/v1/ops/projects?sort=-total_amount&amp;limit=5"\n'
        f"curl -s {base}/contract &gt; projects.odcs.yaml</pre>",
    )


def _footer(snapshot: ProductSnapshot) -> str:
    return (
        f'<footer class="quiet">Spawn {escape(__version__)} · contract '
        f"{code(snapshot.product.contract_id)} · {escape(snapshot.product.environment)}</footer>"
    )


def _format_time(moment: datetime) -> str:
    text = moment.strftime("%Y-%m-%d %H:%M UTC")
    return f'<time datetime="{format_instant(moment)}">{text}</time>'


def _format_age(age: timedelta) -> str:
    seconds = age.total_seconds()
    return "just now" if seconds < 1 else f"{_format_duration(seconds)} ago"


def _format_duration(seconds: float) -> str:
    """Format a duration in its largest whole unit."""
    for size, unit in _TIME_UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a second"
