"""Simulations on the wire, and the examples of the analysis routes."""

from importlib.resources import files
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from spawn.domain.change import StoredAggregate
from spawn.domain.finance.simulation.monte_carlo_case import SimulationResult
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.entrypoints.http.jobs import JOBS
from spawn.entrypoints.http.wire import Count, Instant, ResourceId, WireStruct
from spawn.entrypoints.request_context import public_path

_EXAMPLES: Final = msgspec.json.decode(
    (files("spawn.entrypoints.http.analysis") / "examples.json").read_bytes()
)
EXAMPLES: Final[dict[str, dict[str, Any]]] = _EXAMPLES["calculators"]
"""Example requests by calculator."""

FURTHER_EXAMPLES: Final[dict[str, dict[str, dict[str, Any]]]] = _EXAMPLES["further"]
"""Example requests with the less common terms, by calculator and name."""

GOAL_EXAMPLES: Final[dict[str, dict[str, Any]]] = _EXAMPLES["goals"]
"""Example requests for a goal seek by calculator."""

TABLE_EXAMPLES: Final[dict[str, dict[str, Any]]] = _EXAMPLES["tables"]
"""Example requests for a data table by calculator."""

SIMULATION_EXAMPLE: Final[dict[str, Any]] = _EXAMPLES["simulation"]


class SimulationView(WireStruct, frozen=True, kw_only=True):
    """A simulation and, once its job has succeeded, its result."""

    simulation_id: ResourceId
    requested_by: str
    request_sha256: str
    projects: Count
    scenarios: Count
    seed: int
    engine: Annotated[str, Meta(examples=["spawn 0.1.0, numpy 2.4.6"])]
    created_at: Instant
    updated_at: Instant
    job_url: str
    result: SimulationResult | None

    @classmethod
    def of_run(cls, aggregate: StoredAggregate[SimulationRun]) -> Self:
        """Return the wire form of a stored simulation."""
        return cls.of(aggregate.state, aggregate, job_url=public_path(f"{JOBS}/{aggregate.id}"))
