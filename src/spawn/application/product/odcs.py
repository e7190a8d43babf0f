"""Data contract in the Open Data Contract Standard 3.2.0."""

from collections.abc import Callable, Iterable
from decimal import Decimal
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
    OutputPort,
)
from spawn.application.product.odcs_properties import (
    build_column_property,
    build_retired_property,
    build_structural_properties,
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
    ProductSnapshot,
    format_instant,
    omit_empty,
    property_list,
)
from spawn.domain.quality.rules import Dimension, MeasureUnit, QualityRule
from spawn.domain.schemas.core_columns import NESTED_FIELDS
from spawn.domain.schemas.json_schema import SchemaUse, to_json_literal
from spawn.domain.schemas.validator import compile_schema

_DIMENSIONS: Final[dict[Dimension, str]] = {
    Dimension.COMPLETENESS: "completeness",
    Dimension.VALIDITY: "conformity",
    Dimension.UNIQUENESS: "uniqueness",
    Dimension.FRESHNESS: "timeliness",
    Dimension.CONSISTENCY: "consistency",
}
_DOWNLOADS: Final = f"/v1/data/{DATASET}"
_FILE_FORMATS: Final[dict[str, Json]] = {
    "ndjson": {"format": "json", "encoding": "UTF-8"},
    "csv": {"format": "csv", "encoding": "UTF-8"},
    "parquet": {"format": "parquet"},
}
_METRICS: Final[dict[Dimension, str]] = {
    Dimension.COMPLETENESS: "nullValues",
    Dimension.UNIQUENESS: "duplicateValues",
}
"""Dimensions whose rule on one column is a metric of the standard's library."""


def build_data_contract(snapshot: ProductSnapshot) -> Json:
    """Build the data contract."""
    product = snapshot.product
    return omit_empty(
        {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": product.contract_id,
            "name": f"{TITLE}: {DATASET}",
            "version": snapshot.version,
            "status": "active",
            "domain": DOMAIN,
            # Superseded in the standard by the contractId of an output port; tools still show it.
            "dataProduct": product.id,
            "description": {"purpose": PURPOSE, "usage": USAGE, "limitations": LIMITATIONS},
            "tags": [DOMAIN, snapshot.schema.id],
            "authoritativeDefinitions": _definitions(snapshot),
            "servers": _servers(snapshot),
            "schema": [_dataset(snapshot)],
            "slaProperties": [*_service_levels(snapshot), *_sunset_levels(snapshot)],
            "support": build_support(product),
            "team": {"name": product.owner} if product.owner else None,
            "roles": _ROLES,
            "customProperties": _custom_properties(snapshot),
            "contractCreatedTs": format_instant(snapshot.record.recorded_at),
        }
    )


_ROLES: Final = [
    {"role": "read", "access": "read", "description": "Every query, the feed and exports."},
    {"role": "write", "access": "write", "description": "Every command and import."},
]


def build_support(product: Product) -> list[Json]:
    """Return the owner's contact channel; empty if none is declared."""
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


def _definitions(snapshot: ProductSnapshot) -> list[Json]:
    """Return the documents that define the contract's subject authoritatively."""
    url = snapshot.product.url
    return [
        {"type": "canonicalUrl", "url": url(CONTRACT.path)},
        {"type": "schema", "url": snapshot.schema_url},
        {"type": "dataProduct", "url": url(DATA_PRODUCT.path)},
        {"type": "catalog", "url": url(CATALOG.path)},
        {"type": "ontology", "url": url(CONTEXT.path)},
        {"type": "lineage", "url": url(LINEAGE.path)},
        {"type": "implementation", "url": url(OPENAPI.path)},
    ]


def _servers(snapshot: ProductSnapshot) -> list[Json]:
    """Return the servers of the data: those that tools can test, then one for each output port.

    The first is read live; the others are files that a download of that name leaves behind.
    """
    product = snapshot.product
    version = "" if snapshot.is_active else f"?schema_version={snapshot.schema.version}"
    lines_url = product.url(f"{_DOWNLOADS}.ndjson{version}")
    live: Json = {
        "server": "download",
        "type": "api",
        "environment": product.environment,
        "location": lines_url,
        "description": "Every project as a line of JSON, read live.",
    }
    return [live, *_file_servers(snapshot, version), *map(_port_server(product), OUTPUTS)]


def _file_servers(snapshot: ProductSnapshot, version: str) -> Iterable[Json]:
    """Yield the downloaded file of each format, in the folder of the contract."""
    product = snapshot.product
    for suffix, options in _FILE_FORMATS.items():
        url = product.url(f"{_DOWNLOADS}.{suffix}{version}")
        yield {
            "server": suffix,
            "type": "local",
            "environment": product.environment,
            "path": f"./{{model}}.{suffix}",
            **options,
            "description": f"The file that {url} returns, saved as {DATASET}.{suffix}.",
        }


def _port_server(product: Product) -> Callable[[OutputPort], Json]:
    return lambda output: {
        "server": output.name,
        "type": "api",
        "environment": product.environment,
        "location": product.url(output.path),
        "description": output.description,
    }


