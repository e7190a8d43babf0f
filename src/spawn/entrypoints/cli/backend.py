"""Access of commands to the data: over HTTP, or by opening the file.

HTTP is used if `SPAWN_URL` is set, or if the process that has the file open wrote its address
beside the file. Only a command that opens a file imports the application, which takes three
quarters of the time of one that does not.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spawn.adapters.local.served_address import read_served_address
from spawn.adapters.service_client import (
    ServiceError,
    ServiceUnreachable,
    open_service_client,
)
from spawn.domain.errors import StorageBusy
from spawn.entrypoints.cli.errors import EXIT_UNREACHABLE, CommandError
from spawn.entrypoints.settings import Settings, read_service_key, read_service_url
from spawn.entrypoints.store_access import find_store_file
from spawn.ports.backend import Backend


@asynccontextmanager
async def open_backend(
    settings: Settings, *, create: bool = False, url: str | None = None
) -> AsyncIterator[Backend]:
    """Open the backend of the environment, or of the service at a URL.

    If no service has the file open, the command opens it; only `create` creates an absent file.

    Raises:
        SettingsError: SPAWN_URL is malformed.
        CommandError: the service cannot be reached, or there is nothing to open.
        StorageBusy: another process has the file open and wrote no address.
    """
    url = read_service_url(os.environ if url is None else {"SPAWN_URL": url})
    if url:
        async with _open_client(url) as backend:
            yield backend
        return
    if settings.storage_url == "memory://":
        raise CommandError("memory:// has no file to open: set SPAWN_URL to a running service")
    path = find_store_file(settings)
    if path is not None and not create and not path.exists():
        raise CommandError(f"{path} does not exist: correct SPAWN_STORAGE_URL, or set SPAWN_URL")
    async with _open_file_or_service(settings) as backend:
        yield backend


@asynccontextmanager
async def _open_file_or_service(settings: Settings) -> AsyncIterator[Backend]:
    from spawn.entrypoints.cli.file_backend import open_file_backend

    context = open_file_backend(settings)
    try:
        backend = await context.__aenter__()
    except StorageBusy:
        served = read_served_address(find_store_file(settings))
        if served is None:
            raise
        sys.stderr.write(f"the file is open in a running service; connecting to {served.url}\n")
        async with _open_client(served.url, served.admin_url) as client:
            yield client
        return
    try:
        yield backend
    finally:
        await context.__aexit__(*sys.exc_info())


@asynccontextmanager
async def _open_client(url: str, admin_url: str = "") -> AsyncIterator[Backend]:
    try:
        key = read_service_key(os.environ)
        async with open_service_client(url, key, admin_url=admin_url) as client:
            yield client
    except ServiceUnreachable as failure:
        raise CommandError(str(failure), EXIT_UNREACHABLE) from failure
    except ServiceError as failure:
        raise CommandError(str(failure)) from failure
