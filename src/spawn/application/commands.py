"""Commands: load, decide, commit, and decide again after a lost race.

A command reads what it needs and decides on writes that name the versions it has read. If another
command was first, the store rejects the change, and the command loads and decides again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.domain.change import (
    Change,
    CommitResult,
    Guard,
    IdempotencyReceipt,
    VersionReference,
    Write,
)
from spawn.domain.errors import Conflict, SpawnError, StaleVersion, Unavailable
from spawn.domain.events.event import DomainEvent
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.facilities.ledger import ENTRY_KIND
from spawn.domain.portfolios.holding import HOLDING_KIND
from spawn.domain.projects.project import PROJECT_KIND

T = TypeVar("T")

EVENTFUL_KINDS: Final = frozenset({PROJECT_KIND, FACILITY_KIND, ENTRY_KIND, HOLDING_KIND})
"""Kinds of which each write has an event, so that followers of the feed miss none."""

MAX_ATTEMPTS: Final = 5
"""Attempts at a command that keeps losing races."""

MIN_PAUSE_S: Final = 0.25
"""First pause while the store cannot write; it doubles up to `MAX_PAUSE_S`."""

MAX_PAUSE_S: Final = 30.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Writes and events to commit together, with the guards that the decision rests on.

    `schema_version` is that of the states; None is the active one. `expected_schema_version` must
    still be active at the commit; None accepts any. `subject` is the version that the response
    shows, for a receipt.
    """

    writes: tuple[Write, ...] = ()
    guards: tuple[Guard, ...] = ()
    events: tuple[DomainEvent, ...] = ()
    schema_version: int | None = None
    expected_schema_version: int | None = None
    subject: VersionReference | None = None


D = TypeVar("D", bound=Decision)


class Outcome(msgspec.Struct, Generic[D], frozen=True):
    """The last decision of a command; `result` is None if there was nothing to commit."""

    decision: D
    result: CommitResult | None


async def execute(
    dependencies: Dependencies,
    actor: str,
    decide: Callable[[], Awaitable[D]],
    *,
    receipt: IdempotencyReceipt | None = None,
    traceparent: str | None = None,
    lost_races: tuple[type[SpawnError], ...] = (StaleVersion,),
    conflict: str = "Other requests kept changing the same data; try again.",
) -> Outcome[D]:
    """Decide and commit; after a lost race load and decide again.

    Args:
        dependencies: the ports.
        actor: the id to record in the history.
        decide: loads what it needs and returns the decision; its own errors end the command.
        receipt: the receipt of an idempotent request, still without its subject.
        traceparent: the trace to record with the events.
        lost_races: the errors of a commit after which to decide again.
        conflict: the detail of the Conflict after too many lost races.

    Raises:
        Conflict: the command lost `MAX_ATTEMPTS` races.
    """

    async def attempt() -> Outcome[D]:
        decision = await decide()
        if not decision.writes and receipt is None:
            return Outcome(decision, None)
        try:
            result = await commit(
                dependencies, actor, decision, receipt=receipt, traceparent=traceparent
            )
        except lost_races as error:
            raise _LostRace from error
        return Outcome(decision, result)

    try:
        return await retry_on(_LostRace, attempt)
    except _LostRace as error:
        raise Conflict(conflict) from error


class _LostRace(Exception):
    """Data changed between load and commit."""


async def retry_on(error: type[Exception], attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat an attempt that fails with this error, at most `MAX_ATTEMPTS` times in all."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return await attempt()
        except error:
            continue
    return await attempt()


async def commit(
    dependencies: Dependencies,
    actor: str,
    decision: Decision,
    *,
    receipt: IdempotencyReceipt | None = None,
    traceparent: str | None = None,
) -> CommitResult:
    """Commit one decision, without another attempt.

    Raises:
        SpawnError: as `CommandStore.commit`.
        ValueError: a write that followers of the feed rely on has no event, a programming error.
    """
    _check_events(decision)
    version = decision.schema_version
    if version is None:
        version = (await dependencies.active_schema()).schema.version
    if receipt is not None:
        receipt = receipt.with_subject(decision.subject)
    change = Change(
        writes=decision.writes,
        guards=decision.guards,
        events=decision.events,
        receipt=receipt,
        actor=actor,
        schema_version=version,
        expected_schema_version=decision.expected_schema_version,
        traceparent=traceparent,
    )
    return await dependencies.commands.commit(change)


def _check_events(decision: Decision) -> None:
    """Raise unless every write of a kind in `EVENTFUL_KINDS` has an event."""
    subjects = {(event.kind, event.id) for event in decision.events}
    for write in decision.writes:
        if write.kind in EVENTFUL_KINDS and (write.kind, write.id) not in subjects:
            raise ValueError(f"a {write.kind} is written without an event")


async def retry_while_unavailable(
    attempt: Callable[[], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Repeat an attempt for as long as the store cannot write: a full queue or disk passes."""
    pause_s = MIN_PAUSE_S
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            await sleep(max(pause_s, min(error.retry_after_s, MAX_PAUSE_S)))
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
