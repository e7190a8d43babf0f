"""Where everything lies: the one table behind Link headers, the API catalogue and the page."""

from typing import Final

import msgspec

from spawn.domain.events.cloudevents import BATCH_MEDIA_TYPE

YAML: Final = "application/yaml"
JSON: Final = "application/json"
JSON_LD: Final = "application/ld+json"
LINKSET: Final = "application/linkset+json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Something to find: its path, its registered link relation, what it is and its first type."""

    path: str
    relation: str
    title: str
    media_type: str = JSON
    standard: str = ""


CONTRACT: Final = Place(
    path="/contract",
    relation="service-meta",
    title="Data contract",
    media_type=YAML,
    standard="Open Data Contract Standard 3.2.0",
)
DATA_PRODUCT: Final = Place(
    path="/product",
    relation="service-meta",
    title="Data product",
    media_type=YAML,
    standard="Open Data Product Standard 1.1.0",
)
CATALOG: Final = Place(
    path="/catalog",
    relation="service-meta",
    title="Catalogue entry",
    media_type=JSON_LD,
    standard="DCAT 3, DPROD and schema.org",
)
CONTEXT: Final = Place(
    path="/context.jsonld",
    relation="service-meta",
    title="Meaning of each field",
    media_type=JSON_LD,
    standard="JSON-LD 1.1",
)
API_CATALOG: Final = Place(
    path="/.well-known/api-catalog",
    relation="api-catalog",
    title="Catalogue of the APIs",
    media_type=LINKSET,
    standard="RFC 9727",
)
OPENAPI: Final = Place(
    path="/openapi.json",
    relation="service-desc",
    title="Description of the HTTP API",
    standard="OpenAPI 3.1",
)
ASYNCAPI: Final = Place(
    path="/asyncapi.json",
    relation="service-desc",
    title="Description of the events",
    standard="AsyncAPI 3.0",
)
DOCS: Final = Place(
    path="/docs", relation="service-doc", title="The API, for people", media_type=HTML
)
HEALTH: Final = Place(path="/monitoring/health", relation="status", title="Health")
QUALITY: Final = Place(
    path="/v1/governance/quality/runs", relation="status", title="Measurements of quality"
)
LINEAGE: Final = Place(
    path="/lineage", relation="service-meta", title="Lineage", standard="OpenLineage 2-0-2"
)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One way that data go out: where, in which forms, and what describes it."""

    name: str
    kind: str
    path: str
    title: str
    text: str
    media_types: tuple[str, ...]
    description: Place


OUTPUTS: Final = (
    Output(
        name="projects",
        kind="api",
        path="/v1/ops/projects",
        title="Projects",
        text="Projects and their history as JSON, filtered, sorted, in pages.",
        media_types=(JSON,),
        description=OPENAPI,
    ),
    Output(
        name="dataset",
        kind="file",
        path="/v1/data/projects",
        title="All projects as one file",
        text="Every project in one stream, as lines of JSON or as CSV.",
        media_types=(NDJSON, CSV),
        description=OPENAPI,
    ),
    Output(
        name="events",
        kind="events",
        path="/v1/events",
        title="Events",
        text="Every change as a CloudEvent, in order, none left out, in pages.",
        media_types=(JSON, BATCH_MEDIA_TYPE),
        description=ASYNCAPI,
    ),
    Output(
        name="event-stream",
        kind="events",
        path="/v1/events/stream",
        title="Events as they happen",
        text="The same events live, as server-sent events that a client resumes by id.",
        media_types=(EVENT_STREAM,),
        description=ASYNCAPI,
    ),
)
"""The output ports; contract, product, catalogue and page all tell of these."""

DOCUMENTS: Final = (CONTRACT, DATA_PRODUCT, CATALOG, CONTEXT, ASYNCAPI, OPENAPI, API_CATALOG)
"""The documents for machines."""

DISCOVERY: Final = (
    API_CATALOG,
    OPENAPI,
    ASYNCAPI,
    DOCS,
    CONTRACT,
    DATA_PRODUCT,
    CATALOG,
    LINEAGE,
    HEALTH,
)
"""What the Link header of every document and of the page leads to."""


def link(place: Place) -> str:
    """A place as one value of a Link header."""
    return f'<{place.path}>; rel="{place.relation}"; type="{place.media_type}"'


def link_header(own: str, *more: str) -> tuple[bytes, bytes]:
    """The Link header of the document at the path `own`: all other places, then some more links."""
    values = [link(place) for place in DISCOVERY if place.path != own]
    return (b"link", ", ".join((*values, *more)).encode())
