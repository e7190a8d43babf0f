"""The composition root: which adapter stands behind which port, and in what order all ends."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from loguru import logger

from spawn.adapters.embedded.options import PublisherOptions
from spawn.adapters.factory import open_publisher, open_registry, open_store
from spawn.adapters.local.runtime import DirectorySpool, SystemClock, Uuid7Ids
from spawn.adapters.publishers.in_process import METRICS, MetricsPublisher
from spawn.application.analysis.calculation import Workbench
from spawn.application.analysis.simulations import JOB as SIMULATION_JOB
from spawn.application.analysis.simulations import run_simulation
from spawn.application.dependencies import Services
from spawn.application.events.delivery import Patience
from spawn.application.events.journal_watch import Pulse
from spawn.application.events.relay import Relay
from spawn.application.imports.commands import JOB_KIND
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobRunner, Work
from spawn.application.lineage.recorder import settle_runs
from spawn.application.quality.monitor import Inspector
from spawn.application.schemas.activation import Refreshed, Verdict, settle_schema
from spawn.application.schemas.adoption import refresh_forever
from spawn.domain.errors import InvalidInput
from spawn.domain.events.cloudevents import Envelope
from spawn.domain.lineage.openlineage import PUBLISHER as LINEAGE
from spawn.domain.quality.rules import Levels, Standing, said_of
from spawn.entrypoints.http.app import create_app
from spawn.entrypoints.http.events.sse import Streams
from spawn.entrypoints.http.lineage.routes import emitter_of
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.metrics.service_metrics import Metrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.edge import Rules, Wrapper
from spawn.entrypoints.http.middleware.limits import Limits
from spawn.entrypoints.http.monitoring.health import Health
from spawn.entrypoints.http.product.identity import product_of
from spawn.entrypoints.http.state import Surface
from spawn.entrypoints.settings import Settings, SettingsError
from spawn.entrypoints.telemetry import configure_tracing, flush_tracing
from spawn.ports.analytics import QualityStore
from spawn.ports.publishers import EventPublisher
from spawn.ports.runtime import Clock, Ids, Spool
from spawn.ports.schemas import SchemaRegistry, SchemaStore
from spawn.ports.storage import Bookmarks, CommandStore, ReadStore, StoreControl

STDOUT: Final = 1
DRAIN_S: Final = 1.0
PATIENCE: Final = Patience()
_TROUBLE: Final = frozenset({Verdict.FAILED, Verdict.QUARANTINED})


class Composition(msgspec.Struct, frozen=True):
    """A running service without its server: the application and what stands behind it.

    `settings` are those in force: a port that was left open is the one that was found.
    """

    app: Wrapper
    services: Services
    settings: Settings
    inspector: Inspector
    streams: Streams


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The ports with their adapters, the schema settled; closed in the reverse order.

    Raises:
        InvalidInput: a URL names no adapter, or is not of its form.
        StorageBusy, StorageDamaged: the store cannot be served; the detail names the remedy.
    """
    async with AsyncExitStack() as stack:
        clock: Clock = SystemClock()
        ids: Ids = Uuid7Ids()
        data_path = settings.data_path
        if data_path is not None:
            await asyncio.to_thread(data_path.mkdir, 0o700, parents=True, exist_ok=True)
        store = await open_store(settings.storage_url, clock=clock)
        stack.push_async_callback(store.close)
        commands: CommandStore = store
        reads: ReadStore = store
        bookmarks: Bookmarks = store
        schemas: SchemaStore = store
        quality: QualityStore = store
        control: StoreControl = store
        registry: SchemaRegistry = await open_registry(
            settings.ontology_url,
            clock=clock,
            timeout_s=settings.ontology_timeout_s,
            cache_dir=None if data_path is None else data_path / "schemas",
        )
        stack.push_async_callback(registry.close)
        scratch = data_path or Path(stack.enter_context(tempfile.TemporaryDirectory("spawn")))
        spool: Spool = await asyncio.to_thread(DirectorySpool, scratch / "spool")
        services = Services(
            commands=commands,
            reads=reads,
            bookmarks=bookmarks,
            control=control,
            schemas=schemas,
            quality=quality,
            registry=registry,
            spool=spool,
            clock=clock,
            ids=ids,
        )
        await settle_schema(services, settings.schema_rules)
        yield services


async def open_publishers(settings: Settings) -> list[EventPublisher]:
    """The publishers of events that the settings name; nothing is connected yet.

    Raises:
        SettingsError: a URL, or what belongs to it, cannot be used.
    """
    secrets_file = settings.webhook_secrets_file
    options = PublisherOptions(
        envelope=Envelope(settings.base_url, settings.schema_id),
        secrets_file=Path(secrets_file) if secrets_file else None,
        allowed_networks=settings.webhook_allowed_networks,
    )
    opened: dict[str, EventPublisher] = {}
    for number, url in enumerate(settings.events_url, start=1):
        try:
            publisher = await open_publisher(url, options=options)
        except InvalidInput as failure:
            # A URL may hold a password, so it is named by its place.
            detail = failure.errors[0].detail
            raise SettingsError(f"SPAWN_EVENTS_URL, URL {number}: {detail}") from failure
        name = publisher.terms.name
        if name in opened or name in {METRICS, LINEAGE}:
            raise SettingsError(
                f"SPAWN_EVENTS_URL has two publishers named {name}: give one another #name="
            )
        opened[name] = publisher
    if settings.openlineage_url:
        opened[LINEAGE] = _open_lineage(settings)
    return list(opened.values())


