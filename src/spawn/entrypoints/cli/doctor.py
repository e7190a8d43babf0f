"""`spawn doctor`: look at everything the service depends on, and say what to do."""

import asyncio
import os
import shutil
import sys
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import Final

import httpx
import msgspec

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import open_registry, open_store
from spawn.adapters.local.runtime import SystemClock
from spawn.domain.errors import NotFound, RegistryError, SpawnError, StorageBusy, Unavailable
from spawn.entrypoints.cli.serve import known_address, reachable_url, store_file
from spawn.entrypoints.composition import open_publishers
from spawn.entrypoints.settings import Settings, shown_url
from spawn.ports.publishers import EventPublisher

TIMEOUT_S: Final = 5.0
_MEBIBYTE: Final = 1024 * 1024


class Verdict(StrEnum):
    """How a thing was found."""

    OK = "ok"
    WARNING = "warn"
    FAULT = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at; `advice` says what to do where it is not well."""

    what: str
    verdict: Verdict
    detail: str
    advice: str = ""


async def examine(settings: Settings) -> bool:
    """Print a finding for each thing; whether the service can run."""
    findings = [
        _settings(settings),
        await asyncio.to_thread(_disk, settings),
        await _store(settings),
        await _address(settings),
        await _ontology(settings),
        *[await _publisher(publisher) for publisher in await open_publishers(settings)],
    ]
    for finding in findings:
        sys.stdout.write(f"{finding.verdict:<4}  {finding.what:<9} {finding.detail}\n")
        if finding.advice:
            sys.stdout.write(f"{'':<16}-> {finding.advice}\n")
    return all(finding.verdict is not Verdict.FAULT for finding in findings)


def _settings(settings: Settings) -> Finding:
    # Unreadable settings end the command before it comes here.
    storage, ontology = shown_url(settings.storage_url), shown_url(settings.ontology_url)
    detail = f"{settings.environment}; {storage}; schemas from {ontology}"
    return Finding("settings", Verdict.OK, detail)


def _disk(settings: Settings) -> Finding:
    folder = settings.data_path
    if folder is None:
        return Finding("disk", Verdict.OK, f"{shown_url(settings.storage_url)} needs none")
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = f"let this user write there (chown), or choose another SPAWN_STORAGE_URL: {folder}"
        return Finding("disk", Verdict.FAULT, f"{there} cannot be written", advice)
    free, reserve = shutil.disk_usage(there).free, StoreOptions().reserve_bytes
    detail = f"{free // _MEBIBYTE} MiB free at {there}, {reserve // _MEBIBYTE} kept in reserve"
    if free < reserve:
        return Finding("disk", Verdict.FAULT, detail, "free some space: every write is refused")
    if free < 4 * reserve:
        return Finding("disk", Verdict.WARNING, detail, "free some space soon")
    return Finding("disk", Verdict.OK, detail)


async def _store(settings: Settings) -> Finding:
    if settings.storage_url == "memory://":
        advice = "set SPAWN_STORAGE_URL=duckdb:///… to keep what is written"
        return Finding("store", Verdict.WARNING, "in memory: gone when the service ends", advice)
    file = store_file(settings)
    if file is not None and not _left_of(file):
        return Finding("store", Verdict.OK, f"{file} does not exist yet; serving creates it")
    try:
        store = await open_store(settings.storage_url, clock=SystemClock())
    except StorageBusy as busy:
        url = known_address(settings)
        where = f"served at {url}" if url else busy.detail
        return Finding("store", Verdict.OK, where)
    except SpawnError as failure:
        return Finding("store", Verdict.FAULT, type(failure).title, failure.detail)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        status = store.status()
        return Finding("store", Verdict.OK, f"{status.engine}, at {status.position}, intact")


def _left_of(file: Path) -> bool:
    """Whether the database is there, or the mark of one that has gone."""
    return file.exists() or file.with_name(f"{file.name}.mark").exists()


async def _address(settings: Settings) -> Finding:
    """Whether the address is free, or who is there."""
    url = f"{reachable_url(settings)}/monitoring/health"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.get(url)
    except httpx.ConnectError:
        return Finding("address", Verdict.OK, f"{settings.host}:{settings.port} is free")
    except httpx.HTTPError as failure:
        detail = f"{url} does not answer as HTTP: {type(failure).__name__}"
        return Finding("address", Verdict.FAULT, detail, "choose another SPAWN_PORT")
    return _who_answers(url, answer)


def _who_answers(url: str, answer: httpx.Response) -> Finding:
    try:
        status = msgspec.json.decode(answer.content, type=dict[str, object]).get("status")
    except msgspec.DecodeError:
        status = None
    if status is None:
        detail = f"another server answers at {url}"
        return Finding("address", Verdict.FAULT, detail, "choose another SPAWN_PORT")
    verdict = Verdict.OK if status == "ok" else Verdict.WARNING
    advice = "" if verdict is Verdict.OK else f"its checks say why: {url}"
    return Finding("address", verdict, f"Spawn runs at {url}: {status}", advice)


async def _publisher(publisher: EventPublisher) -> Finding:
    """Whether events reach their consumer; none is sent."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(publisher.close)
        try:
            return Finding("events", Verdict.OK, await publisher.probe())
        except Unavailable as failure:
            advice = f"events for {publisher.terms.name} wait until it can be reached"
            return Finding("events", Verdict.WARNING, failure.detail, advice)


async def _ontology(settings: Settings) -> Finding:
    """Ask the ontology server itself, without any fallback."""
    registry = await open_registry(
        settings.ontology_url,
        clock=SystemClock(),
        timeout_s=settings.ontology_timeout_s,
        cache_dir=None,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(registry.close)
        try:
            fetched = await registry.refresh(settings.schema_id)
        except NotFound as failure:
            advice = "publish the schema there, or correct SPAWN_SCHEMA_ID"
            return Finding("ontology", Verdict.WARNING, failure.detail, advice)
        except RegistryError as failure:
            advice = (
                "start it or correct SPAWN_ONTOLOGY_URL; meanwhile the service goes on with the "
                "last schema it knows, or the bundled one"
            )
            return Finding("ontology", Verdict.WARNING, failure.detail, advice)
    schema = fetched.schema
    detail = f"{schema.id} version {schema.version} ({fetched.provenance.value})"
    return Finding("ontology", Verdict.OK, detail)
