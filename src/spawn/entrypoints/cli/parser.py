"""What the commands are called, what they take, and how they end.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or settings; 3 the service cannot be reached,
or its file or address is in use; 130 interrupted. Every failure is one line on stderr.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from spawn import __version__
from spawn.domain.errors import SpawnError, StorageBusy
from spawn.domain.schemas.evolution.compatibility import Mode
from spawn.entrypoints.settings import AddressError, Settings, SettingsError, read_settings

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130

_EPILOG: Final = """\
settings are environment variables that begin with SPAWN_, for instance
  SPAWN_STORAGE_URL=duckdb:///var/spawn.duckdb   where the data is
  SPAWN_ONTOLOGY_URL=http://127.0.0.1:8100       where schemas come from
  SPAWN_URL=http://127.0.0.1:8000                a running service for the commands to talk to

exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings, 3 unreachable or in use
"""


class CommandError(Exception):
    """A command cannot go on: one sentence, and the exit code that goes with it."""

    def __init__(self, detail: str, code: int = FAILED) -> None:
        super().__init__(detail)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        settings = read_settings(os.environ)
        run: Callable[[Settings, argparse.Namespace], int] = parsed.run
        return run(settings, parsed)
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except _TOLD as failure:
        return _end(*_told(failure))


_TOLD: Final = (
    SettingsError,
    AddressError,
    CommandError,
    SpawnError,
    OSError,
    KeyboardInterrupt,
)
"""What ends a command with a sentence; anything else is a fault and shows where it happened."""


def _told(failure: BaseException) -> tuple[str, int]:
    """A failure as one sentence, and the exit code that goes with it."""
    match failure:
        case SettingsError():
            return str(failure), MISUSED
        case CommandError():
            return str(failure), failure.code
        case AddressError() | StorageBusy():
            return str(failure), UNREACHABLE
        case SpawnError():
            return failure.detail, FAILED
        case OSError():
            name = f"{failure.filename}: " if failure.filename else ""
            return f"{name}{failure.strerror or failure}", FAILED
    return "interrupted", INTERRUPTED


def _end(sentence: str, code: int) -> int:
    sys.stderr.write(f"spawn: {' '.join(sentence.split())}\n")
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="spawn",
        description="A project-finance data product in a box.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spawn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serving(commands)
    _add_data(commands)
    _add_looking(commands)
    return parser


def _add_serving(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="run the service", description="Run the service.")
    serve.add_argument(
        "--check-config", action="store_true", help="only check the settings, then end"
    )
    serve.set_defaults(run=_serve)
    demo = commands.add_parser(
        "demo",
        help="run the service with a synthetic sample portfolio",
        description="Run the service with a seeded synthetic portfolio. Nothing is written twice: "
        "a second demo on the same store finds its projects there.",
    )
    demo.add_argument(
        "--projects", type=_count, default=500, metavar="N", help="how many (default 500)"
    )
    demo.add_argument("--seed", type=_count, default=1, help="another seed, another portfolio")
    demo.set_defaults(run=_demo)
    ontology = commands.add_parser(
        "ontology-server",
        help="run a local ontology server",
        description="Run a local ontology server that speaks the registry's protocol.",
    )
    ontology.add_argument("--host", default="127.0.0.1", help="(default 127.0.0.1)")
    ontology.add_argument(
        "--port", type=_port, default=8100, help="(default 8100; 0 takes a free one)"
    )
    ontology.add_argument(
        "--directory", type=Path, help="keep published schemas here (default: forget them)"
    )
    ontology.set_defaults(run=_ontology_server)


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    importing = commands.add_parser(
        "import",
        help="import projects from a CSV or NDJSON file",
        description="Import projects from a file. Rows that make no project are set aside with "
        "their reasons; the same file again changes nothing.",
    )
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument(
        "--mapping",
        metavar="NAME|FILE",
        help="the mapping to read the rows through: the name of a stored one, or a JSON file, "
        "which is stored under its name first (CSV needs a mapping)",
    )
    importing.add_argument(
        "--format", choices=("csv", "ndjson"), help="(default: by the file's name)"
    )
    importing.add_argument(
        "--quarantine",
        type=Path,
        metavar="FILE",
        help="write the rows that were set aside here, as CSV or NDJSON by its name",
    )
    importing.add_argument("--json", action="store_true", help="print the result as JSON")
    importing.set_defaults(run=_import)
    exporting = commands.add_parser(
        "export", help="export all projects", description="Export all projects, oldest first."
    )
    exporting.add_argument("--format", choices=("ndjson", "csv"), default="ndjson")
    exporting.add_argument(
        "--output", type=Path, metavar="FILE", help="write here (default: standard output)"
    )
    exporting.set_defaults(run=_export)


def _add_looking(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    schema = commands.add_parser("schema", help="look at the schema that rules")
    actions = schema.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the active schema as JSON")
    show.set_defaults(run=_show_schema)
    _add_check(actions)
    doctor = commands.add_parser(
        "doctor",
        help="check settings, file, disk and ontology, and say what to do",
        description="Check settings, file, disk, address and ontology; for each that is not well, "
        "say what to do.",
    )
    doctor.set_defaults(run=_doctor)


def _add_check(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = actions.add_parser(
        "check",
        help="say what a proposed schema would change, and whether it would be adopted",
        description="Compare a schema document with the one that rules, or with files. Every "
        "change is listed with what it means to stored rows, to writers and to readers. Ends "
        "with 0 if the document would be adopted, with 1 if not.",
    )
    check.add_argument("file", type=Path, metavar="FILE")
    other = check.add_mutually_exclusive_group()
    other.add_argument("--url", help="ask this service (default: as SPAWN_URL or the file says)")
    other.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="compare with this document instead, without any service or data; again for each "
        "version before it, newest first",
    )
    check.add_argument(
        "--mode",
        choices=[mode.value for mode in Mode],
        help="what to demand (default: with files backward_transitive, else as configured)",
    )
    check.add_argument("--json", action="store_true", help="print the verdict as JSON")
    check.set_defaults(run=_check_schema)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 7:  # noqa: PLR2004 - up to millions
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number up to 9999999")
    return int(text)


def _port(text: str) -> int:
    port = _count(text)
    if port > 65535:  # noqa: PLR2004 - the last port
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: the last one is 65535")
    return port


def _serve(settings: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.cli import serve

    if parsed.check_config:
        asyncio.run(serve.check_publishers(settings))
        sys.stdout.write("The settings are sound.\n")
        return DONE
    serve.serve(settings)
    return DONE


def _demo(settings: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.cli import serve

    serve.demo(settings, projects=parsed.projects, seed=parsed.seed)
    return DONE


def _ontology_server(_: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.ontology_server import app as ontology_server

    def told(port: int) -> None:
        sys.stderr.write(f"ontology server on http://{parsed.host}:{port}\n")
        sys.stderr.flush()

    ontology_server.serve(parsed.host, parsed.port, parsed.directory, told=told)
    return DONE


def _run(settings: Settings, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command's work, in a span of its name if a collector is named."""
    if not settings.otlp_endpoint:
        asyncio.run(work())
        return
    from spawn.entrypoints.telemetry import configure_tracing, flush_tracing

    tracing = configure_tracing(settings)
    try:
        with nullcontext() if tracing is None else tracing.span(name):
            asyncio.run(work())
    finally:
        flush_tracing()


def _import(settings: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import Order, import_file

    order = Order(
        path=parsed.file,
        file_format=parsed.format,
        mapping=parsed.mapping,
        quarantine=parsed.quarantine,
        as_json=parsed.json,
    )
    _run(settings, "spawn import", lambda: import_file(settings, order))
    return DONE


def _export(settings: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import export_projects

    _run(
        settings,
        "spawn export",
        lambda: export_projects(settings, parsed.format, parsed.output),
    )
    return DONE


def _show_schema(settings: Settings, _: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import show_schema

    _run(settings, "spawn schema show", lambda: show_schema(settings))
    return DONE


def _check_schema(settings: Settings, parsed: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.schema_check import Question, check

    question = Question(
        path=parsed.file,
        against=tuple(parsed.against),
        url=parsed.url,
        mode=None if parsed.mode is None else Mode(parsed.mode),
        as_json=parsed.json,
    )
    adoptable = asyncio.run(check(settings, question))
    return DONE if adoptable else FAILED


def _doctor(settings: Settings, _: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.doctor import examine

    return DONE if asyncio.run(examine(settings)) else FAILED
