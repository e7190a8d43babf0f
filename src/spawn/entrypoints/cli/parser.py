"""Grammar of the command line, and dispatch to its commands."""

import argparse
import asyncio
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn import __version__
from spawn.domain.approvals.approval import ApprovalState, Verdict
from spawn.domain.dates import parse_instant
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.domain.schemas.evolution.compatibility import CompatibilityMode
from spawn.domain.text import redact_url, split_list
from spawn.entrypoints.cli.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    EXPECTED_ERRORS,
    CommandError,
    describe_error,
)
from spawn.entrypoints.cli.grammar.command_parser import CommandParser
from spawn.entrypoints.cli.grammar.completion import Shell, build_completion
from spawn.entrypoints.cli.grammar.financing import add_financing_commands
from spawn.entrypoints.cli.grammar.options import add_json_option, parse_count
from spawn.entrypoints.cli.grammar.terminal import Colour, paint
from spawn.entrypoints.collector import collector_paused
from spawn.entrypoints.settings import (
    Settings,
    find_encryption_key,
    read_service_url,
    read_settings,
    read_signing_key,
)
from spawn.ports.audit import AuditKind

_PRIVATE_UMASK: Final = 0o077
_EPILOG: Final = """\
settings are environment variables that begin with SPAWN_, for instance
  SPAWN_STORAGE_URL=duckdb:///var/spawn.duckdb   the store
  SPAWN_ONTOLOGY_URL=http://127.0.0.1:8100       the source of schemas
  SPAWN_URL=http://127.0.0.1:8000                the running service that commands connect to
  SPAWN_KEY_FILE=desk.key                        the file with the API key that they send

exit codes: 0 success, 1 rejected or failed, 2 wrong usage or settings, 3 unreachable or in use,
4 the store failed while it was served and only a restart helps
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    namespace = build_parser().parse_args(arguments)
    try:
        settings = read_settings({**os.environ, **_list_overrides(namespace)})
        if namespace.key is not None:
            os.environ["SPAWN_KEY_FILE"] = str(namespace.key)
            os.environ.pop("SPAWN_KEY", None)
        run: Callable[[Settings, argparse.Namespace], int] = namespace.run
        return run(settings, namespace)
    except BrokenPipeError:
        # The reader closed the pipe: discard the rest of the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except EXPECTED_ERRORS as error:
        sentence, code = describe_error(error)
        if getattr(namespace, "check_config", False) and namespace.json:
            _print_config_check(" ".join(sentence.split()))
            return code
        return _report_error(sentence, code)


def _list_overrides(namespace: argparse.Namespace) -> dict[str, str]:
    """Return the settings that options replace."""
    options = {"SPAWN_HOST": "bind_host", "SPAWN_PORT": "bind_port"}
    values = {name: getattr(namespace, option, None) for name, option in options.items()}
    return {name: str(value) for name, value in values.items() if value is not None}


def _report_error(sentence: str, code: int) -> int:
    name = paint("spawn:", Colour.RED, sys.stderr)
    sys.stderr.write(f"{name} {' '.join(sentence.split())}\n")
    return code


def _print_config_check(error: str = "") -> None:
    """Print whether the settings are valid, as JSON: a program reads no sentence for people."""
    result = {"is_valid": not error, "error": error or None}
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def build_parser() -> CommandParser:
    """Return the parser of all commands."""
    parser = CommandParser(
        prog="spawn",
        description="A project-finance data product in a box.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spawn {__version__}")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="file with the API key that commands send to a service (default: SPAWN_KEY_FILE)",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve_commands(commands)
    _add_data_commands(commands)
    _add_inspection_commands(commands)
    _add_key_commands(commands)
    _add_recovery_commands(commands)
    _add_audit_command(commands)
    _add_approvals_command(commands)
    _add_project_commands(commands)
    add_financing_commands(commands)
    _add_size_command(commands)
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that completes commands, options and their values. Load it "
        'with eval "$(spawn completion bash)" in ~/.bashrc, the same with zsh in ~/.zshrc, or '
        "spawn completion fish | source in config.fish.",
    )
    completion.add_argument("shell", choices=[str(shell) for shell in Shell])
    completion.set_defaults(run=_run_completion)
    return parser


def _add_serve_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="run the service", description="Run the service.")
    serve.add_argument("--check-config", action="store_true", help="check the settings and exit")
    add_json_option(serve, "with --check-config: print the result as JSON, a fault too")
    _add_bind_options(serve)
    serve.set_defaults(run=_run_serve)
    demo = commands.add_parser(
        "demo",
        help="run the service with a synthetic sample portfolio",
        description="Run the service with a seeded synthetic portfolio. A second demo on the same "
        "store adds no project twice.",
    )
    demo.add_argument(
        "--projects",
        type=parse_count,
        default=500,
        metavar="N",
        help="number of projects (default 500)",
    )
    demo.add_argument(
        "--seed", type=parse_count, default=1, help="seed of the random portfolio (default 1)"
    )
    _add_bind_options(demo)
    demo.set_defaults(run=_run_demo)
    ontology = commands.add_parser(
        "ontology-server",
        help="run a local ontology server",
        description="Run a local ontology server with the protocol of the schema registry.",
    )
    ontology.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    ontology.add_argument(
        "--port",
        type=_parse_port,
        default=8100,
        help="port to bind (default 8100; 0 takes a free one)",
    )
    ontology.add_argument(
        "--directory", type=Path, help="directory of the published schemas (default: in memory)"
    )
    ontology.set_defaults(run=_run_ontology_server)


def _add_bind_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", dest="bind_host", metavar="HOST", help="address to bind (default: SPAWN_HOST)"
    )
    parser.add_argument(
        "--port",
        dest="bind_port",
        type=_parse_port,
        metavar="PORT",
        help="port to bind (default: SPAWN_PORT)",
    )


def _add_project_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
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
    listing.add_argument("--limit", type=parse_count, default=50, help="projects (default 50)")
    listing.add_argument("--after", metavar="CURSOR", help="continue after an earlier page")
    show = actions.add_parser("get", help="print a project")
    show.add_argument("project", metavar="PROJECT", help="id of the project")
    show.add_argument("--as-of", metavar="INSTANT", help="the project as recorded by then")
    create = actions.add_parser("create", help="create a project, and print its id")
    create.add_argument("file", type=Path, metavar="FILE", help="JSON of the project; - for stdin")
    for name, action in actions.choices.items():
        add_json_option(action)
        action.set_defaults(run=_run_projects, action=name)


def _add_size_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_data_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    importing.add_argument("--json", action="store_true", help="print the result as JSON")
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
    export_parser.set_defaults(run=_run_export)


def _add_inspection_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    schema = commands.add_parser("schema", help="show the active schema, or check a proposed one")
    actions = schema.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the active schema as JSON")
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


def _add_schema_check(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
    check_parser.add_argument("--json", action="store_true", help="print the result as JSON")
    check_parser.set_defaults(run=_run_schema_check)


def _add_key_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser(
        "keys",
        help="create, list, rotate and revoke API keys",
        description="Create, list, rotate and revoke the keys of API clients, in a running service "
        "(SPAWN_URL, with a key of the scope admin in SPAWN_KEY_FILE) or in the file of a stopped "
        "one, which needs no key.",
    )
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="create a client, and print its first key")
    create.add_argument("client", metavar="CLIENT", help="name, for ever: histories have it")
    create.add_argument(
        "--scopes", required=True, help=f"separated by commas, of {', '.join(Scope)}"
    )
    create.add_argument(
        "--rows",
        type=_parse_rows,
        action="append",
        default=[],
        metavar="FIELD=VALUE,…",
        help="limit the client to projects with one of the values; repeat it for further fields",
    )
    rotate = actions.add_parser("rotate", help="add a key to a client, and print it")
    rotate.add_argument("client", metavar="CLIENT")
    for action in (create, rotate):
        action.add_argument(
            "--days", type=parse_count, default=365, help="lifetime of the key (default 365)"
        )
    revoke = actions.add_parser("revoke", help="revoke a key of a client, or all of them")
    revoke.add_argument("client", metavar="CLIENT")
    revoke.add_argument(
        "number", metavar="NUMBER", type=parse_count, nargs="?", help="of the key (default: all)"
    )
    actions.add_parser("list", help="list clients and keys, without secrets")
    for name, action in actions.choices.items():
        add_json_option(action)
        action.set_defaults(run=_run_keys, action=name)


def _add_approvals_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    approvals = commands.add_parser(
        "approvals",
        help="list, show, approve and reject commands that wait for a decision",
        description="Commands that wait for the decision of another person, of a running service.",
    )
    actions = approvals.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="print approvals, newest first")
    listing.add_argument("--state", choices=[str(state) for state in ApprovalState])
    listing.add_argument("--maker", help="such as key:pricing-desk")
    listing.add_argument("--command", help="such as amendProject")
    listing.add_argument("--limit", type=parse_count, default=50, help="approvals (default 50)")
    listing.add_argument("--json", action="store_true", help="print JSON lines")
    show = actions.add_parser("show", help="print what a command would change")
    show.add_argument("approval", help="id of the approval")
    show.add_argument("--json", action="store_true", help="print JSON")
    for verdict in Verdict:
        decision = actions.add_parser(verdict.value, help=f"{verdict} a command")
        decision.add_argument("approval", help="id of the approval")
        decision.add_argument("--reason", required=True, help="reason of the decision")
        add_json_option(decision)
    for name, action in actions.choices.items():
        action.set_defaults(run=_run_approvals, action=name)


def _add_audit_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    audit = commands.add_parser(
        "audit",
        help="print the audit log, newest entries first",
        description="Print denials, exports and acts of administration, as JSON lines or as a "
        "table, of a running service (SPAWN_URL) or of a stopped one.",
    )
    audit.add_argument("--kind", choices=[str(kind) for kind in AuditKind])
    audit.add_argument("--actor", help="such as key:pricing-desk")
    audit.add_argument("--operation", help="such as createApiClient")
    audit.add_argument("--since", help="time or day, such as 2026-03-01")
    audit.add_argument("--until", help="time or day")
    audit.add_argument("--limit", type=parse_count, default=50, help="entries (default 50)")
    audit.add_argument("--json", action="store_true", help="print JSON lines")
    audit.set_defaults(run=_run_audit)


def _parse_rows(text: str) -> tuple[str, tuple[str, ...]]:
    field, separator, values = text.partition("=")
    if not separator or not field or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not a field, '=' and values: sector=wind")
    try:
        return field, tuple(split_list(values, field))
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors[0].detail}") from error


def _add_recovery_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
) -> None:
    backup = commands.add_parser(
        "backup",
        help="take a backup now",
        description="Bring the backup in the folder of SPAWN_BACKUP_URL level with the journal, of "
        "a running service (SPAWN_URL) or of the file of a stopped one.",
    )
    _add_head_option(backup, "write the head of the journal to this file: store it elsewhere")
    add_json_option(backup)
    backup.set_defaults(run=_run_backup)
    verify = commands.add_parser(
        "verify",
        help="verify a store or its backups",
        description="Verify the file of a stopped store (every row of the journal and the chain of "
        "their hashes, the high-water mark, every value of the derived tables) or a folder of "
        "backups. The exit code is 0 if all is well, else 1. Nothing is changed.",
    )
    verify.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="FILE|FOLDER",
        help="store or folder of backups (default: the store of SPAWN_STORAGE_URL)",
    )
    _add_head_option(verify, "the journal must have the row of the head in this file")
    verify.add_argument("--json", action="store_true", help="print the result as JSON")
    verify.set_defaults(run=_run_verify)
    _add_restore_command(commands)


def _add_restore_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    restore = commands.add_parser(
        "restore",
        help="restore a store from its backups",
        description="Restore a store from a folder of backups into a new file, at the newest "
        "change or an earlier one. The new store has the next epoch: cursors of the earlier one "
        "expire, and the earlier one stops at its next backup to the same folder.",
    )
    restore.add_argument("folder", type=Path, metavar="FOLDER", help="folder of backups")
    restore.add_argument("file", type=Path, metavar="FILE", help="new file: none is overwritten")
    moment = restore.add_mutually_exclusive_group()
    moment.add_argument(
        "--position", type=_parse_position, metavar="N", help="last journal row to restore"
    )
    moment.add_argument(
        "--at", type=_parse_moment, metavar="INSTANT", help="restore what was recorded by then"
    )
    restore.add_argument("--set", type=parse_count, metavar="N", help="set (default: the newest)")
    restore.add_argument(
        "--copy",
        action="store_true",
        help="make an independent store, for a drill: the source is not superseded",
    )
    restore.add_argument(
        "--source-key",
        type=Path,
        metavar="FILE",
        help="file of the key of the backups, if the new store gets another one or none",
    )
    add_json_option(restore)
    restore.set_defaults(run=_run_restore)
    _add_follower_commands(commands)


def _add_follower_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    follow = commands.add_parser(
        "follow",
        help="follow a store by its backups, ready to take its place",
        description="Take each new backup of a store into a second file, and keep its tables "
        "level. The file is not served before it is promoted.",
    )
    promote = commands.add_parser(
        "promote",
        help="make a follower the store",
        description="Take the rest of the backups, claim the next epoch, and let the file be "
        "served. The earlier store stops at its next backup to the same folder.",
    )
    for command in (follow, promote):
        command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the backups")
        command.add_argument("file", type=Path, metavar="FILE", help="file of the follower")
    follow.add_argument(
        "--interval",
        type=_parse_seconds,
        default=1.0,
        metavar="S",
        help="seconds between two looks (default 1)",
    )
    follow.add_argument("--once", action="store_true", help="take what there is, and end")
    add_json_option(follow, "print a JSON line each time that rows were taken")
    add_json_option(promote)
    follow.set_defaults(run=_run_follow)
    promote.set_defaults(run=_run_promote)


def _add_head_option(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--head", type=Path, metavar="FILE", help=help_text)


def _parse_seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdigit() or not text.isascii() or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return float(text)


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


def _parse_position(text: str) -> tuple[int | None, int]:
    """Return the epoch, if the text names one, and the number."""
    match = re.fullmatch(r"(?:([0-9]{1,18})\.)?([0-9]{1,18})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a position such as 2041 or 1.2041")
    return (int(match[1]) if match[1] else None), int(match[2])


def _parse_moment(text: str) -> datetime:
    try:
        return parse_instant(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.detail}") from None


def _parse_port(text: str) -> int:
    port = parse_count(text)
    if port > 65535:  # noqa: PLR2004 - the last port
        raise argparse.ArgumentTypeError(f"{text!r} is not a port up to 65535")
    return port


def _interrupt_on_sigterm() -> None:
    """End on SIGTERM like on SIGINT until the server handles both itself.

    The first process of a container ignores a signal without a handler, so that one sent during
    the start would be lost. A shell's background job has SIGINT ignored, and would lose it too.
    """
    with suppress(ValueError):  # outside the main thread (tests)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _run_serve(settings: Settings, arguments: argparse.Namespace) -> int:
    if not arguments.check_config:
        if arguments.json:
            raise CommandError("--json of serve needs --check-config", EXIT_USAGE)
        _interrupt_on_sigterm()
    with collector_paused():
        from spawn.entrypoints.cli import serve

    if arguments.check_config:
        from spawn.entrypoints.service import load_certificates

        load_certificates(settings)
        read_signing_key(settings.backup_signing_key_file)
        find_encryption_key(settings)
        asyncio.run(serve.check_publishers(settings))
        if arguments.json:
            _print_config_check()
        else:
            sys.stdout.write("The settings are valid.\n")
        return EXIT_OK
    serve.run_service(settings)
    return EXIT_OK


def _run_demo(settings: Settings, arguments: argparse.Namespace) -> int:
    _interrupt_on_sigterm()
    with collector_paused():
        from spawn.entrypoints.cli import serve

    if "SPAWN_AUTH" not in os.environ and settings.is_local:
        settings = msgspec.structs.replace(settings, auth="off")
    if url := read_service_url(os.environ):
        sys.stderr.write(
            f"spawn: SPAWN_URL is {redact_url(url)}, which demo does not use: it runs a service of"
            f" its own on {settings.listen_address}\n"
        )
    if sys.stderr.isatty():
        sys.stderr.write(f"Starting Spawn on {settings.listen_address} …\n")
        sys.stderr.flush()
    serve.run_demo(settings, projects=arguments.projects, seed=arguments.seed)
    return EXIT_OK


def _run_ontology_server(_: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.ontology_server import routes

    def report_address(port: int) -> None:
        sys.stderr.write(f"ontology server on http://{arguments.host}:{port}\n")
        sys.stderr.flush()

    routes.run_ontology_server(
        arguments.host, arguments.port, arguments.directory, on_listening=report_address
    )
    return EXIT_OK


def _run_traced(
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
    _run_traced(settings, "spawn import", lambda: import_file(settings, options))
    return EXIT_OK


def _run_export(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import export_projects

    _run_traced(
        settings,
        "spawn export",
        lambda: export_projects(settings, arguments.format, arguments.output),
    )
    return EXIT_OK


def _run_schema_show(settings: Settings, _: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.import_export import show_schema

    _run_traced(settings, "spawn schema show", lambda: show_schema(settings))
    return EXIT_OK


def _run_schema_check(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.schema_check import SchemaCheckOptions, check_schema

    options = SchemaCheckOptions(
        path=arguments.file,
        against=tuple(arguments.against),
        url=arguments.url,
        mode=None if arguments.mode is None else CompatibilityMode(arguments.mode),
        as_json=arguments.json,
    )
    is_adoptable = asyncio.run(check_schema(settings, options))
    return EXIT_OK if is_adoptable else EXIT_FAILED


def _run_keys(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.access.keys import KeyOptions, run_key_command

    options = KeyOptions(
        action=arguments.action,
        client=getattr(arguments, "client", ""),
        scopes=tuple(getattr(arguments, "scopes", "").split(",")),
        rows=tuple(getattr(arguments, "rows", ())),
        days=getattr(arguments, "days", 0),
        number=getattr(arguments, "number", None),
        as_json=arguments.json,
    )
    asyncio.run(run_key_command(settings, options))
    return EXIT_OK


def _run_backup(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import take_backup

    os.umask(_PRIVATE_UMASK)
    asyncio.run(take_backup(settings, arguments.head, as_json=arguments.json))
    return EXIT_OK


def _run_verify(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import verify

    os.umask(_PRIVATE_UMASK)
    is_good = verify(settings, arguments.path, arguments.head, as_json=arguments.json)
    return EXIT_OK if is_good else EXIT_FAILED


def _run_restore(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.adapters.duckdb.archive.restoration import RestoreRequest
    from spawn.entrypoints.cli.recovery_commands import read_archive_keys, restore_store

    os.umask(_PRIVATE_UMASK)
    epoch, position = arguments.position or (None, None)
    request = RestoreRequest(
        archive=arguments.folder,
        target=arguments.file,
        number=arguments.set,
        epoch=epoch,
        position=position,
        at=arguments.at,
        is_copy=arguments.copy,
        keys=read_archive_keys(settings, arguments.source_key),
        target_key=find_encryption_key(settings),
    )
    restore_store(request, as_json=arguments.json)
    return EXIT_OK


def _run_follow(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import follow

    os.umask(_PRIVATE_UMASK)
    follow(
        settings,
        arguments.folder,
        arguments.file,
        None if arguments.once else arguments.interval,
        as_json=arguments.json,
    )
    return EXIT_OK


def _run_promote(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import promote

    os.umask(_PRIVATE_UMASK)
    promote(settings, arguments.folder, arguments.file, as_json=arguments.json)
    return EXIT_OK


def _run_approvals(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.access import approvals

    if arguments.action == "list":
        names = ("state", "maker", "command", "limit")
        values = {name: getattr(arguments, name) for name in names}
        parameters = {name: str(value) for name, value in values.items() if value is not None}
        run = approvals.print_approvals(settings, parameters, as_json=arguments.json)
    elif arguments.action == "show":
        run = approvals.print_approval(settings, arguments.approval, as_json=arguments.json)
    else:
        verdict = Verdict(arguments.action)
        run = approvals.decide(
            settings, arguments.approval, verdict, arguments.reason, as_json=arguments.json
        )
    asyncio.run(run)
    return EXIT_OK


def _run_projects(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli import projects

    names = ("sort", "as_of", "limit", "after")
    values = {name: getattr(arguments, name, None) for name in names}
    parameters = {name: str(value) for name, value in values.items() if value is not None}
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


def _run_completion(_: Settings, arguments: argparse.Namespace) -> int:
    sys.stdout.write(build_completion(build_parser(), Shell(arguments.shell)))
    return EXIT_OK


def _run_audit(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.access.audit import run_audit_command

    names = ("kind", "actor", "operation", "since", "until", "limit")
    values = {name: getattr(arguments, name) for name in names}
    parameters = {name: str(value) for name, value in values.items() if value is not None}
    asyncio.run(run_audit_command(settings, parameters, as_json=arguments.json))
    return EXIT_OK


def _run_doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.doctor import run_checks

    is_fit = asyncio.run(
        run_checks(settings, renew_mark=arguments.renew_mark, as_json=arguments.json)
    )
    return EXIT_OK if is_fit else EXIT_FAILED
