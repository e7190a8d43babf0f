"""Data contract in the Open Data Contract Standard 3.2.0."""

from collections.abc import Callable, Iterable
from datetime import date
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
    OutputPort,
    list_outputs,
)
from spawn.application.product.odcs_properties import (
    build_column_property,
    build_retired_property,
    build_structural_properties,
)
from spawn.application.product.snapshot import (
    DOMAIN,
    TITLE,
    Json,
    Product,
    ProductSnapshot,
    format_instant,
    omit_empty,
    property_list,
)
from spawn.domain.aggregates import AGGREGATE_TYPES
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
            "id": snapshot.contract_id,
            "name": f"{TITLE}: {snapshot.dataset}",
            "version": snapshot.version,
            "status": "active",
            "domain": DOMAIN,
            # Superseded in the standard by the contractId of an output port; tools still show it.
            "dataProduct": product.id,
            "description": {
                "purpose": snapshot.attributes.description,
                "usage": snapshot.usage,
                "limitations": snapshot.limitations,
            },
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
        {"type": "canonicalUrl", "url": url(snapshot.document_path(CONTRACT))},
        {"type": "schema", "url": snapshot.schema_url},
        {"type": "dataProduct", "url": url(DATA_PRODUCT.path)},
        {"type": "catalog", "url": url(CATALOG.path)},
        {"type": "ontology", "url": url(snapshot.document_path(CONTEXT))},
        {"type": "lineage", "url": url(LINEAGE.path)},
        {"type": "implementation", "url": url(OPENAPI.path)},
    ]


def _servers(snapshot: ProductSnapshot) -> list[Json]:
    """Return the servers of the data: those that tools can test, then one for each output port.

    The first is read live; the others are files that a download of that name leaves behind.
    """
    product = snapshot.product
    version = "" if snapshot.is_active else f"schema_version={snapshot.schema.version}"
    live: Json = {
        "server": "download",
        "type": "api",
        "environment": product.environment,
        "location": _download_url(snapshot, "ndjson", version),
        "description": f"Every {snapshot.kind} as a line of JSON, read live.",
    }
    ports = map(_port_server(product), list_outputs(snapshot.kind))
    return [live, *_file_servers(snapshot, version), *ports]


def _download_url(snapshot: ProductSnapshot, suffix: str, version: str) -> str:
    """Return the address of the dataset; lines of JSON have the objects of the contract."""
    form = "nested=json" if suffix == "ndjson" else ""
    query = "&".join(filter(None, (form, version)))
    path = f"/v1/data/{snapshot.dataset}.{suffix}"
    return snapshot.product.url(f"{path}?{query}" if query else path)


def _file_servers(snapshot: ProductSnapshot, version: str) -> Iterable[Json]:
    """Yield the downloaded file of each format, in the folder of the contract."""
    product, dataset = snapshot.product, snapshot.dataset
    for suffix, options in _FILE_FORMATS.items():
        url = _download_url(snapshot, suffix, version)
        yield {
            "server": suffix,
            "type": "local",
            "environment": product.environment,
            "path": f"./{{model}}.{suffix}",
            **options,
            "description": f"The file that {url} returns, saved as {dataset}.{suffix}.",
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
    """Return the dataset as a schema object, with quality rules beside each column."""
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
                **build_column_property(column, types.get(column.name), snapshot.attributes),
                "quality": by_column.get(column.name),
            }
        )
        for column in snapshot.columns
    ]
    retired = [
        build_retired_property(column, types.get(column.name)) for column in snapshot.schema.retired
    ]
    return omit_empty(
        {
            "id": snapshot.dataset,
            "name": snapshot.dataset,
            "physicalName": snapshot.dataset,
            "physicalType": "table",
            "logicalType": "object",
            "businessName": snapshot.kind.capitalize(),
            "description": snapshot.purpose,
            "dataGranularityDescription": f"One row for each {snapshot.kind}, as it stands now.",
            "authoritativeDefinitions": [{"type": "schema", "url": snapshot.schema_url}],
            "properties": [*columns, *_nested_properties(snapshot)],
            "quality": row_rules,
            "customProperties": [{"property": "retiredColumns", "value": retired}]
            if retired
            else None,
        }
    )


def _nested_properties(snapshot: ProductSnapshot) -> list[Json]:
    """Return the nested fields of a state; the dataset of some kinds has columns alone."""
    if AGGREGATE_TYPES[snapshot.kind].terms_type is not None:
        return []
    state_schema = compile_schema(snapshot.schema).json_schema(SchemaUse.OUTPUT)
    return build_structural_properties(state_schema, snapshot.attributes)


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
    is_of_column = len(rule.columns) == 1 and rule.rule_id.endswith(f".{rule.columns[0]}")
    if (
        metric is None
        or rule.threshold is None
        or not is_of_column
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
            levels.append(_share_level(dimension, shares, snapshot.dataset))
    levels += [
        _age_level(rule, snapshot.dataset) for rule in promises if rule.unit is MeasureUnit.SECONDS
    ]
    return levels


def _share_level(dimension: Dimension, thresholds: list[Decimal], dataset: str) -> Json:
    """Return the lowest threshold of a dimension's rules."""
    return {
        "id": dimension.value,
        "property": dimension.value,
        "value": to_json_literal(min(thresholds)),
        "unit": "share",
        "element": dataset,
        "description": f"At least this share meets each rule of {dimension.value}.",
        "customProperties": property_list({"rules": len(thresholds)}),
    }


def _age_level(rule: QualityRule, dataset: str) -> Json:
    return omit_empty(
        {
            "id": rule.rule_id.replace(".", "-"),
            "property": rule.dimension.value,
            "value": None if rule.threshold is None else to_json_literal(rule.threshold),
            "unit": rule.unit.value,
            "element": dataset,
            "description": rule.description,
        }
    )


def _sunset_levels(snapshot: ProductSnapshot) -> Iterable[Json]:
    """Yield the last days on which deprecated columns are served and retired ones accepted."""
    for column in snapshot.columns:
        if column.announced_sunset is not None:
            element, day = f"{snapshot.dataset}.{column.name}", column.announced_sunset
            yield _sunset_level("endOfSupport", element, day)
    for retired in snapshot.schema.retired:
        if retired.sunset is not None:
            yield _sunset_level("endOfLife", f"{snapshot.dataset}.{retired.name}", retired.sunset)


def _sunset_level(name: str, element: str, day: date) -> Json:
    return {"property": name, "value": day.isoformat(), "element": element}


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
