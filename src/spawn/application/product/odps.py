"""Data product in the Open Data Product Standard 1.1.0: ports, management and support."""

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
    Endpoint,
)
from spawn.application.product.odcs import build_support
from spawn.application.product.snapshot import (
    DOMAIN,
    LIMITATIONS,
    PURPOSE,
    TITLE,
    USAGE,
    Json,
    ProductSnapshot,
    omit_empty,
    property_list,
)

_METRICS: Final = Endpoint(
    path="/monitoring/metrics", relation="status", title="Metrics", media_type="text/plain"
)


def build_data_product(snapshot: ProductSnapshot) -> Json:
    """Build the data-product description."""
    product = snapshot.product
    return omit_empty(
        {
            "apiVersion": "v1.1.0",
            "kind": "DataProduct",
            "id": product.id,
            "name": TITLE,
            "version": snapshot.version,
            "status": "active",
            "domain": DOMAIN,
            "type": "sourceAligned",
            "description": {"purpose": PURPOSE, "usage": USAGE, "limitations": LIMITATIONS},
            "tags": [DOMAIN, snapshot.schema.id],
            "authoritativeDefinitions": [
                {"type": "canonicalUrl", "url": product.url(DATA_PRODUCT.path)},
                {"type": "dataContract", "url": product.url(CONTRACT.path)},
                {"type": "ontology", "url": product.url(CONTEXT.path)},
            ],
            "inputPorts": _input_ports(snapshot),
            "outputPorts": _output_ports(snapshot),
            "managementPorts": _management_ports(snapshot),
            "support": build_support(product),
            "team": {"name": product.owner} if product.owner else None,
            "customProperties": property_list({"serviceVersion": __version__}),
        }
    )


def _input_ports(snapshot: ProductSnapshot) -> list[Json]:
    """Return the input ports; both validate against the active schema."""
    openapi_url = snapshot.product.url(OPENAPI.path)
    return [
        {
            "name": name,
            "version": snapshot.version,
            "authoritativeDefinitions": [{"type": "implementation", "url": openapi_url}],
        }
        for name in ("commands", "imports")
    ]


def _output_ports(snapshot: ProductSnapshot) -> list[Json]:
    """Return the output ports, each under the contract."""
    return [
        {
            "name": output.name,
            "description": output.description,
            "type": output.kind,
            "version": snapshot.version,
            "contractId": snapshot.product.contract_id,
            "authoritativeDefinitions": [
                {"type": "endpoint", "url": snapshot.product.url(output.path)},
                {"type": "implementation", "url": snapshot.product.url(output.specification.path)},
                {"type": "dataContract", "url": snapshot.product.url(CONTRACT.path)},
            ],
        }
        for output in OUTPUTS
    ]


def _management_ports(snapshot: ProductSnapshot) -> list[Json]:
    """Return the management ports: discovery, observability, control and dictionary."""
    schemas = Endpoint(
        path=f"/v1/governance/schemas/{snapshot.schema.id}",
        relation="describedby",
        title="Active schema",
    )
    candidates = Endpoint(
        path=f"{schemas.path}/candidates",
        relation="describedby",
        title="Schema candidates, with refresh and decisions",
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
            "name": endpoint.path.strip("/").replace("/", "-").replace(".", ""),
            "content": content,
            "type": "rest",
            "url": snapshot.product.url(endpoint.path),
            "description": f"{endpoint.title}.",
        }
        for content, endpoint in ports
    ]
