"""From a URL to an adapter: the scheme chooses, and third parties may add schemes.

A package adds a storage scheme with an entry point of the group `spawn.storage`, named like the
scheme, that is an `async def (url, *, clock, options) -> Store`; a schema registry with one of the
group `spawn.registry`, an `async def (url, *, clock, timeout_s, cache_dir) -> SchemaRegistry`; a
publisher of events with one of the group `spawn.publisher`, an `async def (url, *, options) ->
EventPublisher`.
"""

from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit

from spawn.adapters.embedded.options import PublisherOptions, StoreOptions
from spawn.domain.errors import InvalidInput
from spawn.ports.analytics import QualityStore
from spawn.ports.publishers import EventPublisher
from spawn.ports.runtime import Clock
from spawn.ports.schemas import SchemaRegistry, SchemaStore
from spawn.ports.storage import Bookmarks, CommandStore, ReadStore, StoreControl


class Store(CommandStore, ReadStore, Bookmarks, SchemaStore, QualityStore, StoreControl, Protocol):
    """Everything a storage adapter is."""


Opener = Callable[..., Awaitable[Store]]


async def open_store(url: str, *, clock: Clock, options: StoreOptions | None = None) -> Store:
    """Open the store that the URL names, ready to serve.

    `memory://` is a new empty store. `duckdb:///relative/path` is a file below the working
    directory and `duckdb:////absolute/path` anywhere; it is created if absent.

    Raises:
        InvalidInput: no adapter knows the scheme, or the URL is not of its form.
        StorageBusy: another process holds the file.
        StorageDamaged: the file must not be served; the detail names the remedy.
    """
    scheme = urlsplit(url).scheme
    opener = _OPENERS.get(scheme) or _third_party(scheme)
    return await opener(url, clock=clock, options=options or StoreOptions())


def check_store_url(url: str) -> None:
    """Let the URL of a store pass; nothing is opened.

    Raises:
        InvalidInput: no adapter knows the scheme, or the URL is not of its form.
    """
    scheme = urlsplit(url).scheme
    if scheme == "duckdb":
        duckdb_path(url)
    elif scheme == "memory":
        _only(url, "memory://", "a store in memory")
    else:
        _third_party(scheme)


def _only(url: str, expected: str, what: str) -> None:
    if url != expected:
        raise InvalidInput.at("", "url_malformed", f"The URL of {what} is {expected}")


def _third_party(scheme: str) -> Opener:
    for found in entry_points(group="spawn.storage", name=scheme):
        return cast("Opener", found.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No storage adapter knows the scheme {scheme or '(none)'!r}."
    )


async def _open_memory(url: str, *, clock: Clock, options: StoreOptions) -> Store:
    from spawn.adapters.memory.store import MemoryStore

    del options  # a dictionary has none of these bounds
    check_store_url(url)
    return MemoryStore(clock)


async def _open_duckdb(url: str, *, clock: Clock, options: StoreOptions) -> Store:
    from spawn.adapters.duckdb.store import open_duckdb

    return await open_duckdb(duckdb_path(url), clock=clock, options=options)


