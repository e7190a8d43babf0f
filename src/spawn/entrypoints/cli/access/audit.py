"""Command `spawn audit`: print the audit log."""

import sys
from collections.abc import Mapping

import msgspec

from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.http.access.audit_routes import AuditEntryView
from spawn.entrypoints.http.wire import PageView
from spawn.entrypoints.settings import Settings


async def run_audit_command(
    settings: Settings, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of the audit log, newest entries first."""
    async with open_backend(settings) as backend:
        document = await backend.read_audit_log(parameters)
    page = msgspec.json.decode(document, type=PageView[AuditEntryView])
    for entry in page.items:
        line = msgspec.json.encode(entry).decode() if as_json else _format_entry(entry)
        sys.stdout.write(line + "\n")


def _format_entry(entry: AuditEntryView) -> str:
    time = entry.time.isoformat(timespec="seconds").replace("+00:00", "Z")
    number = f" ({entry.count} times)" if entry.count > 1 else ""
    parts = (time, entry.kind, entry.actor, entry.status or "", entry.address, entry.detail)
    return "  ".join(str(part) for part in parts if part) + number
