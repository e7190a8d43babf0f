"""Checker of histories: each project is a linearizable register with versions.

Every write makes the next version, so versions fix the order of writes, and a read of version n
stands between the writes n and n + 1. Such an order exists if and only if no operation that ended
before another one began stands behind it. What the checker takes from the product is its account of
the versions; that account must explain every acknowledgement, and the operations must explain it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import inf

from tests.histories.operations import Action, Event, History, Operation, Outcome, Version

NEXT_STATUSES = {
    "PROPOSED": {"MANDATED", "CANCELLED"},
    "MANDATED": {"FINANCIAL_CLOSE", "CANCELLED"},
    "FINANCIAL_CLOSE": {"CANCELLED"},
    "CANCELLED": set[str](),
}
"""Statuses that a client may ask for, by the status before; nothing follows a cancellation."""


def check_history(history: History) -> list[str]:
    """Return a sentence for each violation."""
    return [*_check_feed(history), *_check_tokens(history), *_check_projects(history)]


# -- the feed -----------------------------------------------------------------------------------


def _check_feed(history: History) -> Iterator[str]:
    ids = [event.id for event in history.feed]
    positions = [tuple(int(n) for n in name.partition("@")[0].split(".")) for name in ids]
    if positions != sorted(set(positions)):
        yield "the feed is not in the order of its positions, or repeats one"
    by_project: dict[str, list[Version]] = defaultdict(list)
    for event in history.feed:
        by_project[event.project_id].append(event.version)
    for project_id, versions in by_project.items():
        if [version.number for version in versions] != list(range(1, len(versions) + 1)):
            yield f"the feed has a gap: {project_id} has {[v.number for v in versions]}"
    for project_id, chain in history.chains.items():
        if by_project[project_id] != chain:
            yield f"the feed and the history of {project_id} differ"
    if history.followed != history.feed[: len(history.followed)]:
        yield "a follower read other events than the feed has"


# -- writes -------------------------------------------------------------------------------------


def _check_tokens(history: History) -> Iterator[str]:
    """Check that each version is of one write, and each write of at most one version."""
    writes = {o.token: o for o in history.operations if o.is_write()}
    counts = Counter(event.token for event in history.feed)
    for event in history.feed:
        operation = writes.get(event.token or "")
        if operation is None:
            yield f"{_name(event)} was written by nobody"
        elif operation.outcome is Outcome.REJECTED:
            yield f"{_name(event)} is the effect of a rejected write: {operation}"
        elif operation.expected not in {None, event.version.number - 1}:
            yield f"{_name(event)} follows another version than it expected: {operation}"
    for token, count in counts.items():
        if count > 1:
            yield f"the write {token} took effect {count} times"
    for operation in writes.values():
        if operation.outcome is Outcome.DONE and not counts[operation.token]:
            yield f"an acknowledged write is lost: {operation}"


def _name(event: Event) -> str:
    return f"version {event.version.number} of {event.project_id} ({event.token})"


# -- projects -----------------------------------------------------------------------------------


def _check_projects(history: History) -> Iterator[str]:
    chains = dict(history.chains)
    for event in history.feed:
        if event.project_id not in history.chains:  # nobody learned its id
            chains.setdefault(event.project_id, []).append(event.version)
    versions_by_token = {event.token: event for event in history.feed}
    operations: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        written = versions_by_token.get(operation.token) if operation.is_write() else None
        project_id = operation.project_id or (written.project_id if written else "")
        operations[project_id].append(operation)
    for project_id, chain in chains.items():
        written_versions = {e.token: e.version for e in history.feed if e.project_id == project_id}
        yield from ProjectChecker(chain, operations[project_id], written_versions).check()


class ProjectChecker:
    """Checker of one project."""

    def __init__(
        self,
        chain: list[Version],
        operations: list[Operation],
        written_versions: dict[str | None, Version],
    ) -> None:
        self._chain = {version.number: version for version in chain}
        self._operations = operations
        self._written_versions = written_versions

    def check(self) -> Iterator[str]:
        yield from self._check_statuses()
        for operation in self._operations:
            yield from self._check_observation(operation)
            yield from self._check_receipts(operation)
        yield from self._check_order()
        yield from self._check_rejections()

    def _check_statuses(self) -> Iterator[str]:
        for number, version in self._chain.items():
            before = self._chain.get(number - 1)
            if before is None or before.status == version.status:
                continue
            if version.status not in NEXT_STATUSES[before.status]:
                yield f"{before.status} became {version.status} in {version}"

    def _check_observation(self, operation: Operation) -> Iterator[str]:
        observed = operation.observed
        if observed is None:
            return
        if self._chain.get(observed.number) != observed:
            yield f"the history has no such version: {operation}"
        elif operation.is_write() and self._written_versions.get(operation.token) != observed:
            yield f"the response has another version than the write made: {operation}"

    @staticmethod
    def _check_receipts(operation: Operation) -> Iterator[str]:
        if len(set(operation.acknowledgements)) > 1:
            yield f"the same request got different responses: {operation}"

    def _place(self, operation: Operation) -> int | None:
        """Return the place of an operation in the order: 2n for the write n, 2n + 1 for a read."""
        if operation.is_write():
            written = self._written_versions.get(operation.token)
            return None if written is None else 2 * written.number
        return None if operation.observed is None else 2 * operation.observed.number + 1

    def _check_order(self) -> Iterator[str]:
        placed = [(place, o) for o in self._operations if (place := self._place(o)) is not None]
        ended = sorted(placed, key=lambda pair: pair[1].responded_s)
        latest: tuple[int, Operation] | None = None
        index = 0
        for place, operation in sorted(placed, key=lambda pair: pair[1].invoked_s):
            while index < len(ended) and ended[index][1].responded_s < operation.invoked_s:
                latest = max(latest or ended[index], ended[index], key=lambda pair: pair[0])
                index += 1
            if latest is not None and latest[0] > place:
                yield f"{operation} began after [{latest[1]}] had ended, and stands before it"

    # -- rejections -----------------------------------------------------------------------------

    def _check_rejections(self) -> Iterator[str]:
        for operation in self._operations:
            if operation.outcome is Outcome.REJECTED:
                possible_versions = self._list_possible_versions(operation)
                if not any(_explains(operation, version) for version in possible_versions):
                    yield f"nothing explains the rejection: {operation}"

    def _list_possible_versions(self, rejected: Operation) -> list[Version | None]:
        """Return the versions that may have been current at some moment of an operation.

        None stands for the moment before the first one.
        """
        first, last = 0, len(self._chain)
        begins: dict[int, float] = {}
        for operation in self._operations:
            place = self._place(operation)
            if place is None:
                continue
            if operation.responded_s < rejected.invoked_s:
                first = max(first, place // 2)
            if operation.is_write():
                begins[place // 2] = operation.invoked_s
        for number in range(1, len(self._chain) + 1):
            if begins.get(number, -inf) > rejected.responded_s:
                last = min(last, number - 1)
        return [self._chain.get(number) for number in range(first, last + 1)]


def _explains(operation: Operation, version: Version | None) -> bool:
    """Whether an operation had to be rejected at a version."""
    if operation.code == "not_found":
        return version is None
    if operation.code == "stale_version":
        return version is not None and version.number != operation.expected
    if operation.code == "illegal_transition":
        return version is not None and operation.target not in NEXT_STATUSES[version.status]
    # Losing five races in a row needs other writers, whom the chain need not show.
    return operation.code == "conflict"


def list_lost_versions(before: Iterable[Event], after: Iterable[Event]) -> list[str]:
    """Return the events of an earlier account that a later one does not have."""
    later_events = set(after)
    return [f"{_name(event)} was lost later" for event in before if event not in later_events]


def list_unknown(history: History) -> list[Operation]:
    """Return the writes of clients that never learned the outcome."""
    return [
        operation
        for operation in history.operations
        if operation.outcome is Outcome.UNKNOWN
        and operation.is_write()
        and operation.action is not Action.IMPORT_ROW
    ]
