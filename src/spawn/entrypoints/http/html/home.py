"""The product's page for people: what it is, how its data do, and where everything lies.

Plain HTML without scripts: it reads the same offline, on a phone and to a screen reader.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any, Final

import msgspec

from spawn import __version__
from spawn.application.product.dcat import dataset_of_schema_org
from spawn.application.product.event_messages import MESSAGES
from spawn.application.product.links import (
    DOCS,
    DOCUMENTS,
    HEALTH,
    LINEAGE,
    QUALITY,
    YAML,
    Place,
)
from spawn.application.product.odcs_properties import never_null
from spawn.application.product.snapshot import (
    PURPOSE,
    TITLE,
    USAGE,
    View,
    instant,
    schema_path,
)
from spawn.domain.quality.rules import Dimension, Measured, Result, Rule, Unit
from spawn.domain.schemas.core_columns import CORE_BY_NAME, SYSTEM_COLUMNS
from spawn.domain.schemas.json_schema import plain
from spawn.domain.schemas.model import Column
from spawn.entrypoints.http.html.components import code, link, section, table
from spawn.entrypoints.http.monitoring.health import Grade
from spawn.entrypoints.http.protocol.response import encode

_WORDS: Final = {Grade.OK: "Healthy", Grade.DEGRADED: "Degraded", Grade.UNAVAILABLE: "Unavailable"}
_ABSENT: Final = "—"
_SYSTEM: Final = frozenset(column.name for column in SYSTEM_COLUMNS)
_UNITS: Final = {"a": "years", "1": ""}
"""Units of UCUM that only a machine reads well."""

_APIS: Final = (
    ("/v1/ops/projects", "Projects, filtered and sorted on any column, in pages"),
    ("/v1/data/projects", "All projects as one file, lines of JSON or CSV"),
    ("/v1/events", "The event feed, from the beginning"),
    ("/v1/governance/schemas", "Schemas that rule, and those that ruled"),
    ("/v1/ops/import-mappings", "Mappings by which files are imported"),
    ("/v1/admin/tables", "The tables behind the store"),
)
_WATCH: Final = (
    (QUALITY.path, "Quality of the data, rule by rule"),
    (LINEAGE.path, "Lineage: where the projects come from, and where they went"),
    ("/monitoring/health", "Health, check by check"),
    ("/monitoring/metrics", "Metrics for Prometheus"),
    ("/monitoring/ready", "Whether requests can be served"),
    ("/problems", "Every problem the service can answer with, explained"),
)
_LARGEST_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows beside the documents' view: health, and how much there is.

    `counted` is None if it could not be counted now.
    """

    at: datetime
    grade: Grade
    checks: dict[str, dict[str, Any]]
    position: str
    counted: Measured | None


def home(view: View, now: Now) -> str:
    """The body of the page."""
    return (
        f'<a class="skip" href="#main">Skip to the content</a>{_header(view, now)}'
        f'<main id="main">{_tiles(view, now)}{_waiting(view, now)}{_quality(view, now)}'
        f"{_data(view)}{_events(view, now)}{_places()}{_start(view)}</main>{_footer(view)}"
        f'<script type="application/ld+json">{_linked_data(view)}</script>'
    )


def _linked_data(view: View) -> str:
    """The dataset for search engines; no end of a script may hide in a description."""
    return encode(dataset_of_schema_org(view)).decode().replace("<", "\\u003c")


