"""Who the product is and where its events go, from the settings, without anything secret."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from spawn.adapters.publishers.url import subject_prefix
from spawn.application.product.snapshot import Broker, Product
from spawn.entrypoints.settings import Settings

_WEBHOOKS: Final = frozenset({"http", "https"})
_BROKERS: Final = frozenset({"nats", "nats+tls"})


def product_of(settings: Settings) -> Product:
    """The product as its documents say it."""
    return Product(
        id=settings.product_id,
        base_url=settings.base_url.rstrip("/"),
        owner=settings.product_owner,
        contact=settings.product_contact,
        environment=settings.environment,
        webhooks=any(urlsplit(url).scheme in _WEBHOOKS for url in settings.events_url),
        brokers=tuple(_brokers(settings.events_url)),
    )


def _brokers(urls: tuple[str, ...]) -> Iterator[Broker]:
    """The brokers among the publishers, without credentials and options."""
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme in _BROKERS:
            host = parts.netloc.rpartition("@")[2]
            yield Broker(parts.scheme, host, subject_prefix(url))
