"""Python client of the service: typed, synchronous and asynchronous.

It needs httpx, msgspec and tenacity, and imports nothing of the service (ADR 0025).
"""

from spawn.client.async_client import AsyncSpawnClient
from spawn.client.facilities import (
    BalanceRecord,
    EntryFactsDocument,
    FacilityDocument,
    LedgerEntryRecord,
    ProjectFacilityRecord,
    RepaymentScheduleRecord,
    ReversalRequestDocument,
    StatementRecord,
)
from spawn.client.mappings import ColumnMappingDocument, ImportMappingDocument
from spawn.client.portfolios import (
    MaturityStep,
    PortfolioExposureRecord,
    PortfolioForecastRecord,
    PortfolioRecord,
)
from spawn.client.problems import (
    ApprovalPending,
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
    "ApprovalPending",
    "AsyncSpawnClient",
    "BalanceRecord",
    "ClientRetries",
    "ColumnMappingDocument",
    "ConflictProblem",
    "ConnectionFailed",
    "DryRunRecord",
    "EntryFactsDocument",
    "EventPage",
    "FacilityDocument",
    "FinishedImport",
    "FollowedEvent",
    "ForbiddenProblem",
    "HistoryRecord",
    "ImportMappingDocument",
    "ImportRecord",
    "InvalidInputProblem",
    "JobFailed",
    "JobRecord",
    "LedgerEntryRecord",
    "MaturityStep",
    "MissingPackage",
    "NotFoundProblem",
    "PortfolioExposureRecord",
    "PortfolioForecastRecord",
    "PortfolioRecord",
    "ProblemError",
    "ProblemField",
    "ProjectFacilityRecord",
    "ProjectRecord",
    "RepaymentScheduleRecord",
    "ReversalRequestDocument",
    "SpawnClient",
    "SpawnClientError",
    "StaleVersionProblem",
    "StatementRecord",
    "UnauthenticatedProblem",
    "UnavailableProblem",
    "UnreadableResponse",
    "UploadOptions",
]
