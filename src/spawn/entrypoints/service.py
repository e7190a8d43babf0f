"""The service in one process: bind the address, compose, serve, drain, close."""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from loguru import logger

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.listening_sockets import (
    bind_sockets,
    bind_unix_socket,
    fit_connections,
)
from spawn.adapters.local.tls_certificates import (
    CertificateError,
    CertificateFiles,
    TlsCertificates,
)
from spawn.domain.dates import format_log_time
from spawn.entrypoints.composition import Composition, open_composition
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.server import DrainingServer, Listener, build_server
from spawn.entrypoints.logging import configure_logging
from spawn.entrypoints.request_context import Audience
from spawn.entrypoints.settings import Settings, SettingsError, check_files, check_served_settings
from spawn.entrypoints.starting_responder import StartingResponder
from spawn.ports.runtime import CertificateStatus

GC_THRESHOLDS: Final = (10_000, 20, 20)
"""Rare collections: a request allocates hundreds of objects and leaves no cycles."""

SWITCH_INTERVAL_S: Final = 0.001
"""Time for which one thread may hold the interpreter while others wait for it.

The default is five times as long, for which every request waits several times beside an export.
"""

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
        SettingsError: the certificate, or a file of another setting, cannot be used.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    check_served_settings(settings)
    check_files(settings)
    certificates = load_certificates(settings)
    with _bind_listeners(settings, certificates) as listeners:
        settings = _with_bound_ports(settings, listeners)
        async with (
            StartingResponder(listeners, settings.path_prefix) as responder,
            open_composition(
                settings,
                limits=limits,
                report_rebuild=responder.report,
                get_certificate=None if certificates is None else certificates.status,
            ) as composition,
        ):
            if prepare is not None:
                await prepare(composition)
            await responder.close()
            server = build_server(
                composition.app,
                settings,
                listeners,
                composition.streams.end,
                limits=limits,
                places=composition.traffic.connections,
                handshake_outcomes=composition.traffic.handshakes,
                on_hangup=None if certificates is None else partial(_reload, certificates),
            )
            # Objects of the start-up live on: the collector need not scan them (p99 45 -> 15 ms).
            gc.collect()
            gc.freeze()
            _log_addresses(settings)
            if ready is not None:
                ready(server)
            watch = partial(_stop_on_failure, composition, server, on_failure)
            async with AsyncExitStack() as tasks:
                run_task = composition.background.run
                await tasks.enter_async_context(run_task("store watch", watch, is_endless=False))
                if certificates is not None:
                    renew = partial(certificates.watch, _log_reload, _log_expiring)
                    await tasks.enter_async_context(run_task("tls certificate", renew))
                await server.serve()
    logger.info("stopped")
    return composition.health.failure_reason


def load_certificates(settings: Settings) -> TlsCertificates | None:
    """Load the certificate of the TLS listeners; None if they have none.

    Raises:
        SettingsError: a file cannot be used.
    """
    if not settings.has_tls:
        return None
    authority = settings.tls_client_ca_file
    files = CertificateFiles(
        certificate=Path(settings.tls_certificate_file),
        key=Path(settings.tls_key_file),
        client_authority=Path(authority) if authority else None,
    )
    try:
        return TlsCertificates(files, SystemClock())
    except CertificateError as error:
        raise SettingsError(f"the certificate of SPAWN_TLS_CERTIFICATE_FILE: {error}") from error


@contextmanager
def _bind_listeners(
    settings: Settings, certificates: TlsCertificates | None
) -> Iterator[list[Listener]]:
    """Bind the service's address, and that of operators if they have one.

    Raises:
        AddressError: an address is in use, or not one of this machine's.
    """
    admin = settings.admin_listen
    audiences = {Audience.ALL if admin is None else Audience.PUBLIC: settings.listen_address}
    if admin is not None:
        audiences[Audience.ADMIN] = admin
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for audience, address in audiences.items():
            if address.path:
                bound = bind_unix_socket(Path(address.path), int(settings.socket_mode, 8))
                sockets, get_context = [stack.enter_context(bound)], None
            else:
                sockets = stack.enter_context(bind_sockets(address.host, address.port))
                get_context = None if certificates is None else certificates.get_context
            listeners.append(
                Listener(sockets=tuple(sockets), audience=audience, get_context=get_context)
            )
        yield listeners


def _with_bound_ports(settings: Settings, listeners: list[Listener]) -> Settings:
    """Return the settings with the ports that were bound."""
    ports = [
        one.sockets[0].getsockname()[1] if isinstance(one.sockets[0].getsockname(), tuple) else 0
        for one in listeners
    ]
    replaced = msgspec.structs.replace
    if settings.listen is None:
        settings = replaced(settings, port=ports[0])
    admin = settings.admin_listen
    if admin is not None and not admin.path:
        settings = replaced(settings, admin_listen=replaced(admin, port=ports[-1]))
    return settings


def _log_addresses(settings: Settings) -> None:
    logger.info("serving {} on {}", settings.base_url, settings.listen_address)
    if settings.admin_listen is not None:
        logger.info("serving operators on {}", settings.admin_listen)


def _reload(certificates: TlsCertificates) -> None:
    """Load the certificate again, as the operator demands."""
    certificates.reload()
    _log_reload(certificates.status())


def _log_reload(status: CertificateStatus) -> None:
    if status.error:
        logger.error("the TLS certificate stays as it is: {}", status.error)
    else:
        expiry = format_log_time(status.expires_at)
        logger.info("the TLS certificate is loaded again, valid until {}", expiry)


def _log_expiring(status: CertificateStatus) -> None:
    expiry = format_log_time(status.expires_at)
    logger.warning("the TLS certificate is valid until {}: replace its files", expiry)


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
    # Commands without a service do without uvloop.
    from spawn.entrypoints.service_loop import ServiceLoop

    configure_logging(settings.log_level, settings.log_format)
    limits = HttpLimits(connections=fit_connections(HttpLimits().connections))
    with asyncio.Runner(loop_factory=ServiceLoop) as runner:
        return runner.run(
            run_async(settings, prepare=prepare, on_failure=_end_process_later, limits=limits)
        )


def _end_process_later() -> None:
    """End the process even if a thread waits for the failed disk for ever."""
    timer = threading.Timer(FAILED_EXIT_S, os._exit, (EXIT_STORE_FAILED,))
    timer.daemon = True
    timer.start()
