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
from spawn.domain.errors import (
    NotFound,
    RegistryError,
    SpawnError,
    StorageBusy,
    Unavailable,
    describe_cause,
)
from spawn.entrypoints.cli.serve import build_local_url, find_store_file, read_served_address
from spawn.entrypoints.composition import open_publishers
from spawn.entrypoints.settings import Settings, SettingsError, redact_url
from spawn.ports.publishers import EventPublisher

TIMEOUT_S: Final = 5.0
_MEBIBYTE: Final = 1024 * 1024


class CheckStatus(StrEnum):
    """Status of a check; a FAULT stops the service from running."""

    OK = "ok"
    WARNING = "warn"
    FAULT = "FAIL"


class CheckResult(msgspec.Struct, frozen=True):
    """Result of one check; `advice` says what to do, and only a check that passed has none."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""

    def __post_init__(self) -> None:
        """Check that a finding names a remedy.

        Raises:
            ValueError: it does not.
        """
        if self.status is not CheckStatus.OK and not self.advice:
            raise ValueError(f"the finding of {self.name} names no remedy")


class _ServiceCheck(msgspec.Struct):
    """A check in the health document of a running service."""

    status: str
    detail: str = ""


class _ServiceHealth(msgspec.Struct):
    """The health document of a running service."""

    status: str
    checks: dict[str, _ServiceCheck] = {}


_SERVICE_REMEDIES: Final = {
    "storage": "check the disk and the log of the service; if the data are damaged, restore a "
    "backup",
    "disk": "free some space on the disk of the store",
    "feed": "start the consumer or correct its URL in SPAWN_EVENTS_URL; replay or discard the "
    "letters of /v1/events/dead-letters",
    "projection": "wait while rows are compared after an unclean stop; otherwise look in the log "
    "of the service for failed projections, and reduce the load of the disk",
    "schema": "decide on the candidates of /v1/governance/schemas, or correct SPAWN_ONTOLOGY_URL",
    "breaker": "start the ontology server or correct SPAWN_ONTOLOGY_URL",
    "background": "look in the log of the service for the failure of the task, and report it",
    "quality": "correct the data that /v1/governance/quality counts as failed",
}
"""Remedies of the checks that a running service reports."""


async def run_checks(settings: Settings) -> bool:
    """Print the result of each check and return whether the service can run."""
    results = [
        _check_settings(settings),
        await asyncio.to_thread(_check_disk, settings),
        await _check_store(settings),
        *await _check_address(settings),
        await _check_registry(settings),
        *await _check_publishers(settings),
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
    except (SpawnError, OSError) as failure:
        return _describe_unopened_store(settings, failure)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        status = store.status()
        return CheckResult(
            "store", CheckStatus.OK, f"{status.engine}, at {status.position}, intact"
        )


def _describe_unopened_store(settings: Settings, failure: SpawnError | OSError) -> CheckResult:
    """Return the finding for a store that cannot be opened."""
    if isinstance(failure, OSError):
        advice = "make the file and its .wal and .mark files readable and writable for this user"
        return CheckResult("store", CheckStatus.FAULT, describe_cause(failure), advice)
    if not isinstance(failure, StorageBusy):
        reason = "" if failure.__cause__ is None else f": {describe_cause(failure.__cause__)}"
        detail = type(failure).title + reason
        return CheckResult("store", CheckStatus.FAULT, detail, failure.detail)
    if url := read_served_address(settings):
        return CheckResult("store", CheckStatus.OK, f"served at {url}")
    advice = "stop the other process, or give the service a file of its own"
    return CheckResult("store", CheckStatus.WARNING, failure.detail, advice)


def _has_existed(file: Path) -> bool:
    """Whether the database exists, or the high-water mark of one that was removed."""
    return file.exists() or file.with_name(f"{file.name}.mark").exists()


async def _check_address(settings: Settings) -> list[CheckResult]:
    """Check that the address is free, or that Spawn serves there in good health."""
    url = f"{build_local_url(settings)}/monitoring/health"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            response = await client.get(url)
    except httpx.ConnectError:
        return [CheckResult("address", CheckStatus.OK, f"{settings.host}:{settings.port} is free")]
    except httpx.HTTPError as failure:
        detail = f"{url} does not speak HTTP: {type(failure).__name__}"
        return [CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")]
    return _check_health_response(url, response)


def _check_health_response(url: str, response: httpx.Response) -> list[CheckResult]:
    """Return a finding for the address, and one for each check that the service fails."""
    try:
        health = msgspec.json.decode(response.content, type=_ServiceHealth)
    except msgspec.DecodeError:
        detail = f"another server listens at {url}"
        return [CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")]
    detail = f"Spawn runs at {url}: {health.status}"
    findings = [
        CheckResult(
            "service",
            CheckStatus.WARNING,
            f"{name} is {check.status}: {check.detail}",
            _SERVICE_REMEDIES.get(name, f"see the check at {url}"),
        )
        for name, check in health.checks.items()
        if check.status != "ok"
    ]
    if health.status == "ok" or findings:
        return [CheckResult("address", CheckStatus.OK, detail), *findings]
    return [CheckResult("address", CheckStatus.WARNING, detail, f"see the response of {url}")]


async def _check_publishers(settings: Settings) -> list[CheckResult]:
    """Check each configured publisher of events."""
    try:
        publishers = await open_publishers(settings)
    except SettingsError as failure:
        advice = "correct the setting; the service does not start with it"
        return [CheckResult("events", CheckStatus.FAULT, str(failure), advice)]
    return [await _check_publisher(publisher) for publisher in publishers]


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
