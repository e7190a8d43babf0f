"""The JSON-LD 1.1 context: what each field of a project means, as an IRI.

A column's meaning is its `semantic` IRI, or else what the schema's own context says of its name,
or else a term of our own: its place in the schema that declares it. Nothing is dereferenced.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from spawn.application.product.snapshot import Json, Product, View
from spawn.domain.schemas.model import Column, Schema, TypeName

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
"""Classes of the Financial Industry Business Ontology; capitals keep them apart from columns."""

_CORE: Final[Mapping[str, str]] = {
    "project_id": "http://purl.org/dc/terms/identifier",
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


def json_ld_context(view: View) -> Json:
    """The document at `/context.jsonld`."""
    own = vocabulary(view.product, view.schema)
    # A page of projects is a graph of them; a column may have these names, and then it has them.
    page = {"items": "@graph", "next": None}
    terms: Json = {"@version": 1.1, "Project": f"{own}Project", **CLASSES, **page}
    meanings = meanings_of(view)
    for column in view.columns:
        terms[column.name] = _term(meanings[column.name], column)
    terms |= _structure(own)
    return {"@context": terms}


def vocabulary(product: Product, schema: Schema) -> str:
    """The namespace of our own terms: it leads to the schema that defines them."""
    return product.url(f"/v1/governance/schemas/{schema.id}#")


def meanings_of(view: View) -> dict[str, str]:
    """The IRI of every column."""
    own = vocabulary(view.product, view.schema)
    given = _given(view.schema)
    return {
        column.name: column.semantic
        or _CORE.get(column.name)
        or _expanded(given, column.name)
        or own + column.name
        for column in view.columns
    }


def _term(iri: str, column: Column) -> Json | str:
    datatype = _DATATYPES.get(column.type.name)
    return iri if datatype is None else {"@id": iri, "@type": datatype}


def _given(schema: Schema) -> Mapping[str, Any]:
    """The schema's own context where it is an object; references to others are left alone."""
    if schema.context is None:
        return {}
    context = msgspec.json.decode(schema.context)
    return context if isinstance(context, dict) else {}


def _expanded(given: Mapping[str, Any], name: str) -> str | None:
    """The absolute IRI that a context gives a name, if it gives one by plain words."""
    value = given.get(name)
    if isinstance(value, dict):
        value = value.get("@id")
    if not isinstance(value, str):
        return None
    compact = _COMPACT.fullmatch(value)
    prefix = given.get(compact[1]) if compact else None
    if compact and isinstance(prefix, str):
        value = prefix + compact[2]
    elif not _ABSOLUTE.fullmatch(value):
        value = f"{given.get('@vocab', '')}{value}"
    return value if _ABSOLUTE.fullmatch(value) else None


def _structure(own: str) -> Json:
    """Terms of the fields that are objects; their members mean something only inside them."""
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
                "share": {"@id": f"{own}share", "@type": f"{_XSD}decimal"},
            },
        },
        "milestones": {
            "@id": f"{own}milestones",
            "@container": "@list",
            "@context": {
                "milestone_id": f"{_SCHEMA_ORG}identifier",
                "title": name,
                "kind": f"{own}milestone_kind",
                "due_date": {"@id": f"{own}due_date", "@type": day},
                "met_on": {"@id": f"{own}met_on", "@type": day},
                "waived_on": {"@id": f"{own}waived_on", "@type": day},
                "draw_stop": f"{own}draw_stop",
                "evidence": f"{own}evidence",
            },
        },
        "external_ref": {
            "@id": f"{own}external_ref",
            "@context": {"source": f"{own}external_source", "id": f"{_SCHEMA_ORG}identifier"},
        },
    }
