"""Grammar of `spawn keys`, `spawn approvals` and `spawn audit`."""

import argparse
import asyncio

from spawn.domain.approvals.approval import ApprovalState, Verdict
from spawn.domain.errors import InvalidInput
from spawn.domain.principal import Scope
from spawn.domain.text import split_list
from spawn.entrypoints.cli.errors import EXIT_OK
from spawn.entrypoints.cli.grammar.options import (
    Commands,
    add_json_option,
    list_parameters,
    parse_count,
)
from spawn.entrypoints.settings import Settings
from spawn.ports.audit import AuditKind


def add_access_commands(commands: Commands) -> None:
    """Add the commands about keys, approvals and the audit log."""
    _add_key_commands(commands)
    _add_audit_command(commands)
    _add_approvals_command(commands)


def _add_key_commands(commands: Commands) -> None:
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
    commands: Commands,
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
    add_json_option(listing, "print JSON lines")
    show = actions.add_parser("show", help="print what a command would change")
    show.add_argument("approval", help="id of the approval")
    add_json_option(show)
    for verdict in Verdict:
        decision = actions.add_parser(verdict.value, help=f"{verdict} a command")
        decision.add_argument("approval", help="id of the approval")
        decision.add_argument("--reason", required=True, help="reason of the decision")
        add_json_option(decision)
    for name, action in actions.choices.items():
        action.set_defaults(run=_run_approvals, action=name)


def _add_audit_command(commands: Commands) -> None:
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
    add_json_option(audit, "print JSON lines")
    audit.set_defaults(run=_run_audit)


def _parse_rows(text: str) -> tuple[str, tuple[str, ...]]:
    field, separator, values = text.partition("=")
    if not separator or not field or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not a field, '=' and values: sector=wind")
    try:
        return field, tuple(split_list(values, field))
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors[0].detail}") from error


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


def _run_approvals(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.access import approvals

    if arguments.action == "list":
        parameters = list_parameters(arguments, "state", "maker", "command", "limit")
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


def _run_audit(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.access.audit import run_audit_command

    names = ("kind", "actor", "operation", "since", "until", "limit")
    parameters = list_parameters(arguments, *names)
    asyncio.run(run_audit_command(settings, parameters, as_json=arguments.json))
    return EXIT_OK
