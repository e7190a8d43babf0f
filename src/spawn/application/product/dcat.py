"""The catalogue entry: DCAT 3 and DPROD as JSON-LD with an inline context, and a schema.org view.

Nothing outside the document is needed to read it. Measured quality is in the terms of the W3C Data
Quality Vocabulary (DQV).
"""

from collections.abc import Iterator
from typing import Any, Final

from spawn.application.product.jsonld_context import meanings_of
from spawn.application.product.links import (
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    DOCS,
    LINEAGE,
    OUTPUTS,
    Output,
)
from spawn.application.product.snapshot import (
    DATASET,
    DOMAIN,
    PURPOSE,
    TITLE,
    Json,
    Product,
    View,
    instant,
    stated,
)
from spawn.domain.quality.rules import Result
from spawn.domain.schemas.json_schema import plain
from spawn.domain.schemas.model import Column, Value

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


def catalog(view: View) -> Json:
    """The document at `/catalog`."""
    return {
        "@context": _CONTEXT,
        "@graph": [
            _catalog(view),
            _product(view),
            _dataset(view),
            *_ports(view),
            *_agent(view),
            *_measurements(view),
        ],
    }


def dataset_of_schema_org(view: View) -> Json:
    """The schema.org view alone, for the page that people and search engines read."""
    own = {"@context": "https://schema.org", "@type": "Dataset", "@id": _id(view, DATASET)}
    return {**own, **_unprefixed(_schema_org(view))}


