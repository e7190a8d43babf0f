"""Open adapters by URL: the scheme selects one, and other packages may add schemes.

A package adds a storage scheme with an entry point of the group `spawn.storage`, named like the
scheme, that is an `async def (url, *, clock, options) -> Store`; a schema registry with one of the
group `spawn.registry`, an `async def (url, *, clock, timeout_s, cache_dir) -> SchemaRegistry`; a
publisher of events with one of the group `spawn.publisher`, an `async def (url, *, options) ->
EventPublisher`.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit

from spawn.adapters.embedded.options import BackupOptions, PublisherOptions, StoreOptions
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.errors import InvalidInput
from spawn.ports.analytics import QualityStore
from spawn.ports.backups import Backups
from spawn.ports.publishers import EventPublisher
from spawn.ports.runtime import Clock
from spawn.ports.schemas import SchemaRegistry, SchemaStore
from spawn.ports.storage import (
    Bookmarks,
    CommandStore,
    DerivedDocuments,
    ReadStore,
    StoreControl,
)


class Store(
    CommandStore,
    ReadStore,
    Bookmarks,
    DerivedDocuments,
    SchemaStore,
    QualityStore,
    StoreControl,
    Protocol,
):
    """All ports of a storage adapter."""


StoreOpener = Callable[..., Awaitable[Store]]


async def open_store(url: str, *, clock: Clock, options: StoreOptions | None = None) -> Store:
    """Open the store of a URL, ready to serve.

    `memory://` is a new empty store. `duckdb:///relative/path` is a file below the working
    directory and `duckdb:////absolute/path` anywhere; it is created if absent.

    Raises:
        InvalidInput: no adapter has the scheme, or the URL is malformed.
        StorageBusy: another process holds the file.
        StorageDamaged: the file must not be served; the detail names the remedy.
    """
    scheme = urlsplit(url).scheme
    opener = _STORE_OPENERS.get(scheme) or _load_store_opener(scheme)
    return await opener(url, clock=clock, options=options or StoreOptions())


def check_store_url(url: str) -> None:
    """Validate the URL of a store without opening it.

    Raises:
        InvalidInput: no adapter has the scheme, or the URL is malformed.
    """
    scheme = urlsplit(url).scheme
    if scheme == "duckdb":
        parse_duckdb_url(url)
    elif scheme == "memory":
        _require_exact_url(url, "memory://", "a store in memory")
    else:
        _load_store_opener(scheme)


def _require_exact_url(url: str, only_url: str, adapter: str) -> None:
    if url != only_url:
        raise InvalidInput.at("", "url_malformed", f"The URL of {adapter} is {only_url}")


def _load_store_opener(scheme: str) -> StoreOpener:
    for entry_point in entry_points(group="spawn.storage", name=scheme):
        return cast("StoreOpener", entry_point.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No storage adapter has the scheme {scheme or '(none)'!r}."
    )


async def _open_memory(url: str, *, clock: Clock, options: StoreOptions) -> Store:
    from spawn.adapters.memory.store import MemoryStore

    del options  # a store in memory has none of these limits
    check_store_url(url)
    return MemoryStore(clock)


async def _open_duckdb(url: str, *, clock: Clock, options: StoreOptions) -> Store:
    from spawn.adapters.duckdb.store import open_duckdb

    return await open_duckdb(parse_duckdb_url(url), clock=clock, options=options)


def parse_duckdb_url(url: str) -> Path:
    """Return the file of a `duckdb:///…` URL: relative after three slashes, absolute after four.

    A link is followed, so that one file has one name, with one mark and one log beside it.

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
    # Those of a Path raise an error in a folder that this user cannot enter; see `store_access`.
    return Path(os.path.realpath(path) if os.path.islink(path) else path)  # noqa: PTH114


_STORE_OPENERS: dict[str, StoreOpener] = {"memory": _open_memory, "duckdb": _open_duckdb}


async def open_backups(store: Store, options: BackupOptions) -> Backups:
    """Open the backups of a store, which end when the store is closed.

    Raises:
        InvalidInput: the adapter of the store has no backups of its own.
        StorageIncompatible: another store has superseded this one.
        Conflict: the target has backups of another store.
    """
    from spawn.adapters.duckdb.store import DuckDbStore

    if not isinstance(store, DuckDbStore):
        raise InvalidInput.at(
            "", "no_backups", "Only a DuckDB store is backed up by the service itself."
        )
    return await store.open_backups(options)


RegistryOpener = Callable[..., Awaitable[SchemaRegistry]]


