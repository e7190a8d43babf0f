"""Command `spawn size`: size a debt in this process, without a service."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from spawn.adapters.local.public_holidays import load_public_holidays
from spawn.application.analysis.calculation import Deadline
from spawn.application.product.links import CSV, JSON
from spawn.entrypoints.cli.errors import EXIT_USAGE, CommandError
from spawn.entrypoints.cli.projects import read_document
from spawn.entrypoints.http.analysis.routes import CalculationOptions, compute_response

_CALCULATOR: Final = "debt-sizing"
_FIGURES: Final = ("debt", "equity", "total_uses", "gearing", "min_dscr", "llcr", "wal_years")


class SizingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `spawn size`: a request of the calculator as a file, or its main inputs."""

    path: Path | None
    inputs: Mapping[str, Any]
    output: str


def size_debt(options: SizingOptions) -> None:
    """Print the debt that the inputs carry: figures, or the whole result as JSON or CSV.

    Raises:
        CommandError: neither a file nor inputs are given, or both.
        InvalidInput: the calculator rejects an input.
    """
    if (options.path is None) == (not options.inputs):
        raise CommandError("name a file, or set --cfads, --rate and --dscr", EXIT_USAGE)
    body = (
        msgspec.json.encode(options.inputs) if options.path is None else read_document(options.path)
    )
    media_type = CSV if options.output == "csv" else JSON
    calculation = CalculationOptions(
        _CALCULATOR, media_type, explain=False, holidays=load_public_holidays()
    )
    payload = compute_response(calculation, body, Deadline()).payload
    if options.output == "text":
        sys.stdout.write(_format_result(msgspec.json.decode(payload)))
    else:
        sys.stdout.write(payload.decode().rstrip("\n") + "\n")


def _format_result(result: Mapping[str, Any]) -> str:
    if "results" in result:
        raise CommandError("several cases are printed as --json or --csv", EXIT_USAGE)
    lines = [
        f"{name:<10}  {result[name]:,.6g}" if name != "debt" else f"{name:<10}  {result[name]:,.2f}"
        for name in _FIGURES
        if isinstance(result.get(name), int | float)
    ]
    lines.append(f"{'binding':<10}  {result['binding']}")
    return "\n".join(lines) + "\n"
