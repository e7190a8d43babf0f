"""API catalogue (RFC 9727): a link set (RFC 9264) from each API to its descriptions."""

from typing import Final

from spawn.application.product.links import (
    API_CATALOG,
    ASYNCAPI,
    CATALOG,
    CONTEXT,
    CONTRACT,
    DATA_PRODUCT,
    DOCS,
    HEALTH,
    LINEAGE,
    OPENAPI,
    OUTPUTS_BY_KIND,
    Endpoint,
)
from spawn.application.product.snapshot import Json, Product
from spawn.domain.projects.project import PROJECT_KIND

PROFILE: Final = "https://www.rfc-editor.org/info/rfc9727"

_METADATA: Final = (CONTRACT, DATA_PRODUCT, CATALOG, CONTEXT, LINEAGE)
_APIS: Final[dict[str, tuple[str, tuple[Endpoint, ...]]]] = {
    "/v1/ops/projects": ("Projects", (OPENAPI,)),
    "/v1/data/projects": ("Whole datasets", (OPENAPI,)),
    **{
        output.path: (output.title, (OPENAPI,))
        for kind, outputs in OUTPUTS_BY_KIND.items()
        for output in outputs
        if kind != PROJECT_KIND
    },
    "/v1/events": ("Events", (ASYNCAPI, OPENAPI)),
    "/v1/governance/schemas": ("Governance", (OPENAPI,)),
}
"""Root path of each API, with its name and its machine-readable descriptions."""


def build_api_catalog(product: Product) -> Json:
    """Build the link set; it is the same under every schema."""
    items = [{"href": product.url(path), "title": name} for path, (name, _) in _APIS.items()]
    apis = [_api_links(product, path, endpoints) for path, (_, endpoints) in _APIS.items()]
    return {"linkset": [{"anchor": product.url(API_CATALOG.path), "item": items}, *apis]}


def _api_links(product: Product, path: str, descriptions: tuple[Endpoint, ...]) -> Json:
    return {
        "anchor": product.url(path),
        "service-desc": _targets(product, descriptions),
        "service-doc": _targets(product, (DOCS,)),
        "service-meta": _targets(product, _METADATA),
        "status": _targets(product, (HEALTH,)),
    }


def _targets(product: Product, endpoints: tuple[Endpoint, ...]) -> list[Json]:
    return [
        {"href": product.url(endpoint.path), "type": endpoint.media_type, "title": endpoint.title}
        for endpoint in endpoints
    ]
