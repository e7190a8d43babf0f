"""Health that tests the real things: the write path, the disk, the feed, the schema's source."""

import asyncio
from enum import StrEnum
from time import monotonic
from typing import Any, Final

from spawn.application.dependencies import Services
from spawn.application.events.relay import Relay, Standing
from spawn.application.jobs import SERVICE
from spawn.application.quality.monitor import Inspector
from spawn.application.quality.queries import latest_report
from spawn.application.schemas.activation import SchemaRules, schema_health
from spawn.domain.errors import SpawnError
from spawn.domain.quality.rules import Severity, broken

PROBE_EVERY_S: Final = 1.0
PROBE_DEADLINE_S: Final = 2.0
FEED_LAG_DEGRADED_S: Final = 120.0
PROJECTION_LAG_DEGRADED_S: Final = 15.0
QUEUE_DEGRADED: Final = 0.8
MAX_WAITING_SHOWN: Final = 20
MAX_BROKEN_SHOWN: Final = 20


class Grade(StrEnum):
    """How well something does, best first."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


Check = dict[str, Any]
_ORDER: Final = (Grade.OK, Grade.DEGRADED, Grade.UNAVAILABLE)


def _check(grade: Grade, detail: str, **facts: Any) -> Check:
    return {"status": grade, "detail": detail, **facts}


def _publisher(standing: Standing) -> dict[str, Any]:
    return {
        "name": standing.name,
        "position": standing.position or None,
        "backlog": standing.backlog,
        "waiting": standing.waiting,
        "lag_s": round(standing.lag_s, 3),
        "dead_letters": standing.dead_letters,
        "error": standing.error,
    }


class Health:
    """Knows how the service does. Probes are shared, bounded in time and at most one a second."""

    def __init__(
        self, services: Services, relay: Relay, inspector: Inspector, rules: SchemaRules
    ) -> None:
        self._services = services
        self._inspector = inspector
        self._rules = rules
        self._relay = relay
        self._probed: Check | None = None
        self._probed_at = 0.0
        self._probing: asyncio.Task[Check] | None = None

    async def report(self) -> tuple[Grade, dict[str, Check]]:
        """Every check, and the worst of them."""
        checks = {
            "storage": await self._storage(),
            "disk": self._disk(),
            "feed": await self._feed(),
            "projection": self._projection(),
            "schema": await self._schema(),
            "breaker": self._breaker(),
            "quality": await self._quality(),
        }
        worst = max((Grade(check["status"]) for check in checks.values()), key=_ORDER.index)
        return worst, checks

    async def _storage(self) -> Check:
        """The write path, really gone through; one probe serves everyone who asks meanwhile."""
        if self._probed is not None and monotonic() - self._probed_at < PROBE_EVERY_S:
            return self._probed
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> Check:
        status = self._services.control.status()
        facts = {
            "engine": status.engine,
            "position": status.position,
            "queued": status.queued,
            "queue_limit": status.queue_limit,
        }
        try:
            async with asyncio.timeout(PROBE_DEADLINE_S):
                seconds = await self._services.control.probe()
        except TimeoutError:
            detail = f"The write path did not answer within {PROBE_DEADLINE_S:g} s."
            check = _check(Grade.UNAVAILABLE, detail, **facts)
        except SpawnError as failure:
            check = _check(Grade.UNAVAILABLE, failure.detail, **facts)
        else:
            busy = status.queued > status.queue_limit * QUEUE_DEGRADED
            check = _check(
                Grade.DEGRADED if busy else Grade.OK,
                "The write queue is nearly full." if busy else "A write went through durably.",
                probe_ms=round(seconds * 1000, 3),
                **facts,
            )
        self._probed, self._probed_at, self._probing = check, monotonic(), None
        return check

    def _disk(self) -> Check:
        status = self._services.control.status()
        free, reserve = status.free_bytes, status.reserve_bytes or 0
        if free is None:
            return _check(Grade.OK, "The store keeps nothing on disk.")
        facts = {
            "free_bytes": free,
            "reserve_bytes": reserve,
            "file_bytes": status.file_bytes,
            "wal_bytes": status.wal_bytes,
        }
        if free <= reserve:
            return _check(Grade.UNAVAILABLE, "The disk is full: commands are refused.", **facts)
        if free <= 2 * reserve:
            return _check(Grade.DEGRADED, "The disk is nearly full.", **facts)
        return _check(Grade.OK, "There is space.", **facts)

    async def _feed(self) -> Check:
        """How far each publisher of events is, and what was given up."""
        standings = await self._relay.standings()
        facts: dict[str, Any] = {
            "lag_s": round(max((s.lag_s for s in standings), default=0.0), 3),
            "publishers": [_publisher(standing) for standing in standings],
        }
        error = next((s.error for s in standings if s.error), None)
        letters = sum(s.dead_letters for s in standings)
        if error is not None:
            return _check(Grade.DEGRADED, error, **facts)
        if facts["lag_s"] > FEED_LAG_DEGRADED_S:
            return _check(Grade.DEGRADED, "Publishers are behind the journal.", **facts)
        if letters:
            detail = f"{letters} dead letters wait to be replayed or discarded."
            return _check(Grade.DEGRADED, detail, **facts)
        return _check(Grade.OK, "Publishers follow the journal.", **facts)

    def _projection(self) -> Check:
        status = self._services.control.status()
        facts = {"lag_rows": status.lag_rows, "lag_s": round(status.lag_s, 3)}
        if status.lag_s > PROJECTION_LAG_DEGRADED_S:
            return _check(Grade.DEGRADED, "State tables are behind the journal.", **facts)
        return _check(Grade.OK, "State tables follow the journal.", **facts)

    async def _schema(self) -> Check:
        """What rules, where it came from, what waits, and how the registry does."""
        found = await schema_health(self._services, self._rules)
        active, source = found.active, found.registry
        if active is None:
            return _check(Grade.UNAVAILABLE, "No schema is active.")
        waiting = [
            {"version": r.schema.version, "state": r.state, "reason": r.reason or None}
            for r in found.waiting[-MAX_WAITING_SHOWN:]
        ]
        facts = {
            "schema_id": active.schema.id,
            "version": active.schema.version,
            "provenance": active.provenance,
            "source": source.url,
            "source_provenance": source.provenance,
            "age_s": None if source.age_s is None else round(source.age_s, 3),
            "mode": found.rules.mode,
            "waiting": waiting,
        }
        if found.problem:
            return _check(Grade.DEGRADED, found.problem, **facts)
        return _check(Grade.OK, "The schema is governed by its registry.", **facts)

    def _breaker(self) -> Check:
        source = self._services.registry.status()
        facts = {"state": source.breaker, "consecutive_failures": source.consecutive_failures}
        if source.breaker in {"open", "half_open"}:
            return _check(Grade.DEGRADED, "Calls to the registry are held back.", **facts)
        return _check(Grade.OK, "Calls to the registry go through.", **facts)

    async def _quality(self) -> Check:
        """Whether the service levels of the data are kept; nothing is counted for this."""
        stored = await latest_report(self._services, SERVICE)
        if self._inspector.error:
            return _check(Grade.DEGRADED, f"Quality is not measured: {self._inspector.error}")
        if stored is None:
            return _check(Grade.OK, "Quality has not been measured yet.")
        found = broken(stored.state.results)
        facts = {
            "run": stored.version,
            "measured_at": stored.state.measured_at,
            "broken": [result.rule.rule_id for result in found[:MAX_BROKEN_SHOWN]],
        }
        if any(result.rule.severity is Severity.ERROR for result in found):
            return _check(Grade.DEGRADED, "Service levels of the data are broken.", **facts)
        return _check(Grade.OK, "The service levels that matter are kept.", **facts)
