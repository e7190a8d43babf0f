"""The data product, by the Open Data Product Standard 1.1.0: its ports and how it is run."""

from typing import Final

from spawn import __version__
from spawn.application.product.links import (
    API_CATALOG,
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    HEALTH,
    LINEAGE,
    OPENAPI,
    OUTPUTS,
    QUALITY,
    Place,
)
from spawn.application.product.odcs import support
from spawn.application.product.snapshot import (
    DOMAIN,
    LIMITATIONS,
    PURPOSE,
    TITLE,
    USAGE,
    Json,
    View,
    properties,
    stated,
)

_METRICS: Final = Place(
    path="/monitoring/metrics", relation="status", title="Metrics", media_type="text/plain"
)


def data_product(view: View) -> Json:
    """The whole description."""
    product = view.product
    return stated(
        {
            "apiVersion": "v1.1.0",
            "kind": "DataProduct",
            "id": product.id,
            "name": TITLE,
            "version": view.version,
            "status": "active",
            "domain": DOMAIN,
            "type": "sourceAligned",
            "description": {"purpose": PURPOSE, "usage": USAGE, "limitations": LIMITATIONS},
            "tags": [DOMAIN, view.schema.id],
            "authoritativeDefinitions": [
                {"type": "canonicalUrl", "url": product.url(DATA_PRODUCT.path)},
                {"type": "dataContract", "url": product.url(CONTRACT.path)},
                {"type": "ontology", "url": product.url(CONTEXT.path)},
            ],
            "inputPorts": _inputs(view),
            "outputPorts": _outputs(view),
            "managementPorts": _management(view),
            "support": support(product),
            "team": {"name": product.owner} if product.owner else None,
            "customProperties": properties({"serviceVersion": __version__}),
        }
    )


def _inputs(view: View) -> list[Json]:
    """Where data come in; both read requests under the active schema."""
    described = view.product.url(OPENAPI.path)
    return [
        {
            "name": name,
            "version": view.version,
            "authoritativeDefinitions": [{"type": "implementation", "url": described}],
        }
        for name in ("commands", "imports")
    ]


def _outputs(view: View) -> list[Json]:
    """Where data go out, each under the contract."""
    return [
        {
            "name": output.name,
            "description": output.text,
            "type": output.kind,
            "version": view.version,
            "contractId": view.product.contract_id,
            "authoritativeDefinitions": [
                {"type": "endpoint", "url": view.product.url(output.path)},
                {"type": "implementation", "url": view.product.url(output.description.path)},
                {"type": "dataContract", "url": view.product.url(CONTRACT.path)},
            ],
        }
        for output in OUTPUTS
    ]


def _management(view: View) -> list[Json]:
    """Where the product is found, watched, steered and looked up."""
    schemas = Place(
        path=f"/v1/governance/schemas/{view.schema.id}",
        relation="describedby",
        title="The schema that rules",
    )
    candidates = Place(
        path=f"{schemas.path}/candidates",
        relation="describedby",
        title="Schema versions that wait or were refused; refresh and decisions are beside them",
    )
    ports = (
        ("discoverability", API_CATALOG),
        ("discoverability", CATALOG),
        ("observability", HEALTH),
        ("observability", QUALITY),
        ("observability", LINEAGE),
        ("observability", _METRICS),
        ("control", candidates),
        ("dictionary", schemas),
        ("dictionary", CONTEXT),
    )
    return [
        {
            "name": place.path.strip("/").replace("/", "-").replace(".", ""),
            "content": content,
            "type": "rest",
            "url": view.product.url(place.path),
            "description": f"{place.title}.",
        }
        for content, place in ports
    ]
