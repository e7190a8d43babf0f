"""Catalogue entry in DCAT 3 and DPROD as JSON-LD, and the dataset in schema.org terms.

The context is inline, so no other document is needed to read it. Measured quality is in the terms
of the W3C Data Quality Vocabulary (DQV).
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from spawn.application.product.jsonld_context import column_iris
from spawn.application.product.links import (
    ALL_OUTPUTS,
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    DOCS,
    LINEAGE,
    OutputPort,
    list_outputs,
)
from spawn.application.product.snapshot import (
    DOMAIN,
    PURPOSE,
    TITLE,
    Json,
    Product,
    ProductSnapshot,
    format_instant,
    omit_empty,
)
from spawn.domain.quality.report import RuleResult
from spawn.domain.quality.rules import build_change_rule
from spawn.domain.schema_version import Column, Value
from spawn.domain.schemas.json_schema import to_json_literal

_CONTEXT: Final[Json] = {
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcterms": "http://purl.org/dc/terms/",
    "dprod": "https://www.omg.org/spec/DPROD/",
    "dqv": "http://www.w3.org/ns/dqv#",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "prov": "http://www.w3.org/ns/prov#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "schema": "https://schema.org/",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
_KEYWORDS: Final = [DOMAIN.replace("-", " "), "infrastructure", "energy", "loans"]
_MEDIA_TYPES: Final = "https://www.iana.org/assignments/media-types/"
_CONTINUOUS: Final = "http://purl.org/cld/freq/continuous"
_ENGLISH: Final = "http://id.loc.gov/vocabulary/iso639-1/en"


def build_catalog(snapshot: ProductSnapshot) -> Json:
    """Build the document at `/catalog`."""
    return {
        "@context": _CONTEXT,
        "@graph": [
            _catalog(snapshot),
            _product(snapshot),
            *map(_dataset, snapshot.all_datasets),
            *_ports_nodes(snapshot),
            *_agent(snapshot),
            *(node for one in snapshot.all_datasets for node in _measurements(one)),
        ],
    }


def build_schema_org_dataset(snapshot: ProductSnapshot) -> Json:
    """Build the dataset in schema.org terms alone, for the HTML page and search engines."""
    node = {
        "@context": "https://schema.org",
        "@type": "Dataset",
        "@id": _node_iri(snapshot, snapshot.dataset),
    }
    return {**node, **_strip_schema_prefix(_schema_org(snapshot))}


def _strip_schema_prefix(node: Any) -> Any:
    """Remove the prefix `schema:`, which the schema.org context makes superfluous."""
    if isinstance(node, list):
        return [_strip_schema_prefix(item) for item in node]
    if not isinstance(node, dict):
        return node
    fields = {
        name.removeprefix("schema:"): _strip_schema_prefix(value) for name, value in node.items()
    }
    if "@type" in fields:
        fields["@type"] = fields["@type"].removeprefix("schema:")
    return fields


def _node_iri(snapshot: ProductSnapshot, fragment: str) -> str:
    return f"{snapshot.product.url(CATALOG.path)}#{fragment}"


def _ref(iri: str) -> Json:
    return {"@id": iri}


def _typed_literal(value: str, kind: str) -> Json:
    return {"@value": value, "@type": f"xsd:{kind}"}


def _catalog(snapshot: ProductSnapshot) -> Json:
    return omit_empty(
        {
            "@id": snapshot.product.url(CATALOG.path),
            "@type": "dcat:Catalog",
            "dcterms:title": f"Catalogue of {snapshot.product.id}",
            "dcterms:description": "The data product of this service and its datasets.",
            "dcterms:publisher": _owner(snapshot),
            "dcat:dataset": _dataset_refs(snapshot),
            "dcat:service": [
                _ref(_node_iri(snapshot, f"service-{output.name}")) for output in ALL_OUTPUTS
            ],
            "dcat:resource": _ref(_node_iri(snapshot, "product")),
            "foaf:homepage": _ref(snapshot.product.url("/")),
        }
    )


def _product(snapshot: ProductSnapshot) -> Json:
    product = snapshot.product
    return omit_empty(
        {
            "@id": _node_iri(snapshot, "product"),
            "@type": "dprod:DataProduct",
            "rdfs:label": TITLE,
            "dcterms:identifier": product.id,
            "dcterms:title": TITLE,
            "dcterms:description": PURPOSE,
            "dprod:purpose": PURPOSE,
            "dprod:domain": {
                "@id": _node_iri(snapshot, f"domain-{DOMAIN}"),
                "rdfs:label": DOMAIN.replace("-", " "),
            },
            "dprod:lifecycleStatus": {
                "@id": _node_iri(snapshot, "lifecycle-consume"),
                "@type": "dprod:DataProductLifecycleStatus",
                "rdfs:label": "Consume",
            },
            "dprod:dataProductOwner": _owner(snapshot),
            "dprod:outputPort": [
                _ref(_node_iri(snapshot, f"service-{output.name}")) for output in ALL_OUTPUTS
            ],
            "dprod:outputDataset": _dataset_refs(snapshot),
            "dcat:version": snapshot.version,
            "dcat:landingPage": _ref(product.url("/")),
            "rdfs:seeAlso": [_ref(product.url(DATA_PRODUCT.path))],
        }
    )


def _dataset_refs(snapshot: ProductSnapshot) -> list[Json]:
    return [_ref(_node_iri(snapshot, one.dataset)) for one in snapshot.all_datasets]


def _dataset(snapshot: ProductSnapshot) -> Json:
    product = snapshot.product
    return omit_empty(
        {
            "@id": _node_iri(snapshot, snapshot.dataset),
            "@type": ["dcat:Dataset", "schema:Dataset"],
            "rdfs:label": snapshot.dataset,
            "dcterms:identifier": snapshot.contract_id,
            "dcterms:title": f"{TITLE}: {snapshot.dataset}",
            "dcterms:description": snapshot.purpose,
            "dcterms:publisher": _owner(snapshot),
            "dcterms:issued": _typed_literal(
                format_instant(snapshot.record.recorded_at), "dateTime"
            ),
            "dcterms:modified": _last_change(snapshot),
            "dcterms:language": _ref(_ENGLISH),
            "dcterms:accrualPeriodicity": _ref(_CONTINUOUS),
            "dcterms:conformsTo": [
                _ref(snapshot.schema_url),
                _ref(product.url(snapshot.document_path(CONTRACT))),
                _ref(product.url(snapshot.document_path(CONTEXT))),
            ],
            "dcterms:provenance": {
                "@id": product.url(LINEAGE.path),
                "@type": "dcterms:ProvenanceStatement",
                "rdfs:label": LINEAGE.title,
            },
            "dcat:version": snapshot.version,
            "dcat:keyword": _KEYWORDS,
            "dcat:landingPage": _ref(product.url("/")),
            "dcat:contactPoint": _contact(product),
            "dcat:distribution": [
                _ref(iri)
                for output in list_outputs(snapshot.kind)
                for iri, _ in _distribution_iris(snapshot, output)
            ],
            "dqv:hasQualityMeasurement": [_ref(iri) for iri, _, _ in _measured_results(snapshot)],
            **_schema_org(snapshot),
        }
    )


def _last_change(snapshot: ProductSnapshot) -> Json | None:
    """Return the instant of the last write to a state, as of the last measurement.

    DCAT 3 requires none: a dataset that is not measured, or has never had a row, has no change.
    """
    if snapshot.report is None:
        return None
    changed = snapshot.report.find_instants().get(build_change_rule(snapshot.kind).rule_id)
    return _typed_literal(format_instant(changed), "dateTime") if changed else None


def _schema_org(snapshot: ProductSnapshot) -> Json:
    """Return the dataset's metadata for search engines."""
    product = snapshot.product
    return omit_empty(
        {
            "schema:name": f"{TITLE}: {snapshot.dataset}",
            "schema:description": snapshot.purpose,
            "schema:identifier": snapshot.contract_id,
            "schema:url": product.url("/"),
            "schema:version": snapshot.version,
            "schema:creator": {"@type": "schema:Organization", "schema:name": product.owner}
            if product.owner
            else None,
            "schema:keywords": _KEYWORDS,
            "schema:variableMeasured": list(_schema_org_variables(snapshot)),
            "schema:distribution": [
                {
                    "@type": "schema:DataDownload",
                    "schema:name": output.title,
                    "schema:description": output.description,
                    "schema:contentUrl": product.url(output.path),
                    "schema:encodingFormat": list(output.media_types),
                }
                for output in list_outputs(snapshot.kind)
            ],
        }
    )


