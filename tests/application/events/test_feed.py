"""The feed, read from any position."""

from decimal import Decimal

import pytest

from spawn.application.dependencies import Dependencies
from spawn.application.events.feed import read_feed
from spawn.application.projects.commands import create_project
from spawn.domain.errors import CursorInvalid
from spawn.domain.events.position import Position
from spawn.domain.principal import Principal
from spawn.domain.schemas.validator import ProjectInput

ANNA = Principal(id="anna")


async def create(dependencies: Dependencies, number: int = 1) -> list[str]:
    project_ids = []
    for _ in range(number):
        core = {"project_name": "x", "total_amount": Decimal(1)}
        outcome = await create_project(dependencies, ANNA, attributes=ProjectInput(core, {}, {}))
        assert outcome.aggregate is not None
        project_ids.append(outcome.aggregate.id)
    return project_ids


async def test_feed_continues_after_a_position(dependencies: Dependencies) -> None:
    project_ids = await create(dependencies, 3)
    first = await read_feed(dependencies, ANNA, after=None, limit=2)
    rest = await read_feed(dependencies, ANNA, after=first.next, limit=2)
    assert [e.id for e in (*first.entries, *rest.entries)] == project_ids
    never_issued = Position(rest.next.epoch, rest.next.number + 1)
    with pytest.raises(CursorInvalid):
        await read_feed(dependencies, ANNA, after=never_issued, limit=2)
