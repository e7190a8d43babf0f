"""Commands `spawn import`, `spawn export` and `spawn schema show`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from spawn.adapters.file_encoder import find_missing_extra
from spawn.application.datasets.file_formats import DataFormat
from spawn.domain.imports.import_state import FileFormat, ImportKind
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.errors import EXIT_USAGE, CommandError
from spawn.entrypoints.cli.grammar.terminal import Progress
from spawn.entrypoints.http.imports.wire import DryRunView, ImportView
from spawn.entrypoints.settings import Settings
from spawn.ports.backend import UploadedFile

CHUNK_BYTES: Final = 1024 * 1024
_DATA_SUFFIXES: Final = {".jsonl": "ndjson", ".arrows": "arrow"}
_SUFFIXES: Final = {
    ".csv": FileFormat.CSV,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".json": FileFormat.JSON,
    ".geojson": FileFormat.JSON,
    ".xml": FileFormat.XML,
    ".xlsx": FileFormat.XLSX,
    ".xlsm": FileFormat.XLSX,
}


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `spawn import`."""

    path: Path
    file_format: str | None
    mapping: str | None
    quarantine: Path | None
    as_json: bool
    is_dry_run: bool = False
    from_export: bool = False
    kind: ImportKind = ImportKind.PROJECT


async def import_file(settings: Settings, options: ImportOptions) -> None:
    """Import a file; show progress on stderr and the result on stdout."""
    file_format = _detect_format(options.path, options.file_format)
    mapping_file = _parse_mapping_file(options.mapping)
    await asyncio.to_thread(_require_file, options.path)
    quarantine_format = _detect_quarantine_format(options.quarantine)
    async with open_backend(settings, create=True) as backend:
        name = options.mapping
        if mapping_file is not None:
            name, path = mapping_file
            await backend.put_mapping(name, await asyncio.to_thread(path.read_bytes))
        file = UploadedFile(
            chunks=_read_chunks(options.path),
            file_format=file_format,
            mapping=name,
            from_export=options.from_export,
            kind=options.kind,
        )
        if options.is_dry_run:
            if options.kind is not ImportKind.PROJECT:
                raise CommandError("--dry-run serves projects alone", EXIT_USAGE)
            run = msgspec.json.decode(await backend.try_import(file), type=DryRunView)
            _print_dry_run(run, as_json=options.as_json)
            return
        progress = Progress()
        document = await backend.import_file(file, progress.report)
        progress.end()
        result = msgspec.json.decode(document, type=ImportView)
        if options.quarantine is not None and quarantine_format is not None:
            lines = backend.export_quarantine(result.import_id, quarantine_format)
            await _write_output(lines, options.quarantine)
    _print_result(result, as_json=options.as_json)


async def export_projects(
    settings: Settings, format_name: str | None, output: Path | None, nested: str | None
) -> None:
    """Write all projects to a file or standard output, without buffering them.

    The format is the named one, else that of the file's suffix, else NDJSON. `nested` is the form
    of objects and arrays in JSON; None for that of the format.
    """
    file_format = _detect_data_format(output, format_name)
    if extra := find_missing_extra(file_format):
        detail = f"{file_format} needs the extra {extra}: pip install 'duckdb-spawn[{extra}]'"
        raise CommandError(detail, EXIT_USAGE)
    parameters = {} if nested is None else {"nested": nested}
    async with (
        open_backend(settings) as backend,
        aclosing(backend.export_projects(file_format, parameters)) as chunks,
    ):
        if output is None and sys.stdout.isatty():
            await _write_output(chunks, output)  # whose lines would mix with those of progress
            return
        progress = Progress()
        await _write_output(_report_chunks(chunks, progress), output)
        progress.end()


async def _report_chunks(chunks: AsyncIterator[bytes], progress: Progress) -> AsyncIterator[bytes]:
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        progress.report(size_bytes)
        yield chunk


async def show_schema(settings: Settings) -> None:
    """Print the active schema."""
    async with open_backend(settings) as backend:
        document = msgspec.json.format(await backend.get_schema(), indent=2)
    sys.stdout.write(document.decode() + "\n")


