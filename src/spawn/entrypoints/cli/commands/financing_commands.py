"""Grammar of `spawn facilities`, `spawn covenants` and `spawn portfolios`."""

import argparse
import asyncio
from pathlib import Path
from typing import Final

from spawn.entrypoints.cli.errors import EXIT_OK
from spawn.entrypoints.cli.grammar.options import (
    Commands,
    add_json_option,
    add_page_options,
    list_parameters,
    parse_count,
)
from spawn.entrypoints.settings import Settings

_FACTS: Final = (
    *("kind", "value_date", "amount", "rate", "accrued_interest", "waived", "effect"),
    *("external_key", "evidence", "reason"),
)
"""Facts of an entry that options and arguments state."""

_REPORT_OPTIONS: Final = (
    *("limit", "after", "by", "top", "interval"),
    *("on", "as_of", "currency"),
)
"""Options of the reports of portfolios; each report has some of them."""


def add_financing_commands(commands: Commands) -> None:
    """Add the commands of facilities, covenants and portfolios."""
    _add_facility_commands(commands)
    _add_covenant_commands(commands)
    _add_portfolio_commands(commands)


def _add_facility_commands(commands: Commands) -> None:
    facilities = commands.add_parser(
        "facilities",
        help="create facilities, record entries, and print balances and statements",
        description="Create facilities, record entries of their ledgers, and print balances, "
        "schedules and statements, in a running service.",
    )
    actions = facilities.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="print the facilities of a project",
        description="Print a page of facilities: id, kind, commitment and name. The cursor of the "
        "next page goes to standard error.",
    )
    listing.add_argument("project", metavar="PROJECT", help="id of the project")
    add_page_options(listing, "facilities")
    show = actions.add_parser("get", help="print a facility")
    balance = actions.add_parser("balance", help="print the figures of a facility on a day")
    schedule = actions.add_parser("schedule", help="print what a facility makes due")
    statement = actions.add_parser(
        "statement",
        help="print the movements of a facility",
        description="Print the movements of a facility from one day to another, both included: "
        "value date, kind, amount, and the balance after it.",
    )
    statement.add_argument(
        "--from",
        dest="start",
        metavar="DAY",
        help="first day (default: the start of the availability period)",
    )
    for action in (show, balance, schedule, statement):
        action.add_argument("facility", metavar="FACILITY", help="id of the facility")
        action.add_argument("--as-of", metavar="INSTANT", help="as recorded by then")
    for action in (balance, schedule):
        action.add_argument("--on", metavar="DAY", help="value date (default: today in UTC)")
    statement.add_argument("--on", metavar="DAY", help="last day (default: today in UTC)")
    for name, action in actions.choices.items():
        add_json_option(action)
        action.set_defaults(run=_run_facilities, action=name)
    _add_ledger_commands(actions)


