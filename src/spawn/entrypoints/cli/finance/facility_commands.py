"""Commands `spawn facilities`: list and show facilities, balances and statements."""

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.projects import print_fields, print_page, print_report
from spawn.entrypoints.settings import Settings

_MAX_NAME: Final = 60


async def print_facilities(
    settings: Settings, project_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of the facilities of a project."""
    path = f"projects/{quote(project_id, safe='')}/facilities"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_page(document, _format_facility, as_json=as_json)


async def print_facility(
    settings: Settings,
    facility_id: str,
    part: str,
    parameters: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """Print a facility, or a part of it such as `/balance`, a field a line or as JSON."""
    async with open_backend(settings) as backend:
        document = await backend.read_financing(_build_path(facility_id) + part, parameters)
    print_fields(document, as_json=as_json)


async def print_statement(
    settings: Settings,
    facility_id: str,
    start: str | None,
    parameters: Mapping[str, str],
    *,
    as_json: bool,
) -> None:
    """Print a statement, by default from the start of the availability period on.

    Args:
        settings: of the command.
        facility_id: of the facility.
        start: the first day, if it is another.
        parameters: the last day (`on`) and the instant (`as_of`).
        as_json: print the statement as JSON.
    """
    options = {"to" if name == "on" else name: value for name, value in parameters.items()}
    path = _build_path(facility_id)
    async with open_backend(settings) as backend:
        if start is None:
            facility = msgspec.json.decode(await backend.read_financing(path, {}))
            start = facility["availability_start"]
        document = await backend.read_financing(f"{path}/statement", {"from": start, **options})
    print_report(document, _write_statement, as_json=as_json)


def _write_statement(statement: Mapping[str, Any]) -> None:
    code = statement["currency_code"]
    _write_balance(statement["start"], "opening balance", statement["opening_balance"], code)
    for line in statement["lines"]:
        amounts = f"{line['amount']:>18} {line['balance']:>18} {code}"
        sys.stdout.write(f"{line['value_date']}  {line['kind']:16} {amounts}\n")
    _write_balance(statement["end"], "closing balance", statement["closing_balance"], code)


async def print_schedule(
    settings: Settings, facility_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print the periods of a schedule: date, payment, interest, principal, and the balance."""
    async with open_backend(settings) as backend:
        document = await backend.read_financing(f"{_build_path(facility_id)}/schedule", parameters)
    print_report(document, _write_schedule, as_json=as_json)


def _write_schedule(schedule: Mapping[str, Any]) -> None:
    sys.stdout.write(
        f"{'':10} {'payment':>18} {'interest':>18} {'principal':>18} {'balance':>18}\n"
    )
    for row in schedule["rows"]:
        amounts = (row[name] for name in ("payment", "interest", "principal", "closing_balance"))
        figures = " ".join(f"{amount:>18}" for amount in amounts)
        sys.stdout.write(f"{row['date']} {figures} {schedule['currency_code']}\n")
    for warning in schedule["warnings"]:
        sys.stderr.write(f"{escape_unprintable(warning)}\n")


def _build_path(facility_id: str) -> str:
    return f"facilities/{quote(facility_id, safe='')}"


def _write_balance(day: str, name: str, balance: str, code: str) -> None:
    sys.stdout.write(f"{day}  {name:16} {'':18} {balance:>18} {code}\n")


def _format_facility(facility: Mapping[str, Any]) -> str:
    amount = f"{facility['commitment']:>18} {facility['currency_code']}"
    name = escape_unprintable(shorten(facility["name"], _MAX_NAME))
    return f"{facility['facility_id']}  {facility['kind']:16} {amount}  {name}"
