"""Measuring the data's quality, remembering what was found, and telling when it changes."""

from spawn.application.services import Services, require
from spawn.domain.change import Stored
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal
from spawn.domain.quality import DATASET, Declared, Report, rules_of

KIND = "quality_report"


async def declared_rules(services: Services) -> tuple[Declared, ...]:
    """What is promised of the data under the active schema."""
    return rules_of((await services.conformance()).fields)


async def latest_report(services: Services, principal: Principal) -> Stored[Report] | None:
    """What the newest run measured; None before the first one."""
    require(principal, "read")
    try:
        return await services.reads.get(KIND, DATASET)
    except NotFound:
        return None
