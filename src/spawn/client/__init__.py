"""Python client of the service: typed, synchronous and asynchronous.

It needs httpx, msgspec and tenacity, and imports nothing of the service (ADR 0025).
"""

from spawn.client.async_client import AsyncSpawnClient
from spawn.client.problems import (
    ConflictProblem,
    ConnectionFailed,
    InvalidInputProblem,
    MissingPackage,
    NotFoundProblem,
    ProblemError,
    ProblemField,
    SpawnClientError,
    StaleVersionProblem,
    UnavailableProblem,
)
from spawn.client.records import (
    EventPage,
    FollowedEvent,
    HistoryRecord,
    ImportRecord,
    ProjectRecord,
)
from spawn.client.retries import ClientRetries
from spawn.client.sync_client import SpawnClient

__all__ = [
    "AsyncSpawnClient",
    "ClientRetries",
    "ConflictProblem",
    "ConnectionFailed",
    "EventPage",
    "FollowedEvent",
    "HistoryRecord",
    "ImportRecord",
    "InvalidInputProblem",
    "MissingPackage",
    "NotFoundProblem",
    "ProblemError",
    "ProblemField",
    "ProjectRecord",
    "SpawnClient",
    "SpawnClientError",
    "StaleVersionProblem",
    "UnavailableProblem",
]
