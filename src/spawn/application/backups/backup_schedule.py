"""Backups on request and on a schedule."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from spawn.application.dependencies import Dependencies, require
from spawn.domain.errors import Conflict, SpawnError
from spawn.domain.principal import Principal, Scope
from spawn.ports.backups import BackupPoint, Backups, BackupStatus

_LATE_INTERVALS: Final = 3
_MIN_LATE_S: Final = 60.0


def _require_backups(dependencies: Dependencies) -> Backups:
    if dependencies.backups is None:
        raise Conflict("No backups are configured: set SPAWN_BACKUP_URL and restart the service.")
    return dependencies.backups


async def take_backup(dependencies: Dependencies, principal: Principal) -> BackupPoint:
    """Bring the backup level with the journal and return its newest point.

    Raises:
        Forbidden: the principal lacks the scope `admin`.
        Conflict: no backups are configured, or the target belongs to another store.
        StorageFull, Unavailable, StorageDamaged: see `Backups.take`.
    """
    require(principal, Scope.ADMIN)
    return await _require_backups(dependencies).take()


def get_backup_status(dependencies: Dependencies, principal: Principal) -> BackupStatus:
    """Return the state of the backups.

    Raises:
        Forbidden: the principal lacks the scope `admin`.
        Conflict: no backups are configured.
    """
    require(principal, Scope.ADMIN)
    return _require_backups(dependencies).status()


def describe_problem(status: BackupStatus) -> str:
    """Return why the newest backup cannot be relied on; empty if it can."""
    if status.error:
        return f"The last backup failed: {status.error}"
    if not status.interval_s:
        return ""
    late_s = max(_MIN_LATE_S, _LATE_INTERVALS * status.interval_s)
    if status.age_s is not None and status.age_s > late_s:
        return f"The newest backup is {status.age_s:.0f} s old."
    return ""


async def back_up_forever(
    backups: Backups,
    *,
    report: Callable[[SpawnError | None], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Take a backup at intervals.

    Args:
        backups: whose interval it is; 0 ends at once.
        report: called when a backup fails after one that did not, and the other way round.
        sleep: waits for the next one.
    """
    interval_s, is_failing = backups.status().interval_s, False
    while interval_s:
        try:
            await backups.take()
        except SpawnError as error:
            if not is_failing:
                report(error)
            is_failing = True
        else:
            if is_failing:
                report(None)
            is_failing = False
        await sleep(interval_s)
