"""A stored simulation as an aggregate: its request, its engine and its result."""

from typing import Final

import msgspec

from spawn.domain.finance.simulation.monte_carlo_case import SimulationResult

SIMULATION_KIND: Final = "simulation"


class SimulationRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A simulation; the same request on the same engine repeats the result to the last digit.

    `request_sha256` is the hash of the request in canonical form, `engine` names the versions
    that drew and valued it; `result` is null until the job has succeeded.
    """

    simulation_id: str
    requested_by: str
    request_sha256: str
    projects: int
    scenarios: int
    seed: int
    engine: str
    result: SimulationResult | None = None
