"""Grammar of `spawn facilities` and `spawn portfolios`."""

import argparse
import asyncio

from spawn.entrypoints.cli.errors import EXIT_OK
from spawn.entrypoints.cli.grammar.options import (
    Commands,
    add_json_option,
    add_page_options,
    list_parameters,
)
from spawn.entrypoints.settings import Settings


def add_financing_commands(commands: Commands) -> None:
    """Add the commands that read facilities and portfolios."""
    _add_facility_commands(commands)
    _add_portfolio_commands(commands)


def _add_facility_commands(commands: Commands) -> None:
    facilities = commands.add_parser(
        "facilities",
        help="list and show facilities, with balances and statements",
        description="List and show facilities, with balances and statements, in a running service.",
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
    for action in (show, balance, statement):
        action.add_argument("facility", metavar="FACILITY", help="id of the facility")
        action.add_argument("--as-of", metavar="INSTANT", help="as recorded by then")
    balance.add_argument("--on", metavar="DAY", help="value date (default: today in UTC)")
    statement.add_argument("--on", metavar="DAY", help="last day (default: today in UTC)")
    for name, action in actions.choices.items():
        add_json_option(action)
        action.set_defaults(run=_run_facilities, action=name)


def _add_portfolio_commands(commands: Commands) -> None:
    portfolios = commands.add_parser(
        "portfolios",
        help="list portfolios and show their exposure",
        description="List portfolios and show their exposure, in a running service.",
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
    exposure.add_argument("portfolio", metavar="PORTFOLIO", help="id of the portfolio")
    exposure.add_argument(
        "--by", metavar="KEYS", help="keys such as country,sector (default: country)"
    )
    exposure.add_argument("--on", metavar="DAY", help="value date (default: today in UTC)")
    exposure.add_argument("--currency", metavar="CODE", help="default: that of the portfolio")
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
    else:
        part = "/balance" if arguments.action == "balance" else ""
        run = facility_commands.print_facility(
            settings, arguments.facility, part, parameters, as_json=arguments.json
        )
    asyncio.run(run)
    return EXIT_OK


def _run_portfolios(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.finance import portfolio_commands

    parameters = list_parameters(arguments, "limit", "after", "by", "on", "as_of", "currency")
    if arguments.action == "list":
        run = portfolio_commands.print_portfolios(settings, parameters, as_json=arguments.json)
    else:
        run = portfolio_commands.print_exposure(
            settings, arguments.portfolio, parameters, as_json=arguments.json
        )
    asyncio.run(run)
    return EXIT_OK
