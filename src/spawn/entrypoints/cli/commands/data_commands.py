"""Grammar of the commands about projects, files of data, and sizes of debts."""

import argparse
import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from spawn.entrypoints.cli.errors import EXIT_OK
from spawn.entrypoints.cli.grammar.options import (
    Commands,
    add_json_option,
    add_page_options,
    list_parameters,
)
from spawn.entrypoints.settings import Settings


def add_data_commands(commands: Commands) -> None:
    """Add the commands about projects, files of data, and sizes of debts."""
    _add_transfer_commands(commands)
    _add_project_commands(commands)
    _add_size_command(commands)


def _add_transfer_commands(commands: Commands) -> None:
    importing = commands.add_parser(
        "import",
        help="import projects, facilities or entries from a CSV, NDJSON, XML or Excel file",
        description="Import projects, facilities or entries of ledgers from a file. Invalid rows "
        "are quarantined with their reasons; the same file again changes nothing.",
    )
    importing.add_argument("file", type=Path, metavar="FILE")
    importing.add_argument(
        "--kind",
        choices=("project", "facility", "entry"),
        default="project",
        help="kind of the rows (default: project); the columns of facilities and entries have the "
        "names of their fields, or a mapping",
    )
    importing.add_argument(
        "--mapping",
        metavar="NAME|FILE",
        help="the mapping of columns to attributes: the name of a stored one, or a JSON file, "
        "which is stored under its name first (all formats but NDJSON need a mapping)",
    )
    importing.add_argument(
        "--format",
        choices=("csv", "ndjson", "json", "xml", "xlsx"),
        help="format of the file (default: by its suffix)",
    )
    importing.add_argument(
        "--quarantine",
        type=Path,
        metavar="FILE",
        help="write the quarantined rows to this file, as CSV or NDJSON by its suffix",
    )
    add_json_option(importing)
    importing.add_argument(
        "--dry-run",
        action="store_true",
        help="write no project: print what the import would do, and its reasons with samples",
    )
    importing.add_argument(
        "--from-export",
        action="store_true",
        help="the file is an export of this service, CSV or NDJSON, and needs no mapping",
    )
    importing.set_defaults(run=_run_import)
    export_parser = commands.add_parser(
        "export", help="export all projects", description="Export all projects, oldest first."
    )
    export_parser.add_argument(
        "--format",
        choices=("ndjson", "csv", "json", "parquet", "arrow", "xlsx"),
        help="format of the file (default: by its suffix, else ndjson)",
    )
    export_parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to this file (default: standard output)"
    )
    export_parser.add_argument(
        "--nested",
        choices=("text", "json"),
        help="objects and arrays in JSON: as texts in the columns of the CSV, or as in lists "
        "(default: text in ndjson, json in json)",
    )
    export_parser.set_defaults(run=_run_export)


def _add_project_commands(
    commands: Commands,
) -> None:
    projects = commands.add_parser(
        "projects",
        help="list, show and create projects",
        description="List, show and create projects, in a running service (SPAWN_URL) or in the "
        "file of a stopped one.",
    )
    actions = projects.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="print projects",
        description="Print a page of projects: id, status, amount and name. The cursor of the "
        "next page goes to standard error.",
    )
    listing.add_argument(
        "filters",
        type=_parse_filter,
        nargs="*",
        metavar="FIELD=VALUE",
        help="filters as those of the API: status=OPERATION, total_amount[gte]=1000000",
    )
    listing.add_argument("--sort", metavar="FIELDS", help="such as -total_amount,project_name")
    listing.add_argument("--as-of", metavar="INSTANT", help="projects as recorded by then")
    add_page_options(listing, "projects")
    show = actions.add_parser("get", help="print a project")
    show.add_argument("project", metavar="PROJECT", help="id of the project")
    show.add_argument("--as-of", metavar="INSTANT", help="the project as recorded by then")
    create = actions.add_parser("create", help="create a project, and print its id")
    create.add_argument("file", type=Path, metavar="FILE", help="JSON of the project; - for stdin")
    for name, action in actions.choices.items():
        add_json_option(action)
        action.set_defaults(run=_run_projects, action=name)


def _add_size_command(commands: Commands) -> None:
    size = commands.add_parser(
        "size",
        help="size a debt on its cash flows, without a service",
        description="Size a debt on the cash flow available for debt service, as the calculator "
        "debt-sizing does, without a service. The inputs are options, or a file that has a request "
        "of the calculator.",
    )
    size.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="request as JSON; - for stdin"
    )
    size.add_argument(
        "--cfads", type=_parse_figures, metavar="X,…", help="cash flow of each period"
    )
    size.add_argument(
        "--rate", type=_parse_figure, metavar="X", help="annual rate as a fraction, such as 0.055"
    )
    size.add_argument("--dscr", type=_parse_figure, metavar="X", help="target DSCR, such as 1.3")
    output = size.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the whole result as JSON")
    output.add_argument("--csv", action="store_true", help="print the schedule as CSV")
    size.set_defaults(run=_run_size)


def _parse_figure(text: str) -> float:
    try:
        figure = float(text)
    except ValueError:
        figure = math.nan
    if not math.isfinite(figure):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return figure


def _parse_figures(text: str) -> list[float]:
    return [_parse_figure(part) for part in text.split(",")]


def _parse_filter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not a field, '=' and a value")
    return name, value


def run_traced(
    settings: Settings, name: str, command: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Run a command, in a span of its name if a collector is configured."""
    if not settings.otlp_endpoint:
        asyncio.run(command())
        return
    from spawn.entrypoints.tracing import configure_tracing, flush_tracing

    tracing = configure_tracing(settings)
    try:
        with nullcontext() if tracing is None else tracing.start_as_current_span(name):
            asyncio.run(command())
    finally:
        flush_tracing()


def _run_import(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.domain.imports.import_state import ImportKind
    from spawn.entrypoints.cli.import_export import ImportOptions, import_file

    options = ImportOptions(
        path=arguments.file,
        file_format=arguments.format,
        mapping=arguments.mapping,
        quarantine=arguments.quarantine,
        as_json=arguments.json,
        is_dry_run=arguments.dry_run,
        from_export=arguments.from_export,
        kind=ImportKind(arguments.kind),
    )
    run_traced(settings, "spawn import", lambda: import_file(settings, options))
    return EXIT_OK


def _run_export(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import export_projects

    run_traced(
        settings,
        "spawn export",
        lambda: export_projects(settings, arguments.format, arguments.output, arguments.nested),
    )
    return EXIT_OK


def _run_projects(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli import projects

    parameters = list_parameters(arguments, "sort", "as_of", "limit", "after")
    if arguments.action == "list":
        parameters.update(arguments.filters)
        run = projects.print_projects(settings, parameters, as_json=arguments.json)
    elif arguments.action == "get":
        run = projects.print_project(
            settings, arguments.project, parameters, as_json=arguments.json
        )
    else:
        run = projects.create_project(settings, arguments.file, as_json=arguments.json)
    asyncio.run(run)
    return EXIT_OK


def _run_size(_: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.sizing import SizingOptions, size_debt

    inputs = {
        "cfads": arguments.cfads,
        "annual_rates": arguments.rate,
        "target_dscr": arguments.dscr,
    }
    output = "json" if arguments.json else "csv" if arguments.csv else "text"
    figures = {name: value for name, value in inputs.items() if value is not None}
    size_debt(SizingOptions(path=arguments.file, inputs=figures, output=output))
    return EXIT_OK
