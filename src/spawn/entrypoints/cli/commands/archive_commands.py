"""Grammar of the commands about backups and followers."""

import argparse
import asyncio
import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spawn.domain.dates import parse_instant
from spawn.domain.errors import InvalidInput
from spawn.entrypoints.cli.errors import EXIT_FAILED, EXIT_OK
from spawn.entrypoints.cli.grammar.options import Commands, add_json_option, parse_count
from spawn.entrypoints.settings import Settings, find_encryption_key

if TYPE_CHECKING:
    from spawn.adapters.embedded.archive import Archive

_PRIVATE_UMASK: Final = 0o077


def add_archive_commands(commands: Commands) -> None:
    """Add the commands about backups and followers."""
    backup = commands.add_parser(
        "backup",
        help="take a backup now",
        description="Bring the backup of SPAWN_BACKUP_URL level with the journal, of "
        "a running service (SPAWN_URL) or of the file of a stopped one.",
    )
    _add_head_option(backup, "write the head of the journal to this file: store it elsewhere")
    add_json_option(backup)
    backup.set_defaults(run=_run_backup)
    verify = commands.add_parser(
        "verify",
        help="verify a store or its backups",
        description="Verify the file of a stopped store (every row of the journal and the chain of "
        "their hashes, the high-water mark, every value of the derived tables) or its "
        "backups. The exit code is 0 if all is well, else 1. Nothing is changed.",
    )
    verify.add_argument(
        "target",
        nargs="?",
        metavar="FILE|BACKUPS",
        help="store, or folder or s3://bucket/prefix of backups (default: the store of "
        "SPAWN_STORAGE_URL)",
    )
    _add_head_option(verify, "the journal must have the row of the head in this file")
    add_json_option(verify)
    verify.set_defaults(run=_run_verify)
    _add_restore_command(commands)


def _add_restore_command(commands: Commands) -> None:
    restore = commands.add_parser(
        "restore",
        help="restore a store from its backups",
        description="Restore a store from its backups into a new file, at the newest "
        "change or an earlier one. The new store has the next epoch: cursors of the earlier one "
        "expire, and the earlier one stops at its next backup to the same place.",
    )
    _add_archive_argument(restore)
    restore.add_argument("file", type=Path, metavar="FILE", help="new file: none is overwritten")
    moment = restore.add_mutually_exclusive_group()
    moment.add_argument(
        "--position", type=_parse_position, metavar="N", help="last journal row to restore"
    )
    moment.add_argument(
        "--at", type=_parse_moment, metavar="INSTANT", help="restore what was recorded by then"
    )
    restore.add_argument("--set", type=parse_count, metavar="N", help="set (default: the newest)")
    restore.add_argument(
        "--copy",
        action="store_true",
        help="make an independent store, for a drill: the source is not superseded",
    )
    restore.add_argument(
        "--source-key",
        type=Path,
        metavar="FILE",
        help="file of the key of the backups, if the new store gets another one or none",
    )
    add_json_option(restore)
    restore.set_defaults(run=_run_restore)
    _add_follower_commands(commands)


def _add_follower_commands(commands: Commands) -> None:
    follow = commands.add_parser(
        "follow",
        help="follow a store by its backups, ready to take its place",
        description="Take each new backup of a store into a second file, and keep its tables "
        "level. The file is not served before it is promoted.",
    )
    promote = commands.add_parser(
        "promote",
        help="make a follower the store",
        description="Take the rest of the backups, claim the next epoch, and let the file be "
        "served. The earlier store stops at its next backup to the same place.",
    )
    for command in (follow, promote):
        _add_archive_argument(command)
        command.add_argument("file", type=Path, metavar="FILE", help="file of the follower")
    follow.add_argument(
        "--interval",
        type=_parse_seconds,
        default=1.0,
        metavar="S",
        help="seconds between two looks (default 1)",
    )
    follow.add_argument("--once", action="store_true", help="take what there is, and end")
    add_json_option(follow, "print a JSON line each time that rows were taken")
    add_json_option(promote)
    follow.set_defaults(run=_run_follow)
    promote.set_defaults(run=_run_promote)


def _add_archive_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "archive",
        type=_parse_archive,
        metavar="BACKUPS",
        help="folder of the backups, or s3://bucket/prefix",
    )


def _parse_archive(text: str) -> "Archive":
    from spawn.adapters.archives.archive_urls import open_archive

    try:
        return open_archive(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.detail) from None


def _add_head_option(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--head", type=Path, metavar="FILE", help=help_text)


def _parse_seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdigit() or not text.isascii() or float(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return float(text)


def _parse_position(text: str) -> tuple[int | None, int]:
    """Return the epoch, if the text names one, and the number."""
    match = re.fullmatch(r"(?:([0-9]{1,18})\.)?([0-9]{1,18})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a position such as 2041 or 1.2041")
    return (int(match[1]) if match[1] else None), int(match[2])


def _parse_moment(text: str) -> datetime:
    try:
        return parse_instant(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.detail}") from None


def _run_backup(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import take_backup

    os.umask(_PRIVATE_UMASK)
    asyncio.run(take_backup(settings, arguments.head, as_json=arguments.json))
    return EXIT_OK


def _run_verify(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import verify

    os.umask(_PRIVATE_UMASK)
    is_good = verify(settings, arguments.target, arguments.head, as_json=arguments.json)
    return EXIT_OK if is_good else EXIT_FAILED


def _run_restore(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.adapters.duckdb.archive.restoration import RestoreRequest
    from spawn.entrypoints.cli.recovery_commands import read_archive_keys, restore_store

    os.umask(_PRIVATE_UMASK)
    epoch, position = arguments.position or (None, None)
    request = RestoreRequest(
        archive=arguments.archive,
        target=arguments.file,
        number=arguments.set,
        epoch=epoch,
        position=position,
        at=arguments.at,
        is_copy=arguments.copy,
        keys=read_archive_keys(settings, arguments.source_key),
        target_key=find_encryption_key(settings),
    )
    restore_store(request, as_json=arguments.json)
    return EXIT_OK


def _run_follow(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import follow

    os.umask(_PRIVATE_UMASK)
    follow(
        settings,
        arguments.archive,
        arguments.file,
        None if arguments.once else arguments.interval,
        as_json=arguments.json,
    )
    return EXIT_OK


def _run_promote(settings: Settings, arguments: argparse.Namespace) -> int:
    from spawn.entrypoints.cli.recovery_commands import promote

    os.umask(_PRIVATE_UMASK)
    promote(settings, arguments.archive, arguments.file, as_json=arguments.json)
    return EXIT_OK