def duckdb_path(url: str) -> Path:
    """The file of a `duckdb:///…` URL: relative after three slashes, absolute after four.

    Raises:
        InvalidInput: a host, query or fragment, or no path at all.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "duckdb" or parts.netloc or parts.query or parts.fragment or not path:
        raise InvalidInput.at(
            "",
            "url_malformed",
            "A DuckDB store is duckdb:///relative/path or duckdb:////absolute/path.",
        )
    return Path(path)


_OPENERS: dict[str, Opener] = {"memory": _open_memory, "duckdb": _open_duckdb}


RegistryOpener = Callable[..., Awaitable[SchemaRegistry]]


async def open_registry(
    url: str, *, clock: Clock, timeout_s: float, cache_dir: Path | None
) -> SchemaRegistry:
    """Open the schema registry that the URL names; nothing is asked of it yet.

    `http(s)://…` is an ontology server, `bundled://` the schema shipped with the service.
    `timeout_s` bounds one question, retries included; `cache_dir` keeps the last known good.

    Raises:
        InvalidInput: no adapter knows the scheme, or the URL is not of its form.
    """
    scheme = urlsplit(url).scheme
    opener = _REGISTRIES.get(scheme) or _third_party_registry(scheme)
    return await opener(url, clock=clock, timeout_s=timeout_s, cache_dir=cache_dir)


def check_registry_url(url: str) -> None:
    """Let the URL of a schema registry pass; nothing is asked of it.

    Raises:
        InvalidInput: no adapter knows the scheme, or the URL is not of its form.
    """
    scheme = urlsplit(url).scheme
    if scheme == "bundled":
        _only(url, "bundled://", "the bundled schema")
    elif scheme not in _REGISTRIES:
        _third_party_registry(scheme)


def _third_party_registry(scheme: str) -> RegistryOpener:
    for found in entry_points(group="spawn.registry", name=scheme):
        return cast("RegistryOpener", found.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No registry adapter knows the scheme {scheme or '(none)'!r}."
    )


async def _open_bundled(
    url: str, *, clock: Clock, timeout_s: float, cache_dir: Path | None
) -> SchemaRegistry:
    from spawn.adapters.ontology.bundled import BundledRegistry

    del clock, timeout_s, cache_dir  # it is at hand
    check_registry_url(url)
    return BundledRegistry()


async def _open_http(
    url: str, *, clock: Clock, timeout_s: float, cache_dir: Path | None
) -> SchemaRegistry:
    from spawn.adapters.ontology.bundled import BundledRegistry
    from spawn.adapters.ontology.caching_registry import open_http_registry

    return await open_http_registry(
        url, timeout_s=timeout_s, cache_dir=cache_dir, clock=clock, bundled=BundledRegistry()
    )


_REGISTRIES: dict[str, RegistryOpener] = {
    "bundled": _open_bundled,
    "http": _open_http,
    "https": _open_http,
}


PublisherOpener = Callable[..., Awaitable[EventPublisher]]


async def open_publisher(url: str, *, options: PublisherOptions) -> EventPublisher:
    """Open the publisher that the URL names; nothing is connected or sent yet.

    `log://` is the service's own log, `http(s)://…` a webhook, `nats://…` a NATS JetStream. What
    follows a `#` are options: `name=`, `start=newest|oldest`, and the adapter's own.

    Raises:
        InvalidInput: no adapter knows the scheme, its package is not installed, or the URL or
            what belongs to it cannot be used.
    """
    scheme = urlsplit(url).scheme
    opener = _PUBLISHERS.get(scheme) or _third_party_publisher(scheme)
    return await opener(url, options=options)


def _third_party_publisher(scheme: str) -> PublisherOpener:
    for found in entry_points(group="spawn.publisher", name=scheme):
        return cast("PublisherOpener", found.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No publisher adapter knows the scheme {scheme or '(none)'!r}."
    )


async def _open_log(url: str, *, options: PublisherOptions) -> EventPublisher:
    from spawn.adapters.publishers.in_process import IN_PROCESS_BATCH, LogPublisher
    from spawn.adapters.publishers.url import malformed, read_publisher_url

    del options  # it is at hand
    read = read_publisher_url(url)
    if read.target != "log://":
        raise malformed("The URL of the log is log://")
    return LogPublisher(read.terms(batch=IN_PROCESS_BATCH, durable=False))


async def _open_webhook(url: str, *, options: PublisherOptions) -> EventPublisher:
    from spawn.adapters.publishers.webhook.publisher import open_webhook

    return await open_webhook(url, options=options)


async def _open_jetstream(url: str, *, options: PublisherOptions) -> EventPublisher:
    try:
        from spawn.adapters.publishers.nats import open_jetstream
    except ImportError:
        raise InvalidInput.at(
            "", "not_installed", "A NATS publisher needs the extra: pip install spawn[nats]"
        ) from None
    return await open_jetstream(url, options=options)


_PUBLISHERS: dict[str, PublisherOpener] = {
    "log": _open_log,
    "http": _open_webhook,
    "https": _open_webhook,
    "nats": _open_jetstream,
    "nats+tls": _open_jetstream,
}