def _dataset(snapshot: ProductSnapshot) -> Json:
    """Return projects as a schema object, with quality rules beside each column."""
    by_column: dict[str, list[Json]] = {}
    row_rules: list[Json] = []
    names = {column.name for column in snapshot.columns}
    for rule in snapshot.rules:
        quality = _quality(rule)
        if len(rule.columns) == 1 and rule.columns[0] in names:
            by_column.setdefault(rule.columns[0], []).append(quality)
        else:
            row_rules.append(quality)
    types = snapshot.physical_types
    columns = [
        omit_empty(
            {
                **build_column_property(column, types.get(column.name)),
                "quality": by_column.get(column.name),
            }
        )
        for column in snapshot.columns
    ]
    project_schema = compile_schema(snapshot.schema).json_schema(SchemaUse.OUTPUT)
    retired = [
        build_retired_property(column, types.get(column.name)) for column in snapshot.schema.retired
    ]
    return omit_empty(
        {
            "id": DATASET,
            "name": DATASET,
            "physicalName": DATASET,
            "physicalType": "table",
            "logicalType": "object",
            "businessName": "Project",
            "description": snapshot.schema.description or PURPOSE,
            "dataGranularityDescription": "One row for each project, as it stands now.",
            "authoritativeDefinitions": [{"type": "schema", "url": snapshot.schema_url}],
            "properties": [*columns, *build_structural_properties(project_schema)],
            "quality": row_rules,
            "customProperties": [{"property": "retiredColumns", "value": retired}]
            if retired
            else None,
        }
    )


def _quality(rule: QualityRule) -> Json:
    """Return a rule; its measurements are in the catalogue and the quality report."""
    threshold = None if rule.threshold is None else to_json_literal(rule.threshold)
    return omit_empty(
        {
            "id": rule.rule_id.replace(".", "-"),
            "name": rule.rule_id,
            **_quality_check(rule),
            "dimension": _DIMENSIONS[rule.dimension],
            "description": rule.description,
            "severity": rule.severity.value,
            "customProperties": property_list({"threshold": threshold, "unit": rule.unit.value}),
        }
    )


def _quality_check(rule: QualityRule) -> Json:
    """Return a check that tools can run on a column, else a text check."""
    metric = _METRICS.get(rule.dimension)
    of_column = rule.rule_id == f"{rule.dimension}.{rule.columns[0]}" if rule.columns else False
    if (
        metric is None
        or rule.threshold is None
        or not of_column
        or rule.columns[0] in NESTED_FIELDS
    ):
        return {"type": "text"}
    if rule.threshold == 1:
        return {"type": "library", "metric": metric, "mustBe": 0, "unit": "rows"}
    most = to_json_literal((1 - rule.threshold) * 100)
    return {"type": "library", "metric": metric, "mustBeLessOrEqualTo": most, "unit": "percent"}


def _service_levels(snapshot: ProductSnapshot) -> list[Json]:
    """Return the service levels: one for each dimension of shares and each age."""
    promises = [rule for rule in snapshot.promised_rules if rule.threshold is not None]
    levels: list[Json] = []
    for dimension in Dimension:
        shares = [
            rule.threshold
            for rule in promises
            if rule.dimension is dimension
            and rule.unit is MeasureUnit.SHARE
            and rule.threshold is not None
        ]
        if shares:
            levels.append(_share_level(dimension, shares))
    levels += [_age_level(rule) for rule in promises if rule.unit is MeasureUnit.SECONDS]
    return levels


def _share_level(dimension: Dimension, thresholds: list[Decimal]) -> Json:
    """Return the lowest threshold of a dimension's rules."""
    return {
        "id": dimension.value,
        "property": dimension.value,
        "value": to_json_literal(min(thresholds)),
        "unit": "share",
        "element": DATASET,
        "description": f"At least this share meets each rule of {dimension.value}.",
        "customProperties": property_list({"rules": len(thresholds)}),
    }


def _age_level(rule: QualityRule) -> Json:
    return omit_empty(
        {
            "id": rule.rule_id.replace(".", "-"),
            "property": rule.dimension.value,
            "value": None if rule.threshold is None else to_json_literal(rule.threshold),
            "unit": rule.unit.value,
            "element": DATASET,
            "description": rule.description,
        }
    )


def _sunset_levels(snapshot: ProductSnapshot) -> Iterable[Json]:
    """Yield the last days on which deprecated columns are served and retired ones accepted."""
    for column in snapshot.columns:
        if column.announced_sunset is not None:
            yield _sunset_level("endOfSupport", column.name, column.announced_sunset.isoformat())
    for retired in snapshot.schema.retired:
        if retired.sunset is not None:
            yield _sunset_level("endOfLife", retired.name, retired.sunset.isoformat())


def _sunset_level(name: str, column: str, day: str) -> Json:
    return {"property": name, "value": day, "element": f"{DATASET}.{column}"}


def _custom_properties(snapshot: ProductSnapshot) -> list[Json]:
    return property_list(
        {
            "schemaId": snapshot.schema.id,
            "schemaVersion": snapshot.schema.version,
            "schemaFingerprint": snapshot.schema.fingerprint,
            "schemaProvenance": snapshot.record.provenance.value,
            "serviceVersion": __version__,
        }
    )
