"""The API catalogue of RFC 9727: a link set (RFC 9264) from each API to what describes it."""

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
    Place,
)
from spawn.application.product.snapshot import Json, Product

PROFILE: Final = "https://www.rfc-editor.org/info/rfc9727"

_META: Final = (CONTRACT, DATA_PRODUCT, CATALOG, CONTEXT, LINEAGE)
_APIS: Final[dict[str, tuple[str, tuple[Place, ...]]]] = {
    "/v1/ops/projects": ("Projects", (OPENAPI,)),
    "/v1/data/projects": ("Whole datasets", (OPENAPI,)),
    "/v1/events": ("Events", (ASYNCAPI, OPENAPI)),
    "/v1/governance/schemas": ("Governance", (OPENAPI,)),
}
"""Where each API begins, with its name and its machine-readable descriptions."""


def api_catalog(product: Product) -> Json:
    """The link set; the same under every schema."""
    items = [{"href": product.url(path), "title": name} for path, (name, _) in _APIS.items()]
    apis = [_api(product, path, places) for path, (_, places) in _APIS.items()]
    return {"linkset": [{"anchor": product.url(API_CATALOG.path), "item": items}, *apis]}


def _api(product: Product, path: str, descriptions: tuple[Place, ...]) -> Json:
    return {
        "anchor": product.url(path),
        "service-desc": _targets(product, descriptions),
        "service-doc": _targets(product, (DOCS,)),
        "service-meta": _targets(product, _META),
        "status": _targets(product, (HEALTH,)),
    }


def _targets(product: Product, places: tuple[Place, ...]) -> list[Json]:
    return [
        {"href": product.url(place.path), "type": place.media_type, "title": place.title}
        for place in places
    ]
