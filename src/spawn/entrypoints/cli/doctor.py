"""Command `spawn doctor`: check what the service depends on, and print advice."""

import asyncio
import os
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import msgspec

from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.factory import open_registry, open_store
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.served_address import read_served_address
from spawn.adapters.service_client import open_http_client
from spawn.application.diagnosis import (
    CheckResult,
    CheckStatus,
    ReportedHealth,
    check_publisher,
    check_registry,
    describe_unopened_store,
    judge_disk,
    judge_health,
)
from spawn.domain.errors import SpawnError
from spawn.domain.text import redact_url
from spawn.entrypoints.cli.errors import EXIT_USAGE, CommandError
from spawn.entrypoints.cli.grammar.terminal import Colour, paint
from spawn.entrypoints.cli.serve import build_local_url
from spawn.entrypoints.composition import open_publishers
from spawn.entrypoints.settings import (
    Settings,
    SettingsError,
    check_files,
    find_encryption_key,
    read_service_key,
    read_service_url,
)
from spawn.entrypoints.store_access import find_access_problem, find_store_file

TIMEOUT_S: Final = 5.0
_COLOURS: Final = {
    CheckStatus.OK: Colour.GREEN,
    CheckStatus.WARNING: Colour.YELLOW,
    CheckStatus.FAULT: Colour.RED,
}


async def run_checks(
    settings: Settings, *, renew_mark: bool = False, as_json: bool = False
) -> bool:
    """Print the result of each check and return whether the service can run.

    With SPAWN_URL it is the service there whose health is checked, as its settings, disk and file
    are elsewhere. `renew_mark` accepts a store whose high-water mark was lost; see `StoreOptions`.
    """
    url = read_service_url(os.environ)
    if url and renew_mark:
        raise CommandError("--renew-mark opens the file: unset SPAWN_URL", EXIT_USAGE)
    results = await (_check_service(url) if url else _check_all(settings, renew_mark=renew_mark))
    for result in results:
        if as_json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            continue
        status = paint(f"{result.status:<4}", _COLOURS[result.status], sys.stdout)
        sys.stdout.write(f"{status}  {result.name:<9} {result.detail}\n")
        if result.advice:
            sys.stdout.write(f"{'':<16}-> {result.advice}\n")
    return all(result.status is not CheckStatus.FAULT for result in results)


async def _check_service(url: str) -> list[CheckResult]:
    """Check the health of the running service at a URL."""
    service = redact_url(url)
    try:
        async with open_http_client(url, read_service_key(os.environ), TIMEOUT_S) as client:
            response = await client.get("/monitoring/ready")
    except httpx.HTTPError as failure:
        detail = f"{service} cannot be reached: {str(failure) or type(failure).__name__}"
        advice = "start the service, or correct SPAWN_URL"
        return [CheckResult("service", CheckStatus.FAULT, detail, advice)]
    try:
        health = msgspec.json.decode(response.content, type=ReportedHealth)
    except msgspec.DecodeError:
        detail = f"{service} responded with {response.status_code} and no health of Spawn"
        advice = "correct SPAWN_URL, or set SPAWN_KEY_FILE to a key that it accepts"
        return [CheckResult("service", CheckStatus.FAULT, detail, advice)]
    return judge_health(service, health)


async def _check_all(settings: Settings, *, renew_mark: bool) -> list[CheckResult]:
    return [
        _check_settings(settings),
        await asyncio.to_thread(_check_disk, settings),
        await _check_store(settings, renew_mark=renew_mark),
        *await _check_address(settings),
        await _check_registry(settings),
        *await _check_publishers(settings),
    ]


def _check_settings(settings: Settings) -> CheckResult:
    # Malformed settings end the command earlier.
    try:
        check_files(settings)
        find_encryption_key(settings)
    except SettingsError as error:
        advice = "make the file readable and whole"
        return CheckResult("settings", CheckStatus.FAULT, str(error), advice)
    storage, ontology = redact_url(settings.storage_url), redact_url(settings.ontology_url)
    detail = f"{settings.environment}; {storage}; schemas from {ontology}"
    return CheckResult("settings", CheckStatus.OK, detail)


