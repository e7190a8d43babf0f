"""Composition root: choose the adapter of each port, and define the order of shutdown."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from loguru import logger

from spawn.adapters.archives.archive_urls import parse_archive_url
from spawn.adapters.embedded.options import (
    BackupOptions,
    PublisherOptions,
    ReportRebuild,
    StoreOptions,
)
from spawn.adapters.factory import (
    Store,
    open_backups,
    open_publisher,
    open_registry,
    open_store,
    parse_duckdb_url,
)
from spawn.adapters.file_encoder import FileEncoder
from spawn.adapters.local.audit_log import FileAuditLog, MemoryAuditLog
from spawn.adapters.local.clock import SystemClock
from spawn.adapters.local.failure_hooks import report_failures
from spawn.adapters.local.file_copies import FileCopies
from spawn.adapters.local.ids import Uuid7Ids
from spawn.adapters.local.public_holidays import load_public_holidays
from spawn.adapters.local.spool import DirectorySpool
from spawn.adapters.publishers.metrics import METRICS_PUBLISHER, MetricsPublisher
from spawn.adapters.workers.subprocess_workers import SubprocessWorkers
from spawn.application.access.audit_trail import AuditTrail
from spawn.application.access.authentication import (
    CredentialAccess,
    OpenAccess,
    renew_keys_forever,
)
from spawn.application.analysis.calculation import CalculationPool
from spawn.application.analysis.simulations import SIMULATION_JOB, run_simulation
from spawn.application.approvals.decisions import finish_interrupted_commands
from spawn.application.background_tasks import BackgroundTasks
from spawn.application.backups.backup_schedule import back_up_forever
from spawn.application.dependencies import Dependencies
from spawn.application.events.delivery import RetryPolicy
from spawn.application.events.event_streams import EventStreams
from spawn.application.events.journal_watch import JournalWatch
from spawn.application.events.relay import Relay
from spawn.application.events.versioned_events import convert_entries
from spawn.application.health import HealthChecker
from spawn.application.imports.commands import IMPORT_JOB
from spawn.application.imports.runner import run_import
from spawn.application.jobs import JobHandler, JobRunner
from spawn.application.lineage.recorder import end_abandoned_runs
from spawn.application.portfolios.books.balance_histories import BalanceFollower
from spawn.application.quality.monitor import QualityMonitor
from spawn.application.schemas.activation import (
    RefreshResult,
    RefreshVerdict,
    SchemaPolicy,
    ensure_active_schemas,
)
from spawn.application.schemas.refresh import refresh_forever
from spawn.application.traffic.traffic_control import TrafficControl
from spawn.domain.approvals.approval_policy import ApprovalPolicy, read_policy
from spawn.domain.errors import InternalError, InvalidInput, MalformedBody, SpawnError
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.lineage.openlineage import PUBLISHER_NAME as LINEAGE
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.report import ServiceLevelStatus, describe_level_change
from spawn.entrypoints.container_memory import choose_engine_memory, read_memory_limit
from spawn.entrypoints.http.app import COMMAND_FACTS, OPENAPI_DOCUMENT, create_app
from spawn.entrypoints.http.approvals.command_gate import find_command
from spawn.entrypoints.http.datasets.copied_file import COPIES
from spawn.entrypoints.http.datasets.streamed_file import ENCODER
from spawn.entrypoints.http.events.sse import ServerSentEvents
from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.lineage.routes import build_emitter
from spawn.entrypoints.http.metrics.job_metrics import JobMetrics
from spawn.entrypoints.http.metrics.request_metrics import RequestMetrics
from spawn.entrypoints.http.metrics.service_metrics import PrometheusMetrics
from spawn.entrypoints.http.metrics.traffic_metrics import CertificateMetrics, TrafficMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog
from spawn.entrypoints.http.middleware.edge import AccessRules, EdgeMiddleware
from spawn.entrypoints.http.product.identity import build_service_levels, product_from_settings
from spawn.entrypoints.http.product.routes import prepare_document
from spawn.entrypoints.http.state import HttpState
from spawn.entrypoints.logging import is_text_format
from spawn.entrypoints.settings import (
    Settings,
    SettingsError,
    find_encryption_key,
    read_signing_key,
)
from spawn.entrypoints.tracing import configure_tracing, flush_tracing
from spawn.ports.access import Authenticator, TokenVerifier
from spawn.ports.analytics import ColumnStore, FlowTotals, QualityStore
from spawn.ports.audit import AuditLog
from spawn.ports.backups import Backups
from spawn.ports.publishers import EventPublisher
from spawn.ports.runtime import Clock, GetCertificate, IdGenerator, Spool
from spawn.ports.schemas import SchemaRegistry, SchemaStore
from spawn.ports.storage import (
    Bookmarks,
    CommandStore,
    DerivedDocuments,
    ReadStore,
    StoreControl,
)
from spawn.ports.workers import Workers

STDOUT: Final = 1
DRAIN_S: Final = 1.0
RETRY_POLICY: Final = RetryPolicy()
_WARNING_VERDICTS: Final = frozenset({RefreshVerdict.FAILED, RefreshVerdict.QUARANTINED})


class Composition(msgspec.Struct, frozen=True):
    """A running service without its server.

    `settings` are the effective ones: port 0 is replaced by the port that was bound.
    """

    app: EdgeMiddleware
    dependencies: Dependencies
    settings: Settings
    health: HealthChecker
    quality_monitor: QualityMonitor
    streams: EventStreams
    background: BackgroundTasks
    traffic: TrafficControl


@asynccontextmanager
async def open_dependencies(
    settings: Settings, report_rebuild: ReportRebuild | None = None
) -> AsyncIterator[Dependencies]:
    """Open the adapters and activate a schema; close them in reverse order.

    `report_rebuild` is called on another thread while the store rebuilds derived tables.

    Raises:
        InvalidInput: a URL has no adapter, or is malformed.
        StorageBusy, StorageDamaged: the store cannot be served; the detail names the remedy.
    """
    async with AsyncExitStack() as stack:
        clock: Clock = SystemClock()
        ids: IdGenerator = Uuid7Ids()
        data_path = settings.data_path
        if data_path is not None:
            await asyncio.to_thread(data_path.mkdir, 0o700, parents=True, exist_ok=True)
        engine_memory = choose_engine_memory(await asyncio.to_thread(read_memory_limit))
        key = await asyncio.to_thread(find_encryption_key, settings)
        options = StoreOptions(
            report_rebuild=report_rebuild, memory_limit=engine_memory, encryption_key=key
        )
        store = await open_store(settings.storage_url, clock=clock, options=options)
        stack.push_async_callback(store.close)
        commands: CommandStore = store
        reads: ReadStore = store
        bookmarks: Bookmarks = store
        derived_documents: DerivedDocuments = store
        schemas: SchemaStore = store
        quality: QualityStore = store
        control: StoreControl = store
        backups = await _open_backups(store, settings)
        registry: SchemaRegistry = await open_registry(
            settings.ontology_url,
            clock=clock,
            timeout_s=settings.ontology_timeout_s,
            cache_dir=None if data_path is None else data_path / "schemas",
            encryption_key=key,
        )
        stack.push_async_callback(registry.close)
        if data_path is None:
            spool_path = Path(stack.enter_context(tempfile.TemporaryDirectory("spawn"))) / "spool"
        else:
            spool_path = await asyncio.to_thread(_take_store_folder, settings, "spool")
        spool: Spool = await asyncio.to_thread(DirectorySpool, spool_path, encryption_key=key)
        workers: Workers = SubprocessWorkers()
        dependencies = Dependencies(
            commands=commands,
            reads=reads,
            bookmarks=bookmarks,
            derived_documents=derived_documents,
            control=control,
            schemas=schemas,
            quality=quality,
            registry=registry,
            spool=spool,
            workers=workers,
            clock=clock,
            ids=ids,
            backups=backups,
            columns=store if isinstance(store, ColumnStore) else None,
            flow_totals=store if isinstance(store, FlowTotals) else None,
        )
        await ensure_active_schemas(dependencies, settings.schema_policies)
        yield dependencies


def _take_store_folder(settings: Settings, name: str) -> Path:
    """Return a folder that belongs to one store alone, beside its file.

    Two stores in one folder would else share their audit log, and one would discard the uploads
    of the other. Earlier releases named the folder without the store: it is taken over if no other
    store might own it. The caller has the store open, so nobody else moves it.
    """
    file = parse_duckdb_url(settings.storage_url)
    folder, earlier = file.with_name(f"{file.name}.{name}"), file.with_name(name)
    stores = {mark.name for mark in file.parent.glob("*.mark")}
    if not folder.exists() and earlier.is_dir() and stores <= {f"{file.name}.mark"}:
        earlier.rename(folder)
    return folder


async def _open_backups(store: Store, settings: Settings) -> Backups | None:
    """Open the backups of the store, if a target is configured."""
    if not settings.backup_url:
        return None
    options = BackupOptions(
        archive=parse_archive_url(settings.backup_url).open(),
        interval_s=settings.backup_interval_s,
        full_interval_s=settings.backup_full_interval_s,
        retained_sets=settings.backup_retention,
        signing_key=read_signing_key(settings.backup_signing_key_file),
    )
    return await open_backups(store, options)


async def open_audit_log(settings: Settings) -> AuditLog:
    """Open the audit log of an open store: in a folder beside it, or in memory without a file."""
    if settings.data_path is None:
        return MemoryAuditLog()
    folder = await asyncio.to_thread(_take_store_folder, settings, "audit")
    key = await asyncio.to_thread(find_encryption_key, settings)
    return await asyncio.to_thread(FileAuditLog, folder, encryption_key=key)


async def open_publishers(settings: Settings, store_id: str = "") -> list[EventPublisher]:
    """Open the configured publishers of events; they connect later.

    `store_id` is the identity of the store in the ids of events; checks alone need none.

    Raises:
        SettingsError: a URL, or a file that it needs, cannot be used.
    """
    secrets_file = settings.webhook_secrets_file
    options = PublisherOptions(
        envelope=_build_envelope(settings, store_id),
        secrets_file=Path(secrets_file) if secrets_file else None,
        allowed_networks=settings.webhook_allowed_networks,
    )
    publishers: dict[str, EventPublisher] = {}
    for number, url in enumerate(settings.events_url, start=1):
        try:
            publisher = await open_publisher(url, options=options)
        except InvalidInput as failure:
            # A URL may hold a password, so it is named by its position.
            detail = failure.errors[0].detail
            raise SettingsError(f"SPAWN_EVENTS_URL, URL {number}: {detail}") from failure
        name = publisher.delivery_options.name
        if name in publishers or name in {METRICS_PUBLISHER, LINEAGE}:
            raise SettingsError(
                f"SPAWN_EVENTS_URL has two publishers named {name}: set #name= on one of them"
            )
        publishers[name] = publisher
    if settings.openlineage_url:
        publishers[LINEAGE] = _open_lineage_publisher(settings)
    return list(publishers.values())


def _build_envelope(settings: Settings, store_id: str) -> EventEnvelope:
    """Return the attributes that all events of the service share."""
    policies = settings.schema_policies.policies
    return EventEnvelope(
        settings.base_url,
        settings.schema_id,
        store_id,
        schema_ids={policy.kind: policy.schema_id for policy in policies},
    )


def _open_lineage_publisher(settings: Settings) -> EventPublisher:
    """Open the publisher of lineage to a collector."""
    # Importing an HTTP client is a tenth of the start-up time, and few have a collector.
    from spawn.adapters.publishers.openlineage import OpenLineagePublisher

    key_file = settings.openlineage_key_file
    try:
        return OpenLineagePublisher(
            settings.openlineage_url,
            build_emitter(product_from_settings(settings)),
            key_file=Path(key_file) if key_file else None,
        )
    except InvalidInput as failure:
        detail = failure.errors[0].detail
        raise SettingsError(f"SPAWN_OPENLINEAGE_KEY_FILE: {detail}") from failure


@asynccontextmanager
async def open_composition(
    settings: Settings,
    *,
    limits: HttpLimits | None = None,
    report_rebuild: ReportRebuild | None = None,
    get_certificate: GetCertificate | None = None,
) -> AsyncIterator[Composition]:
    """Open the whole service without its server; `get_certificate` if it has TLS.

    At shutdown, in this order: jobs stop at their next step, the refresh and the relay stop, the
    registry and the store finish and close, the remaining logs and spans are written.
    """
    async with AsyncExitStack() as stack:
        approval_policy = await asyncio.to_thread(read_approval_policy, settings)
        tracer = configure_tracing(settings)
        stack.push_async_callback(asyncio.to_thread, flush_tracing)
        access_log = AccessLog(STDOUT, is_text=is_text_format(settings.log_format, STDOUT))
        stack.push_async_callback(access_log.close)
        request_metrics = RequestMetrics()
        metrics = PrometheusMetrics(request_metrics, lambda: access_log.dropped)
        stack.callback(metrics.close)
        dependencies = await stack.enter_async_context(open_dependencies(settings, report_rebuild))
        background = await _start_background(stack, dependencies)
        relay, streams = await _start_events(
            stack, dependencies, settings, metrics, background, limits
        )
        await _start_refreshes(stack, dependencies, settings, background)
        await _start_backups(stack, dependencies, settings, background)
        jobs = await _start_jobs(stack, dependencies, background)
        calculation_pool = CalculationPool(holidays=load_public_holidays())
        stack.push_async_callback(asyncio.to_thread, calculation_pool.close)
        quality_monitor = await _start_quality_monitor(stack, dependencies, settings, background)
        http_limits = limits or HttpLimits()
        traffic = TrafficControl(
            http_limits.traffic, settings.rates_per_s, connections=http_limits.connections
        )
        await stack.enter_async_context(background.run("traffic", traffic.watch))
        metrics.register(TrafficMetrics(traffic))
        metrics.register(JobMetrics(jobs))
        if get_certificate is not None:
            metrics.register(CertificateMetrics(get_certificate, traffic))
        health = HealthChecker(
            dependencies,
            relay,
            quality_monitor,
            settings.schema_policies,
            background,
            traffic,
            get_certificate,
        )
        authenticator = await _open_authenticator(stack, dependencies, settings, background)
        is_encrypted = bool(settings.encryption_key_file)
        copies = FileCopies(settings.data_path, is_encrypted=is_encrypted)
        stack.push_async_callback(copies.close)
        audit = await _open_audit_trail(stack, dependencies, settings, background)
        http_state = HttpState(
            audit=audit,
            authenticator=authenticator,
            key_environment=settings.key_environment,
            issuer=settings.oidc_issuer,
            approval_policy=approval_policy,
            dependencies=dependencies,
            product=product_from_settings(settings),
            health=health,
            metrics=metrics,
            schema_policies=settings.schema_policies,
            streams=streams,
            relay=relay,
            jobs=jobs,
            calculation_pool=calculation_pool,
            quality_monitor=quality_monitor,
            traffic=traffic,
            limits=http_limits,
            tracer=tracer,
            components={
                COPIES: copies,
                ENCODER: FileEncoder(settings.data_path, is_encrypted=is_encrypted),
            },
        )
        app = create_app(
            http_state,
            rules=_build_access_rules(settings, authenticator),
            metrics=request_metrics,
            log=access_log,
        )
        finish = partial(_finish_interrupted_commands, http_state)
        await stack.enter_async_context(background.run("approvals", finish, is_endless=False))
        prepare = partial(prepare_document, http_state, OPENAPI_DOCUMENT)
        await stack.enter_async_context(
            background.run("OpenAPI document", prepare, is_endless=False)
        )
        yield Composition(
            app, dependencies, settings, health, quality_monitor, streams, background, traffic
        )


def read_approval_policy(settings: Settings) -> ApprovalPolicy:
    """Read the policy of approvals.

    Raises:
        SettingsError: the file cannot be read, or is no policy; the place in it is named.
    """
    if not settings.approvals_file:
        return ApprovalPolicy()
    name = f"SPAWN_APPROVALS_FILE names {settings.approvals_file}"
    try:
        return read_policy(Path(settings.approvals_file).read_bytes(), COMMAND_FACTS)
    except OSError as failure:
        raise SettingsError(f"{name}: {failure.strerror}") from failure
    except (MalformedBody, InvalidInput) as failure:
        raise SettingsError(f"{name}: {failure.detail}") from failure


async def _finish_interrupted_commands(http_state: HttpState) -> None:
    """Finish the approved commands that a crash of the previous process has interrupted."""
    find = partial(find_command, http_state)
    count = await finish_interrupted_commands(http_state.dependencies, find)
    if count:
        logger.warning("{} approved commands of an earlier process were finished", count)


async def _start_background(stack: AsyncExitStack, dependencies: Dependencies) -> BackgroundTasks:
    """Start the supervision of background tasks, of which the first ends abandoned runs."""
    background = BackgroundTasks(on_failure=_log_task_failure)
    stack.enter_context(report_failures(partial(_record_unsupervised_failure, background)))
    lineage_cleanup = partial(_end_abandoned_runs, dependencies, dependencies.clock.now())
    await stack.enter_async_context(background.run("lineage", lineage_cleanup, is_endless=False))
    return background


async def _start_events(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    metrics: PrometheusMetrics,
    background: BackgroundTasks,
    limits: HttpLimits | None,
) -> tuple[Relay, EventStreams]:
    """Start the relay to the publishers, and the streams of the clients."""
    journal_watch = JournalWatch(dependencies.reads)
    relay = await _start_relay(stack, dependencies, journal_watch, settings, metrics)
    store_id = dependencies.control.status().store_id
    streams = EventStreams(
        dependencies.reads,
        journal_watch,
        _build_envelope(settings, store_id),
        ServerSentEvents(),
        limits=limits,
        retention=settings.event_retention,
        convert=partial(convert_entries, dependencies),
    )
    metrics.watch(dependencies, relay, streams, background)
    await stack.enter_async_context(background.run("journal watch", journal_watch.run))
    follower = BalanceFollower(dependencies, journal_watch)
    await stack.enter_async_context(background.run("balance histories", follower.run))
    for name, work in relay.tasks().items():
        await stack.enter_async_context(background.run(name, work))
    stack.push_async_callback(_drain, relay)
    return relay, streams


async def _start_relay(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    journal_watch: JournalWatch,
    settings: Settings,
    metrics: PrometheusMetrics,
) -> Relay:
    """Open the publishers and read their bookmarks; the caller runs the relay."""
    store_id = dependencies.control.status().store_id
    others = await open_publishers(settings, store_id)
    publishers = (MetricsPublisher(metrics.meter), *others)
    relay = Relay(
        dependencies,
        publishers,
        journal_watch,
        retry_policy=RETRY_POLICY,
        on_error=_log_publisher_failure,
        on_stop=_log_publisher_stop,
    )
    stack.push_async_callback(relay.close)
    await relay.start()
    return relay


async def _start_refreshes(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    background: BackgroundTasks,
) -> None:
    """Start the refresh of each schema that is followed, each in a task of its own."""
    for policy in settings.schema_policies.followed:
        is_default = policy.kind == PROJECT_KIND
        name = "schema refresh" if is_default else f"schema refresh of {policy.schema_id}"
        refresh = partial(_refresh_schema, dependencies, policy, settings.schema_refresh_s)
        await stack.enter_async_context(background.run(name, refresh))


async def _start_backups(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    background: BackgroundTasks,
) -> None:
    """Start the backups on a schedule, if one is configured."""
    if dependencies.backups is not None and settings.backup_interval_s:
        take_backups = partial(back_up_forever, dependencies.backups, report=_log_backup_failure)
        await stack.enter_async_context(background.run("backups", take_backups))


async def _start_jobs(
    stack: AsyncExitStack, dependencies: Dependencies, background: BackgroundTasks
) -> JobRunner:
    """Start the runner of background jobs, which resumes those of the previous process."""
    job_handlers: Mapping[str, JobHandler] = {
        IMPORT_JOB: run_import,
        SIMULATION_JOB: run_simulation,
    }
    jobs = JobRunner(
        dependencies, job_handlers, on_error=_log_job_failure, start_task=background.start
    )
    stack.push_async_callback(jobs.close)
    await jobs.start()
    return jobs


async def _start_quality_monitor(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    background: BackgroundTasks,
) -> QualityMonitor:
    """Start the measurement of data quality, on a schedule if one is configured."""
    quality_monitor = QualityMonitor(
        dependencies, build_service_levels(settings), on_change=_log_level_change
    )
    stack.push_async_callback(quality_monitor.close)
    if settings.quality_interval_s:
        measure = partial(quality_monitor.measure_forever, settings.quality_interval_s)
        await stack.enter_async_context(background.run("quality", measure))
    return quality_monitor


async def _open_audit_trail(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    background: BackgroundTasks,
) -> AuditTrail:
    audit = AuditTrail(
        await open_audit_log(settings), dependencies.clock, on_failure=_log_audit_failure
    )
    stack.push_async_callback(audit.close)
    await stack.enter_async_context(background.run("audit", audit.watch))
    return audit


async def _open_authenticator(
    stack: AsyncExitStack,
    dependencies: Dependencies,
    settings: Settings,
    background: BackgroundTasks,
) -> Authenticator:
    """Return the authenticator of the callers; without access control it says so."""
    if settings.auth == "off":
        logger.warning("access control is off: every caller may do everything (SPAWN_AUTH=off)")
        return OpenAccess()
    tokens = None if settings.auth == "keys" else _open_token_verifier(settings, dependencies)
    access = CredentialAccess(dependencies, tokens)
    stack.push_async_callback(access.close)
    if tokens is not None:
        renew = partial(renew_keys_forever, tokens)
        await stack.enter_async_context(background.run("signing keys", renew))
    return access


def _open_token_verifier(settings: Settings, dependencies: Dependencies) -> TokenVerifier:
    """Open the verifier of the issuer's tokens, whose package is an extra."""
    from spawn.adapters.oidc.signing_keys import SigningKeys
    from spawn.adapters.oidc.token_verifier import OidcRules, OidcTokenVerifier

    keys = SigningKeys(
        settings.oidc_keys_url,
        timeout_s=settings.ontology_timeout_s,
        cache_dir=settings.data_path,
    )
    rules = OidcRules(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        row_claims=settings.oidc_row_claims,
    )
    return OidcTokenVerifier(rules, keys, dependencies.clock)


