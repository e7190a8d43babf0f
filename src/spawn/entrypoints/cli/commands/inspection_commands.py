"""Grammar of `spawn schema` and `spawn doctor`."""

import argparse
import asyncio
from pathlib import Path

from spawn.domain.aggregates import governed_kinds
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.entrypoints.cli.commands.data_commands import run_traced
from spawn.entrypoints.cli.errors import EXIT_FAILED, EXIT_OK
from spawn.entrypoints.cli.grammar.options import Commands, add_json_option
from spawn.entrypoints.settings import Settings


def add_inspection_commands(commands: Commands) -> None:
    """Add the commands that show and check."""
    schema = commands.add_parser("schema", help="show the active schema, or check a proposed one")
    actions = schema.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the active schema as JSON")
    add_json_option(show, "print JSON, as without the option")
    show.set_defaults(run=_run_schema_show)
    _add_schema_check(actions)
    doctor = commands.add_parser(
        "doctor",
        help="check settings, file, disk and ontology, with advice",
        description="Check settings, disk, file, address, ontology and publishers of events, and "
        "print advice for each check that does not pass; with SPAWN_URL, check the health of the "
        "service there.",
    )
    doctor.add_argument(
        "--renew-mark",
        action="store_true",
        help="accept a store whose high-water mark was lost; cursors of its feed expire",
    )
    add_json_option(doctor)
    doctor.set_defaults(run=_run_doctor)


def _add_schema_check(actions: Commands) -> None:
    check_parser = actions.add_parser(
        "check",
        help="show the changes of a proposed schema, and whether it would be adopted",
        description="Compare a schema document with the active one, or with files. Every change "
        "is listed with its effect on stored rows, writers and readers. The exit code is 0 if the "
        "document would be adopted, 1 if not.",
    )
    check_parser.add_argument("file", type=Path, metavar="FILE")
    source = check_parser.add_mutually_exclusive_group()
    source.add_argument(
        "--url", help="compare with the data of this service (default: SPAWN_URL, else the store)"
    )
    source.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="compare with this document instead, without service and data; repeat it for each "
        "earlier version, newest first",
    )
    check_parser.add_argument(
        "--mode",
        choices=[mode.value for mode in CompatibilityMode],
        help="compatibility mode (default: backward_transitive with files, else as configured)",
    )
    check_parser.add_argument(
        "--kind",
        choices=governed_kinds(),
        help="what the schema governs (default: by the id of the document, else project)",
    )
    add_json_option(check_parser)
    check_parser.set_defaults(run=_run_schema_check)


def _run_schema_show(settings: Settings, _: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import show_schema

    run_traced(settings, "spawn schema show", lambda: show_schema(settings))
    return EXIT_OK


def _run_schema_check(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.schema_check import SchemaCheckOptions, check_schema

    options = SchemaCheckOptions(
        path=arguments.file,
        against=tuple(arguments.against),
        url=arguments.url,
        mode=None if arguments.mode is None else CompatibilityMode(arguments.mode),
        kind=arguments.kind,
        as_json=arguments.json,
    )
    is_adoptable = asyncio.run(check_schema(settings, options))
    return EXIT_OK if is_adoptable else EXIT_FAILED


def _run_doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.doctor import run_checks

    is_fit = asyncio.run(
        run_checks(settings, renew_mark=arguments.renew_mark, as_json=arguments.json)
    )
    return EXIT_OK if is_fit else EXIT_FAILED
