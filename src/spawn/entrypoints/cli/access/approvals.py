"""Commands `spawn approvals`: list, show and decide about commands that wait."""

import sys
from collections.abc import Mapping

import msgspec

from spawn.domain.approvals.approval import Verdict
from spawn.domain.text import escape_unprintable
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.http.approvals.wire import ApprovalView, FieldChangeView
from spawn.entrypoints.http.wire import PageView
from spawn.entrypoints.settings import Settings


async def print_approvals(
    settings: Settings, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of approvals, newest first."""
    async with open_backend(settings) as backend:
        document = await backend.list_approvals(parameters)
    page = msgspec.json.decode(document, type=PageView[ApprovalView])
    for approval in page.items:
        text = msgspec.json.encode(approval).decode() if as_json else _format_line(approval)
        sys.stdout.write(text + "\n")


async def print_approval(settings: Settings, approval_id: str, *, as_json: bool) -> None:
    """Print an approval, with every field that its command changes."""
    async with open_backend(settings) as backend:
        document = await backend.get_approval(approval_id)
    approval = msgspec.json.decode(document, type=ApprovalView)
    sys.stdout.write((document.decode() if as_json else _format_approval(approval)) + "\n")


async def decide(
    settings: Settings, approval_id: str, verdict: Verdict, reason: str, *, as_json: bool
) -> None:
    """Decide about a command, and print the state of its approval."""
    request = msgspec.json.encode({"decision": verdict, "reason": reason})
    async with open_backend(settings) as backend:
        document = await backend.decide_approval(approval_id, request)
    approval = msgspec.json.decode(document, type=ApprovalView)
    sys.stdout.write((document.decode() if as_json else _format_line(approval)) + "\n")


def _format_line(approval: ApprovalView) -> str:
    time = approval.requested_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    parts = (approval.approval_id, time, approval.state, approval.maker, approval.command)
    return "  ".join((*parts, approval.target))


def _format_approval(approval: ApprovalView) -> str:
    lines = [_format_line(approval), *map(format_change, approval.changes)]
    if approval.has_more_changes:
        lines.append("  and further fields: see --json")
    lines += [
        f"  moved: {one.kind} {one.id} is at version {one.version}"
        for one in approval.moved_versions
    ]
    if approval.decision is not None:
        decision = approval.decision
        lines.append(
            f"  {decision.verdict} by {decision.actor}: {escape_unprintable(decision.reason)}"
        )
    if approval.detail:
        lines.append(f"  {escape_unprintable(approval.detail)}")
    return "\n".join(lines)


def format_change(change: FieldChangeView) -> str:
    """Return the line of a field that a command changes."""
    before, after = (
        escape_unprintable(msgspec.json.encode(one).decode())
        for one in (change.before, change.after)
    )
    return f"  {change.kind} {change.id} {change.pointer}: {before} -> {after}"