def _build_access_rules(settings: Settings, authenticator: Authenticator) -> AccessRules:
    """Return the authenticator, the allowed hosts and origins, and the rate limit."""
    return AccessRules(
        authenticator=authenticator,
        hosts=settings.hosts,
        origins=frozenset(settings.cors_origins),
        path_prefix=settings.path_prefix,
        own_origin=settings.own_origin,
        proxies=settings.trusted_proxies,
        has_admin_listener=settings.admin_listen is not None,
    )


async def _refresh_schema(
    dependencies: Dependencies, policy: SchemaPolicy, interval_s: float
) -> None:
    """Refresh a schema at intervals; log a result only if it differs from the last."""
    last: RefreshResult | None = None

    def report(result: RefreshResult) -> None:
        nonlocal last
        if last is None or (result.verdict, result.detail) != (last.verdict, last.detail):
            log = logger.warning if result.verdict in _WARNING_VERDICTS else logger.info
            log(
                "schema refresh: {}: {}",
                result.verdict.value,
                result.detail,
                schema_id=policy.schema_id,
            )
        last = result

    await refresh_forever(dependencies, policy, report=report, interval_s=interval_s)


async def _end_abandoned_runs(dependencies: Dependencies, before: datetime) -> None:
    """End the runs of a crashed process, concurrently with the rest of the start."""
    count = await end_abandoned_runs(dependencies, before)
    if count:
        logger.warning("{} unfinished runs of an earlier process were ended", count)


