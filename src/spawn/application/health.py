"""Health checks of the write path, disk, clock, feed, projection, schema, registry and quality."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from time import monotonic
from typing import Any, Final, TypedDict, cast

from spawn.application.approvals.decisions import list_executing
from spawn.application.background_tasks import BackgroundTasks
from spawn.application.backups.backup_schedule import describe_problem
from spawn.application.dependencies import Dependencies
from spawn.application.events.relay import DeliveryStatus, Relay
from spawn.application.quality.monitor import QualityMonitor
from spawn.application.quality.queries import get_latest_report
from spawn.application.schemas.activation import (
    SchemaHealth,
    SchemaPolicies,
    get_schema_health,
)
from spawn.application.schemas.consumers import describe_affected, find_warnings
from spawn.application.traffic.traffic_control import TrafficControl
from spawn.domain.errors import SpawnError, StorageFull
from spawn.domain.principal import SERVICE_PRINCIPAL
from spawn.domain.quality.report import filter_failed
from spawn.domain.quality.rules import Severity
from spawn.ports.backups import BackupStatus
from spawn.ports.runtime import MAX_CLOCK_JUMP_S, CertificateStatus, GetCertificate
from spawn.ports.storage import StoreStatus

MAX_STALL_S: Final = 120.0
"""Time without progress of the writer after which only a restart helps."""

PROBE_INTERVAL_S: Final = 1.0
PROBE_TIMEOUT_S: Final = 2.0
FEED_LAG_DEGRADED_S: Final = 120.0
PROJECTION_LAG_DEGRADED_S: Final = 15.0
QUEUE_DEGRADED_SHARE: Final = 0.8
CERTIFICATE_LEFT_DEGRADED_S: Final = 14 * 86_400.0
"""Time before the end of the certificate from which the service is degraded."""

MAX_EXECUTING_S: Final = 900.0
"""Time for which an approved command may be carried out before the service is degraded."""

MAX_WAITING_VERSIONS: Final = 20
MAX_BROKEN_RULES: Final = 20
MAX_WARNED_CONSUMERS: Final = 20


class HealthStatus(StrEnum):
    """The status of a check or of the service, best first."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class HealthCheck(TypedDict):
    """Status and detail of a check; beside them it has facts of its own."""

    status: HealthStatus
    detail: str


_SEVERITY_ORDER: Final = (HealthStatus.OK, HealthStatus.DEGRADED, HealthStatus.UNAVAILABLE)


def _build_check(status: HealthStatus, detail: str, **facts: Any) -> HealthCheck:
    return cast("HealthCheck", {"status": status, "detail": detail, **facts})


async def _run_check(check: Callable[[], Awaitable[HealthCheck]]) -> HealthCheck:
    """Run a check that reads the store; one that fails does not hide the others."""
    try:
        return await check()
    except SpawnError as error:
        return _build_check(HealthStatus.DEGRADED, f"The check failed: {error.detail}")


def _check_backups(status: BackupStatus) -> HealthCheck:
    """Check that the newest backup is recent, and that the last attempt succeeded."""
    latest = status.latest
    facts = {
        "position": None if latest is None else str(latest.position),
        "age_s": None if status.age_s is None else round(status.age_s, 3),
        "failures": status.failures,
    }
    problem = describe_problem(status)
    if problem:
        return _build_check(HealthStatus.DEGRADED, problem, **facts)
    detail = "No backup has been taken yet." if latest is None else "The newest backup is recent."
    return _build_check(HealthStatus.OK, detail, **facts)


def _publisher_fields(status: DeliveryStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "position": None if status.position is None else str(status.position),
        "backlog": status.backlog,
        "waiting": status.waiting,
        "lag_s": round(status.lag_s, 3),
        "dead_letters": status.dead_letters,
        "error": status.error,
        "is_stopped": status.is_stopped,
    }


async def check_approvals(dependencies: Dependencies) -> HealthCheck:
    """Check that no approved command is carried out for longer than `MAX_EXECUTING_S`."""
    executing = [one.state for one in await list_executing(dependencies)]
    now = dependencies.clock.now()
    decision_times = [one.decision.decided_at for one in executing if one.decision is not None]
    oldest_s = max(((now - each).total_seconds() for each in decision_times), default=0.0)
    facts = {"executing": len(executing), "oldest_s": round(oldest_s, 3)}
    if oldest_s > MAX_EXECUTING_S:
        names = ", ".join(one.approval_id for one in executing[:MAX_WAITING_VERSIONS])
        detail = (
            f"Approved commands have not ended: {names}. A restart finds out what became of them."
        )
        return _build_check(HealthStatus.DEGRADED, detail, **facts)
    return _build_check(HealthStatus.OK, "No approved command is late.", **facts)


