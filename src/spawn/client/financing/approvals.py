"""Approvals and dry runs of commands as typed values."""

from datetime import datetime
from typing import Final, Literal

from spawn.client import calls
from spawn.client.financing.financing_records import ClientRecord
from spawn.client.records import Json

APPROVALS: Final = "/v1/ops/approvals"
Verdict = Literal["approve", "reject", "withdraw"]


class VersionRecord(ClientRecord, frozen=True, kw_only=True):
    """A version that a command rests on."""

    kind: str
    id: str
    version: int


class FieldChangeRecord(ClientRecord, frozen=True, kw_only=True):
    """A field that a command changes, by a JSON Pointer."""

    kind: str
    id: str
    pointer: str
    before: Json
    after: Json


class CommandDryRunRecord(ClientRecord, frozen=True, kw_only=True):
    """The change that a command would make now; nothing was written."""

    is_dry_run: bool
    needs_approval: bool
    rests_on: tuple[VersionRecord, ...]
    changes: tuple[FieldChangeRecord, ...]
    has_more_changes: bool


class ApprovalDecisionRecord(ClientRecord, frozen=True, kw_only=True):
    """The decision about a command."""

    verdict: str
    actor: str
    reason: str
    decided_at: datetime


class ApprovalRecord(ClientRecord, frozen=True, kw_only=True):
    """A command that waits for a decision, or the record of one."""

    approval_id: str
    state: str
    maker: str
    command: str
    target: str
    body: dict[str, Json] | None
    fingerprint: str
    rests_on: tuple[VersionRecord, ...]
    moved_versions: tuple[VersionRecord, ...]
    changes: tuple[FieldChangeRecord, ...]
    has_more_changes: bool
    requested_at: datetime
    expires_at: datetime
    decision: ApprovalDecisionRecord | None
    detail: str


def approval_path(approval_id: str) -> str:
    """Return the path of an approval."""
    return f"{APPROVALS}/{calls.quote_segment(approval_id)}"
