"""Operations of a history: when each began and ended, and what its client learned."""

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Any, NamedTuple, Self


class Action(Enum):
    CREATE = auto()
    AMEND = auto()
    TRANSITION = auto()
    IMPORT_ROW = auto()
    READ = auto()


class Outcome(Enum):
    DONE = auto()
    REJECTED = auto()
    """Certainly without effect."""
    UNKNOWN = auto()
    """No response, or one that leaves the effect open: it may take effect at any later moment."""


class Version(NamedTuple):
    """One version of a project, as far as the clients write it."""

    number: int
    name: str
    status: str
    reason: str | None

    @classmethod
    def of_document(cls, number: int, document: dict[str, Any]) -> Self:
        return cls(number, document["project_name"], document["status"], document["status_reason"])


class Acknowledgement(NamedTuple):
    """What a response to a keyed command must repeat for ever."""

    status: int
    body: bytes
    etag: str | None
    location: str | None


@dataclass(kw_only=True)
class Operation:
    """One operation of one client; a retry with the same key is part of it.

    A write carries a text of its own, the token: a creation and an amendment as the name, a
    transition as the reason.
    """

    action: Action
    client: int
    invoked_s: float
    responded_s: float = inf
    project_id: str = ""
    token: str = ""
    target: str = ""
    """Status that a transition asks for."""
    expected: int | None = None
    """Version that If-Match names."""
    outcome: Outcome = Outcome.UNKNOWN
    code: str = ""
    """Problem code of a rejection."""
    observed: Version | None = None
    acknowledgements: list[Acknowledgement] = field(default_factory=list)

    def is_write(self) -> bool:
        return self.action is not Action.READ

    def __str__(self) -> str:
        parts = [f"client {self.client}", self.action.name.lower(), self.token or "-"]
        parts += [f"expecting {self.expected}"] if self.expected else []
        parts += [f"saw {self.observed}"] if self.observed else []
        return f"{' '.join(parts)} ({self.outcome.name.lower()} {self.code})"


class Event(NamedTuple):
    """One event of the feed about a project."""

    id: str
    project_id: str
    type: str
    version: Version

    @property
    def token(self) -> str | None:
        """Token of the write that made the version."""
        return self.version.reason if ".transitioned." in self.type else self.version.name


@dataclass
class History:
    """Operations of a round, and the service's own account of it once it is quiet."""

    operations: list[Operation] = field(default_factory=list)
    chains: dict[str, list[Version]] = field(default_factory=dict)
    """Versions by project, of its history resource."""
    feed: list[Event] = field(default_factory=list)
    """Every event of the round, read after it."""
    followed: list[Event] = field(default_factory=list)
    """Events that a follower read while the round went on."""
