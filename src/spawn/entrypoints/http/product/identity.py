"""Identity of the data product, from the settings, without secrets."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from spawn.adapters.publishers.nats.nats_url import parse_nats_url
from spawn.application.product.snapshot import Broker, Product
from spawn.domain.quality.rules import ServiceLevels
from spawn.entrypoints.settings import Settings

_WEBHOOK_SCHEMES: Final = frozenset({"http", "https"})
_BROKER_SCHEMES: Final = frozenset({"nats", "nats+tls"})


def product_from_settings(settings: Settings) -> Product:
    """Return the product as its documents describe it."""
    return Product(
        id=settings.product_id,
        base_url=settings.base_url.rstrip("/"),
        owner=settings.product_owner,
        contact=settings.product_contact,
        environment=settings.environment,
        is_open=settings.auth == "off",
        webhooks=any(urlsplit(url).scheme in _WEBHOOK_SCHEMES for url in settings.events_url),
        brokers=tuple(_parse_brokers(settings.events_url)),
        levels=build_service_levels(settings),
    )


def build_service_levels(settings: Settings) -> ServiceLevels:
    """Return the service levels of freshness; a setting of 0 promises nothing."""
    return ServiceLevels(
        changed_s=settings.freshness_s or None, imported_s=settings.import_freshness_s or None
    )


def _parse_brokers(urls: tuple[str, ...]) -> Iterator[Broker]:
    """Yield the brokers among the publishers, without credentials and options."""
    for url in urls:
        scheme = urlsplit(url).scheme
        if scheme in _BROKER_SCHEMES:
            nats_url = parse_nats_url(url)
            yield Broker(scheme, nats_url.servers, nats_url.prefix, nats_url.has_id_in_subject)
