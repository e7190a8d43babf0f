"""Commands that move data: import, export, and a look at the schema."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from spawn.domain.imports.import_state import FileFormat
from spawn.entrypoints.cli.backend import open_access
from spawn.entrypoints.cli.parser import MISUSED, CommandError
from spawn.entrypoints.settings import Settings

_SUFFIXES: Final = {
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
}


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What `spawn import` was asked to do."""

    path: Path
    file_format: str | None
    mapping: str | None
    quarantine: Path | None
    as_json: bool


async def import_file(settings: Settings, order: Order) -> None:
    """Import a file, showing progress on stderr and the result on stdout."""
    file_format = _format_of(order.path, order.file_format)
    mapping = _mapping_of(order.mapping)
    await asyncio.to_thread(_require_file, order.path)
    aside = None if order.quarantine is None else _format_of(order.quarantine, None)
    async with open_access(settings, create=True) as access:
        name = order.mapping
        if mapping is not None:
            name, path = mapping
            await access.put_mapping(name, await asyncio.to_thread(path.read_bytes))
        progress = _Progress()
        fields = await access.import_file(order.path, file_format, name, progress.show)
        progress.end()
        if order.quarantine is not None and aside is not None:
            lines = access.quarantine(str(fields["import_id"]), aside)
            await _write(lines, order.quarantine)
    _tell(fields, as_json=order.as_json)


async def export_projects(settings: Settings, file_format: str, output: Path | None) -> None:
    """Write all projects, as they come, to a file or standard output."""
    chosen = FileFormat(file_format)
    async with open_access(settings) as access, aclosing(access.exported(chosen)) as pieces:
        await _write(pieces, output)


async def show_schema(settings: Settings) -> None:
    """Print the active schema."""
    async with open_access(settings) as access:
        shown = msgspec.json.format(await access.schema(), indent=2)
    sys.stdout.write(shown.decode() + "\n")


def _format_of(path: Path, named: str | None) -> FileFormat:
    if named is not None:
        return FileFormat(named)
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise CommandError(
            f"{path} has none of the suffixes {', '.join(_SUFFIXES)}; say --format", MISUSED
        )
    return found


def _mapping_of(given: str | None) -> tuple[str, Path] | None:
    """The name and path of a mapping given as a file; None if it is a name, or absent."""
    if given is None or not (given.endswith(".json") or "/" in given):
        return None
    path = Path(given)
    return path.name.removesuffix(".json").removesuffix(".mapping").lower(), path


def _require_file(path: Path) -> None:
    with path.open("rb"):
        return


class _Progress:
    """One line on a terminal, rewritten; nothing where nobody watches."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            percent = 100 * done // total if total else 100
            sys.stderr.write(f"\r{percent:3d} %  {done / 1e6:.1f} of {total / 1e6:.1f} MB")
            sys.stderr.flush()
            self._shown = True

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\n")


def _tell(fields: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(fields).decode() + "\n")
        return
    by_reason = ", ".join(f"{code} {count}" for code, count in fields["by_reason"].items())
    sys.stdout.write(
        f"{fields['rows']} rows: {fields['accepted']} accepted, {fields['unchanged']} unchanged, "
        f"{fields['quarantined']} quarantined{f' ({by_reason})' if by_reason else ''}; "
        f"{fields['warnings']} with warnings\n"
        f"import {fields['import_id']}\n"
    )


async def _write(lines: AsyncIterator[bytes], output: Path | None) -> None:
    """Write lines to standard output, or to a file that appears only once it is whole."""
    if output is None:
        await _pour(lines, sys.stdout.buffer)
        return
    partial = output.with_name(output.name + ".part")
    with _removed_unless_whole(partial):
        with await asyncio.to_thread(partial.open, "wb") as file:
            await _pour(lines, file)
        await asyncio.to_thread(partial.replace, output)


async def _pour(lines: AsyncIterator[bytes], file: IO[bytes]) -> None:
    async for line in lines:
        file.write(line)
    file.flush()


@contextmanager
def _removed_unless_whole(partial: Path) -> Iterator[None]:
    try:
        yield
    finally:
        partial.unlink(missing_ok=True)