def _unprefixed(node: Any) -> Any:
    """The same without the prefix `schema:`, which the context of schema.org makes superfluous."""
    if isinstance(node, list):
        return [_unprefixed(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name.removeprefix("schema:"): _unprefixed(value) for name, value in node.items()}
    if "@type" in found:
        found["@type"] = found["@type"].removeprefix("schema:")
    return found


def _id(view: View, fragment: str) -> str:
    return f"{view.product.url(CATALOG.path)}#{fragment}"


def _ref(iri: str) -> Json:
    return {"@id": iri}


def _typed(value: str, kind: str) -> Json:
    return {"@value": value, "@type": f"xsd:{kind}"}


def _catalog(view: View) -> Json:
    return stated(
        {
            "@id": view.product.url(CATALOG.path),
            "@type": "dcat:Catalog",
            "dcterms:title": f"Catalogue of {view.product.id}",
            "dcterms:description": "What this service offers: one data product and its dataset.",
            "dcterms:publisher": _owner(view),
            "dcat:dataset": _ref(_id(view, DATASET)),
            "dcat:service": [_ref(_id(view, f"service-{output.name}")) for output in OUTPUTS],
            "dcat:resource": _ref(_id(view, "product")),
            "foaf:homepage": _ref(view.product.url("/")),
        }
    )


def _product(view: View) -> Json:
    product = view.product
    return stated(
        {
            "@id": _id(view, "product"),
            "@type": "dprod:DataProduct",
            "rdfs:label": TITLE,
            "dcterms:identifier": product.id,
            "dcterms:title": TITLE,
            "dcterms:description": PURPOSE,
            "dprod:purpose": PURPOSE,
            "dprod:domain": {
                "@id": _id(view, f"domain-{DOMAIN}"),
                "rdfs:label": DOMAIN.replace("-", " "),
            },
            "dprod:lifecycleStatus": {
                "@id": _id(view, "lifecycle-consume"),
                "@type": "dprod:DataProductLifecycleStatus",
                "rdfs:label": "Consume",
            },
            "dprod:dataProductOwner": _owner(view),
            "dprod:outputPort": [_ref(_id(view, f"service-{output.name}")) for output in OUTPUTS],
            "dprod:outputDataset": _ref(_id(view, DATASET)),
            "dcat:version": view.version,
            "dcat:landingPage": _ref(product.url("/")),
            "rdfs:seeAlso": [_ref(product.url(DATA_PRODUCT.path))],
        }
    )


def _dataset(view: View) -> Json:
    product = view.product
    return stated(
        {
            "@id": _id(view, DATASET),
            "@type": ["dcat:Dataset", "schema:Dataset"],
            "rdfs:label": DATASET,
            "dcterms:identifier": product.contract_id,
            "dcterms:title": f"{TITLE}: {DATASET}",
            "dcterms:description": view.schema.description or PURPOSE,
            "dcterms:publisher": _owner(view),
            "dcterms:issued": _typed(instant(view.record.recorded_at), "dateTime"),
            "dcterms:modified": _changed(view),
            "dcterms:language": _ref(_ENGLISH),
            "dcterms:accrualPeriodicity": _ref(_CONTINUOUS),
            "dcterms:conformsTo": [
                _ref(view.schema_url),
                _ref(product.url(CONTRACT.path)),
                _ref(product.url(CONTEXT.path)),
            ],
            "dcterms:provenance": {
                "@id": product.url(LINEAGE.path),
                "@type": "dcterms:ProvenanceStatement",
                "rdfs:label": LINEAGE.title,
            },
            "dcat:version": view.version,
            "dcat:keyword": _KEYWORDS,
            "dcat:landingPage": _ref(product.url("/")),
            "dcat:contactPoint": _contact(product),
            "dcat:distribution": [
                _ref(iri) for output in OUTPUTS for iri, _ in _forms(view, output)
            ],
            "dqv:hasQualityMeasurement": [_ref(iri) for iri, _, _ in _numbered(view)],
            **_schema_org(view),
        }
    )


def _changed(view: View) -> Json | None:
    """When a project was last written, as of the last measurement."""
    changed = view.report and view.report.changed_at
    return _typed(instant(changed), "dateTime") if changed else None


def _schema_org(view: View) -> Json:
    """What search engines read of the dataset."""
    product = view.product
    return stated(
        {
            "schema:name": f"{TITLE}: {DATASET}",
            "schema:description": view.schema.description or PURPOSE,
            "schema:identifier": product.contract_id,
            "schema:url": product.url("/"),
            "schema:version": view.version,
            "schema:creator": {"@type": "schema:Organization", "schema:name": product.owner}
            if product.owner
            else None,
            "schema:keywords": _KEYWORDS,
            "schema:variableMeasured": list(_variables(view)),
            "schema:distribution": [
                {
                    "@type": "schema:DataDownload",
                    "schema:name": output.title,
                    "schema:description": output.text,
                    "schema:contentUrl": product.url(output.path),
                    "schema:encodingFormat": list(output.media_types),
                }
                for output in OUTPUTS
            ],
        }
    )


def _variables(view: View) -> Iterator[Json]:
    meanings = meanings_of(view)
    for column in view.columns:
        yield _variable(column, meanings[column.name])


def _variable(column: Column, meaning: str) -> Json:
    return stated(
        {
            "@type": "schema:PropertyValue",
            "schema:name": column.name,
            "schema:description": column.description,
            "schema:propertyID": meaning,
            "schema:unitText": column.unit,
            "schema:minValue": _number(column.minimum),
            "schema:maxValue": _number(column.maximum),
        }
    )


def _number(bound: Value | None) -> float | None:
    """A bound, if it is one of numbers."""
    value = None if bound is None else plain(bound)
    return value if isinstance(value, int | float) else None


def _ports(view: View) -> Iterator[Json]:
    """Each output as the service that gives it and a distribution of the dataset for each form."""
    for output in OUTPUTS:
        yield _service(view, output)
        for iri, media_type in _forms(view, output):
            yield _distribution(view, output, iri, media_type)


def _forms(view: View, output: Output) -> Iterator[tuple[str, str]]:
    """The IRI of each distribution of an output, with its media type."""
    for media_type in output.media_types:
        form = media_type.partition("/")[2].replace("+", "-")
        yield _id(view, f"distribution-{output.name}-{form}"), media_type


def _distribution(view: View, output: Output, iri: str, media_type: str) -> Json:
    return {
        "@id": iri,
        "@type": "dcat:Distribution",
        "dcterms:title": output.title,
        "dcterms:description": output.text,
        "dcterms:conformsTo": _ref(view.schema_url),
        "dcat:accessURL": _ref(view.product.url(output.path)),
        "dcat:mediaType": _ref(_MEDIA_TYPES + media_type),
        "dcat:accessService": _ref(_id(view, f"service-{output.name}")),
        "dprod:isDistributionOf": _ref(_id(view, DATASET)),
    }


def _service(view: View, output: Output) -> Json:
    product = view.product
    return {
        "@id": _id(view, f"service-{output.name}"),
        "@type": "dcat:DataService",
        "rdfs:label": output.name,
        "dcterms:title": output.title,
        "dcterms:description": output.text,
        "dcat:endpointURL": _ref(product.url(output.path)),
        "dcat:endpointDescription": _ref(product.url(output.description.path)),
        "dcat:servesDataset": _ref(_id(view, DATASET)),
        "dcat:landingPage": _ref(product.url(DOCS.path)),
        "dprod:isAccessServiceOf": [_ref(iri) for iri, _ in _forms(view, output)],
        "dprod:protocol": _ref("https://www.rfc-editor.org/info/rfc9110"),
    }


def _owner(view: View) -> Json | None:
    return _ref(_id(view, "owner")) if view.product.owner else None


def _agent(view: View) -> Iterator[Json]:
    """The team that answers for the product, if one is declared."""
    if view.product.owner:
        yield {
            "@id": _id(view, "owner"),
            "@type": ["prov:Agent", "foaf:Agent"],
            "foaf:name": view.product.owner,
        }


def _contact(product: Product) -> Json | None:
    if not product.contact:
        return None
    way = "vcard:hasEmail" if product.contact.startswith("mailto:") else "vcard:hasURL"
    return stated(
        {"@type": "vcard:Organization", "vcard:fn": product.owner, way: _ref(product.contact)}
    )


def _numbered(view: View) -> Iterator[tuple[str, str, Result]]:
    """Every measurement with a value: its IRI, the rule's name, the result."""
    for rule, result in view.assessed():
        if result is not None and result.value is not None:
            name = rule.rule_id.replace(".", "-")
            yield _id(view, f"measured-{name}"), name, result


def _measurements(view: View) -> Iterator[Json]:
    """What was measured of the dataset, by rule."""
    for iri, name, result in _numbered(view):
        yield {
            "@id": iri,
            "@type": "dqv:QualityMeasurement",
            "dqv:computedOn": _ref(_id(view, DATASET)),
            "dqv:value": {"@value": result.value, "@type": "xsd:double"},
            "prov:generatedAtTime": _typed(instant(result.measured_at), "dateTime"),
            "dqv:isMeasurementOf": {
                "@id": _id(view, f"metric-{name}"),
                "@type": "dqv:Metric",
                "rdfs:label": result.rule.rule_id,
                "dcterms:description": result.rule.description,
                "dqv:expectedDataType": _ref("xsd:double"),
                "dqv:inDimension": {
                    "@id": _id(view, f"dimension-{result.rule.dimension}"),
                    "@type": "dqv:Dimension",
                    "rdfs:label": result.rule.dimension.value,
                },
            },
        }
