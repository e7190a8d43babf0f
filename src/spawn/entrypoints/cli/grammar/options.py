"""Options and arguments that several commands have."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # no other name
"""Set of commands, or of the actions of one, to which more are added."""


def parse_count(text: str) -> int:
    """Return a whole number of an option.

    Raises:
        ArgumentTypeError: it is none, or too large.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 7:  # noqa: PLR2004 - up to millions
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number up to 9999999")
    return int(text)


def add_json_option(
    parser: argparse.ArgumentParser, help_text: str = "print the result as JSON"
) -> None:
    """Add the option `--json` to a command."""
    parser.add_argument("--json", action="store_true", help=help_text)


def add_page_options(parser: argparse.ArgumentParser, noun: str) -> None:
    """Add the options of a page of a list."""
    parser.add_argument("--limit", type=parse_count, default=50, help=f"{noun} (default 50)")
    parser.add_argument("--after", metavar="CURSOR", help="continue after an earlier page")


def list_parameters(arguments: argparse.Namespace, *names: str) -> dict[str, str]:
    """Return the options that were given, as query parameters."""
    values = {name: getattr(arguments, name, None) for name in names}
    return {name: str(value) for name, value in values.items() if value is not None}
