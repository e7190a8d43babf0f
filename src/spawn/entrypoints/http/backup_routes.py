"""Routes of backups: take one, and their state."""

from typing import Final

from spawn.application.backups.backup_schedule import get_backup_status, take_backup
from spawn.domain.principal import Scope
from spawn.entrypoints.http.protocol.operation import Cache, Success
from spawn.entrypoints.http.protocol.request import StrictRequest
from spawn.entrypoints.http.protocol.route import Route, route
from spawn.entrypoints.http.wire import Count, Instant, WireStruct
from spawn.ports.backups import BackupPoint, JournalHead

BACKUPS: Final = "/v1/admin/backups"
_PROBLEMS: Final = ("conflict",)


class BackupView(WireStruct, frozen=True):
    """A position that can be restored; `head` proves it later if it is stored elsewhere."""

    backup_set: Count
    position: str
    recorded_at: Instant | None
    taken_at: Instant
    rows: Count
    size_bytes: Count
    head: JournalHead

    @classmethod
    def of_point(cls, point: BackupPoint) -> "BackupView":
        """Return the view of a point."""
        return cls.of(point, position=str(point.position))


class BackupStatusView(WireStruct, frozen=True):
    """The newest backup, its age, and why the last attempt failed."""

    target: str
    interval_s: float
    latest: BackupView | None
    age_s: float | None
    failures: Count
    error: str | None


@route(
    "POST",
    BACKUPS,
    "takeBackup",
    scopes=(Scope.ADMIN,),
    tag="admin",
    summary="Take a backup",
    description=(
        "Bring the backup level with the journal, while reads and writes go on. Concurrent requests"
        " share one backup."
    ),
    returns=Success(BackupView, "The newest position that can be restored."),
    problems=(*_PROBLEMS, "storage_full", "storage_busy", "storage_damaged"),
    cache=Cache.NO_STORE,
)
async def post_backup(request: StrictRequest) -> BackupView:
    """Take a backup and return its newest point."""
    return BackupView.of_point(await take_backup(request.dependencies, request.principal))


@route(
    "GET",
    BACKUPS,
    "getBackupStatus",
    scopes=(Scope.ADMIN,),
    tag="admin",
    summary="Get the state of the backups",
    returns=Success(BackupStatusView, "The state."),
    problems=_PROBLEMS,
    cache=Cache.NO_STORE,
)
async def get_backups(request: StrictRequest) -> BackupStatusView:
    """Return the newest backup and the outcome of the last attempt."""
    status = get_backup_status(request.dependencies, request.principal)
    latest = None if status.latest is None else BackupView.of_point(status.latest)
    return BackupStatusView.of(status, latest=latest, error=status.error or None)


ROUTES: Final[list[Route]] = [post_backup, get_backups]