def _open_lineage(settings: Settings) -> EventPublisher:
    """The publisher of lineage to a collector."""
    # An HTTP client takes a tenth of the time to be ready, and few have a collector.
    from spawn.adapters.publishers.openlineage import OpenLineagePublisher

    key_file = settings.openlineage_key_file
    try:
        return OpenLineagePublisher(
            settings.openlineage_url,
            emitter_of(product_of(settings)),
            key_file=Path(key_file) if key_file else None,
        )
    except InvalidInput as failure:
        detail = failure.errors[0].detail
        raise SettingsError(f"SPAWN_OPENLINEAGE_KEY_FILE: {detail}") from failure


@asynccontextmanager
async def compose(
    settings: Settings, *, limits: Limits | None = None
) -> AsyncIterator[Composition]:
    """The whole service but its server.

    At the end, in this order: jobs stop at their next step, the refresh and the relay stop, the
    registry and the store finish and close, the logs and spans that are left go out.
    """
    async with AsyncExitStack() as stack:
        tracing = configure_tracing(settings)
        stack.push_async_callback(asyncio.to_thread, flush_tracing)
        log = AccessLog(STDOUT)
        stack.push_async_callback(log.close)
        requests = RequestMetrics()
        metrics = Metrics(requests, log)
        stack.callback(metrics.close)
        services = await stack.enter_async_context(open_services(settings))
        left = _settle_lineage(services, services.clock.now())
        await stack.enter_async_context(_background(left, "lineage"))
        pulse = Pulse(services.reads)
        publishers = (MetricsPublisher(metrics.meter), *await open_publishers(settings))
        relay = Relay(services, publishers, pulse, patience=PATIENCE, on_error=_publisher_failed)
        stack.push_async_callback(relay.close)
        await relay.start()
        envelope = Envelope(settings.base_url, settings.schema_id)
        streams = Streams(
            services.reads, pulse, envelope, limits=limits, retention=settings.event_retention
        )
        metrics.watch(services, relay, streams)
        await stack.enter_async_context(_background(pulse.run(), "journal watch"))
        await stack.enter_async_context(_background(relay.run(), "relay"))
        stack.push_async_callback(_drain, relay)
        await stack.enter_async_context(_background(_refresh(services, settings), "schema refresh"))
        works: Mapping[str, Work] = {JOB_KIND: run_import, SIMULATION_JOB: run_simulation}
        jobs = JobRunner(services, works, on_error=_job_failed)
        stack.push_async_callback(jobs.close)
        await jobs.start()
        workbench = Workbench()
        stack.push_async_callback(asyncio.to_thread, workbench.close)
        inspector = Inspector(services, _levels(settings), told=_level_changed)
        stack.push_async_callback(inspector.close)
        if settings.quality_interval_s:
            measuring = inspector.measure_forever(settings.quality_interval_s)
            await stack.enter_async_context(_background(measuring, "quality"))
        health = Health(services, relay, inspector, settings.schema_rules)
        surface = Surface(
            product=product_of(settings),
            health=health,
            metrics=metrics,
            schema_rules=settings.schema_rules,
            streams=streams,
            relay=relay,
            limits=limits,
            tracing=tracing,
        )
        app = create_app(
            services,
            surface,
            jobs,
            workbench,
            inspector,
            rules=_rules_of(settings),
            metrics=requests,
            log=log,
        )
        yield Composition(app, services, settings, inspector, streams)


def _rules_of(settings: Settings) -> Rules:
    """Who may ask, from where and how often."""
    return Rules(
        hosts=settings.hosts,
        origins=frozenset(settings.cors_origins),
        rate=settings.rate_limit or None,
    )


async def _refresh(services: Services, settings: Settings) -> None:
    """Ask the registry again and again; what changes is told, what stays the same is not."""
    last: Refreshed | None = None

    def report(outcome: Refreshed) -> None:
        nonlocal last
        if last is None or (outcome.verdict, outcome.detail) != (last.verdict, last.detail):
            say = logger.warning if outcome.verdict in _TROUBLE else logger.info
            say("schema refresh: {}: {}", outcome.verdict.value, outcome.detail)
        last = outcome

    await refresh_forever(
        services, settings.schema_rules, report=report, interval_s=settings.schema_refresh_s
    )


async def _settle_lineage(services: Services, before: datetime) -> None:
    """End what a crash left running, beside the start of everything else."""
    settled = await settle_runs(services, before)
    if settled:
        logger.warning("{} runs that an earlier process left unfinished were settled", settled)


def _levels(settings: Settings) -> Levels:
    """The service levels of freshness; 0 promises nothing."""
    return Levels(
        changed_s=settings.freshness_s or None, imported_s=settings.import_freshness_s or None
    )


def _level_changed(standing: Standing) -> None:
    say = logger.info if standing.kept else logger.warning
    what = "kept again" if standing.kept else "broken"
    say("service level {}: {}", what, said_of(standing), rule=standing.rule_id)


async def _drain(relay: Relay) -> None:
    """Hand the last events over, as far as that goes in a moment: the publishers end with us."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await relay.drain()


@asynccontextmanager
async def _background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run something beside the requests until they end."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_background_ended)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _background_ended(task: asyncio.Task[None]) -> None:
    """Say so if background work died: it should only ever be cancelled."""
    if not task.cancelled() and (failure := task.exception()) is not None:
        logger.opt(exception=failure).error("{} ended by a fault", task.get_name())


def _publisher_failed(failure: BaseException) -> None:
    logger.opt(exception=failure).error("a publisher of events failed unexpectedly")


def _job_failed(job_id: str, failure: BaseException) -> None:
    logger.opt(exception=failure).error("a job failed", job_id=job_id)
