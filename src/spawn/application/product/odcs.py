"""The data contract, by the Open Data Contract Standard 3.2.0."""

from collections.abc import Iterable
from typing import Final

from spawn import __version__
from spawn.application.product.links import (
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    LINEAGE,
    OPENAPI,
    OUTPUTS,
)
from spawn.application.product.odcs_properties import (
    column_property,
    retired_property,
    structural_properties,
)
from spawn.application.product.snapshot import (
    DATASET,
    DOMAIN,
    LIMITATIONS,
    PURPOSE,
    TITLE,
    USAGE,
    Json,
    Product,
    View,
    instant,
    properties,
    stated,
)
from spawn.domain.quality.rules import Dimension, Result, Rule, Unit
from spawn.domain.schemas.core_columns import STRUCTURE
from spawn.domain.schemas.json_schema import plain
from spawn.domain.schemas.validator import compile_schema

_DIMENSIONS: Final[dict[Dimension, str]] = {
    Dimension.COMPLETENESS: "completeness",
    Dimension.VALIDITY: "conformity",
    Dimension.UNIQUENESS: "uniqueness",
    Dimension.FRESHNESS: "timeliness",
    Dimension.CONSISTENCY: "consistency",
}
_METRICS: Final[dict[Dimension, str]] = {
    Dimension.COMPLETENESS: "nullValues",
    Dimension.UNIQUENESS: "duplicateValues",
}
"""The dimensions whose promise on one column is a metric of the standard's library."""


def data_contract(view: View) -> Json:
    """The whole contract."""
    product = view.product
    return stated(
        {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": product.contract_id,
            "name": f"{TITLE}: {DATASET}",
            "version": view.version,
            "status": "active",
            "domain": DOMAIN,
            # Superseded in the standard by the contractId of an output port; tools still show it.
            "dataProduct": product.id,
            "description": {"purpose": PURPOSE, "usage": USAGE, "limitations": LIMITATIONS},
            "tags": [DOMAIN, view.schema.id],
            "authoritativeDefinitions": _definitions(view),
            "servers": _servers(product),
            "schema": [_dataset(view)],
            "slaProperties": [*_levels(view), *_endings(view)],
            "support": support(product),
            "team": {"name": product.owner} if product.owner else None,
            "roles": _ROLES,
            "customProperties": _customs(view),
            "contractCreatedTs": instant(view.record.recorded_at),
        }
    )


_ROLES: Final = [
    {"role": "read", "access": "read", "description": "Every query, the feed and exports."},
    {"role": "write", "access": "write", "description": "Every command and import."},
]


def support(product: Product) -> list[Json]:
    """Where those who answer for the product are reached; nothing if nobody is declared."""
    if not product.contact:
        return []
    tool = "email" if product.contact.startswith("mailto:") else "other"
    return [
        {
            "channel": product.owner or "contact",
            "url": product.contact,
            "tool": tool,
            "scope": "interactive",
        }
    ]


def _definitions(view: View) -> list[Json]:
    """What else says with authority what this contract is about."""
    url = view.product.url
    return [
        {"type": "canonicalUrl", "url": url(CONTRACT.path)},
        {"type": "schema", "url": view.schema_url},
        {"type": "dataProduct", "url": url(DATA_PRODUCT.path)},
        {"type": "catalog", "url": url(CATALOG.path)},
        {"type": "ontology", "url": url(CONTEXT.path)},
        {"type": "lineage", "url": url(LINEAGE.path)},
        {"type": "implementation", "url": url(OPENAPI.path)},
    ]


def _servers(product: Product) -> list[Json]:
    """Where the data are served."""
    return [
        {
            "server": output.name,
            "type": "api",
            "environment": product.environment,
            "location": product.url(output.path),
            "description": output.text,
        }
        for output in OUTPUTS
    ]


def _dataset(view: View) -> Json:
    """Projects as a schema object, with what is promised of each column beside it."""
    by_column: dict[str, list[Json]] = {}
    of_rows: list[Json] = []
    names = {column.name for column in view.columns}
    for rule, result in view.assessed():
        if rule.unit is Unit.SECONDS:
            continue  # an age is a service level, stated there
        quality = _quality(rule, result)
        if len(rule.columns) == 1 and rule.columns[0] in names:
            by_column.setdefault(rule.columns[0], []).append(quality)
        else:
            of_rows.append(quality)
    columns = [
        stated({**column_property(column), "quality": by_column.get(column.name)})
        for column in view.columns
    ]
    served = compile_schema(view.schema).json_schema(for_input=False)
    retired = [retired_property(column) for column in view.schema.retired]
    return stated(
        {
            "id": DATASET,
            "name": DATASET,
            "physicalName": DATASET,
            "physicalType": "table",
            "logicalType": "object",
            "businessName": "Project",
            "description": view.schema.description or PURPOSE,
            "dataGranularityDescription": "One row for each project, as it stands now.",
            "authoritativeDefinitions": [{"type": "schema", "url": view.schema_url}],
            "properties": [*columns, *structural_properties(served)],
            "quality": of_rows,
            "customProperties": [{"property": "retiredColumns", "value": retired}]
            if retired
            else None,
        }
    )


