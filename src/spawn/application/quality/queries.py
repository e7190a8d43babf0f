"""Read quality reports: the latest, one by its run number, or earlier ones."""

import msgspec

from spawn.application.dependencies import Dependencies, require
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import DeadlineExceeded, NotFound
from spawn.domain.principal import Principal, Scope
from spawn.domain.quality.measures import Measurement
from spawn.domain.quality.report import DATASET, REPORT_KIND, QualityReport


async def get_latest_report(
    dependencies: Dependencies, principal: Principal
) -> StoredAggregate[QualityReport] | None:
    """Return the latest quality report; None before the first run."""
    require(principal, Scope.PROJECTS_READ)
    try:
        return await dependencies.reads.get(REPORT_KIND, DATASET)
    except NotFound:
        return None


async def get_report(
    dependencies: Dependencies, principal: Principal, run: int
) -> StoredAggregate[QualityReport]:
    """Return the report of one run; runs are numbered from 1.

    Raises:
        NotFound: no such run.
    """
    require(principal, Scope.PROJECTS_READ)
    try:
        return await dependencies.reads.get(REPORT_KIND, DATASET, version=run)
    except NotFound:
        raise NotFound("There is no such run.") from None


async def list_earlier_reports(
    dependencies: Dependencies, principal: Principal, *, before: int | None, limit: int
) -> list[tuple[int, QualityReport]]:
    """Return the runs before a number (None: the newest ones), newest first."""
    require(principal, Scope.PROJECTS_READ)
    try:
        newest = (await dependencies.reads.head(REPORT_KIND, DATASET)).version
    except NotFound:
        return []
    end = newest if before is None else min(before - 1, newest)
    first = max(end - limit, 0)
    if end <= first:
        return []
    entries = await dependencies.reads.history(
        REPORT_KIND, DATASET, after_version=first, limit=end - first
    )
    return [(entry.version, _decode_report(entry.document)) for entry in reversed(entries)]


_decode_report = msgspec.json.Decoder(QualityReport).decode


class ProjectCounter:
    """Counts of the projects, measured anew only after a write."""

    def __init__(self) -> None:
        self._measurement: Measurement | None = None

    async def measure(self, dependencies: Dependencies) -> Measurement | None:
        """Return the number of projects and the last change; None if counting takes too long."""
        measurement = self._measurement
        if measurement is None or measurement.position != await dependencies.reads.position():
            try:
                measurement = self._measurement = await dependencies.quality.measure(())
            except DeadlineExceeded:
                return None
        return measurement