def _detect_format(path: Path, format_name: str | None) -> FileFormat:
    if format_name is not None:
        return FileFormat(format_name)
    file_format = _SUFFIXES.get(path.suffix.lower())
    if file_format is None:
        raise CommandError(
            f"{path} has none of the suffixes {', '.join(_SUFFIXES)}: set --format", EXIT_USAGE
        )
    return file_format


def _detect_quarantine_format(path: Path | None) -> FileFormat | None:
    """Return the format of a file of quarantined rows, which are lines of CSV or JSON."""
    if path is None:
        return None
    file_format = _SUFFIXES.get(path.suffix.lower())
    if file_format not in {FileFormat.CSV, FileFormat.NDJSON}:
        raise CommandError(
            f"{path}: quarantined rows are written to .csv, .ndjson or .jsonl", EXIT_USAGE
        )
    return file_format


def _detect_data_format(path: Path | None, format_name: str | None) -> DataFormat:
    if format_name is not None:
        return DataFormat(format_name)
    if path is None or not path.suffix:
        return DataFormat.NDJSON
    suffix = _DATA_SUFFIXES.get(path.suffix.lower(), path.suffix.lower().removeprefix("."))
    if suffix not in {*DataFormat}:
        listed = ", ".join(f".{one}" for one in DataFormat)
        raise CommandError(f"{path} has none of the suffixes {listed}: set --format", EXIT_USAGE)
    return DataFormat(suffix)


def _parse_mapping_file(mapping: str | None) -> tuple[str, Path] | None:
    """Return name and path of a mapping file; None for the name of a stored mapping."""
    if mapping is None or not (mapping.endswith(".json") or "/" in mapping):
        return None
    path = Path(mapping)
    return path.name.removesuffix(".json").removesuffix(".mapping").lower(), path


async def _read_chunks(path: Path) -> AsyncIterator[bytes]:
    """Yield the bytes of the file, read off the event loop."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def _require_file(path: Path) -> None:
    with path.open("rb"):
        return


def _print_result(result: ImportView, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        return
    by_reason = ", ".join(f"{code} {count}" for code, count in result.by_reason.items())
    sys.stdout.write(
        f"{result.rows} rows: {result.accepted} accepted, {result.unchanged} unchanged, "
        f"{result.quarantined} quarantined{f' ({by_reason})' if by_reason else ''}; "
        f"{result.warnings} with warnings{_describe_currency(result)}\n"
        f"import {result.import_id}\n"
    )


def _describe_currency(counts: ImportView | DryRunView) -> str:
    assumed = counts.currency_assumed
    return f"; {assumed} without a currency, taken as USD" if assumed else ""


def _print_dry_run(run: DryRunView, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(run).decode() + "\n")
        return
    counts = (
        f"{run.rows} rows: {run.accepted} would be accepted, {run.unchanged} unchanged, "
        f"{run.quarantined} quarantined; {run.warnings} with warnings"
        f"{_describe_currency(run)}; nothing was written"
    )
    lines = [counts]
    if not run.complete:
        lines.append("the time ended before the file: these are its first rows")
    for reason in (*run.reasons, *run.warning_reasons):
        samples = "; ".join(f"line {one.line}: {one.detail}" for one in reason.samples[:1])
        lines.append(f"{reason.rows} x {reason.field or 'row'} {reason.code} ({samples})")
    sys.stdout.write("\n".join(lines) + "\n")


async def _write_output(lines: AsyncIterator[bytes], output: Path | None) -> None:
    """Write lines to standard output, or to a file that appears only once it is complete."""
    if output is None:
        await _write_lines(lines, sys.stdout.buffer)
        return
    partial = output.with_name(output.name + ".part")
    with _remove_if_incomplete(partial):
        try:
            file = await asyncio.to_thread(partial.open, "wb")
        except OSError as failure:
            # The user knows the name of the output, and not that of its unfinished part.
            raise OSError(failure.errno, failure.strerror, str(output)) from failure
        with file:
            await _write_lines(lines, file)
        await asyncio.to_thread(partial.replace, output)


async def _write_lines(lines: AsyncIterator[bytes], file: IO[bytes]) -> None:
    async for line in lines:
        file.write(line)
    file.flush()


@contextmanager
def _remove_if_incomplete(partial: Path) -> Iterator[None]:
    try:
        yield
    finally:
        partial.unlink(missing_ok=True)
