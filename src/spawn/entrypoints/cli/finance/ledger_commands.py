"""Commands `spawn facilities` that create facilities and record entries of their ledgers."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec

from spawn.domain.text import escape_unprintable
from spawn.entrypoints.cli.access.approvals import format_change
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.projects import print_page, print_pending, read_document
from spawn.entrypoints.http.approvals.wire import CommandDryRunView
from spawn.entrypoints.settings import Settings


class CommandOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of every command that records something.

    `key` makes a repetition return the first result; without one each run has its own.
    """

    key: str | None = None
    is_dry_run: bool = False
    as_json: bool = False


async def create_facility(
    settings: Settings, project_id: str, path: Path, options: CommandOptions
) -> None:
    """Create a facility of a project from a file of JSON, and print its id."""
    document = await asyncio.to_thread(read_document, path)
    target = f"projects/{quote(project_id, safe='')}/facilities"
    fields = await _send(settings, target, document, options, "facility")
    if fields is not None:
        sys.stdout.write(f"{fields['facility_id']}\n")


async def record_entry(
    settings: Settings, facility_id: str, facts: Mapping[str, str], options: CommandOptions
) -> None:
    """Record an entry of a ledger, and print it."""
    target = f"facilities/{quote(facility_id, safe='')}/entries"
    fields = await _send(settings, target, msgspec.json.encode(facts), options, "entry", "*")
    if fields is not None:
        sys.stdout.write(format_entry(fields) + "\n")


async def reverse_entry(
    settings: Settings,
    facility_id: str,
    number: int,
    facts: Mapping[str, str],
    options: CommandOptions,
) -> None:
    """Reverse an entry of a ledger, and print the reversal."""
    target = f"facilities/{quote(facility_id, safe='')}/entries/{number}/reversal"
    fields = await _send(settings, target, msgspec.json.encode(facts), options, "reversal", "*")
    if fields is not None:
        sys.stdout.write(format_entry(fields) + "\n")


async def print_entries(
    settings: Settings, facility_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of the entries of a ledger."""
    path = f"facilities/{quote(facility_id, safe='')}/entries"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_page(document, format_entry, as_json=as_json)


def format_entry(entry: Mapping[str, Any]) -> str:
    """Return the line of an entry: number, value date, kind, and amount or rate."""
    value = entry.get("amount") or entry.get("rate") or ""
    unit = entry["currency_code"] if entry.get("amount") else ""
    note = f"reverses {entry['reverses']}" if entry.get("reverses") else entry.get("external_key")
    text = f"{entry['number']:>6}  {entry['value_date']}  {entry['kind']:14} {value:>18} {unit:3}"
    return f"{text}  {escape_unprintable(note or '')}".rstrip()


async def _send(
    settings: Settings,
    path: str,
    document: bytes,
    options: CommandOptions,
    noun: str,
    based_on: str | None = None,
) -> dict[str, Any] | None:
    """Send a command; return what it recorded, or None once the result is printed."""
    parameters = {"dry_run": "true"} if options.is_dry_run else {}
    key = options.key or uuid4().hex
    async with open_backend(settings) as backend:
        response = await backend.send_financing(
            path, parameters, document, key=key, based_on=based_on
        )
    if options.as_json:
        sys.stdout.write(response.decode() + "\n")
        return None
    if options.is_dry_run:
        _print_dry_run(response)
        return None
    fields: dict[str, Any] = msgspec.json.decode(response)
    return None if print_pending(noun, fields) else fields


def _print_dry_run(document: bytes) -> None:
    """Print what a command would change; a necessary approval goes to standard error."""
    dry_run = msgspec.json.decode(document, type=CommandDryRunView)
    for change in dry_run.changes:
        sys.stdout.write(format_change(change) + "\n")
    if dry_run.needs_approval:
        sys.stderr.write("the command would wait for the decision of another person\n")
