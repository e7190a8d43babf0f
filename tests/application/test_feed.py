"""The feed, to be pulled from any position."""

from decimal import Decimal

import pytest

from spawn.application.dependencies import Services
from spawn.application.events.feed import read_feed
from spawn.application.projects.commands import create_project
from spawn.domain.errors import CursorInvalid
from spawn.domain.principal import Principal
from spawn.domain.schemas.validator import Attributes

ANNA = Principal(id="anna")


async def create(services: Services, number: int = 1) -> list[str]:
    made = []
    for _ in range(number):
        core = {"project_name": "x", "total_amount": Decimal(1)}
        outcome = await create_project(services, ANNA, attributes=Attributes(core, {}, {}))
        assert outcome.stored is not None
        made.append(outcome.stored.id)
    return made


async def test_feed_continues_after_a_position(services: Services) -> None:
    made = await create(services, 3)
    first = await read_feed(services, ANNA, after=None, limit=2)
    rest = await read_feed(services, ANNA, after=first.next, limit=2)
    assert [e.id for e in (*first.entries, *rest.entries)] == made
    with pytest.raises(CursorInvalid):
        await read_feed(services, ANNA, after="nonsense", limit=2)
