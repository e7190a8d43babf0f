"""Grammar of the command line, and dispatch to its commands."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from spawn import __version__
from spawn.entrypoints.cli.commands.access_commands import add_access_commands
from spawn.entrypoints.cli.commands.archive_commands import add_archive_commands
from spawn.entrypoints.cli.commands.data_commands import add_data_commands
from spawn.entrypoints.cli.commands.financing_commands import add_financing_commands
from spawn.entrypoints.cli.commands.inspection_commands import add_inspection_commands
from spawn.entrypoints.cli.commands.service_commands import add_service_commands, print_config_check
from spawn.entrypoints.cli.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXPECTED_ERRORS,
    describe_error,
    describe_problem,
)
from spawn.entrypoints.cli.grammar.command_parser import CommandParser
from spawn.entrypoints.cli.grammar.completion import Shell, build_completion
from spawn.entrypoints.cli.grammar.terminal import Colour, paint
from spawn.entrypoints.settings import (
    Settings,
    read_settings,
)

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
            print_config_check(" ".join(sentence.split()))
            return code
        if getattr(namespace, "json", False):
            sys.stderr.write(describe_problem(error))
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
    add_service_commands(commands)
    add_data_commands(commands)
    add_financing_commands(commands)
    add_inspection_commands(commands)
    add_archive_commands(commands)
    add_access_commands(commands)
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


def _run_completion(_: Settings, arguments: argparse.Namespace) -> int:
    sys.stdout.write(build_completion(build_parser(), Shell(arguments.shell)))
    return EXIT_OK
