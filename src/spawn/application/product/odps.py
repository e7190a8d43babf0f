"""Data product in the Open Data Product Standard 1.1.0: ports, management and support."""

import re
from typing import Final

import msgspec

from spawn import __version__
from spawn.application.product.links import (
    ALL_OUTPUTS,
    API_CATALOG,
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    HEALTH,
    LINEAGE,
    OPENAPI,
    OUTPUTS_BY_KIND,
    QUALITY,
    Endpoint,
    OutputPort,
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
from spawn.domain.projects.project import PROJECT_KIND

_SEPARATORS: Final = re.compile("[/?=]")
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
            "tags": [DOMAIN, *(one.schema.id for one in snapshot.all_datasets)],
            "authoritativeDefinitions": [
                {"type": "canonicalUrl", "url": product.url(DATA_PRODUCT.path)},
                *(
                    {"type": "dataContract", "url": product.url(one.document_path(CONTRACT))}
                    for one in snapshot.all_datasets
                ),
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
    """Return the output ports, each under the contract of its dataset."""
    contracts = {one.kind: one for one in snapshot.all_datasets}
    return [_output_port(contracts[_find_kind(output)], output) for output in ALL_OUTPUTS]


def _find_kind(output: OutputPort) -> str:
    """Return the kind whose states a port has; events are under the contract of projects."""
    kinds = (kind for kind, outputs in OUTPUTS_BY_KIND.items() if output in outputs)
    return next(kinds, PROJECT_KIND)


def _output_port(snapshot: ProductSnapshot, output: OutputPort) -> Json:
    url = snapshot.product.url
    return {
        "name": output.name,
        "description": output.description,
        "type": output.kind,
        "version": snapshot.version,
        "contractId": snapshot.contract_id,
        "authoritativeDefinitions": [
            {"type": "endpoint", "url": url(output.path)},
            {"type": "implementation", "url": url(output.specification.path)},
            {"type": "dataContract", "url": url(snapshot.document_path(CONTRACT))},
        ],
    }


def _management_ports(snapshot: ProductSnapshot) -> list[Json]:
    """Return the management ports: discovery, observability, control and dictionary."""
    schemas = [
        Endpoint(
            path=f"/v1/governance/schemas/{one.schema.id}",
            relation="describedby",
            title="Active schema",
        )
        for one in snapshot.all_datasets
    ]
    candidates = [
        Endpoint(
            path=f"{schema.path}/candidates",
            relation="describedby",
            title="Schema candidates, with refresh and decisions",
        )
        for schema in schemas
    ]
    contexts = [
        msgspec.structs.replace(CONTEXT, path=one.document_path(CONTEXT))
        for one in snapshot.all_datasets
    ]
    ports = (
        ("discoverability", API_CATALOG),
        ("discoverability", CATALOG),
        ("observability", HEALTH),
        ("observability", QUALITY),
        ("observability", LINEAGE),
        ("observability", _METRICS),
        *(("control", one) for one in candidates),
        *(("dictionary", one) for one in schemas),
        *(("dictionary", one) for one in contexts),
    )
    return [
        {
            "name": _SEPARATORS.sub("-", endpoint.path.strip("/").replace(".", "")),
            "content": content,
            "type": "rest",
            "url": snapshot.product.url(endpoint.path),
            "description": f"{endpoint.title}.",
        }
        for content, endpoint in ports
    ]
