"""Commands `spawn serve` and `spawn demo`; they write the served address beside the file."""

import os
import sys
from pathlib import Path
from typing import Final

from spawn.adapters.factory import parse_duckdb_url
from spawn.adapters.local.served_address import AddressFile
from spawn.application.projects.sample_data import seed_missing_projects
from spawn.domain.principal import Principal
from spawn.domain.text import redact_url
from spawn.entrypoints import service
from spawn.entrypoints.cli.errors import CommandError
from spawn.entrypoints.composition import Composition, open_publishers
from spawn.entrypoints.settings import Settings

SEED_ACTOR: Final = Principal(id="demo")
PRIVATE_UMASK: Final = 0o077


def find_store_file(settings: Settings) -> Path | None:
    """Return the store's file, existing or not; None if the store has no file."""
    return None if settings.data_path is None else parse_duckdb_url(settings.storage_url)


def build_local_url(settings: Settings) -> str:
    """Return the URL at which a command on this machine reaches the service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def check_publishers(settings: Settings) -> None:
    """Open the publishers of events and close them; nothing is connected.

    Raises:
        SettingsError: one of them cannot be used.
    """
    for publisher in await open_publishers(settings):
        await publisher.close()


def run_service(settings: Settings) -> None:
    """Run the service until it receives a signal."""

    async def do_nothing(_: Composition) -> None:
        return

    _run_server(settings, do_nothing)


def run_demo(settings: Settings, *, projects: int, seed: int) -> None:
    """Run the service with a sample portfolio, and print its addresses."""

    async def seed_and_report(composition: Composition) -> None:
        count = await seed_missing_projects(
            composition.dependencies, SEED_ACTOR, projects=projects, seed=seed
        )
        if count:
            # The scheduled measurement at the start saw an empty store.
            await composition.quality_monitor.measure(SEED_ACTOR)
        sys.stdout.write(_format_addresses(composition.settings, count, projects))
        sys.stdout.flush()

    _run_server(settings, seed_and_report)


def _run_server(settings: Settings, on_ready: service.Prepare) -> None:
    address_file = AddressFile()

    async def prepare(composition: Composition) -> None:
        effective_settings = composition.settings
        address_file.write(find_store_file(effective_settings), build_local_url(effective_settings))
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
