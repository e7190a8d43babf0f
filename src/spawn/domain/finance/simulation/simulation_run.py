"""A simulation as an aggregate: what was asked for, by what engine, and what came of it."""

import msgspec

from spawn.domain.finance.simulation.monte_carlo_case import SimulationResult


class SimulationRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulation. The same request gives the same result to the last digit on this engine.

    `request_sha256` is of the request in canonical form, `engine` names the versions that drew
    and valued; `result` is there once the job has succeeded.
    """

    simulation_id: str
    requested_by: str
    request_sha256: str
    projects: int
    scenarios: int
    seed: int
    engine: str
    result: SimulationResult | None = None
