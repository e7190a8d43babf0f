"""The registry as the service uses it: fresh → stale → disk → bundled, and it says which.

A fallback is never cached: only what the registry itself said is in memory and on disk, and the
next question asks it again as soon as the breaker allows.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import httpx
import msgspec

from spawn.adapters.ontology.circuit_breaker import BreakerLimits, BreakerState
from spawn.adapters.ontology.client import RegistryClient
from spawn.adapters.ontology.disk_cache import LastKnownGood
from spawn.domain.errors import InvalidInput, NotFound, RegistryError
from spawn.domain.schemas.document_parser import DocumentRefused, is_schema_id, read_schema
from spawn.domain.schemas.model import Schema
from spawn.ports.runtime import Clock
from spawn.ports.schemas import Fetched, Provenance, RegistryStatus, SchemaRegistry

NOT_FOUND_TTL_S: Final = 30.0
MAX_REMEMBERED: Final = 64


class _Key(msgspec.Struct, frozen=True):
    """What was asked for; no version means the latest."""

    schema_id: str
    version: int | None

    @property
    def path(self) -> str:
        latest = f"/schemas/{self.schema_id}"
        return latest if self.version is None else f"{latest}/versions/{self.version}"

    @property
    def file(self) -> str:
        return f"{self.schema_id}@{'latest' if self.version is None else self.version}"


class _Known(msgspec.Struct, frozen=True):
    """What the registry said, and until when (monotonic seconds) it holds unasked."""

    schema: Schema
    document: bytes
    etag: str | None
    verified_at: datetime
    fresh_until: float

    def fetched(self, provenance: Provenance, detail: str = "") -> Fetched:
        return Fetched(
            schema=self.schema,
            document=self.document,
            provenance=provenance,
            verified_at=self.verified_at,
            detail=detail,
        )


class LadderRegistry:
    """A registry over HTTP with everything that stands in for it while it is away."""

    def __init__(
        self,
        client: RegistryClient,
        *,
        clock: Clock,
        disk: LastKnownGood | None,
        bundled: SchemaRegistry,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._disk = disk
        self._bundled = bundled
        self._monotonic = monotonic
        self._known: dict[_Key, _Known] = {}
        self._absent: dict[_Key, float] = {}
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._tasks: dict[_Key, asyncio.Task[None]] = {}
        self._provenance: Provenance | None = None
        self._verified_at: datetime | None = None
        self._last_error: str | None = None
        self._failures = 0

    async def fetch(self, schema_id: str, version: int | None = None) -> Fetched:
        """The latest, or one version, from the highest rung that has it."""
        key = _key(schema_id, version)
        found = self._from_memory(key)
        if found is None:
            # Whoever asks meanwhile waits for this answer instead of asking too.
            async with self._locks.setdefault(key, asyncio.Lock()):
                found = self._from_memory(key) or await self._from_afar(key)
        self._provenance = found.provenance
        return found

    async def refresh(self, schema_id: str) -> Fetched:
        """What the registry itself says now."""
        key = _key(schema_id, None)
        self._absent.pop(key, None)
        found = await self._ask(key)
        self._provenance = found.provenance
        return found

    def status(self) -> RegistryStatus:
        """A snapshot, without waiting."""
        age_s = None
        if self._verified_at is not None:
            age_s = max((self._clock.now() - self._verified_at).total_seconds(), 0.0)
        return RegistryStatus(
            url=self._client.url,
            provenance=self._provenance,
            breaker=self._client.breaker.state.value,
            age_s=age_s,
            last_error=self._last_error,
            consecutive_failures=self._failures,
        )

    async def close(self) -> None:
        """Stop revalidating and close the connections; idempotent."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    def _from_memory(self, key: _Key) -> Fetched | None:
        known = self._known.get(key)
        if known is None:
            return None
        if self._monotonic() < known.fresh_until:
            return known.fetched(Provenance.FRESH)
        self._revalidate_later(key)
        return known.fetched(Provenance.STALE, self._last_error or "being revalidated")

    async def _from_afar(self, key: _Key) -> Fetched:
        try:
            return await self._ask(key)
        except (NotFound, RegistryError) as error:
            return await self._fall_back(key, error)

    async def _fall_back(self, key: _Key, error: NotFound | RegistryError) -> Fetched:
        found = await self._from_disk(key, error.detail)
        if found is not None:
            return found
        try:
            bundled = await self._bundled.fetch(key.schema_id, key.version)
        except NotFound:
            raise error from None
        return msgspec.structs.replace(bundled, detail=error.detail)

    async def _from_disk(self, key: _Key, detail: str) -> Fetched | None:
        if self._disk is None:
            return None
        kept = await asyncio.to_thread(self._disk.load, key.file)
        if kept is None:
            return None
        try:
            schema = read_schema(kept.document, schema_id=key.schema_id)
        except InvalidInput:
            # Kept by an earlier release that let it in; this one does not.
            return None
        self._verified_at = kept.verified_at
        return Fetched(
            schema=schema,
            document=kept.document,
            provenance=Provenance.DISK,
            verified_at=kept.verified_at,
            detail=detail,
        )

    async def _ask(self, key: _Key) -> Fetched:
        """Ask the registry, remember what it said, and keep the books of failures."""
        if self._absent.get(key, 0.0) > self._monotonic():
            raise NotFound("the registry said a moment ago that it has no such schema or version")
        try:
            found = await self._answer(key)
        except NotFound:
            self._remember(self._absent, key, self._monotonic() + NOT_FOUND_TTL_S)
            raise
        except RegistryError as error:
            self._last_error = error.detail
            self._failures += 1
            raise
        self._last_error = None
        self._failures = 0
        return found

    async def _answer(self, key: _Key) -> Fetched:
        before = self._known.get(key)
        reply = await self._client.get(key.path, etag=before.etag if before else None)
        now, fresh_until = self._clock.now(), self._monotonic() + reply.max_age_s
        if reply.document is None:
            if before is None:
                raise RegistryError("the registry says unchanged to who has nothing yet")
            known = msgspec.structs.replace(before, verified_at=now, fresh_until=fresh_until)
            provenance = Provenance.REVALIDATED
        else:
            schema = _read(reply.document, key)
            known = _Known(schema, reply.document, reply.etag, now, fresh_until)
            provenance = Provenance.LIVE
        self._remember(self._known, key, known)
        self._verified_at = now
        detail = await self._keep(key, known)
        return known.fetched(provenance, detail)

    async def _keep(self, key: _Key, known: _Known) -> str:
        """Keep the document on disk; a full disk is said, and is no reason to do without it."""
        if self._disk is None:
            return ""
        try:
            await asyncio.to_thread(self._disk.save, key.file, known.document, known.verified_at)
        except OSError as error:
            return f"the last known good copy could not be written: {error.strerror}"
        return ""

    @staticmethod
    def _remember(book: dict[_Key, _Known] | dict[_Key, float], key: _Key, value: object) -> None:
        book.pop(key, None)
        while len(book) >= MAX_REMEMBERED:
            del book[next(iter(book))]
        book[key] = value  # type: ignore[assignment]  # each book gets its own kind of value

    def _revalidate_later(self, key: _Key) -> None:
        if key in self._tasks or self._client.breaker.state is BreakerState.OPEN:
            return
        task = asyncio.get_running_loop().create_task(self._revalidate(key))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _revalidate(self, key: _Key) -> None:
        try:
            await self._ask(key)
        except (NotFound, RegistryError) as error:
            # What is known serves on as stale; health tells why.
            self._last_error = error.detail