def _add_ledger_commands(actions: Commands) -> None:
    create = actions.add_parser(
        "create",
        help="create a facility from JSON",
        description="Create a facility of a project from a file of JSON, and print its id.",
    )
    create.add_argument("project", metavar="PROJECT", help="id of the project")
    create.add_argument("file", type=Path, metavar="FILE", help="terms as JSON; - is stdin")
    entries = actions.add_parser(
        "entries",
        help="print the entries of a ledger",
        description="Print a page of entries as recorded: number, value date, kind and amount. "
        "The cursor of the next page goes to standard error.",
    )
    record = actions.add_parser(
        "record",
        help="record an entry of a ledger",
        description="Record an entry of the ledger of a facility, such as a draw or a payment, and "
        "print it. If no response comes, the error names the key with which to repeat the command.",
    )
    reverse = actions.add_parser("reverse", help="reverse an entry of a ledger")
    for action in (entries, record, reverse):
        action.add_argument("facility", metavar="FACILITY", help="id of the facility")
    entries.add_argument("--kind", metavar="KIND", help="only entries of this kind")
    add_page_options(entries, "entries")
    record.add_argument("kind", metavar="KIND", help="such as draw, payment or rate_fixing")
    record.add_argument("value_date", metavar="DAY", help="value date")
    record.add_argument("amount", metavar="AMOUNT", nargs="?", help="of every kind but rate_fixing")
    record.add_argument("--rate", metavar="RATE", help="a fraction, of a rate_fixing")
    record.add_argument("--accrued-interest", metavar="AMOUNT", help="of an opening")
    record.add_argument("--waived", metavar="PART", help="fees, interest or principal, of a waiver")
    record.add_argument("--effect", metavar="EFFECT", help="relevel or shorten, of a prepayment")
    reverse.add_argument("number", type=parse_count, metavar="NUMBER", help="number of the entry")
    for action in (record, reverse):
        action.add_argument("--external-key", metavar="KEY", help="its key in another system")
        action.add_argument("--evidence", metavar="TEXT", help="document that it rests on")
        action.add_argument(
            "--reason", required=action is reverse, metavar="TEXT", help="why it is recorded"
        )
    for action in (create, record, reverse):
        action.add_argument(
            "--idempotency-key", metavar="KEY", help="run at most once with this key"
        )
        action.add_argument(
            "--dry-run", action="store_true", help="print what would change, and write nothing"
        )
    for name in ("create", "entries", "record", "reverse"):
        add_json_option(actions.choices[name])
        actions.choices[name].set_defaults(run=_run_ledger, action=name)


def _add_covenant_commands(commands: Commands) -> None:
    covenants = commands.add_parser(
        "covenants",
        help="list covenants, and print a certificate of compliance",
        description="List covenants, and print a certificate of compliance, in a running service.",
    )
    actions = covenants.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="print the covenants of a project",
        description="Print a page of covenants: id, metric, levels of lock-up and default, and "
        "name. The cursor of the next page goes to standard error.",
    )
    certificate = actions.add_parser(
        "certificate",
        help="print the certificate of a project",
        description="Print each covenant of a project on a test date: its test, its standing and "
        "its waivers, and whether distributions are allowed.",
    )
    for name, action in actions.choices.items():
        action.add_argument("project", metavar="PROJECT", help="id of the project")
        add_json_option(action)
        action.set_defaults(run=_run_covenants, action=name)
    add_page_options(listing, "covenants")
    certificate.add_argument("--on", metavar="DAY", help="test date (default: today in UTC)")
    certificate.add_argument("--as-of", metavar="INSTANT", help="as recorded by then")


def _add_portfolio_commands(commands: Commands) -> None:
    portfolios = commands.add_parser(
        "portfolios",
        help="list portfolios and print their reports",
        description="List portfolios and print their reports, in a running service.",
    )
    actions = portfolios.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="print portfolios",
        description="Print a page of portfolios: id, currency and name. The cursor of the next "
        "page goes to standard error.",
    )
    add_page_options(listing, "portfolios")
    exposure = actions.add_parser(
        "exposure",
        help="print what a portfolio holds, by groups",
        description="Print the exposure of a portfolio on a day: outstanding, undrawn and share of "
        "each group, and each limit that is breached.",
    )
    concentration = actions.add_parser(
        "concentration",
        help="print how concentrated a portfolio is",
        description="Print the Herfindahl-Hirschman index of each key, and its largest groups.",
    )
    for action in (exposure, concentration):
        action.add_argument(
            "--by", metavar="KEYS", help="keys such as country,sector (default: country)"
        )
    concentration.add_argument("--top", type=parse_count, help="groups of each key")
    forecast = actions.add_parser(
        "forecast",
        help="print the cash flows of a portfolio by period",
        description="Print amortisation, principal and interest by calendar period after a day.",
    )
    forecast.add_argument(
        "--interval", choices=("month", "quarter", "year"), help="default: as the service has it"
    )
    stress = actions.add_parser(
        "stress",
        help="stress the debt service of a portfolio",
        description="Stress debt service on the CFADS cases of the projects: the lowest DSCR "
        "without shocks and in the worst 5 % of scenarios, how often debt service is not "
        "covered, and what is missing on average. Nothing is stored.",
    )
    for action in (exposure, concentration, forecast, stress):
        action.add_argument("portfolio", metavar="PORTFOLIO", help="id of the portfolio")
        action.add_argument("--on", metavar="DAY", help="value date (default: today in UTC)")
        action.add_argument("--currency", metavar="CODE", help="default: that of the portfolio")
    stress.add_argument("file", type=Path, metavar="FILE", help="terms as JSON; - is stdin")
    for name, action in actions.choices.items():
        action.add_argument("--as-of", metavar="INSTANT", help="as recorded by then")
        add_json_option(action)
        action.set_defaults(run=_run_portfolios, action=name)


