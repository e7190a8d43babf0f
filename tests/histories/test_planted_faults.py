"""The checker finds each planted fault, and none in a service without one."""

import asyncio
from typing import Any, cast

import httpx
import pytest
from tests.histories import planted_faults
from tests.histories.checker import check_history
from tests.histories.clients import Round, read_account, run_clients
from tests.histories.planted_faults import PlantedFault

from spawn.entrypoints.composition import open_composition
from spawn.entrypoints.settings import Settings

_RESPONSES = 450

FAULTS: list[tuple[type[PlantedFault], str]] = [
    (planted_faults.LostUpdate, "the history has no such version|an acknowledged write is lost"),
    (planted_faults.StaleRead, "and stands before it"),
    (planted_faults.ResurrectedProject, "CANCELLED became PROPOSED"),
    (planted_faults.DoubledCommand, "took effect 2 times"),
    (planted_faults.FeedGap, "the feed has a gap"),
    (planted_faults.ReorderedFeed, "not in the order of its positions"),
    (planted_faults.ChangedReceipt, "the same request got different responses"),
    (planted_faults.EffectOfRejection, "is the effect of a rejected write"),
    (planted_faults.FalseRejection, "nothing explains the rejection"),
    (planted_faults.MissingItem, r"nothing explains the rejection: .* not_found"),
    (planted_faults.IgnoredPrecondition, "follows another version than it expected"),
]


async def check_round(fault: type[PlantedFault]) -> list[str]:
    """Run sixteen clients on a service with a fault; return what the checker finds."""
    settings = Settings(storage_url="memory://", auth="off", rate_limit=0.0)
    async with open_composition(settings) as composition:
        transport = fault(httpx.ASGITransport(app=cast("Any", composition.app)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            round_ = Round("planted", http)
            tasks = await run_clients(round_, "planted", None)
            await round_.wait_for_responses(_RESPONSES)
            round_.has_ended = True
            await asyncio.gather(*tasks)
            await read_account(round_, None)
    assert round_.surprises == []
    return check_history(round_.history)


async def test_a_service_without_fault_has_no_violation() -> None:
    assert await check_round(PlantedFault) == []


@pytest.mark.parametrize(("fault", "finding"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_a_planted_fault_is_found(fault: type[PlantedFault], finding: str) -> None:
    violations = await check_round(fault)
    assert violations
    with pytest.raises(AssertionError, match=finding):
        raise AssertionError("\n".join(violations))
