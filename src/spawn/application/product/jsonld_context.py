"""JSON-LD 1.1 context: the meaning of each field of a governed kind, as an IRI.

A column's IRI is its `semantic`, else the one that the schema's own context gives its name, else a
term in the namespace of the schema that declares it. Nothing is dereferenced.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from spawn.application.product.snapshot import Json, Product, ProductSnapshot
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Column, Schema, TypeName

_FIBO: Final = "https://spec.edmcouncil.org/fibo/ontology/"
_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_SCHEMA_ORG: Final = "https://schema.org/"
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[^\s<>\"{}|\\^`]{1,500}")
_COMPACT: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,62}):([A-Za-z0-9_/#.-]{1,200})")

CLASSES: Final[Mapping[str, str]] = {
    "Borrower": f"{_FIBO}FBC/DebtAndEquities/Debt/Borrower",
    "Currency": f"{_FIBO}FND/Accounting/CurrencyAmount/Currency",
    "Lender": f"{_FIBO}FBC/DebtAndEquities/Debt/Lender",
    "MonetaryAmount": f"{_FIBO}FND/Accounting/CurrencyAmount/MonetaryAmount",
    "SpecialPurposeVehicle": f"{_FIBO}BE/LegalEntities/LegalPersons/SpecialPurposeVehicle",
}
"""Classes of the Financial Industry Business Ontology; columns never begin with a capital."""

_IDENTIFIER: Final = "http://purl.org/dc/terms/identifier"
_CORE_IRIS: Final[Mapping[str, str]] = {
    "created_at": "http://purl.org/dc/terms/created",
    "updated_at": "http://purl.org/dc/terms/modified",
}
_DATATYPES: Final[Mapping[TypeName, str]] = {
    TypeName.INTEGER: f"{_XSD}integer",
    TypeName.BIGINT: f"{_XSD}integer",
    TypeName.DECIMAL: f"{_XSD}decimal",
    TypeName.DOUBLE: f"{_XSD}double",
    TypeName.BOOLEAN: f"{_XSD}boolean",
    TypeName.DATE: f"{_XSD}date",
    TypeName.TIMESTAMP: f"{_XSD}dateTime",
}
_BORROWER: Final = f"{_FIBO}FBC/DebtAndEquities/Debt/hasBorrower"


def build_jsonld_context(snapshot: ProductSnapshot) -> Json:
    """Build the document at `/context.jsonld`."""
    namespace = vocabulary_iri(snapshot.product, snapshot.schema)
    # A page of states is a graph of them; a column of the same name takes precedence.
    page = {"items": "@graph", "next": None}
    class_name = snapshot.kind.capitalize()
    terms: Json = {"@version": 1.1, class_name: f"{namespace}{class_name}", **CLASSES, **page}
    iris = column_iris(snapshot)
    for column in snapshot.columns:
        terms[column.name] = _build_term(iris[column.name], column)
    if snapshot.kind == PROJECT_KIND:
        return {"@context": terms | _nested_terms(namespace)}
    for name in sorted(snapshot.attributes.nested_names):
        # The members are terms of the same vocabulary, each by its name.
        terms[name] = {"@id": namespace + name, "@context": {"@vocab": namespace}}
    return {"@context": terms}


def vocabulary_iri(product: Product, schema: Schema) -> str:
    """Return the namespace of schema-defined terms: the address of the defining schema."""
    return product.url(f"/v1/governance/schemas/{schema.id}#")


def column_iris(snapshot: ProductSnapshot) -> dict[str, str]:
    """Return the IRI of every column."""
    namespace = vocabulary_iri(snapshot.product, snapshot.schema)
    context = _schema_context(snapshot.schema)
    return {
        column.name: column.semantic
        or (_IDENTIFIER if column.name == snapshot.attributes.id_name else None)
        or _CORE_IRIS.get(column.name)
        or _expand_name(context, column.name)
        or namespace + column.name
        for column in snapshot.columns
    }


def _build_term(iri: str, column: Column) -> Json | str:
    datatype = _DATATYPES.get(column.type.name)
    return iri if datatype is None else {"@id": iri, "@type": datatype}


def _schema_context(schema: Schema) -> Mapping[str, Any]:
    """Return the schema's own context if it is an object; references are not followed."""
    if schema.context is None:
        return {}
    context = msgspec.json.decode(schema.context)
    return context if isinstance(context, dict) else {}


def _expand_name(context: Mapping[str, Any], name: str) -> str | None:
    """Return the absolute IRI that a context maps a name to plainly, else None."""
    value = context.get(name)
    if isinstance(value, dict):
        value = value.get("@id")
    if not isinstance(value, str):
        return None
    compact = _COMPACT.fullmatch(value)
    prefix = context.get(compact[1]) if compact else None
    if compact and isinstance(prefix, str):
        value = prefix + compact[2]
    elif not _ABSOLUTE.fullmatch(value):
        value = f"{context.get('@vocab', '')}{value}"
    return value if _ABSOLUTE.fullmatch(value) else None


def _nested_terms(namespace: str) -> Json:
    """Return terms of nested fields; the terms of their members are scoped to them."""
    name = f"{_SCHEMA_ORG}name"
    day = f"{_XSD}date"
    return {
        "spv": {
            "@id": _BORROWER,
            "@context": {
                "name": name,
                "registration_number": f"{_SCHEMA_ORG}identifier",
                "country_code": f"{_SCHEMA_ORG}addressCountry",
            },
        },
        "sponsors": {
            "@id": f"{_SCHEMA_ORG}sponsor",
            "@context": {
                "name": name,
                "share": {"@id": f"{namespace}share", "@type": f"{_XSD}decimal"},
            },
        },
        "milestones": {
            "@id": f"{namespace}milestones",
            "@container": "@list",
            "@context": {
                "milestone_id": f"{_SCHEMA_ORG}identifier",
                "title": name,
                "kind": f"{namespace}milestone_kind",
                "due_date": {"@id": f"{namespace}due_date", "@type": day},
                "met_on": {"@id": f"{namespace}met_on", "@type": day},
                "waived_on": {"@id": f"{namespace}waived_on", "@type": day},
                "draw_stop": f"{namespace}draw_stop",
                "evidence": f"{namespace}evidence",
            },
        },
        "external_ref": {
            "@id": f"{namespace}external_ref",
            "@context": {"source": f"{namespace}external_source", "id": f"{_SCHEMA_ORG}identifier"},
        },
    }
