"""The service in one process: bind the address, compose, serve, drain, close."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from loguru import logger

from spawn.adapters.local.listening_sockets import bind_sockets, fit_connections
from spawn.entrypoints.composition import Composition, open_composition
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.server import DrainingServer, build_server
from spawn.entrypoints.logging import configure_logging
from spawn.entrypoints.settings import Settings
from spawn.entrypoints.starting_responder import StartingResponder

GC_THRESHOLDS: Final = (10_000, 20, 20)
"""Rare collections: a request allocates hundreds of objects and leaves no cycles."""

EXIT_STORE_FAILED: Final = 4
"""Exit code of a process whose store has failed for good."""

FAILED_EXIT_S: Final = 30.0
"""Time after which such a process ends even if a thread of it still waits."""

Prepare = Callable[[Composition], Awaitable[None]]
"""A step after the composition and before the server listens."""


async def run_async(
    settings: Settings,
    ready: Callable[[DrainingServer], None] | None = None,
    prepare: Prepare | None = None,
    on_failure: Callable[[], None] | None = None,
    *,
    limits: HttpLimits | None = None,
) -> str:
    """Bind the address, compose, prepare, serve until a signal, drain and close.

    Args:
        settings: the settings of the service.
        ready: called with the server before it listens.
        prepare: run once the service is composed.
        on_failure: called once the store has failed for good, before the service drains.
        limits: limits that replace the defaults.

    Returns:
        The reason why the store failed for good; empty after a signal.

    Raises:
        AddressError: the address is in use, or not one of this machine's.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    with bind_sockets(settings.host, settings.port) as sockets:
        settings = msgspec.structs.replace(settings, port=sockets[0].getsockname()[1])
        async with (
            StartingResponder(sockets, settings.path_prefix) as responder,
            open_composition(
                settings, limits=limits, report_rebuild=responder.report
            ) as composition,
        ):
            if prepare is not None:
                await prepare(composition)
            await responder.close()
            server = build_server(composition.app, settings, composition.streams.end, limits=limits)
            # Objects of the start-up live on: the collector need not scan them (p99 45 -> 15 ms).
            gc.collect()
            gc.freeze()
            logger.info("serving {} on {}:{}", settings.base_url, settings.host, settings.port)
            if ready is not None:
                ready(server)
            watch = partial(_stop_on_failure, composition, server, on_failure)
            async with composition.background.run("store watch", watch, is_endless=False):
                await server.serve(sockets)
    logger.info("stopped")
    return composition.health.failure_reason


async def _stop_on_failure(
    composition: Composition, server: DrainingServer, on_failure: Callable[[], None] | None
) -> None:
    """Stop the server once only a new process can serve the store: 503 for ever helps nobody."""
    reason = await composition.dependencies.control.wait_until_failed()
    composition.health.failure_reason = reason
    logger.critical("the store failed for good and the service stops: {}", reason)
    if on_failure is not None:
        on_failure()
    server.should_exit = True


def run(settings: Settings, prepare: Prepare | None = None) -> str:
    """Run the service in this process until a signal, or until the store fails for good.

    Returns:
        The reason why the store failed; empty after a signal.
    """
    import uvloop

    configure_logging(settings.log_level)
    limits = HttpLimits(connections=fit_connections(HttpLimits().connections))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            run_async(settings, prepare=prepare, on_failure=_end_process_later, limits=limits)
        )


def _end_process_later() -> None:
    """End the process even if a thread waits for the failed disk for ever."""
    timer = threading.Timer(FAILED_EXIT_S, os._exit, (EXIT_STORE_FAILED,))
    timer.daemon = True
    timer.start()
