"""What all routes share beside the ports: caches of encoded documents, health, metrics, tracing."""

from contextlib import AbstractContextManager
from typing import Any

from spawn.entrypoints.http.health import Health
from spawn.entrypoints.http.limits import Limits
from spawn.entrypoints.http.openapi import Description
from spawn.entrypoints.http.reply import Reply
from spawn.entrypoints.http.service_metrics import Metrics
from spawn.entrypoints.http.tracing import Tracing, no_span
from spawn.entrypoints.http.wire import Bounded, Document

DOCUMENTS = 20_000
"""Encoded projects kept; about 2 KiB each."""

PAGES = 512
"""Encoded pages kept."""


class Surface:
    """The shared state of the HTTP surface; nothing here may be wrong on a second replica."""

    def __init__(
        self,
        *,
        public_url: str,
        health: Health,
        metrics: Metrics,
        limits: Limits | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.public_url = public_url.rstrip("/")
        self.health = health
        self.metrics = metrics
        self.limits = limits or Limits()
        self.tracing = tracing
        self.documents: Bounded[Document] = Bounded(DOCUMENTS)
        self.pages: Bounded[Reply] = Bounded(PAGES)
        self.description: Description | None = None

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A span around a use case, if spans are recorded."""
        return no_span() if self.tracing is None else self.tracing.span(name)