def _check_disk(settings: Settings) -> CheckResult:
    folder = settings.data_path
    if folder is None:
        return CheckResult("disk", CheckStatus.OK, f"{redact_url(settings.storage_url)} needs none")
    store_file = find_store_file(settings)
    problem = "" if store_file is None else find_access_problem(store_file)
    if problem:
        advice = f"follow it for {folder}, or choose another SPAWN_STORAGE_URL"
        return CheckResult("disk", CheckStatus.FAULT, problem, advice)
    existing_folder = folder
    while not existing_folder.exists():
        existing_folder = existing_folder.parent
    free, reserve = shutil.disk_usage(existing_folder).free, StoreOptions().reserve_bytes
    return judge_disk(existing_folder, free, reserve)


async def _check_store(settings: Settings, *, renew_mark: bool) -> CheckResult:
    if settings.storage_url == "memory://":
        advice = "set SPAWN_STORAGE_URL=duckdb:///… to keep the data"
        return CheckResult(
            "store", CheckStatus.WARNING, "in memory: lost when the service stops", advice
        )
    file = find_store_file(settings)
    if file is not None and find_access_problem(file):
        advice = "follow the advice on the disk first"
        return CheckResult("store", CheckStatus.FAULT, f"{file} cannot be opened", advice)
    if file is not None and not _has_existed(file):
        return CheckResult(
            "store", CheckStatus.OK, f"{file} does not exist yet; serving creates it"
        )
    try:
        options = StoreOptions(renew_mark=renew_mark, encryption_key=find_encryption_key(settings))
        store = await open_store(settings.storage_url, clock=SystemClock(), options=options)
    except SettingsError:
        advice = "follow the advice on the settings first"
        detail = f"{settings.storage_url} cannot be opened without its key"
        return CheckResult("store", CheckStatus.FAULT, redact_url(detail), advice)
    except (SpawnError, OSError) as failure:
        served = read_served_address(file)
        return describe_unopened_store(failure, None if served is None else served.url)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        status = store.status()
        return CheckResult(
            "store", CheckStatus.OK, f"{status.engine}, at {status.position}, intact"
        )


def _has_existed(file: Path) -> bool:
    """Whether the database exists, or the high-water mark of one that was removed."""
    return file.exists() or file.with_name(f"{file.name}.mark").exists()


async def _check_address(settings: Settings) -> list[CheckResult]:
    """Check that the address is free, or that Spawn serves there in good health."""
    url = build_local_url(settings)
    try:
        async with open_http_client(url, read_service_key(os.environ), TIMEOUT_S) as client:
            response = await client.get("/monitoring/ready")
    except httpx.ConnectError as failure:
        if "CERTIFICATE" in str(failure):
            detail = f"the certificate of {url} is not trusted here"
            advice = (
                "set SPAWN_PUBLIC_URL to a name that it has, and SSL_CERT_FILE to its authority"
            )
            return [CheckResult("address", CheckStatus.WARNING, detail, advice)]
        return [CheckResult("address", CheckStatus.OK, f"{settings.listen_address} is free")]
    except httpx.HTTPError as failure:
        detail = f"{url} does not speak HTTP: {type(failure).__name__}"
        return [CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")]
    try:
        health = msgspec.json.decode(response.content, type=ReportedHealth)
    except msgspec.DecodeError:
        detail = f"another server listens at {url}"
        return [CheckResult("address", CheckStatus.FAULT, detail, "choose another SPAWN_PORT")]
    return judge_health(url, health)


async def _check_publishers(settings: Settings) -> list[CheckResult]:
    """Check each configured publisher of events."""
    try:
        publishers = await open_publishers(settings)
    except SettingsError as failure:
        advice = "correct the setting; the service does not start with it"
        return [CheckResult("events", CheckStatus.FAULT, str(failure), advice)]
    async with AsyncExitStack() as stack:
        for publisher in publishers:
            stack.push_async_callback(publisher.close)
        return [await check_publisher(publisher) for publisher in publishers]


async def _check_registry(settings: Settings) -> CheckResult:
    """Check the ontology server, without fallbacks."""
    registry = await open_registry(
        settings.ontology_url,
        clock=SystemClock(),
        timeout_s=settings.ontology_timeout_s,
        cache_dir=None,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(registry.close)
        return await check_registry(registry, settings.schema_id)
