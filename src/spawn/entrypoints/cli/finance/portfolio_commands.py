"""Commands `spawn portfolios`: list portfolios and show their exposure."""

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.projects import print_page
from spawn.entrypoints.settings import Settings

_MAX_NAME: Final = 40


async def print_portfolios(
    settings: Settings, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of portfolios."""
    async with open_backend(settings) as backend:
        document = await backend.read_financing("portfolios", parameters)
    print_page(document, _format_portfolio, as_json=as_json)


async def print_exposure(
    settings: Settings, portfolio_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print the exposure of a portfolio by groups; breaches of limits go to standard error."""
    path = f"portfolios/{quote(portfolio_id, safe='')}/exposure"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    if as_json:
        sys.stdout.write(document.decode() + "\n")
        return
    exposure = msgspec.json.decode(document)
    for group in exposure["groups"]:
        name = group["keys"][exposure["by"][group["level"] - 1]]
        _write_amounts("  " * (group["level"] - 1) + _format_name(name), group, group["share"])
    _write_amounts(f"total {exposure['currency_code']}", exposure["total"], "")
    for status in exposure["limits"]:
        for group in status["breaches"]:
            limit = f"{status['limit']['by']} {_format_name(group['value'])}"
            sys.stderr.write(f"limit breached: {limit}, {group['exposure']}\n")


def _write_amounts(name: str, amounts: Mapping[str, Any], share: str) -> None:
    figures = f"{amounts['outstanding']:>18} {amounts['undrawn']:>18} {share:>9}"
    sys.stdout.write(f"{name:40} {figures}".rstrip() + "\n")


def _format_portfolio(portfolio: Mapping[str, Any]) -> str:
    name = _format_name(portfolio["name"])
    return f"{portfolio['portfolio_id']}  {portfolio['currency_code']}  {name}"


def _format_name(name: str | None) -> str:
    return "-" if name is None else escape_unprintable(shorten(name, _MAX_NAME))
