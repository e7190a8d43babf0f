"""Registry over HTTP with memory, disk and bundled fallbacks.

The order is fresh, stale, disk, bundled, and the provenance names the one used. A fallback is
never cached: memory and disk hold only what the registry itself served, and the next fetch sends
a request again as soon as the circuit breaker allows.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import httpx
import msgspec

from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.ontology.circuit_breaker import CircuitLimits, CircuitState
from spawn.adapters.ontology.client import RegistryClient
from spawn.adapters.ontology.disk_cache import DiskCache
from spawn.adapters.ontology.registry_lists import page_error, parse_schemas, parse_versions
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import InvalidSchemaDocument, is_schema_id, read_schema
from spawn.ports.runtime import Clock
from spawn.ports.schemas import (
    FetchedSchema,
    Provenance,
    PublishedSchema,
    RegistryStatus,
    SchemaRegistry,
)

K = TypeVar("K")
V = TypeVar("V")

NOT_FOUND_TTL_S: Final = 30.0
MAX_CACHE_ENTRIES: Final = 64
LARGE_DOCUMENT_BYTES: Final = 65_536
"""Size of a document from which on it is read in a thread."""


class _SourceStatus(msgspec.Struct):
    """Last statement of the registry about one schema."""

    provenance: Provenance | None = None
    verified_at: datetime | None = None
    error: str | None = None
    list_error: str | None = None
    absence: str | None = None

    @property
    def problem(self) -> str | None:
        """Return what keeps the registry from confirming the schema; None if nothing does."""
        return self.error or self.list_error or self.absence


class _Key(msgspec.Struct, frozen=True):
    """Schema id, version and governed kind of a request; no version means the latest."""

    schema_id: str
    version: int | None
    kind: str = PROJECT_KIND

    @property
    def path(self) -> str:
        latest = f"/schemas/{self.schema_id}"
        return latest if self.version is None else f"{latest}/versions/{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.schema_id}@{'latest' if self.version is None else self.version}"


class _CacheEntry(msgspec.Struct, frozen=True):
    """A schema of the registry, fresh until `fresh_until` (monotonic seconds)."""

    schema: Schema
    document: bytes
    etag: str | None
    verified_at: datetime
    fresh_until: float

    def to_fetched_schema(self, provenance: Provenance, detail: str = "") -> FetchedSchema:
        return FetchedSchema(
            schema=self.schema,
            document=self.document,
            provenance=provenance,
            verified_at=self.verified_at,
            detail=detail,
        )


class CachingRegistry:
    """Registry over HTTP with fallbacks for the time while the server is unreachable."""

    def __init__(
        self,
        client: RegistryClient,
        *,
        clock: Clock,
        disk_cache: DiskCache | None,
        bundled: SchemaRegistry,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._disk_cache = disk_cache
        self._bundled = bundled
        self._monotonic = monotonic
        self._entries: dict[_Key, _CacheEntry] = {}
        self._invalid_documents: dict[_Key, InvalidSchemaDocument] = {}
        self._absent_until: dict[_Key, float] = {}
        self._lists: dict[str, tuple[str, bytes]] = {}
        self._listed_ids: set[str] = set()
        self._fetched_keys: set[_Key] = set()
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._revalidations: dict[_Key, asyncio.Task[None]] = {}
        self._sources = defaultdict[str, _SourceStatus](_SourceStatus)
        self._latest_id = ""
        self._consecutive_failures = 0

    async def fetch(
        self, schema_id: str, version: int | None = None, *, kind: str = PROJECT_KIND
    ) -> FetchedSchema:
        """Return the latest or one version, from the first source that has it."""
        key = _create_key(schema_id, version, kind)
        self._fetched_keys.add(key)
        fetched_schema = self._from_memory(key)
        if fetched_schema is None:
            # Concurrent callers share one request.
            async with self._locks.setdefault(key, asyncio.Lock()):
                fetched_schema = self._from_memory(key) or await self._request_or_fall_back(key)
        self._record_provenance(schema_id, fetched_schema.provenance)
        return fetched_schema

    async def refresh(
        self,
        schema_id: str,
        version: int | None = None,
        *,
        kind: str = PROJECT_KIND,
        is_secondary: bool = False,
    ) -> FetchedSchema:
        """Return the latest or one version as the registry itself serves it now."""
        key = _create_key(schema_id, version, kind)
        if is_secondary:
            return await self._request_and_cache(key, is_secondary=True)
        self._absent_until.pop(key, None)
        fetched_schema = await self._request(key)
        self._record_provenance(schema_id, fetched_schema.provenance)
        return fetched_schema

    async def list_versions(self, schema_id: str) -> tuple[int, ...] | None:
        """Return the numbers of the published versions; None if the registry has no list.

        A registry that had a list and has none now is at fault: the latest version alone does not
        tell what lies between. The disk remembers it across restarts.
        """
        path = f"{_create_key(schema_id).path}/versions"
        versions = await self._request_list(schema_id, path, parse_versions)
        if versions is None and await self._had_list(schema_id):
            error = "the registry no longer lists the versions of the schema"
            self._sources[schema_id].list_error = error
            raise RegistryError(error)
        if versions is not None and schema_id not in self._listed_ids:
            self._listed_ids.add(schema_id)
            await self._remember_list(schema_id)
        return versions

    async def _had_list(self, schema_id: str) -> bool:
        """Return whether this registry ever listed the versions of a schema."""
        if schema_id not in self._listed_ids and self._disk_cache is not None:
            entry = await asyncio.to_thread(self._disk_cache.load, f"{schema_id}@list")
            # Another registry may be one without a list.
            if entry is not None and entry.document == self._list_mark():
                self._listed_ids.add(schema_id)
        return schema_id in self._listed_ids

    async def _remember_list(self, schema_id: str) -> None:
        if self._disk_cache is None:
            return
        with suppress(OSError):  # the registry itself usually tells
            await asyncio.to_thread(
                self._disk_cache.save, f"{schema_id}@list", self._list_mark(), self._clock.now()
            )

    def _list_mark(self) -> bytes:
        return msgspec.json.encode({"lists_versions": self._client.url})

    async def list_schemas(self) -> tuple[PublishedSchema, ...]:
        """Return the schemas that the registry lists."""
        return await self._request_list("", "/schemas", parse_schemas) or ()

    async def _request_list(
        self, schema_id: str, path: str, parse: Callable[[bytes], V]
    ) -> V | None:
        """Return a list as it is parsed; None if the registry has none."""
        before = self._lists.get(path)
        try:
            result = await self._parse_list(path, parse, before)
        except RegistryError as error:
            self._sources[schema_id].list_error = error.detail
            self._consecutive_failures += 1
            raise
        # A list does not make up for a document that could not be had.
        self._sources[schema_id].list_error = None
        return result

    async def _parse_list(
        self, path: str, parse: Callable[[bytes], V], before: tuple[str, bytes] | None
    ) -> V | None:
        try:
            response = await self._client.get(path, etag=before[0] if before else None)
        except NotFound:
            return None
        if response.has_next:
            raise page_error("Link: rel=next")
        if response.document is not None:
            if response.etag is not None:
                self._store(self._lists, path, (response.etag, response.document))
            return parse(response.document)
        if before is None:
            raise RegistryError("the registry responded 304 to a request without an ETag")
        return parse(before[1])

    @contextmanager
    def _recorded(self, schema_id: str) -> Iterator[None]:
        """Record the success or failure of a request; the registry has responded if it has none.

        The success of one schema does not end the failures of another.
        """
        source = self._sources[schema_id]
        try:
            yield
        except RegistryError as error:
            source.error = error.detail
            self._consecutive_failures += 1
            raise
        except NotFound:
            self._end_failure(source)
            raise
        self._end_failure(source)

    def _end_failure(self, source: _SourceStatus) -> None:
        source.error = None
        if all(one.error is None for one in self._sources.values()):
            self._consecutive_failures = 0

    def _record_provenance(self, schema_id: str, provenance: Provenance) -> None:
        self._sources[schema_id].provenance = provenance
        self._latest_id = schema_id

    def status(self, schema_id: str | None = None) -> RegistryStatus:
        """Return the status of a schema, or of all, without a request."""
        if schema_id is None:
            latest, sources = self._sources[self._latest_id], list(self._sources.values())
        else:
            latest = self._sources[schema_id]
            sources = [latest]
        verified_at = min((s.verified_at for s in sources if s.verified_at), default=None)
        age_s = None
        if verified_at is not None:
            age_s = max((self._clock.now() - verified_at).total_seconds(), 0.0)
        return RegistryStatus(
            url=self._client.url,
            provenance=latest.provenance,
            breaker=self._client.breaker.state.value,
            age_s=age_s,
            last_error=next(filter(None, (one.problem for one in sources)), None),
            consecutive_failures=self._consecutive_failures,
        )

    async def close(self) -> None:
        """Stop revalidations and close the connections; idempotent."""
        tasks = list(self._revalidations.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _from_memory(self, key: _Key) -> FetchedSchema | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._monotonic() < entry.fresh_until:
            return entry.to_fetched_schema(Provenance.FRESH)
        self._start_revalidation(key)
        detail = self._sources[key.schema_id].error or "being revalidated"
        return entry.to_fetched_schema(Provenance.STALE, detail)

    async def _request_or_fall_back(self, key: _Key) -> FetchedSchema:
        try:
            return await self._request(key)
        except (NotFound, RegistryError) as error:
            return await self._fall_back(key, error)

    async def _fall_back(self, key: _Key, error: NotFound | RegistryError) -> FetchedSchema:
        from_disk = await self._from_disk(key, error.detail)
        if from_disk is not None:
            return from_disk
        try:
            bundled = await self._bundled.fetch(key.schema_id, key.version, kind=key.kind)
        except NotFound:
            raise error from None
        return msgspec.structs.replace(bundled, detail=error.detail)

    async def _from_disk(self, key: _Key, detail: str) -> FetchedSchema | None:
        if self._disk_cache is None:
            return None
        entry = await asyncio.to_thread(self._disk_cache.load, key.file_name)
        if entry is None:
            return None
        try:
            schema = read_schema(entry.document, schema_id=key.schema_id, kind=key.kind)
        except InvalidInput:
            # An earlier release accepted and stored it; this one does not accept it.
            return None
        self._sources[key.schema_id].verified_at = entry.verified_at
        return FetchedSchema(
            schema=schema,
            document=entry.document,
            provenance=Provenance.DISK,
            verified_at=entry.verified_at,
            detail=detail,
        )

    async def _request(self, key: _Key) -> FetchedSchema:
        """Request the schema from the registry and record success or failure."""
        if self._absent_until.get(key, 0.0) > self._monotonic():
            raise NotFound("the registry has no such schema or version, as of a moment ago")
        try:
            with self._recorded(key.schema_id):
                fetched_schema = await self._request_and_cache(key)
        except NotFound:
            if key.version is None:
                # It has responded, so this is no outage, but nothing confirms the schema.
                absence = f"the registry has no schema {key.schema_id}"
                self._sources[key.schema_id].absence = absence
            self._store(self._absent_until, key, self._monotonic() + NOT_FOUND_TTL_S)
            raise
        if self._is_needed_at_start(key):
            # A version that a walk reads says nothing of a latest one that is still missing.
            self._sources[key.schema_id].absence = None
        return fetched_schema

    async def _request_and_cache(self, key: _Key, *, is_secondary: bool = False) -> FetchedSchema:
        before = self._entries.get(key)
        etag = before.etag if before else None
        response = await self._client.get(key.path, etag=etag, is_secondary=is_secondary)
        now, fresh_until = self._clock.now(), self._monotonic() + response.max_age_s
        if response.document is None:
            if before is None:
                raise RegistryError("the registry responded 304 to a request without an ETag")
            entry = msgspec.structs.replace(before, verified_at=now, fresh_until=fresh_until)
            provenance = Provenance.REVALIDATED
        else:
            schema = await self._read_schema(response.document, key)
            entry = _CacheEntry(schema, response.document, response.etag, now, fresh_until)
            provenance = Provenance.LIVE
        self._store(self._entries, key, entry)
        self._sources[key.schema_id].verified_at = now
        detail = await self._save_to_disk(key, entry)
        return entry.to_fetched_schema(provenance, detail)

    async def _read_schema(self, document: bytes, key: _Key) -> Schema:
        """Read a document: a large one in a thread, and an invalid one once while it is the same.

        Raises:
            InvalidSchemaDocument: it violates a rule.
        """
        known = self._invalid_documents.get(key)
        if known is not None and known.document == document:
            raise known.with_traceback(None)
        try:
            if len(document) < LARGE_DOCUMENT_BYTES:
                return _read_schema(document, key)
            return await asyncio.to_thread(_read_schema, document, key)
        except InvalidSchemaDocument as invalid:
            self._store(self._invalid_documents, key, invalid)
            raise

    async def _save_to_disk(self, key: _Key, entry: _CacheEntry) -> str:
        """Save the document on disk; return the error, since a full disk is not fatal."""
        if self._disk_cache is None or not self._is_needed_at_start(key):
            return ""
        try:
            await asyncio.to_thread(
                self._disk_cache.save, key.file_name, entry.document, entry.verified_at
            )
        except OSError as error:
            return f"the last known good copy could not be written: {error.strerror}"
        return ""

    def _is_needed_at_start(self, key: _Key) -> bool:
        """Return whether it is the latest or the pinned version, which a start may need."""
        return key.version is None or key in self._fetched_keys

    @staticmethod
    def _store(cache: dict[K, V], key: K, value: V) -> None:
        cache.pop(key, None)
        while len(cache) >= MAX_CACHE_ENTRIES:
            del cache[next(iter(cache))]
        cache[key] = value

    def _start_revalidation(self, key: _Key) -> None:
        if key in self._revalidations or self._client.breaker.state is CircuitState.OPEN:
            return
        task = asyncio.get_running_loop().create_task(self._revalidate(key))
        self._revalidations[key] = task
        task.add_done_callback(lambda _: self._revalidations.pop(key, None))

    async def _revalidate(self, key: _Key) -> None:
        try:
            await self._request(key)
        except (NotFound, RegistryError) as error:
            # The cached schema stays in use as stale; the health check reports the error.
            self._sources[key.schema_id].error = error.detail


def _create_key(schema_id: str, version: int | None = None, kind: str = PROJECT_KIND) -> _Key:
    if not is_schema_id(schema_id):
        raise NotFound("a schema cannot have that name")
    return _Key(schema_id, version, kind)


def _read_schema(document: bytes, key: _Key) -> Schema:
    try:
        schema = read_schema(
            document, default_version=key.version, schema_id=key.schema_id, kind=key.kind
        )
        if key.version is not None and schema.version != key.version:
            detail = f"is {schema.version}, where {key.version} was requested"
            raise InvalidInput.at("/version", "other_version", detail)
    except InvalidInput as error:
        invalid = InvalidSchemaDocument(document, error)
        # A large one is judged here, in the thread.
        _ = invalid.is_version
        raise invalid from None
    return schema


async def open_http_registry(
    url: str,
    *,
    timeout_s: float,
    cache_dir: Path | None,
    clock: Clock,
    bundled: SchemaRegistry,
    transport: httpx.AsyncBaseTransport | None = None,
    limits: CircuitLimits | None = None,
    encryption_key: EncryptionKey | None = None,
) -> SchemaRegistry:
    """Return the registry at an `http(s)://` URL with its fallbacks; no request is sent yet.

    Args:
        url: Absolute, without query and fragment.
        timeout_s: Deadline of one fetch in seconds, retries included.
        cache_dir: Directory of the last valid documents; None stores none.
        encryption_key: Encrypts them.
        clock: The present, for the age of a document.
        bundled: The last fallback.
        transport: Replaces the network in tests.
        limits: Limits of the circuit breaker.

    Raises:
        InvalidInput: the URL is not an absolute http or https one.
    """
    try:
        target = httpx.URL(url)
        host = target.host
    except (httpx.InvalidURL, UnicodeError):
        target, host = httpx.URL(""), ""
    if target.scheme not in {"http", "https"} or not host or target.query or target.fragment:
        detail = "A registry is http://host[:port][/path] or https://…, without query or fragment."
        raise InvalidInput.at("", "url_malformed", detail)
    client = RegistryClient(url, timeout_s=timeout_s, transport=transport, limits=limits)
    disk_cache = None if cache_dir is None else DiskCache(cache_dir, encryption_key)
    return CachingRegistry(client, clock=clock, disk_cache=disk_cache, bundled=bundled)
