"""Commands `spawn covenants`: list covenants, and print certificates of compliance."""

import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from spawn.domain.text import escape_unprintable, shorten
from spawn.entrypoints.cli.backend import open_backend
from spawn.entrypoints.cli.projects import print_page, print_report
from spawn.entrypoints.settings import Settings

_MAX_NAME: Final = 40


async def print_covenants(
    settings: Settings, project_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print a page of the covenants of a project."""
    path = f"projects/{quote(project_id, safe='')}/covenants"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_page(document, _format_covenant, as_json=as_json)


async def print_certificate(
    settings: Settings, project_id: str, parameters: Mapping[str, str], *, as_json: bool
) -> None:
    """Print the certificate of a project: each covenant with its test and its standing."""
    path = f"projects/{quote(project_id, safe='')}/compliance-certificate"
    async with open_backend(settings) as backend:
        document = await backend.read_financing(path, parameters)
    print_report(document, _write_certificate, as_json=as_json)


def _write_certificate(certificate: Mapping[str, Any]) -> None:
    for one in certificate["covenants"]:
        test = one["test"] or {}
        ratio = test.get("printed_ratio") or test.get("untested_reason") or "no test"
        name = _format_name(one["covenant"]["name"])
        waiver = "  waived" if one["waivers"] else ""
        sys.stdout.write(
            f"{one['covenant']['metric']:8} {ratio:>16}  {one['standing']:8}  {name}{waiver}\n"
        )
    if not certificate["is_complete"]:
        sys.stderr.write("the certificate is not complete: a test is missing\n")
    allowed = "allowed" if certificate["allows_distributions"] else "not allowed"
    sys.stdout.write(f"distributions on {certificate['on']}: {allowed}\n")


def _format_covenant(covenant: Mapping[str, Any]) -> str:
    levels = (covenant["lockup_level"] or "-", covenant["default_level"] or "-")
    figures = f"{covenant['metric']:8} {levels[0]:>8} {levels[1]:>8}"
    return f"{covenant['covenant_id']}  {figures}  {_format_name(covenant['name'])}"


def _format_name(name: str) -> str:
    return escape_unprintable(shorten(name, _MAX_NAME))
