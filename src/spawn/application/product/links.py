"""The product's documents and APIs, for Link headers, the API catalogue and the page."""

from collections.abc import Mapping
from typing import Final

import msgspec

from spawn.domain.aggregates import AGGREGATE_TYPES, governed_kinds
from spawn.domain.events.cloudevents import BATCH_MEDIA_TYPE
from spawn.domain.projects.project import PROJECT_KIND

YAML: Final = "application/yaml"
JSON: Final = "application/json"
JSON_LD: Final = "application/ld+json"
LINKSET: Final = "application/linkset+json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A document or API: its path, registered link relation, title and default media type."""

    path: str
    relation: str
    title: str
    media_type: str = JSON
    standard: str = ""

    @property
    def browser_path(self) -> str:
        """The path of JSON, which a browser displays; it would only download YAML."""
        return f"{self.path}?format=json" if self.media_type == YAML else self.path


CONTRACT: Final = Endpoint(
    path="/contract",
    relation="service-meta",
    title="Data contract",
    media_type=YAML,
    standard="Open Data Contract Standard 3.2.0",
)
DATA_PRODUCT: Final = Endpoint(
    path="/product",
    relation="service-meta",
    title="Data product",
    media_type=YAML,
    standard="Open Data Product Standard 1.1.0",
)
CATALOG: Final = Endpoint(
    path="/catalog",
    relation="service-meta",
    title="Catalogue entry",
    media_type=JSON_LD,
    standard="DCAT 3, DPROD and schema.org",
)
CONTEXT: Final = Endpoint(
    path="/context.jsonld",
    relation="service-meta",
    title="Meaning of each field",
    media_type=JSON_LD,
    standard="JSON-LD 1.1",
)
API_CATALOG: Final = Endpoint(
    path="/.well-known/api-catalog",
    relation="api-catalog",
    title="API catalogue",
    media_type=LINKSET,
    standard="RFC 9727",
)
OPENAPI: Final = Endpoint(
    path="/openapi.json",
    relation="service-desc",
    title="OpenAPI document",
    standard="OpenAPI 3.1",
)
ASYNCAPI: Final = Endpoint(
    path="/asyncapi.json",
    relation="service-desc",
    title="AsyncAPI document",
    standard="AsyncAPI 3.0",
)
DOCS: Final = Endpoint(
    path="/docs", relation="service-doc", title="API documentation", media_type=HTML
)
HEALTH: Final = Endpoint(path="/monitoring/health", relation="status", title="Health")
QUALITY: Final = Endpoint(
    path="/v1/governance/quality/runs", relation="status", title="Quality runs"
)
LINEAGE: Final = Endpoint(
    path="/lineage", relation="service-meta", title="Lineage", standard="OpenLineage 2-0-2"
)


class OutputPort(msgspec.Struct, frozen=True, kw_only=True):
    """An output port: its path, media types and the document that describes it."""

    name: str
    kind: str
    path: str
    title: str
    description: str
    media_types: tuple[str, ...]
    specification: Endpoint


_PROJECT_OUTPUTS: Final = (
    OutputPort(
        name="projects",
        kind="api",
        path="/v1/ops/projects",
        title="Projects",
        description="Projects and their history as JSON, filtered, sorted and paged.",
        media_types=(JSON,),
        specification=OPENAPI,
    ),
    OutputPort(
        name="dataset",
        kind="file",
        path="/v1/data/projects",
        title="All projects as one file",
        description="Every project in one stream, as lines of JSON or as CSV.",
        media_types=(NDJSON, CSV),
        specification=OPENAPI,
    ),
)
_EVENT_OUTPUTS: Final = (
    OutputPort(
        name="events",
        kind="events",
        path="/v1/events",
        title="Events",
        description="Every change as a CloudEvent, in order and without gaps, in pages.",
        media_types=(JSON, BATCH_MEDIA_TYPE),
        specification=ASYNCAPI,
    ),
    OutputPort(
        name="event-stream",
        kind="events",
        path="/v1/events/stream",
        title="Event stream",
        description="The same events live, as server-sent events that a client can resume by id.",
        media_types=(EVENT_STREAM,),
        specification=ASYNCAPI,
    ),
)
"""Ports of the events of every kind."""


def _build_dataset_output(kind: str) -> OutputPort:
    """Return the port of the dataset of a governed kind other than projects."""
    table = AGGREGATE_TYPES[kind].table or kind
    return OutputPort(
        name=f"{table}-dataset",
        kind="file",
        path=f"/v1/data/{table}",
        title=f"All {table} as one file",
        description=f"Every {kind} in one stream, as lines of JSON or as CSV.",
        media_types=(NDJSON, CSV),
        specification=OPENAPI,
    )


OUTPUTS_BY_KIND: Final[Mapping[str, tuple[OutputPort, ...]]] = {
    kind: _PROJECT_OUTPUTS if kind == PROJECT_KIND else (_build_dataset_output(kind),)
    for kind in governed_kinds()
}
"""Output ports with the states of each governed kind alone."""

OUTPUTS: Final = (*_PROJECT_OUTPUTS, *_EVENT_OUTPUTS)
"""Output ports of projects and events, as the page lists them."""


def list_outputs(kind: str) -> tuple[OutputPort, ...]:
    """Return the output ports with the states or the events of a governed kind."""
    return (*OUTPUTS_BY_KIND[kind], *_EVENT_OUTPUTS)


ALL_OUTPUTS: Final = (
    *_PROJECT_OUTPUTS,
    *_EVENT_OUTPUTS,
    *(port for kind in OUTPUTS_BY_KIND if kind != PROJECT_KIND for port in OUTPUTS_BY_KIND[kind]),
)
"""Output ports, as data product and catalogue list them."""

DOCUMENTS: Final = (CONTRACT, DATA_PRODUCT, CATALOG, CONTEXT, ASYNCAPI, OPENAPI, API_CATALOG)
"""Machine-readable documents."""

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
"""Targets of the Link header of every document and of the page."""


def _link_value(endpoint: Endpoint) -> str:
    """Return an endpoint as one value of a Link header."""
    return f'<{endpoint.path}>; rel="{endpoint.relation}"; type="{endpoint.media_type}"'


def link_header(own_path: str, *more: str) -> tuple[bytes, bytes]:
    """Return the Link header of the document at `own_path`: all other endpoints, then `more`."""
    values = [_link_value(endpoint) for endpoint in DISCOVERY if endpoint.path != own_path]
    return (b"link", ", ".join((*values, *more)).encode())