async def open_registry(
    url: str,
    *,
    clock: Clock,
    timeout_s: float,
    cache_dir: Path | None,
    encryption_key: EncryptionKey | None = None,
) -> SchemaRegistry:
    """Open the schema registry of a URL; no request is sent yet.

    `http(s)://…` is an ontology server, `bundled://` the schema shipped with the service.
    `timeout_s` limits one fetch in seconds, retries included; `cache_dir` stores the last valid
    documents, encrypted if there is a key. A registry of another package then gets no folder.

    Raises:
        InvalidInput: no adapter has the scheme, or the URL is malformed.
    """
    scheme = urlsplit(url).scheme
    opener = _REGISTRY_OPENERS.get(scheme)
    if opener is None:
        opener = _load_registry_opener(scheme)
        cache_dir = cache_dir if encryption_key is None else None
    elif encryption_key is not None and opener is _open_http:
        opener = partial(opener, encryption_key=encryption_key)
    return await opener(url, clock=clock, timeout_s=timeout_s, cache_dir=cache_dir)


def check_registry_url(url: str) -> None:
    """Validate the URL of a schema registry without a request.

    Raises:
        InvalidInput: no adapter has the scheme, or the URL is malformed.
    """
    scheme = urlsplit(url).scheme
    if scheme == "bundled":
        _require_exact_url(url, "bundled://", "the bundled schema")
    elif scheme not in _REGISTRY_OPENERS:
        _load_registry_opener(scheme)


def _load_registry_opener(scheme: str) -> RegistryOpener:
    for entry_point in entry_points(group="spawn.registry", name=scheme):
        return cast("RegistryOpener", entry_point.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No registry adapter has the scheme {scheme or '(none)'!r}."
    )


async def _open_bundled(
    url: str, *, clock: Clock, timeout_s: float, cache_dir: Path | None
) -> SchemaRegistry:
    from spawn.adapters.ontology.bundled import BundledRegistry

    del clock, timeout_s, cache_dir  # there is no server
    check_registry_url(url)
    return BundledRegistry()


async def _open_http(
    url: str,
    *,
    clock: Clock,
    timeout_s: float,
    cache_dir: Path | None,
    encryption_key: EncryptionKey | None = None,
) -> SchemaRegistry:
    from spawn.adapters.ontology.bundled import BundledRegistry
    from spawn.adapters.ontology.caching_registry import open_http_registry

    return await open_http_registry(
        url,
        timeout_s=timeout_s,
        cache_dir=cache_dir,
        encryption_key=encryption_key,
        clock=clock,
        bundled=BundledRegistry(),
    )


_REGISTRY_OPENERS: dict[str, RegistryOpener] = {
    "bundled": _open_bundled,
    "http": _open_http,
    "https": _open_http,
}


PublisherOpener = Callable[..., Awaitable[EventPublisher]]


async def open_publisher(url: str, *, options: PublisherOptions) -> EventPublisher:
    """Open the publisher of a URL; nothing is connected or sent yet.

    `log://` is the service's own log, `http(s)://…` a webhook, `nats://…` a NATS JetStream. The
    options follow a `#`: `name=`, `start=newest|oldest`, and the adapter's own.

    Raises:
        InvalidInput: no adapter has the scheme, its package is not installed, or the URL or a
            file that it needs cannot be used.
    """
    before, separator, _ = url.partition("://")
    scheme = before.lower() if separator else ""
    opener = _PUBLISHER_OPENERS.get(scheme) or _load_publisher_opener(scheme)
    return await opener(url, options=options)


def _load_publisher_opener(scheme: str) -> PublisherOpener:
    for entry_point in entry_points(group="spawn.publisher", name=scheme):
        return cast("PublisherOpener", entry_point.load())
    raise InvalidInput.at(
        "", "unknown_scheme", f"No publisher adapter has the scheme {scheme or '(none)'!r}."
    )


async def _open_log(url: str, *, options: PublisherOptions) -> EventPublisher:
    from spawn.adapters.publishers.log import BATCH_SIZE, LogPublisher
    from spawn.adapters.publishers.url import malformed_url_error, parse_publisher_url

    del options  # the log needs none
    publisher_url = parse_publisher_url(url)
    if publisher_url.target != "log://":
        raise malformed_url_error("The URL of the log is log://")
    return LogPublisher(publisher_url.delivery_options(batch=BATCH_SIZE, durable=False))


async def _open_webhook(url: str, *, options: PublisherOptions) -> EventPublisher:
    from spawn.adapters.publishers.webhook.publisher import open_webhook_publisher

    return await open_webhook_publisher(url, options=options)


async def _open_nats(url: str, *, options: PublisherOptions) -> EventPublisher:
    try:
        from spawn.adapters.publishers.nats.nats_publisher import open_nats_publisher
    except ImportError:
        raise InvalidInput.at(
            "",
            "not_installed",
            "A NATS publisher needs the extra nats: run `make extras` in a clone; "
            "the container image includes it",
        ) from None
    return await open_nats_publisher(url, options=options)


_PUBLISHER_OPENERS: dict[str, PublisherOpener] = {
    "log": _open_log,
    "http": _open_webhook,
    "https": _open_webhook,
    "nats": _open_nats,
    "nats+tls": _open_nats,
}
