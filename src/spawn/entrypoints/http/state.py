"""State that all routes share: caches, health, metrics, event streams, tracing."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from spawn.application.dependencies import Dependencies
from spawn.application.events.dead_letters import DeadLetterPublisher
from spawn.application.product.snapshot import Product
from spawn.application.schemas.activation import SchemaPolicy
from spawn.domain.change import ResponseRecipe
from spawn.entrypoints.http.caches import BoundedCache
from spawn.entrypoints.http.events.sse import EventStreams
from spawn.entrypoints.http.metrics.service_metrics import PrometheusMetrics
from spawn.entrypoints.http.middleware.limits import HttpLimits
from spawn.entrypoints.http.middleware.request_spans import RequestTracer
from spawn.entrypoints.http.monitoring.health import HealthChecker
from spawn.entrypoints.http.product.routes import DocumentCache
from spawn.entrypoints.http.projects.representation import ProjectRepresentation
from spawn.entrypoints.http.protocol.response import Response

if TYPE_CHECKING:
    # Views and pages are built from requests, whose module imports this one.
    from spawn.entrypoints.http.projects.list_route import CachedProjectPage
    from spawn.entrypoints.http.projects.version_headers import ProjectView

MAX_PROJECTS = 20_000
"""Cached project representations; about 2 KiB each."""

MAX_PAGES = 512
"""Cached pages of projects."""

CACHE_BYTES = 64 * 1024 * 1024
"""Byte limit of each cache; single entries can be 100 times the average."""

MAX_VIEWS = 8
"""Cached views of whole projects, one per schema version."""

ResponseCodec = Callable[[Dependencies, ResponseRecipe], Awaitable[Response]]
"""Function that renders the response of a receipt; `create_app` registers one per name."""

_NO_SPAN: Final = nullcontext()


class HttpState:
    """Shared state of the HTTP application; all of it stays valid with a second replica."""

    def __init__(
        self,
        *,
        product: Product,
        health: HealthChecker,
        metrics: PrometheusMetrics,
        schema_policy: SchemaPolicy,
        streams: EventStreams,
        relay: DeadLetterPublisher,
        limits: HttpLimits | None = None,
        tracer: RequestTracer | None = None,
    ) -> None:
        self.product = product
        self.health = health
        self.metrics = metrics
        self.schema_policy = schema_policy
        self.streams = streams
        self.relay = relay
        self.limits = limits or HttpLimits()
        self.tracer = tracer
        self.projects: BoundedCache[ProjectRepresentation] = BoundedCache(
            MAX_PROJECTS, CACHE_BYTES, lambda project: len(project.body)
        )
        self.pages: BoundedCache[CachedProjectPage] = BoundedCache(
            MAX_PAGES, CACHE_BYTES, lambda page: page.size_bytes
        )
        self.views: BoundedCache[ProjectView] = BoundedCache(MAX_VIEWS)
        self.document_cache = DocumentCache()
        self.response_codecs: Mapping[str, ResponseCodec] = {}

    @property
    def public_url(self) -> str:
        """The base URL of the service, without a slash at the end."""
        return self.product.base_url

    def span(self, name: str) -> AbstractContextManager[Any]:
        """Open a span around a use case, if spans are recorded."""
        return _NO_SPAN if self.tracer is None else self.tracer.span(name)