def _log_backup_failure(error: SpawnError | None) -> None:
    if error is None:
        logger.info("backups are taken again")
    else:
        logger.error("no backup can be taken: {}", error.detail)


def _log_level_change(status: ServiceLevelStatus) -> None:
    log = logger.info if status.is_met else logger.warning
    outcome = "met again" if status.is_met else "violated"
    log("service level {}: {}", outcome, describe_level_change(status), rule=status.rule_id)


async def _drain(relay: Relay) -> None:
    """Deliver the last events within `DRAIN_S` seconds: the in-process publishers end here."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await relay.drain()


def _log_task_failure(name: str, failure: BaseException | None, pause_s: float) -> None:
    logger.opt(exception=failure).error(
        "the background task {} failed and starts again in {:g} s", name, pause_s
    )


def _record_unsupervised_failure(
    background: BackgroundTasks, message: str, failure: BaseException | None
) -> None:
    logger.opt(exception=failure).error("unsupervised work failed: {}", message)
    background.record_failure(failure)


def _log_audit_failure(number: int) -> None:
    logger.error("{} entries of the audit log could not be written: free disk space", number)


def _log_publisher_failure(failure: BaseException) -> None:
    logger.opt(exception=failure).error("a publisher of events failed unexpectedly")


def _log_publisher_stop(name: str, reason: str) -> None:
    logger.warning("the publisher {} has stopped: {}", name, reason)


def _log_job_failure(job_id: str, failure: BaseException) -> None:
    if isinstance(failure, SpawnError) and not isinstance(failure, InternalError):
        # The job says the reason to its owner; the program has no error.
        logger.warning("a job failed: {}", failure, job_id=job_id)
        return
    logger.opt(exception=failure).error("a job failed", job_id=job_id)
