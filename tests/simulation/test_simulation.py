"""The simulation finds nothing in the code, and each planted fault."""

from collections.abc import Callable

import pytest
from tests.simulation.planted_faults import PATCHES, WORLDS
from tests.simulation.world import World, simulate

from spawn.testing.intensity import rounds

STEPS = rounds(15_000, 40_000)
"""Some seconds; `make simulate` takes a million."""

STEPS_TO_FIND = 60_000


@pytest.mark.slow
def test_no_promise_is_broken() -> None:
    summary = simulate(1, STEPS)
    assert summary.violation == ""
    assert summary.steps >= STEPS


def test_a_seed_gives_the_same_history() -> None:
    assert simulate(7, 500) == simulate(7, 500)


@pytest.mark.slow
@pytest.mark.parametrize("new_world", WORLDS, ids=lambda world: world.__name__)
def test_a_planted_fault_of_the_order_is_found(new_world: type[World]) -> None:
    assert simulate(1, STEPS_TO_FIND, new_world).violation


@pytest.mark.slow
@pytest.mark.parametrize("plant", PATCHES, ids=lambda plant: plant.__name__)
def test_a_planted_fault_of_the_files_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assert simulate(1, STEPS_TO_FIND).violation
