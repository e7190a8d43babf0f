"""Commands `spawn portfolios`: list portfolios and print their reports."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.projects import print_page, print_report, read_document
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
    print_report(document, _write_exposure, as_json=as_json)


def _write_exposure(exposure: Mapping[str, Any]) -> None:
    for group in exposure["groups"]:
        name = group["keys"][exposure["by"][group["level"] - 1]]
        _write_amounts("  " * (group["level"] - 1) + _format_name(name), group, group["share"])
    _write_amounts(f"total {exposure['currency_code']}", exposure["total"], "")
    for status in exposure["limits"]:
        for group in status["breaches"]:
            limit = f"{status['limit']['by']} {_format_name(group['value'])}"
            sys.stderr.write(f"limit breached: {limit}, {group['exposure']}\n")


async def print_concentration(
    settings: Settings, portfolio_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print the concentration of a portfolio by each key, with its largest groups."""
    path = f"portfolios/{quote(portfolio_id, safe='')}/concentration"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_report(document, _write_concentration, as_json=as_json)


def _write_concentration(report: Mapping[str, Any]) -> None:
    for one in report["concentration"]:
        sys.stdout.write(f"{one['by']:40} HHI {one['hhi']:>8}  {one['groups']} groups\n")
        for group in one["largest"]:
            name = f"  {_format_name(group['value'])}"
            sys.stdout.write(f"{name:40} {group['exposure']:>18} {group['share']:>9}\n")


async def print_forecast(
    settings: Settings, portfolio_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print amortisation, principal and interest by period, and what stays outstanding."""
    path = f"portfolios/{quote(portfolio_id, safe='')}/forecast"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_report(document, _write_forecast, as_json=as_json)


def _write_forecast(forecast: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{'':24} {'amortisation':>18} {'principal':>18} {'interest':>18}\n")
    for period in forecast["periods"]:
        amounts = (period[name] for name in ("amortisation", "principal", "interest"))
        figures = " ".join(f"{amount:>18}" for amount in amounts)
        sys.stdout.write(f"{period['start']} to {period['end']} {figures}\n")
    for name in ("overdue", "unscheduled", "outstanding"):
        sys.stdout.write(f"{name:24} {forecast[name]:>18} {forecast['currency_code']}\n")


async def print_stress(
    settings: Settings,
    portfolio_id: str,
    path: Path,
    parameters: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """Print the stress of a portfolio by the terms of a file of JSON."""
    terms = await asyncio.to_thread(read_document, path)
    target = f"portfolios/{quote(portfolio_id, safe='')}/stress"
    async with open_backend(settings) as backend:
        document = await backend.send_financing(target, parameters, terms)
    print_report(document, _write_stress, as_json=as_json)


def _write_stress(stress: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{'':40} {'DSCR':>8} {'P5':>8} {'uncovered':>10} {'mean shortfall':>18}\n")
    for project in stress["projects"]:
        _write_cover(_format_name(project["name"]), project["figures"])
    if stress["total"] is not None:
        _write_cover(f"total {stress['currency_code']}", stress["total"])
    for project in stress["left_out"]:
        name = _format_name(project["name"])
        sys.stderr.write(f"left out: {name}, {escape_unprintable(project['detail'])}\n")


def _write_cover(name: str, figures: Mapping[str, Any]) -> None:
    lowest = f"{figures['base_min_dscr']:>8.3f} {figures['min_dscr']['p5']:>8.3f}"
    uncovered = f"{figures['uncovered_probability']:>10.2%} {figures['shortfall']['mean']:>18}"
    sys.stdout.write(f"{name:40} {lowest} {uncovered}\n")


def _write_amounts(name: str, amounts: Mapping[str, Any], share: str) -> None:
    figures = f"{amounts['outstanding']:>18} {amounts['undrawn']:>18} {share:>9}"
    sys.stdout.write(f"{name:40} {figures}".rstrip() + "\n")


def _format_portfolio(portfolio: Mapping[str, Any]) -> str:
    name = _format_name(portfolio["name"])
    return f"{portfolio['portfolio_id']}  {portfolio['currency_code']}  {name}"


def _format_name(name: str | None) -> str:
    return "-" if name is None else escape_unprintable(shorten(name, _MAX_NAME))
