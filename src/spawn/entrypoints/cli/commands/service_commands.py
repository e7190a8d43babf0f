"""Grammar of the commands that run a server."""

import argparse
import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from spawn.domain.text import redact_url
from spawn.entrypoints.cli.errors import EXIT_OK, EXIT_USAGE, CommandError
from spawn.entrypoints.cli.grammar.options import Commands, add_json_option, parse_count
from spawn.entrypoints.collector import collector_paused
from spawn.entrypoints.settings import (
    Settings,
    read_service_url,
)


def add_service_commands(commands: Commands) -> None:
    """Add the commands that run a server."""
    serve = commands.add_parser("serve", help="run the service", description="Run the service.")
    serve.add_argument("--check-config", action="store_true", help="check the settings and exit")
    add_json_option(serve, "with --check-config: print the result as JSON, a fault too")
    _add_bind_options(serve)
    serve.set_defaults(run=_run_serve)
    demo = commands.add_parser(
        "demo",
        help="run the service with a synthetic sample portfolio",
        description="Run the service with a seeded synthetic portfolio. A second demo on the same "
        "store adds no project twice.",
    )
    demo.add_argument(
        "--projects",
        type=parse_count,
        default=500,
        metavar="N",
        help="number of projects (default 500)",
    )
    demo.add_argument(
        "--seed", type=parse_count, default=1, help="seed of the random portfolio (default 1)"
    )
    _add_bind_options(demo)
    demo.set_defaults(run=_run_demo)
    ontology = commands.add_parser(
        "ontology-server",
        help="run a local ontology server",
        description="Run a local ontology server with the protocol of the schema registry.",
    )
    ontology.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    ontology.add_argument(
        "--port",
        type=_parse_port,
        default=8100,
        help="port to bind (default 8100; 0 takes a free one)",
    )
    ontology.add_argument(
        "--directory", type=Path, help="directory of the published schemas (default: in memory)"
    )
    ontology.set_defaults(run=_run_ontology_server)


def _add_bind_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", dest="bind_host", metavar="HOST", help="address to bind (default: SPAWN_HOST)"
    )
    parser.add_argument(
        "--port",
        dest="bind_port",
        type=_parse_port,
        metavar="PORT",
        help="port to bind (default: SPAWN_PORT)",
    )


def _parse_port(text: str) -> int:
    port = parse_count(text)
    if port > 65535:  # noqa: PLR2004 - the last port
        raise argparse.ArgumentTypeError(f"{text!r} is not a port up to 65535")
    return port


def _interrupt_on_sigterm() -> None:
    """End on SIGTERM like on SIGINT until the server handles both itself.

    The first process of a container ignores a signal without a handler, so that one sent during
    the start would be lost. A shell's background job has SIGINT ignored, and would lose it too.
    """
    with suppress(ValueError):  # outside the main thread (tests)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def print_config_check(error: str = "") -> None:
    """Print whether the settings are valid, as JSON: a program reads no sentence for people."""
    result = {"is_valid": not error, "error": error or None}
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def _run_serve(settings: Settings, arguments: argparse.Namespace) -> int:
    if not arguments.check_config:
        if arguments.json:
            raise CommandError("--json of serve needs --check-config", EXIT_USAGE)
        _interrupt_on_sigterm()
    with collector_paused():
        from spawn.entrypoints.cli import serve

    if arguments.check_config:
        asyncio.run(serve.check_config(settings))
        if arguments.json:
            print_config_check()
        else:
            sys.stdout.write("The settings are valid.\n")
        return EXIT_OK
    serve.run_service(settings)
    return EXIT_OK


def _run_demo(settings: Settings, arguments: argparse.Namespace) -> int:
    _interrupt_on_sigterm()
    with collector_paused():
        from spawn.entrypoints.cli import serve

    if "SPAWN_AUTH" not in os.environ and settings.is_local:
        settings = msgspec.structs.replace(settings, auth="off")
    if url := read_service_url(os.environ):
        sys.stderr.write(
            f"spawn: SPAWN_URL is {redact_url(url)}, which demo does not use: it runs a service of"
            f" its own on {settings.listen_address}\n"
        )
    if sys.stderr.isatty():
        sys.stderr.write(f"Starting Spawn on {settings.listen_address} …\n")
        sys.stderr.flush()
    serve.run_demo(settings, projects=arguments.projects, seed=arguments.seed)
    return EXIT_OK


def _run_ontology_server(_: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.ontology_server import routes

    def report_address(port: int) -> None:
        sys.stderr.write(f"ontology server on http://{arguments.host}:{port}\n")
        sys.stderr.flush()

    routes.run_ontology_server(
        arguments.host, arguments.port, arguments.directory, on_listening=report_address
    )
    return EXIT_OK