class HealthChecker:
    """Checks of the service; probes are shared, bounded in time and at most one a second.

    `failure_reason` is why only a restart helps; empty while the service may recover by itself.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        relay: Relay,
        quality_monitor: QualityMonitor,
        schema_policies: SchemaPolicies,
        background: BackgroundTasks,
        traffic: TrafficControl,
        get_certificate: GetCertificate | None = None,
    ) -> None:
        self._get_certificate = get_certificate
        self._background = background
        self._traffic = traffic
        self._dependencies = dependencies
        self._quality_monitor = quality_monitor
        self._schema_policies = schema_policies
        self._relay = relay
        self._probe_check: HealthCheck | None = None
        self._probe_time = 0.0
        self._probe_task: asyncio.Task[HealthCheck] | None = None
        self.failure_reason = ""

    def is_live(self) -> bool:
        """Whether the process can do without a restart; from memory only."""
        is_stalled = self._dependencies.control.stalled_s() > MAX_STALL_S
        return not (self.failure_reason or is_stalled)

    async def report(self) -> tuple[HealthStatus, dict[str, HealthCheck]]:
        """Return the worst status, and every check by name."""
        checks = {
            "storage": await self._check_storage(),
            "disk": self._check_disk(),
            "clock": self._check_clock(),
            "feed": await _run_check(self._check_feed),
            "projection": self._check_projection(),
            "schema": await _run_check(self._check_schema),
            "breaker": self._check_breaker(),
            "quality": await _run_check(self._check_quality),
            "approvals": await _run_check(lambda: check_approvals(self._dependencies)),
            "background": self._check_background(),
            "traffic": self._check_traffic(),
        }
        if self._dependencies.backups is not None:
            checks["backup"] = _check_backups(self._dependencies.backups.status())
        if self._get_certificate is not None:
            checks["certificate"] = self._check_certificate(self._get_certificate())
        worst = max((check["status"] for check in checks.values()), key=_SEVERITY_ORDER.index)
        return worst, checks

    async def _check_storage(self) -> HealthCheck:
        """Check the write path with a durable write; concurrent requests share one probe."""
        if self.failure_reason:
            return _build_check(HealthStatus.UNAVAILABLE, self.failure_reason)
        if self._probe_check is not None and monotonic() - self._probe_time < PROBE_INTERVAL_S:
            return self._probe_check
        if self._probe_task is None:
            self._probe_task = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probe_task)

    async def _probe(self) -> HealthCheck:
        status = self._dependencies.control.status()
        facts = {
            "engine": status.engine,
            "position": str(status.position),
            "queued": status.queued,
            "queue_limit": status.queue_limit,
        }
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                duration_s = await self._dependencies.control.probe()
        except TimeoutError:
            detail = f"The write path did not respond within {PROBE_TIMEOUT_S:g} s."
            check = _build_check(HealthStatus.UNAVAILABLE, detail, **facts)
        except StorageFull as error:
            is_readable = self._dependencies.control.status().is_readable
            severity = HealthStatus.DEGRADED if is_readable else HealthStatus.UNAVAILABLE
            check = _build_check(severity, f"Reads go on. {error.detail}", **facts)
        except SpawnError as error:
            check = _build_check(HealthStatus.UNAVAILABLE, error.detail, **facts)
        else:
            check = self._check_probed_store(status, probe_ms=round(duration_s * 1000, 3), **facts)
        finally:
            self._probe_task = None
        self._probe_check, self._probe_time = check, monotonic()
        return check

    def _check_probed_store(self, status: StoreStatus, **facts: Any) -> HealthCheck:
        """Check the store after a probe that was written."""
        if not status.is_readable:
            return _build_check(HealthStatus.UNAVAILABLE, status.detail, **facts)
        if status.queued > status.queue_limit * QUEUE_DEGRADED_SHARE:
            return _build_check(HealthStatus.DEGRADED, "The write queue is nearly full.", **facts)
        return _build_check(HealthStatus.OK, "A probe was written durably.", **facts)

    def _check_disk(self) -> HealthCheck:
        status = self._dependencies.control.status()
        free, reserve = status.free_bytes, status.reserve_bytes or 0
        if free is None:
            return _build_check(HealthStatus.OK, "The store is in memory.")
        facts = {
            "free_bytes": free,
            "reserve_bytes": reserve,
            "file_bytes": status.file_bytes,
            "wal_bytes": status.wal_bytes,
        }
        if free <= reserve:
            return _build_check(
                HealthStatus.DEGRADED,
                "The disk is full: commands are rejected, reads go on. Free space.",
                **facts,
            )
        if free <= 2 * reserve:
            return _build_check(HealthStatus.DEGRADED, "The disk is nearly full.", **facts)
        return _build_check(HealthStatus.OK, "The disk has free space.", **facts)

    def _check_clock(self) -> HealthCheck:
        """Check that the clock neither jumped nor is behind what it dated before."""
        jump_s = self._dependencies.clock.jump_s()
        ahead_s = self._dependencies.control.status().recorded_ahead_s
        facts = {"jump_s": round(jump_s, 3), "recorded_ahead_s": round(ahead_s, 3)}
        if jump_s > MAX_CLOCK_JUMP_S:
            detail = (
                "The clock jumped ahead: commands are rejected, reads go on. Set it right, or"
                " restart the service to accept it."
            )
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        if ahead_s > MAX_CLOCK_JUMP_S or jump_s < -MAX_CLOCK_JUMP_S:
            detail = (
                "The clock is behind the newest change: changes are dated one microsecond apart"
                " until it catches up. Check the clock."
            )
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "The clock keeps its course.", **facts)

    async def _check_feed(self) -> HealthCheck:
        """Check the lag and the dead letters of each publisher."""
        delivery_statuses = await self._relay.delivery_statuses()
        facts: dict[str, Any] = {
            "lag_s": round(max((s.lag_s for s in delivery_statuses), default=0.0), 3),
            "publishers": [_publisher_fields(status) for status in delivery_statuses],
        }
        error = next((s.error for s in delivery_statuses if s.error), None)
        letters = sum(s.dead_letters for s in delivery_statuses)
        if error is not None:
            return _build_check(HealthStatus.DEGRADED, error, **facts)
        if facts["lag_s"] > FEED_LAG_DEGRADED_S:
            return _build_check(
                HealthStatus.DEGRADED, "Publishers are behind the journal.", **facts
            )
        if letters:
            detail = f"{letters} dead letters are open: replay or discard them."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "Publishers follow the journal.", **facts)

    def _check_projection(self) -> HealthCheck:
        status = self._dependencies.control.status()
        facts = {
            "lag_rows": status.lag_rows,
            "lag_s": round(status.lag_s, 3),
            "uncompared_rows": status.uncompared_rows,
        }
        if status.lag_s > PROJECTION_LAG_DEGRADED_S:
            return _build_check(
                HealthStatus.DEGRADED, "State tables are behind the journal.", **facts
            )
        if status.uncompared_rows:
            detail = (
                "State tables are compared with the journal after an unclean stop; until then a"
                " list may have a wrong row."
            )
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "State tables follow the journal.", **facts)

    async def _check_schema(self) -> HealthCheck:
        """Check the active schemas, their source, waiting versions and the registry."""
        first, *others = [
            await get_schema_health(self._dependencies, policy)
            for policy in self._schema_policies.policies
        ]
        if any(status.active is None for status in (first, *others)):
            return _build_check(HealthStatus.UNAVAILABLE, "No schema is active.")
        source = first.registry
        facts: dict[str, Any] = {
            **_describe_schema(first),
            "source": source.url,
            "source_provenance": source.provenance,
            "age_s": None if source.age_s is None else round(source.age_s, 3),
        }
        others = [one for one in others if one.policy.is_followed or one.problem or one.waiting]
        if others:
            facts["others"] = [_describe_schema(one) for one in others]
        warnings = await find_warnings(self._dependencies)
        facts["consumers"] = [
            {
                "name": one.consumer.name,
                "schema_id": one.consumer.schema_id,
                "version": one.consumer.schema_version,
                "column": one.sunset.column,
                "sunset_on": one.sunset.sunset_on,
            }
            for one in warnings[:MAX_WARNED_CONSUMERS]
        ]
        problems = [first.problem]
        problems += [f"{one.policy.schema_id}: {one.problem}" for one in others if one.problem]
        problems.append(describe_affected(warnings))
        if problem := "; ".join(filter(None, problems)):
            return _build_check(HealthStatus.DEGRADED, problem, **facts)
        return _build_check(HealthStatus.OK, "The registry governs the active schema.", **facts)

    def _check_breaker(self) -> HealthCheck:
        source = self._dependencies.registry.status()
        facts = {"state": source.breaker, "consecutive_failures": source.consecutive_failures}
        if source.breaker in {"open", "half_open"}:
            return _build_check(
                HealthStatus.DEGRADED, "The circuit breaker blocks calls to the registry.", **facts
            )
        return _build_check(
            HealthStatus.OK, "The circuit breaker allows calls to the registry.", **facts
        )

    def _check_background(self) -> HealthCheck:
        """Check that no background task failed lately."""
        failing = [status for status in self._background.statuses() if status.is_failing]
        facts = {
            "failing": [
                {"name": status.name, "failures": status.failures, "error": status.error}
                for status in failing
            ]
        }
        if failing:
            names = ", ".join(status.name for status in failing)
            detail = f"Background tasks failed and are started again: {names}."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "The background tasks run.", **facts)

    def _check_traffic(self) -> HealthCheck:
        """Check that places are left for requests, and that the event loop is on time."""
        traffic, pools = self._traffic, self._traffic.find_saturated_pools()
        facts: dict[str, Any] = {
            "lag_s": round(traffic.requests.lag_s, 3),
            "rate_limited": traffic.rate_limited_count,
            "expired": traffic.deadline_count,
            **{
                name: {"taken": pool.in_use, "places": pool.places, "rejected": pool.rejections}
                for name, pool in traffic.pools.items()
            },
        }
        if pools:
            detail = f"Nearly all places are taken: {', '.join(pools)}. Requests are rejected."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "There are places for more requests.", **facts)

    def _check_certificate(self, certificate: CertificateStatus) -> HealthCheck:
        """Check that the certificate is valid for a while, and that its files can be loaded."""
        facts = {"expires_at": certificate.expires_at, "left_s": round(certificate.left_s)}
        if certificate.left_s <= 0:
            detail = "The TLS certificate has expired: replace its files."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        if certificate.error:
            detail = "The new TLS certificate cannot be used; the earlier one is kept. See the log."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        if certificate.left_s < CERTIFICATE_LEFT_DEGRADED_S:
            detail = "The TLS certificate expires soon: replace its files."
            return _build_check(HealthStatus.DEGRADED, detail, **facts)
        return _build_check(HealthStatus.OK, "The TLS certificate is valid.", **facts)

    async def _check_quality(self) -> HealthCheck:
        """Check the service levels in the latest quality report; nothing is measured."""
        aggregate = await get_latest_report(self._dependencies, SERVICE_PRINCIPAL)
        if self._quality_monitor.error:
            return _build_check(
                HealthStatus.DEGRADED, f"Quality is not measured: {self._quality_monitor.error}"
            )
        if aggregate is None:
            return _build_check(HealthStatus.OK, "The quality has not been measured yet.")
        failed_results = filter_failed(aggregate.state.results)
        facts = {
            "run": aggregate.version,
            "measured_at": aggregate.state.measured_at,
            "broken": [result.rule.rule_id for result in failed_results[:MAX_BROKEN_RULES]],
        }
        if any(result.rule.severity is Severity.ERROR for result in failed_results):
            return _build_check(
                HealthStatus.DEGRADED, "The data miss service levels of severity error.", **facts
            )
        return _build_check(
            HealthStatus.OK, "The data meet every service level of severity error.", **facts
        )


def _describe_schema(status: SchemaHealth) -> dict[str, Any]:
    """Return the facts of one kind's schema."""
    active = status.active
    return {
        "schema_id": status.policy.schema_id if active is None else active.schema.id,
        "version": None if active is None else active.schema.version,
        "provenance": None if active is None else active.provenance,
        "mode": status.policy.mode,
        "waiting": [
            {"version": r.schema.version, "state": r.state, "reason": r.reason or None}
            for r in status.waiting[-MAX_WAITING_VERSIONS:]
        ],
    }