def _header(view: View, now: Now) -> str:
    product = view.product
    who = [f"Data product {code(product.id)}", f"version {escape(view.version)}"]
    if product.owner:
        who.append(f"by {escape(product.owner)}")
    if product.contact:
        shown = product.contact.removeprefix("mailto:")
        who.append(f'<a href="{escape(product.contact)}">{escape(shown)}</a>')
    return (
        f'<header class="top"><p class="grade {now.grade.value}">{_WORDS[now.grade]}</p>'
        f"<h1>{escape(TITLE)}</h1><p>{escape(PURPOSE)}</p>"
        f'<p class="quiet">{" · ".join(who)}</p>{_navigation()}</header>'
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


def _tiles(view: View, now: Now) -> str:
    """The state of the product at a glance."""
    schema = view.schema
    found = [
        _tile("Projects", *_size(view, now)),
        _tile("Last change", *_change(now)),
        _tile("Quality", *_kept(view)),
        _tile(
            "Schema",
            f"Version {schema.version}",
            f"{code(schema.id)}, {escape(view.record.provenance.value)}, "
            f"in force since {_when(view.record.recorded_at)}",
        ),
        _tile("Health", _WORDS[now.grade], _troubles(now)),
    ]
    return f'<div class="tiles">{"".join(found)}</div>'


def _tile(name: str, value: str, more: str) -> str:
    return (
        f'<div class="tile"><h2>{escape(name)}</h2><p class="value">{escape(value)}</p>'
        f'<p class="quiet">{more}</p></div>'
    )


def _size(view: View, now: Now) -> tuple[str, str]:
    if now.counted is None:
        return _ABSENT, "cannot be counted now"
    return f"{now.counted.projects:,}", f"each with {len(view.columns)} columns and its history"


def _change(now: Now) -> tuple[str, str]:
    changed = now.counted and now.counted.changed_at
    if not changed:
        return _ABSENT, "none on record yet"
    return _ago(now.at - changed), _when(changed)


def _kept(view: View) -> tuple[str, str]:
    """How many of the promised levels are kept."""
    promised = [result for _, result in view.assessed() if result and result.passed is not None]
    if not promised or view.report is None:
        return _ABSENT, "not measured yet"
    kept = sum(bool(result.passed) for result in promised)
    return f"{kept} of {len(promised)}", f"levels kept, measured {_when(view.report.measured_at)}"


def _troubles(now: Now) -> str:
    """The checks that do not do well, or that all do."""
    bad = [name for name, check in now.checks.items() if check["status"] != Grade.OK]
    text = f"{', '.join(bad)}: see the checks" if bad else f"all {len(now.checks)} checks pass"
    return link(HEALTH.path, text)


def _waiting(view: View, now: Now) -> str:
    """Schema versions that were not adopted, if there are any: governance should look."""
    waiting = now.checks.get("schema", {}).get("waiting", ())
    if not waiting:
        return ""
    items = "".join(
        f"<li>Version {one['version']} is {escape(str(one['state']))}"
        f"{': ' + escape(str(one['reason'])) if one['reason'] else '.'}</li>"
        for one in waiting
    )
    title = "Schema versions that are not in force"
    candidates = f"/v1/governance/schemas/{view.schema.id}/candidates"
    more = f"<p>{link(candidates, 'Every change of theirs, with its verdict')}</p>"
    return f'<div class="notice" role="status"><h2>{title}</h2><ul>{items}</ul>{more}</div>'


def _data(view: View) -> str:
    schema = view.schema
    known = {rule.columns[0]: result for rule, result in view.assessed() if _completeness(rule)}
    rows = [_row(column, known.get(column.name)) for column in view.columns]
    caption = f"{len(rows)} columns of a project, with the share of projects that have a value"
    heads = ("Column", "Type", "What it is", "Filled")
    versions = link(schema_path(schema), f"{schema.id} version {schema.version}")
    text = (
        f"<p>Projects are governed by {versions}. Beside the columns each has its vehicle, "
        f"sponsors, milestones and reference, as {link(DOCS.path, 'the API')} describes.</p>"
    )
    return section("data", "Data", text, table(caption, heads, rows))


def _completeness(rule: Rule) -> bool:
    return rule.dimension is Dimension.COMPLETENESS and len(rule.columns) == 1


def _row(column: Column, result: Result | None) -> Sequence[str]:
    marks = [
        ("governed", column.name not in CORE_BY_NAME and column.name not in _SYSTEM),
        ("required", never_null(column)),
        ("deprecated", column.deprecated),
    ]
    shown = "".join(f' <span class="mark {name}">{name}</span>' for name, is_so in marks if is_so)
    about = escape(column.description)
    unit = _UNITS.get(column.unit or "", column.unit or "")
    kind = f'<code class="type">{escape(str(column.type))}</code> <span>{escape(unit)}</span>'
    if column.announced_sunset is not None:
        about += f" Served until {column.announced_sunset.isoformat()}."
    return code(column.name) + shown, kind, about, _meter(column, result)


def _meter(column: Column, result: Result | None) -> str:
    """The share of projects with a value, as a number and a bar."""
    value = result.value if result is not None else None
    if value is None:
        return '<span class="quiet">always</span>' if column.name in _SYSTEM else _ABSENT
    # A share that is not whole is never shown as whole.
    percent = f"{int(value * 1000) / 10:g} %"
    return f'<meter min="0" max="1" value="{value:.4f}">{percent}</meter> {percent}'


def _quality(view: View, now: Now) -> str:
    rows = list(_dimensions(view))
    heads = ("Dimension", "Promised", "Kept", "Least found")
    caption = "What is promised of the data, by dimension, and what was found"
    parts = [table(caption, heads, rows), *_ages(view), *_broken(view)]
    if view.report is None:
        parts.append("<p>Nothing has been measured yet.</p>")
    else:
        run = f"{view.report.projects:,} projects at position {code(view.report.position)}"
        parts.append(
            f'<p class="quiet">Measured {_ago(now.at - view.report.measured_at)}, over {run}. '
            f"Every rule with its counts: {link('/v1/governance/quality', 'the measurement')}.</p>"
        )
    return section("quality", "Quality and service levels", *parts)


def _dimensions(view: View) -> Iterator[Sequence[str]]:
    """A row for each dimension of shares in which something is promised."""
    for dimension in Dimension:
        pairs = [
            (rule, result)
            for rule, result in view.assessed()
            if rule.dimension is dimension
            and rule.unit is Unit.SHARE
            and rule.threshold is not None
        ]
        if not pairs:
            continue
        judged = [result for _, result in pairs if result is not None and result.passed is not None]
        values = [result.value for result in judged if result.value is not None]
        kept = f"{sum(bool(r.passed) for r in judged)} of {len(judged)}" if judged else _ABSENT
        least = f"{int(min(values) * 10_000) / 100:g} %" if values else _ABSENT
        rules = "1 rule" if len(pairs) == 1 else f"{len(pairs)} rules"
        yield dimension.value.capitalize(), rules, kept, least


def _ages(view: View) -> Iterator[str]:
    """How fresh the data are, beside what is promised."""
    rows = [_age(rule, result) for rule, result in view.assessed() if rule.unit is Unit.SECONDS]
    if rows:
        yield table("How fresh the data are", ("Age", "Promised", "Found", "Kept"), rows)


def _age(rule: Rule, result: Result | None) -> Sequence[str]:
    promised = "nothing promised"
    if rule.threshold is not None:
        promised = f"at most {_span(float(rule.threshold))}"
    found = _ABSENT if result is None or result.value is None else _span(result.value)
    kept = {None: _ABSENT, True: "yes", False: "no"}[result.passed if result else None]
    return escape(rule.description), promised, found, kept


def _broken(view: View) -> Iterator[str]:
    """The promises that do not hold, in words."""
    items = [
        f"<li>{escape(rule.description)} {_counted(result)}</li>"
        for rule, result in view.assessed()
        if result is not None and result.passed is False
    ]
    if items:
        title = "Not kept at the moment"
        yield f'<div class="notice"><h3>{title}</h3><ul>{"".join(items)}</ul></div>'


def _counted(result: Result) -> str:
    if result.met is None or result.checked is None:
        return ""
    promised = result.rule.threshold
    least = "" if promised is None else f", of {plain(promised * 100):g} % promised"
    return f"It holds for {result.met:,} of {result.checked:,}{least}."


def _events(view: View, now: Now) -> str:
    rows = [(code(told.type), escape(told.text)) for told in MESSAGES.values()]
    base = escape(view.product.base_url)
    return section(
        "events",
        "Events",
        f"<p>Every change is an event in the journal, which stands at {code(now.position)}. "
        "Pull them in pages: keep the <code>next</code> of one and ask again with it. Or follow "
        f"them as they happen.{_publishing(view)}</p>",
        f"<pre>curl -s {base}/v1/events?limit=10\ncurl --no-buffer {base}/v1/events/stream</pre>",
        table("What is told", ("Type", "When"), rows),
    )


def _publishing(view: View) -> str:
    """Where events are sent beside, if anywhere."""
    product = view.product
    posted = " They are posted to webhooks, too." if product.webhooks else ""
    subjects = "".join(
        f" They are published to NATS at {code(broker.host)}, below {code(broker.prefix)}."
        for broker in product.brokers
    )
    return posted + subjects


def _places() -> str:
    documents = [
        (link(_shown_by_browsers(p), p.title), code(p.path), escape(p.standard)) for p in DOCUMENTS
    ]
    heads = ("Document", "Address", "Standard")
    return section(
        "places",
        "Where everything lies",
        table("For programs, always as the schema in force has it", heads, documents),
        _listed("The API", ((DOCS.path, "The whole API, documented"), *_APIS)),
        _listed("To watch it", _WATCH),
    )


def _shown_by_browsers(place: Place) -> str:
    """The address at which a browser shows a document: YAML it would only store."""
    return f"{place.path}?format=json" if place.media_type == YAML else place.path


def _listed(title: str, places: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<li>{link(path, text)} {code(path)}</li>" for path, text in places)
    return f'<h3>{escape(title)}</h3><ul class="places">{items}</ul>'


def _start(view: View) -> str:
    base = escape(view.product.base_url)
    return section(
        "start",
        "First steps",
        f"<p>{escape(USAGE)}</p>",
        f'<pre>curl -s "{base}/v1/ops/projects?sort=-total_amount&amp;limit=5"\n'
        f"curl -s {base}/contract &gt; projects.odcs.yaml</pre>",
    )


def _footer(view: View) -> str:
    return (
        f'<footer class="quiet">Spawn {escape(__version__)} · contract '
        f"{code(view.product.contract_id)} · {escape(view.product.environment)}</footer>"
    )


def _when(moment: datetime) -> str:
    shown = moment.strftime("%Y-%m-%d %H:%M UTC")
    return f'<time datetime="{instant(moment)}">{shown}</time>'


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    return "just now" if seconds < 1 else f"{_span(seconds)} ago"


def _span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for size, unit in _LARGEST_UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a second"
