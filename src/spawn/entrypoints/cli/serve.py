"""Commands `spawn serve` and `spawn demo`; they write the served address beside the file."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

from spawn.adapters.local.served_address import AddressFile
from spawn.application.access.api_clients import create_first_key
from spawn.application.samples.sample_book import seed_missing_book
from spawn.domain.principal import Principal
from spawn.domain.text import redact_url
from spawn.entrypoints import service
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.composition import Composition, open_publishers, read_approval_policy
from spawn.entrypoints.settings import (
    Settings,
    check_files,
    check_served_settings,
    find_encryption_key,
    read_signing_key,
)
from spawn.entrypoints.store_access import find_access_problem, find_store_file

SEED_ACTOR: Final = Principal(id="demo")
PRIVATE_UMASK: Final = 0o077
FIRST_KEY_FILE: Final = "first-key.txt"
"""File beside the store with the first API key."""


def build_local_url(settings: Settings) -> str:
    """Return the URL at which a command on this machine reaches the service."""
    if settings.listen is not None:
        return str(settings.listen)
    if settings.has_tls:
        return settings.base_url  # whose name the certificate has
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def build_admin_url(settings: Settings) -> str:
    """Return the URL of the operators' listener for commands; empty if there is none."""
    admin = settings.admin_listen
    if admin is None or admin.path:
        return "" if admin is None else str(admin)
    return f"{'https' if settings.has_tls else 'http'}://{admin}"


async def check_config(settings: Settings) -> None:
    """Check the settings, and read every file that they name as the start does.

    Publishers of events are opened and closed; nothing is connected.

    Raises:
        SettingsError: the service would not start.
    """
    check_served_settings(settings)
    check_files(settings)
    service.load_certificates(settings)
    read_signing_key(settings.backup_signing_key_file)
    find_encryption_key(settings)
    read_approval_policy(settings)
    for publisher in await open_publishers(settings):
        await publisher.close()


def run_service(settings: Settings) -> None:
    """Run the service until it receives a signal."""
    _run_server(settings, _show_first_key)


def run_demo(settings: Settings, *, projects: int, seed: int) -> None:
    """Run the service with a sample portfolio, and print its addresses."""

    async def seed_and_report(composition: Composition) -> None:
        count = await seed_missing_book(
            composition.dependencies,
            SEED_ACTOR,
            projects=projects,
            seed=seed,
            report=partial(_show_progress, projects=projects),
        )
        if count:
            # The scheduled measurement at the start saw an empty store.
            await composition.quality_monitor.measure(SEED_ACTOR)
        sys.stdout.write(_format_addresses(composition.settings, count, projects))
        sys.stdout.flush()
        await _show_first_key(composition)

    _run_server(settings, seed_and_report)


def _show_progress(count: int, *, projects: int) -> None:
    """Count the sample projects on a terminal; a log gets no lines of progress."""
    if sys.stderr.isatty():
        end = "\n" if count == projects else ""
        sys.stderr.write(f"\rWriting sample projects: {count} of {projects}{end}")
        sys.stderr.flush()


async def _show_first_key(composition: Composition) -> None:
    """Create the first key of a store, and show it once: on a terminal, or in a private file.

    The standard output of a service without a terminal is a log, where no key may be.
    """
    settings = composition.settings
    if settings.auth == "off":
        return
    new_key = await create_first_key(composition.dependencies, settings.key_environment)
    if new_key is None:
        return
    store_file = find_store_file(settings)
    if store_file is None or sys.stderr.isatty():
        sys.stderr.write(f"The first API key, with every scope, shown only now:\n{new_key.text}\n")
    else:
        path = store_file.with_name(FIRST_KEY_FILE)
        await asyncio.to_thread(_write_private_file, path, new_key.text + "\n")
        sys.stderr.write(_format_first_key_file(path))
    sys.stderr.flush()


def _format_first_key_file(path: Path) -> str:
    """Return what to do for the first key; the user of a container cannot open its files."""
    return (
        f"The first API key, with every scope, is in {path}. Read it, then remove the file:\n"
        f"  cat {path}\n"
        f"In a container, where NAME is its name or id (docker, podman or kubectl):\n"
        f"  docker exec NAME cat {path}\n"
        f"  docker exec NAME rm {path}\n"
        "Send it as Authorization: Bearer. Make a key for each client with spawn keys create.\n"
    )


def _write_private_file(path: Path, text: str) -> None:
    """Write a new file that only the user of the service may read, by the umask."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="ascii")


def _run_server(settings: Settings, on_ready: service.Prepare) -> None:
    store_file = find_store_file(settings)
    problem = "" if store_file is None else find_access_problem(store_file)
    if problem:
        raise CommandError(problem)
    address_file = AddressFile()

    async def prepare(composition: Composition) -> None:
        effective_settings = composition.settings
        address_file.write(
            store_file,
            build_local_url(effective_settings),
            build_admin_url(effective_settings),
        )
        await on_ready(composition)

    # Files, the database above all, are readable only by the user of the service.
    os.umask(PRIVATE_UMASK)
    try:
        failure_reason = service.run(settings, prepare)
    finally:
        address_file.remove()
    if failure_reason:
        raise CommandError(failure_reason, service.EXIT_STORE_FAILED)


def _format_addresses(settings: Settings, count: int, projects: int) -> str:
    url = settings.base_url
    sample = f"{count} sample projects were added" if count else f"{projects} sample projects"
    return (
        f"Spawn is at {url} ({sample}, {redact_url(settings.storage_url)}).\n"
        f"  {url}/                        product page\n"
        f"  {url}/docs                    API reference\n"
        f"  {url}/v1/ops/projects?status=OPERATION&sort=-total_amount&limit=5\n"
        f"  {url}/v1/events               event feed\n"
        f"  {url}/monitoring/health       health checks\n"
        f"Press Ctrl-C to stop; the data {'is kept' if settings.data_path else 'is then lost'}.\n"
    )
