"""State of the refreshes of a process: what they have read, which a dry run knows too."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from spawn.domain.schemas.document_parser import read_column_aliases
from spawn.domain.schemas.evolution.column_mapping import PassedVersion, build_successors


class WalkMark(msgspec.Struct, frozen=True):
    """The last version that a refresh met, none of them adoptable after `active_version`.

    `fingerprints` are those of the versions up to it, by number. `should_retry` says whether
    quarantined versions after it are to be tried again.
    """

    active_version: int
    reached: int
    fingerprints: Mapping[int, str]
    should_retry: bool = False


class PassedVersions:
    """The renames of versions by number, as the registry served them last."""

    def __init__(self) -> None:
        self._by_number: dict[int, PassedVersion] = {}
        self._by_content: dict[tuple[int, str], PassedVersion] = {}

    def add(self, number: int, document: bytes) -> bool:
        """Keep what a document that was read renames; return whether that is new."""
        passed_version = build_passed_version(number, document)
        is_new = self._by_number.get(number) != passed_version
        self._by_number[number] = passed_version
        return is_new

    def confirm(self, number: int) -> None:
        """Keep that a number has no content but the adopted one, which renames nothing more."""
        self._by_number[number] = PassedVersion(number, {})

    def select(
        self, documents: Iterable[tuple[int, str, bytes]], adopted_numbers: Iterable[int]
    ) -> list[PassedVersion]:
        """Return the versions that were read, and of other numbers each recorded document.

        A recorded one is a number, fingerprint and document; an adopted number needs none.
        """
        known_numbers = self._by_number.keys() | set(adopted_numbers)
        recorded_versions = [
            self._read_recorded(number, fingerprint, document)
            for number, fingerprint, document in documents
            if number not in known_numbers
        ]
        return [*self._by_number.values(), *recorded_versions]

    def _read_recorded(self, number: int, fingerprint: str, document: bytes) -> PassedVersion:
        key = number, fingerprint
        if key not in self._by_content:
            self._by_content[key] = build_passed_version(number, document)
        return self._by_content[key]

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers that were read."""
        return frozenset(self._by_number)


class RefreshState:
    """State of the refreshes of one kind, from one to the next.

    `mark` is where a refresh ended that met all it may. `unused_numbers` are those that the list
    lacks and the registry has not. `unpublished_number` is that of the active version if the
    registry publishes it no more.
    """

    def __init__(self) -> None:
        self.mark: WalkMark | None = None
        self.unused_numbers: set[int] = set()
        self.passed_versions = PassedVersions()
        self.unpublished_number: int | None = None
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