def _schema_org_variables(snapshot: ProductSnapshot) -> Iterator[Json]:
    meanings = column_iris(snapshot)
    for column in snapshot.columns:
        yield _schema_org_variable(column, meanings[column.name])


def _schema_org_variable(column: Column, meaning: str) -> Json:
    return omit_empty(
        {
            "@type": "schema:PropertyValue",
            "schema:name": column.name,
            "schema:description": column.description,
            "schema:propertyID": meaning,
            "schema:unitText": column.unit,
            "schema:minValue": _numeric_bound(column.minimum),
            "schema:maxValue": _numeric_bound(column.maximum),
        }
    )


def _numeric_bound(bound: Value | None) -> float | None:
    """Return the bound if it is a number, else None; numbers of JSON-LD are doubles."""
    value = None if bound is None else to_json_literal(bound)
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, int | float) else None


def _ports_nodes(snapshot: ProductSnapshot) -> Iterator[Json]:
    """Yield each output port as a data service, and a distribution for each media type."""
    for output in ALL_OUTPUTS:
        datasets = [one for one in snapshot.all_datasets if output in list_outputs(one.kind)]
        yield _service(snapshot, output, datasets)
        for iri, media_type in _distribution_iris(snapshot, output):
            yield _distribution(datasets, output, iri, media_type)


