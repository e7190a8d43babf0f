"""Route of the metadata of the protected resource (RFC 9728)."""

from typing import Final

from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.operation import PUBLIC, Cache, Success
from spawn.entrypoints.http.protocol.request import RESOURCE_METADATA, StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import WireStruct


class ResourceMetadataView(WireStruct, frozen=True, kw_only=True, omit_defaults=True):
    """The authorization servers that issue tokens, if there are any, and the scopes."""

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[Scope, ...]
    bearer_methods_supported: tuple[str, ...]
    resource_documentation: str


@route(
    "GET",
    RESOURCE_METADATA,
    "getResourceMetadata",
    tag="product",
    scopes=PUBLIC,
    summary="Get the metadata of the protected resource",
    description="RFC 9728: where a client gets tokens, and the scopes that they may have.",
    returns=Success(ResourceMetadataView, "The metadata."),
    cache=Cache.REVALIDATE,
)
async def get_resource_metadata(request: StrictRequest) -> ResourceMetadataView:
    """Return the metadata."""
    state = request.http_state
    base_url = state.product.base_url
    return ResourceMetadataView(
        resource=base_url,
        authorization_servers=(state.issuer,) if state.issuer else (),
        scopes_supported=tuple(Scope),
        bearer_methods_supported=("header",),
        resource_documentation=f"{base_url}/docs",
    )


ROUTES: Final[list[Route]] = [get_resource_metadata]
"""Routes of the metadata."""
