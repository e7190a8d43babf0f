"""Wire structs of approvals and of dry runs."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.approvals.requests import ReviewedApproval
from spawn.domain.approvals.approval import (
    Approval,
    ApprovalState,
    CommandPreview,
    Verdict,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.projects.project import MAX_REASON
from spawn.domain.struct_reader import TokenReader, compile_reader, prose_reader
from spawn.entrypoints.http.wire import Count, Instant, Reason, ResourceId, WireStruct

PATH: Final = "/v1/ops/approvals"
JsonValue = Annotated[Any, Meta(description="A JSON value, or null if it is absent.")]


class VersionView(WireStruct, frozen=True):
    """A version of an aggregate; 0 is one that does not exist yet."""

    kind: str
    id: str
    version: Count


class FieldChangeView(WireStruct, frozen=True):
    """A field that a command changes, by a JSON Pointer into the aggregate."""

    kind: str
    id: str
    pointer: str
    before: JsonValue
    after: JsonValue


class CommandDryRunView(WireStruct, frozen=True, kw_only=True):
    """The effect that a command would have now; nothing was written.

    `needs_approval` says whether the command would wait for the decision of another person.
    """

    is_dry_run: Annotated[bool, Meta(extra_json_schema={"const": True})]
    needs_approval: bool
    rests_on: tuple[VersionView, ...]
    changes: tuple[FieldChangeView, ...]
    has_more_changes: bool

    @classmethod
    def of_preview(cls, preview: CommandPreview, *, needs_approval: bool) -> Self:
        """Return the wire form of a preview."""
        return cls(
            is_dry_run=True,
            needs_approval=needs_approval,
            rests_on=_view_versions(preview),
            changes=_view_changes(preview),
            has_more_changes=preview.has_more_changes,
        )


class ApprovalDecisionView(WireStruct, frozen=True):
    """A decision, with its actor and reason."""

    verdict: Verdict
    actor: str
    reason: str
    decided_at: Instant


# A decoder would take no object for a union of Raw with null.
_Body = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": ["object", "null"]})]


class ApprovalView(WireStruct, frozen=True, kw_only=True):
    """A command that waits for a decision, or the record of one.

    `changes` is what it changes, decided from the versions in `rests_on`; `moved_versions`
    are those that have changed since, as they are now: the command is then stale. `body` is null
    for a command without one. `fingerprint` is the SHA-256 of command, target, If-Match and body.
    """

    approval_id: ResourceId
    state: ApprovalState
    maker: str
    command: str
    target: str
    body: _Body
    fingerprint: str
    rests_on: tuple[VersionView, ...]
    moved_versions: tuple[VersionView, ...]
    changes: tuple[FieldChangeView, ...]
    has_more_changes: bool
    requested_at: Instant
    expires_at: Instant
    decision: ApprovalDecisionView | None
    detail: str

    @classmethod
    def of_reviewed(cls, reviewed: ReviewedApproval) -> Self:
        """Return the wire form of an approval as it is now."""
        return cls._build(
            reviewed.aggregate,
            reviewed.state,
            tuple(VersionView(g.kind, g.id, g.expected_version) for g in reviewed.moved_versions),
        )

    @classmethod
    def of_recorded(cls, aggregate: StoredAggregate[Approval]) -> Self:
        """Return the wire form of an approval as a version of it was recorded."""
        return cls._build(aggregate, aggregate.state.state, ())

    @classmethod
    def _build(
        cls,
        aggregate: StoredAggregate[Approval],
        state: ApprovalState,
        moved_versions: tuple[VersionView, ...],
    ) -> Self:
        approval = aggregate.state
        return cls.of(
            approval,
            state=state,
            body=msgspec.Raw(approval.body.encode() or b"null"),
            rests_on=_view_versions(approval.preview),
            moved_versions=moved_versions,
            changes=_view_changes(approval.preview),
            has_more_changes=approval.preview.has_more_changes,
            requested_at=aggregate.created_at,
        )


class ApprovalDecisionRequestView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """A decision about a command, with the reason for it."""

    decision: Verdict
    reason: Reason


read_decision_request: Final[TokenReader] = compile_reader(
    ApprovalDecisionRequestView, {"reason": prose_reader(MAX_REASON, allows_blank=False)}
)


def _view_versions(preview: CommandPreview) -> tuple[VersionView, ...]:
    return tuple(VersionView(g.kind, g.id, g.expected_version) for g in preview.rests_on)


def _view_changes(preview: CommandPreview) -> tuple[FieldChangeView, ...]:
    return tuple(map(FieldChangeView.of, preview.changes))


EXAMPLE: Final[Mapping[str, str]] = {"decision": "approve", "reason": "agreed in the committee"}