def _distribution_iris(snapshot: ProductSnapshot, output: OutputPort) -> Iterator[tuple[str, str]]:
    """Yield the IRI of each distribution of an output port, with its media type."""
    for media_type in output.media_types:
        subtype = media_type.partition("/")[2].replace("+", "-")
        yield _node_iri(snapshot, f"distribution-{output.name}-{subtype}"), media_type


def _distribution(
    datasets: list[ProductSnapshot], output: OutputPort, iri: str, media_type: str
) -> Json:
    snapshot = datasets[0]
    return {
        "@id": iri,
        "@type": "dcat:Distribution",
        "dcterms:title": output.title,
        "dcterms:description": output.description,
        "dcterms:conformsTo": [_ref(one.schema_url) for one in datasets],
        "dcat:accessURL": _ref(snapshot.product.url(output.path)),
        "dcat:mediaType": _ref(_MEDIA_TYPES + media_type),
        "dcat:accessService": _ref(_node_iri(snapshot, f"service-{output.name}")),
        "dprod:isDistributionOf": [_ref(_node_iri(snapshot, one.dataset)) for one in datasets],
    }


def _service(
    snapshot: ProductSnapshot, output: OutputPort, datasets: list[ProductSnapshot]
) -> Json:
    product = snapshot.product
    return {
        "@id": _node_iri(snapshot, f"service-{output.name}"),
        "@type": "dcat:DataService",
        "rdfs:label": output.name,
        "dcterms:title": output.title,
        "dcterms:description": output.description,
        "dcat:endpointURL": _ref(product.url(output.path)),
        "dcat:endpointDescription": _ref(product.url(output.specification.path)),
        "dcat:servesDataset": [_ref(_node_iri(snapshot, one.dataset)) for one in datasets],
        "dcat:landingPage": _ref(product.url(DOCS.path)),
        "dprod:isAccessServiceOf": [_ref(iri) for iri, _ in _distribution_iris(snapshot, output)],
        "dprod:protocol": _ref("https://www.rfc-editor.org/info/rfc9110"),
    }


def _owner(snapshot: ProductSnapshot) -> Json | None:
    return _ref(_node_iri(snapshot, "owner")) if snapshot.product.owner else None


def _agent(snapshot: ProductSnapshot) -> Iterator[Json]:
    """Yield the team that owns the product, if one is declared."""
    if snapshot.product.owner:
        yield {
            "@id": _node_iri(snapshot, "owner"),
            "@type": ["prov:Agent", "foaf:Agent"],
            "foaf:name": snapshot.product.owner,
        }


def _contact(product: Product) -> Json | None:
    if not product.contact:
        return None
    relation = "vcard:hasEmail" if product.contact.startswith("mailto:") else "vcard:hasURL"
    return omit_empty(
        {"@type": "vcard:Organization", "vcard:fn": product.owner, relation: _ref(product.contact)}
    )


def _measured_results(snapshot: ProductSnapshot) -> Iterator[tuple[str, str, RuleResult]]:
    """Yield every result with a value: its IRI, the rule's name, the result."""
    for rule, result in snapshot.rules_with_results():
        if result is not None and result.value is not None:
            name = rule.rule_id.replace(".", "-")
            yield _node_iri(snapshot, f"measured-{name}"), name, result


def _measurements(snapshot: ProductSnapshot) -> Iterator[Json]:
    """Yield the dataset's quality measurements, by rule."""
    for iri, name, result in _measured_results(snapshot):
        yield {
            "@id": iri,
            "@type": "dqv:QualityMeasurement",
            "dqv:computedOn": _ref(_node_iri(snapshot, snapshot.dataset)),
            "dqv:value": {"@value": result.value, "@type": "xsd:double"},
            "prov:generatedAtTime": _typed_literal(format_instant(result.measured_at), "dateTime"),
            "dqv:isMeasurementOf": {
                "@id": _node_iri(snapshot, f"metric-{name}"),
                "@type": "dqv:Metric",
                "rdfs:label": result.rule.rule_id,
                "dcterms:description": result.rule.description,
                "dqv:expectedDataType": _ref("xsd:double"),
                "dqv:inDimension": {
                    "@id": _node_iri(snapshot, f"dimension-{result.rule.dimension}"),
                    "@type": "dqv:Dimension",
                    "rdfs:label": result.rule.dimension.value,
                },
            },
        }
