"""Commands that serve: they leave word beside the file of where it is served."""

import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from spawn.adapters.factory import duckdb_path
from spawn.application.projects.sample_data import SOURCE, seed_id, seed_portfolio
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal
from spawn.domain.projects.project import ExternalRef, reference_id
from spawn.entrypoints.composition import Composition, open_publishers
from spawn.entrypoints.http import server
from spawn.entrypoints.settings import Settings, shown_url

SEEDER: Final = Principal(id="demo")
PRIVATE: Final = 0o077
_SUFFIX: Final = ".serving"


class Serving(msgspec.Struct, frozen=True):
    """Where a file is served; left behind by a crash, it is merely out of date."""

    url: str


def store_file(settings: Settings) -> Path | None:
    """The store's file, whether or not it exists; None where the store is none."""
    return None if settings.data_path is None else duckdb_path(settings.storage_url)


def serving_path(settings: Settings) -> Path | None:
    """The file that says where the store's file is served; None where there is no file."""
    database = store_file(settings)
    return None if database is None else database.with_name(database.name + _SUFFIX)


def known_address(settings: Settings) -> str | None:
    """The address that whoever has the file open says it serves it at."""
    path = serving_path(settings)
    if path is None or not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Serving).url
    except msgspec.DecodeError:
        return None


class _Word:
    """The word left beside the file; taken back only by who left it."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def leave(self, settings: Settings) -> None:
        """Say where the file is served; only who has it open comes here."""
        path = serving_path(settings)
        if path is not None:
            path.write_bytes(msgspec.json.encode(Serving(reachable_url(settings))))
            self._path = path

    def take_back(self) -> None:
        """It is served no longer."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def reachable_url(settings: Settings) -> str:
    """Where a command on this machine reaches the service."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


async def check_publishers(settings: Settings) -> None:
    """Open the publishers of events and close them; nothing is connected.

    Raises:
        SettingsError: one of them cannot be used.
    """
    for publisher in await open_publishers(settings):
        await publisher.close()


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop."""

    async def nothing_more(_: Composition) -> None:
        return

    _run(settings, nothing_more)


def demo(settings: Settings, *, projects: int, seed: int) -> None:
    """Run the service with a sample portfolio, and say where to look."""

    async def seed_and_tell(composition: Composition) -> None:
        added = await _seed(composition, projects, seed)
        if added:
            # What the schedule measured at the start was an empty store.
            await composition.inspector.measure(SEEDER)
        sys.stdout.write(_where_to_look(composition.settings, added, projects))
        sys.stdout.flush()

    _run(settings, seed_and_tell)


def _run(settings: Settings, then: server.Prepare) -> None:
    word = _Word()

    async def prepare(composition: Composition) -> None:
        word.leave(composition.settings)
        await then(composition)

    # What is written, the database above all, is for the user alone whom the service runs as.
    os.umask(PRIVATE)
    try:
        server.serve(settings, prepare)
    finally:
        word.take_back()


async def _seed(composition: Composition, projects: int, seed: int) -> int:
    """Write what is missing of the sample; looking for its last project is quick."""
    if not projects:
        return 0
    last = reference_id(ExternalRef(source=SOURCE, id=seed_id(projects)))
    try:
        await composition.services.reads.get("external_ref", last)
    except NotFound:
        return await seed_portfolio(composition.services, SEEDER, projects=projects, seed=seed)
    return 0


def _where_to_look(settings: Settings, added: int, projects: int) -> str:
    url = settings.base_url
    sample = f"{added} sample projects were added" if added else f"{projects} sample projects"
    return (
        f"Spawn is at {url} ({sample}, {shown_url(settings.storage_url)}).\n"
        f"  {url}/                        what there is\n"
        f"  {url}/docs                    the API, to try\n"
        f"  {url}/v1/ops/projects?status=OPERATION&sort=-total_amount&limit=5\n"
        f"  {url}/v1/events               what happened\n"
        f"  {url}/monitoring/health       how it is\n"
        f"Ctrl-C ends it; the data {'stays' if settings.data_path else 'goes with it'}.\n"
    )