def _quality(rule: Rule, result: Result | None) -> Json:
    """A rule with what was measured."""
    return stated(
        {
            "id": rule.rule_id.replace(".", "-"),
            "name": rule.rule_id,
            **_check(rule),
            "dimension": _DIMENSIONS[rule.dimension],
            "description": rule.description,
            "severity": rule.severity.value,
            "customProperties": _measured(rule, result),
        }
    )


def _check(rule: Rule) -> Json:
    """The rule as a check that tools can run on a column, or else as a text for people."""
    metric = _METRICS.get(rule.dimension)
    of_column = rule.rule_id == f"{rule.dimension}.{rule.columns[0]}" if rule.columns else False
    if metric is None or rule.threshold is None or not of_column or rule.columns[0] in STRUCTURE:
        return {"type": "text"}
    if rule.threshold == 1:
        return {"type": "library", "metric": metric, "mustBe": 0, "unit": "rows"}
    most = plain((1 - rule.threshold) * 100)
    return {"type": "library", "metric": metric, "mustBeLessOrEqualTo": most, "unit": "percent"}


def _measured(rule: Rule, result: Result | None) -> list[Json]:
    """The level promised and the value found."""
    threshold = None if rule.threshold is None else plain(rule.threshold)
    return properties({"threshold": threshold, "unit": rule.unit.value, **_found(result)})


def _found(result: Result | None) -> Json:
    """What a rule's last measurement gave."""
    if result is None:
        return {}
    return {
        "measured": result.value,
        "met": result.met,
        "checked": result.checked,
        "passed": result.passed,
        "measuredAt": instant(result.measured_at),
    }


def _levels(view: View) -> list[Json]:
    """Service levels, promised and measured: one for each dimension of shares, one for each age."""
    found: list[Json] = []
    promised = [pair for pair in view.assessed() if pair[0].threshold is not None]
    for dimension in Dimension:
        shares = [p for p in promised if p[0].dimension is dimension and p[0].unit is Unit.SHARE]
        if shares:
            found.append(_level_of_shares(dimension, shares))
    found += [_level_of_age(rule, result) for rule, result in promised if rule.unit is Unit.SECONDS]
    return found


def _level_of_shares(dimension: Dimension, pairs: list[tuple[Rule, Result | None]]) -> Json:
    """The least share that the rules of a dimension promise, and the least that was found."""
    results = [result for _, result in pairs if result is not None]
    values = [result.value for result in results if result.value is not None]
    known = {
        "rules": len(pairs),
        "measured": min(values, default=None),
        "broken": sum(result.passed is False for result in results) if results else None,
        "measuredAt": max((instant(r.measured_at) for r in results), default=None),
    }
    return {
        "id": dimension.value,
        "property": dimension.value,
        "value": plain(min(rule.threshold for rule, _ in pairs if rule.threshold is not None)),
        "unit": "share",
        "element": DATASET,
        "description": f"Every promised rule of {dimension.value} holds for at least this share.",
        "customProperties": properties(known),
    }


def _level_of_age(rule: Rule, result: Result | None) -> Json:
    return stated(
        {
            "id": rule.rule_id.replace(".", "-"),
            "property": rule.dimension.value,
            "value": None if rule.threshold is None else plain(rule.threshold),
            "unit": rule.unit.value,
            "element": DATASET,
            "description": rule.description,
            "customProperties": properties(_found(result)),
        }
    )


def _endings(view: View) -> Iterable[Json]:
    """Until when deprecated columns are served and retired ones accepted."""
    for column in view.columns:
        if column.announced_sunset is not None:
            yield _ending("endOfSupport", column.name, column.announced_sunset.isoformat())
    for retired in view.schema.retired:
        if retired.sunset is not None:
            yield _ending("endOfLife", retired.name, retired.sunset.isoformat())


def _ending(name: str, column: str, day: str) -> Json:
    return {"property": name, "value": day, "element": f"{DATASET}.{column}"}


def _customs(view: View) -> list[Json]:
    return properties(
        {
            "schemaId": view.schema.id,
            "schemaVersion": view.schema.version,
            "schemaFingerprint": view.schema.fingerprint,
            "schemaProvenance": view.record.provenance.value,
            "serviceVersion": __version__,
        }
    )
