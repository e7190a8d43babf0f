"""Python client of the service: typed, synchronous and asynchronous.

It needs httpx, msgspec and tenacity, and imports nothing of the service (ADR 0025).
"""

from spawn.client.async_client import AsyncSpawnClient
from spawn.client.mappings import ColumnMappingDocument, ImportMappingDocument
from spawn.client.problems import (
    ConflictProblem,
    ConnectionFailed,
    ForbiddenProblem,
    InvalidInputProblem,
    JobFailed,
    MissingPackage,
    NotFoundProblem,
    ProblemError,
    ProblemField,
    SpawnClientError,
    StaleVersionProblem,
    UnauthenticatedProblem,
    UnavailableProblem,
    UnreadableResponse,
)
from spawn.client.records import (
    DryRunRecord,
    EventPage,
    FollowedEvent,
    HistoryRecord,
    ImportRecord,
    JobRecord,
    ProjectRecord,
)
from spawn.client.retries import ClientRetries
from spawn.client.sync_client import SpawnClient
from spawn.client.uploads import FinishedImport, UploadOptions

__all__ = [
    "AsyncSpawnClient",
    "ClientRetries",
    "ColumnMappingDocument",
    "ConflictProblem",
    "ConnectionFailed",
    "DryRunRecord",
    "EventPage",
    "FinishedImport",
    "FollowedEvent",
    "ForbiddenProblem",
    "HistoryRecord",
    "ImportMappingDocument",
    "ImportRecord",
    "InvalidInputProblem",
    "JobFailed",
    "JobRecord",
    "MissingPackage",
    "NotFoundProblem",
    "ProblemError",
    "ProblemField",
    "ProjectRecord",
    "SpawnClient",
    "SpawnClientError",
    "StaleVersionProblem",
    "UnauthenticatedProblem",
    "UnavailableProblem",
    "UnreadableResponse",
    "UploadOptions",
]
