"""What all routes share beside the ports: caches of encoded documents, health, metrics, tracing."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from spawn.application.events.dead_letters import Redelivery
from spawn.application.product.snapshot import Product
from spawn.application.schemas.activation import SchemaRules
from spawn.entrypoints.http.events.sse import Streams
from spawn.entrypoints.http.metrics.service_metrics import Metrics
from spawn.entrypoints.http.middleware.limits import Limits
from spawn.entrypoints.http.middleware.request_spans import Tracing
from spawn.entrypoints.http.monitoring.health import Health
from spawn.entrypoints.http.product.routes import Press
from spawn.entrypoints.http.wire import Bounded, Document

if TYPE_CHECKING:
    # Views and pages are made from requests, which know the surface.
    from spawn.entrypoints.http.projects.list_route import KeptPage
    from spawn.entrypoints.http.projects.version_headers import View

DOCUMENTS = 20_000
"""Encoded projects kept; about 2 KiB each."""

PAGES = 512
"""Encoded pages kept."""

CACHED_BYTES = 64 * 1024 * 1024
"""What the projects, and what the pages may take in all: some are a hundred times the usual."""


VIEWS = 8
"""Views of whole projects kept, one for each version that ruled."""


_NO_SPAN: Final = nullcontext()


class Surface:
    """The shared state of the HTTP surface; nothing here may be wrong on a second replica."""

    def __init__(
        self,
        *,
        product: Product,
        health: Health,
        metrics: Metrics,
        schema_rules: SchemaRules,
        streams: Streams,
        relay: Redelivery,
        limits: Limits | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.product = product
        self.health = health
        self.metrics = metrics
        self.schema_rules = schema_rules
        self.streams = streams
        self.relay = relay
        self.limits = limits or Limits()
        self.tracing = tracing
        self.documents: Bounded[Document] = Bounded(
            DOCUMENTS, CACHED_BYTES, lambda document: len(document.body)
        )
        self.pages: Bounded[KeptPage] = Bounded(PAGES, CACHED_BYTES, lambda kept: kept.size_bytes)
        self.views: Bounded[View] = Bounded(VIEWS)
        self.press = Press()

    @property
    def public_url(self) -> str:
        """How clients reach the service, without a slash at the end."""
        return self.product.base_url

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A span around a use case, if spans are recorded."""
        return _NO_SPAN if self.tracing is None else self.tracing.span(name)
