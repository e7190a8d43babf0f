"""Command `spawn doctor`: check what the service depends on, and print advice."""

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
from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import NotFound, RegistryError, SpawnError, StorageBusy, Unavailable
from spawn.entrypoints.cli.serve import build_local_url, find_store_file, read_served_address
from spawn.entrypoints.composition import open_publishers
from spawn.entrypoints.settings import Settings, redact_url
from spawn.ports.publishers import EventPublisher

TIMEOUT_S: Final = 5.0
_MEBIBYTE: Final = 1024 * 1024


class CheckStatus(StrEnum):
    """Status of a check; a FAULT stops the service from running."""

    OK = "ok"
    WARNING = "warn"
    FAULT = "FAIL"


class CheckResult(msgspec.Struct, frozen=True):
    """Result of one check; `advice` says what to do if it did not pass."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""


async def run_checks(settings: Settings) -> bool:
    """Print the result of each check and return whether the service can run."""
    results = [
        _check_settings(settings),
        await asyncio.to_thread(_check_disk, settings),
        await _check_store(settings),
        await _check_address(settings),
        await _check_registry(settings),
        *[await _check_publisher(publisher) for publisher in await open_publishers(settings)],
    ]
    for result in results:
        sys.stdout.write(f"{result.status:<4}  {result.name:<9} {result.detail}\n")
        if result.advice:
            sys.stdout.write(f"{'':<16}-> {result.advice}\n")
    return all(result.status is not CheckStatus.FAULT for result in results)


def _check_settings(settings: Settings) -> CheckResult:
    # Malformed settings end the command earlier.
    storage, ontology = redact_url(settings.storage_url), redact_url(settings.ontology_url)
    detail = f"{settings.environment}; {storage}; schemas from {ontology}"
    return CheckResult("settings", CheckStatus.OK, detail)


def _check_disk(settings: Settings) -> CheckResult:
    folder = settings.data_path
    if folder is None:
        return CheckResult("disk", CheckStatus.OK, f"{redact_url(settings.storage_url)} needs none")
    existing_folder = folder
    while not existing_folder.exists():
        existing_folder = existing_folder.parent
    if not existing_folder.is_dir() or not os.access(existing_folder, os.W_OK | os.X_OK):
        advice = (
            f"make {folder} writable for this user (chown), or choose another SPAWN_STORAGE_URL"
        )
        return CheckResult(
            "disk", CheckStatus.FAULT, f"{existing_folder} cannot be written", advice
        )
    free, reserve = shutil.disk_usage(existing_folder).free, StoreOptions().reserve_bytes
    detail = (
        f"{free // _MEBIBYTE} MiB free at {existing_folder}, {reserve // _MEBIBYTE} kept in reserve"
    )
    if free < reserve:
        return CheckResult(
            "disk", CheckStatus.FAULT, detail, "free some space: every write is rejected"
        )
    if free < 4 * reserve:
        return CheckResult("disk", CheckStatus.WARNING, detail, "free some space soon")
    return CheckResult("disk", CheckStatus.OK, detail)


async def _check_store(settings: Settings) -> CheckResult:
    if settings.storage_url == "memory://":
        advice = "set SPAWN_STORAGE_URL=duckdb:///… to keep the data"
        return CheckResult(
            "store", CheckStatus.WARNING, "in memory: lost when the service stops", advice
        )
    file = find_store_file(settings)
    if file is not None and not _has_existed(file):
        return CheckResult(
            "store", CheckStatus.OK, f"{file} does not exist yet; serving creates it"
        )
    try:
        store = await open_store(settings.storage_url, clock=SystemClock())
    except StorageBusy as busy:
        url = read_served_address(settings)
        detail = f"served at {url}" if url else busy.detail
        return CheckResult("store", CheckStatus.OK, detail)
    except SpawnError as failure:
        return CheckResult("store", CheckStatus.FAULT, type(failure).title, failure.detail)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        status = store.status()
        return CheckResult(
            "store", CheckStatus.OK, f"{status.engine}, at {status.position}, intact"
        )


def _has_existed(file: Path) -> bool:
    """Whether the database exists, or the high-water mark of one that was removed."""
    return file.exists() or file.with_name(f"{file.name}.mark").exists()


async def _check_address(settings: Settings) -> CheckResult:
    """Check that the address is free, or that Spawn serves there."""
    url = f"{build_local_url(settings)}/monitoring/health"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            response = await client.get(url)
    except httpx.ConnectError:
        return CheckResult("address", CheckStatus.OK, f"{settings.host}:{settings.port} is free")
    except httpx.HTTPError as failure:
        detail = f"{url} does not speak HTTP: {type(failure).__name__}"
        return CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")
    return _check_health_response(url, response)


def _check_health_response(url: str, response: httpx.Response) -> CheckResult:
    try:
        status = msgspec.json.decode(response.content, type=dict[str, object]).get("status")
    except msgspec.DecodeError:
        status = None
    if status is None:
        detail = f"another server listens at {url}"
        return CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")
    check_status = CheckStatus.OK if status == "ok" else CheckStatus.WARNING
    advice = "" if check_status is CheckStatus.OK else f"see its checks at {url}"
    return CheckResult("address", check_status, f"Spawn runs at {url}: {status}", advice)


async def _check_publisher(publisher: EventPublisher) -> CheckResult:
    """Check that the consumer of events can be reached, without sending any."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(publisher.close)
        try:
            return CheckResult("events", CheckStatus.OK, await publisher.probe())
        except Unavailable as failure:
            name = publisher.delivery_options.name
            advice = f"start it or correct its URL; events for {name} wait until then"
            return CheckResult("events", CheckStatus.WARNING, failure.detail, advice)


async def _check_registry(settings: Settings) -> CheckResult:
    """Fetch the schema from the ontology server, without fallbacks."""
    registry = await open_registry(
        settings.ontology_url,
        clock=SystemClock(),
        timeout_s=settings.ontology_timeout_s,
        cache_dir=None,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(registry.close)
        try:
            fetched_schema = await registry.refresh(settings.schema_id)
        except NotFound as failure:
            advice = "publish the schema there, or correct SPAWN_SCHEMA_ID"
            return CheckResult("ontology", CheckStatus.WARNING, failure.detail, advice)
        except RegistryError as failure:
            advice = (
                "start it or correct SPAWN_ONTOLOGY_URL; meanwhile the service uses the "
                "last cached schema, or the bundled one"
            )
            return CheckResult("ontology", CheckStatus.WARNING, failure.detail, advice)
    schema = fetched_schema.schema
    detail = f"{schema.id} version {schema.version} ({fetched_schema.provenance.value})"
    return CheckResult("ontology", CheckStatus.OK, detail)
