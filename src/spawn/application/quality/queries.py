"""What was measured of the data: the latest run, earlier ones, one by its number."""

import msgspec

from spawn.application.dependencies import Services, require
from spawn.domain.change import Stored
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal
from spawn.domain.quality.rules import DATASET, Report

KIND = "quality_report"


async def latest_report(services: Services, principal: Principal) -> Stored[Report] | None:
    """What the newest run measured; None before the first one."""
    require(principal, "read")
    try:
        return await services.reads.get(KIND, DATASET)
    except NotFound:
        return None


async def report_of(services: Services, principal: Principal, run: int) -> Stored[Report]:
    """What one run measured; runs are numbered from 1.

    Raises:
        NotFound: there was no such run.
    """
    require(principal, "read")
    try:
        return await services.reads.get(KIND, DATASET, version=run)
    except NotFound:
        raise NotFound("There is no such run.") from None


async def earlier_reports(
    services: Services, principal: Principal, *, before: int | None, limit: int
) -> list[tuple[int, Report]]:
    """The runs before a number (None: the newest ones), newest first."""
    require(principal, "read")
    try:
        newest = (await services.reads.head(KIND, DATASET)).version
    except NotFound:
        return []
    end = newest if before is None else min(before - 1, newest)
    first = max(end - limit, 0)
    if end <= first:
        return []
    entries = await services.reads.history(KIND, DATASET, after_version=first, limit=end - first)
    return [(entry.version, _report(entry.document)) for entry in reversed(entries)]


_report = msgspec.json.Decoder(Report).decode