def _run_facilities(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.finance import facility_commands

    parameters = list_parameters(arguments, "limit", "after", "on", "as_of")
    if arguments.action == "list":
        run = facility_commands.print_facilities(
            settings, arguments.project, parameters, as_json=arguments.json
        )
    elif arguments.action == "statement":
        run = facility_commands.print_statement(
            settings, arguments.facility, arguments.start, parameters, as_json=arguments.json
        )
    elif arguments.action == "schedule":
        run = facility_commands.print_schedule(
            settings, arguments.facility, parameters, as_json=arguments.json
        )
    else:
        part = "/balance" if arguments.action == "balance" else ""
        run = facility_commands.print_facility(
            settings, arguments.facility, part, parameters, as_json=arguments.json
        )
    asyncio.run(run)
    return EXIT_OK


def _run_ledger(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.finance import ledger_commands

    if arguments.action == "entries":
        parameters = list_parameters(arguments, "limit", "after", "kind")
        run = ledger_commands.print_entries(
            settings, arguments.facility, parameters, as_json=arguments.json
        )
        asyncio.run(run)
        return EXIT_OK
    options = ledger_commands.CommandOptions(
        key=arguments.idempotency_key, is_dry_run=arguments.dry_run, as_json=arguments.json
    )
    if arguments.action == "create":
        run = ledger_commands.create_facility(settings, arguments.project, arguments.file, options)
    elif arguments.action == "record":
        facts = list_parameters(arguments, *_FACTS)
        run = ledger_commands.record_entry(settings, arguments.facility, facts, options)
    else:
        facts = list_parameters(arguments, "reason", "external_key", "evidence")
        run = ledger_commands.reverse_entry(
            settings, arguments.facility, arguments.number, facts, options
        )
    asyncio.run(run)
    return EXIT_OK


def _run_covenants(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.finance import covenant_commands

    parameters = list_parameters(arguments, "limit", "after", "on", "as_of")
    is_list = arguments.action == "list"
    command = covenant_commands.print_covenants if is_list else covenant_commands.print_certificate
    asyncio.run(command(settings, arguments.project, parameters, as_json=arguments.json))
    return EXIT_OK


def _run_portfolios(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.finance import portfolio_commands

    parameters = list_parameters(arguments, *_REPORT_OPTIONS)
    as_json: bool = arguments.json
    if arguments.action == "list":
        run = portfolio_commands.print_portfolios(settings, parameters, as_json=as_json)
    elif arguments.action == "stress":
        run = portfolio_commands.print_stress(
            settings, arguments.portfolio, arguments.file, parameters, as_json=as_json
        )
    else:
        print_report = {
            "exposure": portfolio_commands.print_exposure,
            "concentration": portfolio_commands.print_concentration,
            "forecast": portfolio_commands.print_forecast,
        }[arguments.action]
        run = print_report(settings, arguments.portfolio, parameters, as_json=as_json)
    asyncio.run(run)
    return EXIT_OK
