"""Commands `spawn projects`: list, show and create projects."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.settings import Settings

_STANDARD_INPUT: Final = Path("-")
_MAX_NAME: Final = 60


class _Page(msgspec.Struct):
    items: list[dict[str, Any]]
    next: str | None


async def print_projects(
    settings: Settings, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of projects, as lines of text or of JSON; its cursor goes to stderr."""
    async with open_backend(settings) as backend:
        document = await backend.list_projects(parameters)
    print_page(document, _format_line, as_json=as_json)


def print_page(
    document: bytes, format_line: Callable[[Mapping[str, Any]], str], *, as_json: bool
) -> None:
    """Print the items of a page, as lines of text or of JSON; its cursor goes to stderr."""
    page = msgspec.json.decode(document, type=_Page)
    for item in page.items:
        line = msgspec.json.encode(item).decode() if as_json else format_line(item)
        sys.stdout.write(line + "\n")
    if page.next is not None:
        sys.stderr.write(f"there are more: repeat the command with --after {page.next}\n")


async def print_project(
    settings: Settings, project_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a project, a field a line or as JSON."""
    async with open_backend(settings) as backend:
        document = await backend.get_project(project_id, parameters)
    print_fields(document, as_json=as_json)


def print_report(
    document: bytes, write: Callable[[Mapping[str, Any]], None], *, as_json: bool
) -> None:
    """Print a report, as `write` writes it as text or as JSON."""
    if as_json:
        sys.stdout.write(document.decode() + "\n")
    else:
        write(msgspec.json.decode(document))


def print_fields(document: bytes, *, as_json: bool) -> None:
    """Print a JSON object, a field a line or as JSON."""
    print_report(document, _write_fields, as_json=as_json)


def _write_fields(fields: Mapping[str, Any]) -> None:
    width = max(map(len, fields))
    for name, value in fields.items():
        sys.stdout.write(f"{name.ljust(width)}  {_format_value(value)}\n")


async def create_project(settings: Settings, path: Path, *, as_json: bool) -> None:
    """Create a project from a file of JSON, and print its id."""
    document = await asyncio.to_thread(read_document, path)
    async with open_backend(settings, create=True) as backend:
        response = await backend.create_project(document)
    if as_json:
        sys.stdout.write(response.decode() + "\n")
        return
    fields: dict[str, Any] = msgspec.json.decode(response)
    if not print_pending("project", fields):
        sys.stdout.write(f"{fields['project_id']}\n")


def print_pending(noun: str, fields: Mapping[str, Any]) -> bool:
    """Print the id of an approval, if a command waits for one, and return whether it does."""
    if "approval_id" not in fields:
        return False
    sys.stderr.write(f"the {noun} waits for the decision of another person\n")
    sys.stdout.write(f"{fields['approval_id']}\n")
    return True


def read_document(path: Path) -> bytes:
    """Return the bytes of a file, or of standard input for `-`."""
    return sys.stdin.buffer.read() if path == _STANDARD_INPUT else path.read_bytes()


def _format_line(project: Mapping[str, Any]) -> str:
    amount = f"{project.get('total_amount') or '':>18} {project.get('currency_code') or '':3}"
    name = escape_unprintable(shorten(str(project.get("project_name") or ""), _MAX_NAME))
    return f"{project['project_id']}  {project.get('status') or '':12} {amount}  {name}".rstrip()


def _format_value(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return escape_unprintable(text)
