"""Approvals: a command of a maker that only another person can let take effect.

An approval has the command as the maker sent it, the versions that it rests on, and what it will
change. Nothing of these changes; a decision ends the wait.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from spawn.domain.change import Guard
from spawn.domain.errors import Conflict, Forbidden
from spawn.domain.principal import PrincipalKind, RowScope, Scope

APPROVAL_KIND: Final = "approval"
REQUESTED_EVENT: Final = "approval.requested"
DECIDED_EVENT: Final = "approval.decided"

MAX_COMMAND_BYTES: Final = 64 * 1024
"""Bytes of the body of a command that may wait for an approval."""

MAX_PENDING: Final = 100
"""Undecided approvals of one maker."""

MAX_CHANGES: Final = 200
"""Changed fields that an approval lists."""


class ApprovalState(StrEnum):
    """State of an approval; all but `pending` and `executing` are final.

    `executing` is the state of an approved command that is more than one change, while it runs.
    `expired` is never stored: it follows from the time.
    """

    PENDING = "pending"
    EXECUTING = "executing"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    STALE = "stale"
    EXPIRED = "expired"
    FAILED = "failed"


class Verdict(StrEnum):
    """A decision about an approval; only its maker withdraws."""

    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an aggregate that a command changes; None is an absent value.

    `pointer` is a JSON Pointer into the state of the aggregate.
    """

    kind: str
    id: str
    pointer: str
    before: Any
    after: Any


class CommandPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a command that was not carried out.

    `rests_on` are the versions from which it was decided, `results_in` those by which a command
    that is more than one change is known to have taken effect.
    """

    rests_on: tuple[Guard, ...] = ()
    results_in: tuple[Guard, ...] = ()
    changes: tuple[FieldChange, ...] = ()
    has_more_changes: bool = False


class ApprovalDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, with its actor and reason."""

    verdict: Verdict
    actor: str
    reason: str
    decided_at: datetime


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A command that waits for a decision, or the record of one.

    `command` is the id of an operation, `target` the path that it was sent to and `parameters` the
    parts of that path. `body` is its JSON with sorted keys and exact numbers, `fingerprint` the
    SHA-256 of command, target, precondition and body. A command without a body has an empty one.
    `kind` and `amount` are those that rules read in the body, or empty. `maker_rows` are the rows
    to which the maker was limited. `preview` is what the maker would have changed. `detail` is why
    the command did not take effect, or empty.
    """

    approval_id: str
    command: str
    target: str
    parameters: Mapping[str, str]
    body: str
    content_type: str
    if_match: str | None
    kind: str = ""
    amount: str = ""
    fingerprint: str
    maker: str
    maker_kind: PrincipalKind
    maker_scopes: tuple[Scope, ...]
    maker_rows: RowScope | None = None
    preview: CommandPreview
    expires_at: datetime
    state: ApprovalState = ApprovalState.PENDING
    decision: ApprovalDecision | None = None
    detail: str = ""

    def state_at(self, now: datetime) -> ApprovalState:
        """Return the state at an instant: an undecided approval expires."""
        is_expired = self.state is ApprovalState.PENDING and now >= self.expires_at
        return ApprovalState.EXPIRED if is_expired else self.state

    def decide(
        self, verdict: Verdict, actor: str, reason: str, now: datetime, state: ApprovalState
    ) -> "Approval":
        """Return the approval with a decision that leads to a state.

        Raises:
            Conflict: it was decided before, or has expired.
            Forbidden: the maker decides about its own command, or another withdraws it.
        """
        current_state = self.state_at(now)
        if current_state is not ApprovalState.PENDING:
            raise Conflict(f"The approval is {current_state}: nothing is left to decide.")
        if verdict is Verdict.WITHDRAW and actor != self.maker:
            raise Forbidden("Only the maker of a command can withdraw it: reject it instead.")
        if verdict is not Verdict.WITHDRAW and actor == self.maker:
            raise Forbidden("Another person than the maker must decide: withdraw it instead.")
        decision = ApprovalDecision(verdict=verdict, actor=actor, reason=reason, decided_at=now)
        return msgspec.structs.replace(self, state=state, decision=decision)


def diff_states(kind: str, key: str, before: Any, after: Any) -> Iterable[FieldChange]:
    """Yield the differences of two JSON values, field by field."""
    for pointer, old, new in _diff("", before, after):
        yield FieldChange(kind=kind, id=key, pointer=pointer, before=old, after=new)


def _diff(pointer: str, before: Any, after: Any) -> Iterable[tuple[str, Any, Any]]:
    if before == after and type(before) is type(after):
        return
    if isinstance(after, dict) and isinstance(before, dict | None):
        old = before or {}
        for name in dict.fromkeys((*old, *after)):
            token = name.replace("~", "~0").replace("/", "~1")
            yield from _diff(f"{pointer}/{token}", old.get(name), after.get(name))
    elif isinstance(after, list) and isinstance(before, list) and len(before) <= len(after):
        for number, new in enumerate(after):
            old_item = before[number] if number < len(before) else None
            yield from _diff(f"{pointer}/{number}", old_item, new)
    else:
        yield pointer, before, after
