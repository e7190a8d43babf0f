"""Previews: run a command up to its commit, and describe the change that it would make."""

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.consumers import find_kind
from spawn.domain.aggregates import encode_state, encode_write
from spawn.domain.approvals.approval import (
    MAX_CHANGES,
    CommandPreview,
    FieldChange,
    diff_states,
)
from spawn.domain.approvals.approval_policy import StateChange
from spawn.domain.change import Change, CommitResult, Guard, IdempotencyKey, StoredResponse, Write
from spawn.domain.errors import Conflict, Forbidden, NotFound
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.schema_status import SCHEMA_KIND
from spawn.ports.storage import CommandStore

RunCommand = Callable[[Dependencies], Awaitable[object]]
"""Function that runs a use case over ports; a commit of the ports' store ends it, or not."""


class _CommandStopped(Exception):
    """A command came to its commit, which a preview does not make."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change


class _PreviewCommands:
    """A store of commands that stops each at its commit."""

    def __init__(self, commands: CommandStore) -> None:
        self._commands = commands

    async def commit(self, change: Change) -> CommitResult:
        raise _CommandStopped(change)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._commands.find_receipt(key)


class _NoEffectCommands:
    """A store of commands that takes receipts alone: what changed nothing must not change more."""

    def __init__(self, commands: CommandStore) -> None:
        self._commands = commands

    async def commit(self, change: Change) -> CommitResult:
        if change.writes:
            raise Conflict("Something changed during the request: send it again.")
        return await self._commands.commit(change)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._commands.find_receipt(key)


class ApprovalNeeded(Exception):
    """A change needs an approval and was not committed."""


JudgeChange = Callable[[StateChange], bool]
"""Function that returns whether a change needs an approval."""


class _JudgedCommands:
    """A store of commands that commits what needs no approval.

    It judges each change itself: a command that lost a race decides again, on another state.
    """

    def __init__(self, dependencies: Dependencies, kind: str, needs_approval: JudgeChange) -> None:
        self._dependencies = dependencies
        self._kind = kind
        self._needs_approval = needs_approval

    async def commit(self, change: Change) -> CommitResult:
        state_change = await _read_state_change(self._dependencies, change, self._kind)
        if state_change is not None and self._needs_approval(state_change):
            raise ApprovalNeeded
        return await self._dependencies.commands.commit(change)

    async def find_receipt(self, key: IdempotencyKey) -> StoredResponse | None:
        return await self._dependencies.commands.find_receipt(key)


def with_judged_changes(
    dependencies: Dependencies, kind: str, needs_approval: JudgeChange
) -> Dependencies:
    """Return the ports for a command whose change of an aggregate of a kind is judged.

    One that needs an approval gets `ApprovalNeeded` from its commit.
    """
    commands: CommandStore = _JudgedCommands(dependencies, kind, needs_approval)
    return msgspec.structs.replace(dependencies, commands=commands)


def without_changes(dependencies: Dependencies) -> Dependencies:
    """Return the ports for a command whose preview is empty, and which needs an approval else.

    A command that would change something after all gets a Conflict.
    """
    commands: CommandStore = _NoEffectCommands(dependencies.commands)
    return msgspec.structs.replace(dependencies, commands=commands)


async def preview_command(dependencies: Dependencies, run: RunCommand) -> CommandPreview:
    """Run a command up to its commit, and return what it would change; nothing is written.

    The command must be one change. An empty preview is that of a command without an effect.

    Raises:
        SpawnError: as the command.
    """
    commands: CommandStore = _PreviewCommands(dependencies.commands)
    try:
        await run(msgspec.structs.replace(dependencies, commands=commands))
    except _CommandStopped as stop:
        return await _describe_change(dependencies, stop.change)
    return CommandPreview()


async def preview_state(
    dependencies: Dependencies, run: RunCommand, kind: str
) -> StateChange | None:
    """Run a command up to its commit, and return its change of the first aggregate of a kind.

    Raises:
        SpawnError: as the command.
    """
    commands: CommandStore = _PreviewCommands(dependencies.commands)
    try:
        await run(msgspec.structs.replace(dependencies, commands=commands))
    except _CommandStopped as stop:
        return await _read_state_change(dependencies, stop.change, kind)
    return None


async def _read_state_change(
    dependencies: Dependencies, change: Change, kind: str
) -> StateChange | None:
    """Return what a change does to its first aggregate of a kind; None without one."""
    for write in change.writes:
        if write.kind == kind:
            schema = (await dependencies.active_schema()).schema
            before = await _read_document(dependencies, write, schema)
            after = msgspec.json.decode(encode_write(write, schema))
            return StateChange(before or {}, after)
    return None


def list_versions(change: Change) -> tuple[Guard, ...]:
    """Return the versions that a change rests on, in a fixed order.

    An aggregate that it creates has a new id each time: only its kind is compared.
    """
    pairs = [(write.kind, write.id, write.expected_version) for write in change.writes]
    pairs += [(guard.kind, guard.id, guard.expected_version) for guard in change.guards]
    return tuple(
        Guard(kind, key if version else "", version) for kind, key, version in sorted(pairs)
    )


async def _describe_change(dependencies: Dependencies, change: Change) -> CommandPreview:
    schema = (await dependencies.active_schema()).schema
    changes: list[FieldChange] = []
    for write in change.writes:
        before = await _read_document(dependencies, write, schema)
        after = msgspec.json.decode(encode_write(write, schema))
        left = MAX_CHANGES + 1 - len(changes)
        changes += islice(diff_states(write.kind, write.id, before, after), left)
    return CommandPreview(
        rests_on=list_versions(change),
        changes=tuple(changes[:MAX_CHANGES]),
        has_more_changes=len(changes) > MAX_CHANGES,
    )


async def _read_document(dependencies: Dependencies, write: Write, schema: Schema) -> Any:
    if not write.expected_version:
        return None
    aggregate = await dependencies.reads.get(write.kind, write.id, version=write.expected_version)
    return msgspec.json.decode(encode_state(write.kind, aggregate.state, schema))


async def list_moved(dependencies: Dependencies, versions: tuple[Guard, ...]) -> tuple[Guard, ...]:
    """Return those of the versions that are not current any more, as they are now."""
    moved_versions = []
    for guard in versions:
        if guard.id:
            current = await _read_version(dependencies, guard)
            if current != guard.expected_version:
                moved_versions.append(msgspec.structs.replace(guard, expected_version=current))
    return tuple(moved_versions)


async def _read_version(dependencies: Dependencies, guard: Guard) -> int:
    if guard.kind == SCHEMA_KIND:
        kind = await find_kind(dependencies, guard.id)
        return (await dependencies.active_schema(kind)).schema.version
    try:
        return (await dependencies.reads.head(guard.kind, guard.id)).version
    except (Forbidden, NotFound):
        return 0  # a reservation that a caller with a row scope sees no more
