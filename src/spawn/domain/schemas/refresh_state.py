"""State of the refreshes of a process: what they have read, which a dry run knows too."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from spawn.domain.events.position import Position
from spawn.domain.schemas.document_parser import read_column_aliases
from spawn.domain.schemas.evolution.column_mapping import PassedVersion, build_successors

Content = tuple[int, str]
"""Number and fingerprint of a document."""


class WalkMark(msgspec.Struct, frozen=True):
    """The last version that a refresh met, none of them adoptable after `active_version`.

    `fingerprints` are those of the versions up to it, by number.
    """

    active_version: int
    reached: int
    fingerprints: Mapping[int, str]


class DecisionBasis(msgspec.Struct, frozen=True):
    """All that the decision about a content depends on.

    `contents` are those before it that were not adopted, and `unread_numbers` those that may rename
    a column. `position` is that of the stored data if they violate a proof; else None.
    """

    fingerprint: str
    active_version: int
    on_date: date
    contents: frozenset[Content]
    unread_numbers: frozenset[int]
    position: Position | None = None


class PassedVersions:
    """The renames of versions that were read and not adopted, by their recorded documents.

    Those of the last selection are kept, so that a document is read once.
    """

    def __init__(self) -> None:
        self._by_content: dict[Content, PassedVersion] = {}

    def select(self, documents: Mapping[Content, bytes]) -> dict[Content, PassedVersion]:
        """Return the versions of recorded documents."""
        self._by_content = {
            content: self._by_content.get(content) or build_passed_version(content[0], document)
            for content, document in documents.items()
        }
        return dict(self._by_content)


class RefreshState:
    """State of the refreshes of one kind, from one to the next.

    `mark` is where a refresh ended that met all it may. `unused_numbers` are those that the list
    lacks and the registry has not, and `failed_numbers` those whose last request had no document
    although they may have one. `decisions` has the basis of the last one about each number.
    `unpublished_number` is that of the active version if the registry publishes it no more.
    `problem` is why the last one ended without a result, else empty.
    """

    def __init__(self) -> None:
        self.mark: WalkMark | None = None
        self.unused_numbers: set[int] = set()
        self.failed_numbers: set[int] = set()
        self.decisions: dict[int, DecisionBasis] = {}
        self.passed_versions = PassedVersions()
        self.unpublished_number: int | None = None
        self.problem = ""
        self._listed_numbers: tuple[int, ...] | None = None

    def note_list(self, numbers: Sequence[int] | None) -> None:
        """Note the list of versions; with another list an unused number may be used."""
        listed_numbers = None if numbers is None else tuple(numbers)
        if listed_numbers != self._listed_numbers:
            self.unused_numbers.clear()
        self._listed_numbers = listed_numbers


class RefreshStates:
    """The state of the refreshes of each kind."""

    def __init__(self) -> None:
        self._by_kind = defaultdict[str, RefreshState](RefreshState)

    def of_kind(self, kind: str) -> RefreshState:
        """Return the state of a kind."""
        return self._by_kind[kind]


def build_passed_version(version: int, document: bytes) -> PassedVersion:
    """Return what a document that is not adopted says of renames."""
    return PassedVersion(version, build_successors(read_column_aliases(document)))