def _key(schema_id: str, version: int | None) -> _Key:
    if not is_schema_id(schema_id):
        raise NotFound("that is not a name a schema can have")
    return _Key(schema_id, version)


def _read(document: bytes, key: _Key) -> Schema:
    try:
        schema = read_schema(document, ordinal=key.version, schema_id=key.schema_id)
        if key.version is not None and schema.version != key.version:
            detail = f"is {schema.version}, where {key.version} was asked for"
            raise InvalidInput.at("/version", "other_version", detail)
    except InvalidInput as refusal:
        raise DocumentRefused(document, refusal) from None
    return schema


async def open_http_registry(
    url: str,
    *,
    timeout_s: float,
    cache_dir: Path | None,
    clock: Clock,
    bundled: SchemaRegistry,
    transport: httpx.AsyncBaseTransport | None = None,
    limits: BreakerLimits | None = None,
) -> SchemaRegistry:
    """The registry at an `http(s)://` URL, with the whole ladder below it; asks nothing yet.

    `timeout_s` is the deadline of one question, retries included. `cache_dir` keeps the last known
    good documents; None keeps none.

    Raises:
        InvalidInput: the URL is not an absolute http or https one.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.fragment:
        detail = "A registry is http://host[:port][/path] or https://…, without query or fragment."
        raise InvalidInput.at("", "url_malformed", detail)
    client = RegistryClient(url, timeout_s=timeout_s, transport=transport, limits=limits)
    disk = None if cache_dir is None else LastKnownGood(cache_dir)
    return LadderRegistry(client, clock=clock, disk=disk, bundled=bundled)
