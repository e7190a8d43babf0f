"""File of a store, and the access of this user to it, checked before the store is opened."""

import os
import stat
from pathlib import Path
from typing import Final

from spawn.adapters.factory import parse_duckdb_url
from spawn.entrypoints.settings import Settings

_SUFFIXES: Final = ("", ".wal", ".mark")
"""Ends of the names of the files of a store."""


def find_store_file(settings: Settings) -> Path | None:
    """Return the store's file, existing or not; None if the store has no file."""
    return None if settings.data_path is None else parse_duckdb_url(settings.storage_url)


def find_access_problem(store_file: Path) -> str:
    """Return why this user cannot read and write a store, with the remedy; empty if it can.

    Containers meet this often: a folder of the host keeps its owner when it is mounted.
    """
    wanted = store_file.parent
    folder = _find_existing(wanted)
    if folder.is_file():
        return f"{folder} is not a folder: choose another SPAWN_STORAGE_URL."
    problem = _find_problem(folder, os.R_OK | os.W_OK | os.X_OK, wanted)
    for suffix in _SUFFIXES:
        path = store_file.with_name(store_file.name + suffix)
        if not problem and path.exists():
            problem = _find_problem(path, os.R_OK | os.W_OK, wanted)
    return problem


def _find_existing(folder: Path) -> Path:
    """Return the nearest folder above that exists; the start creates the others."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def _find_problem(path: Path, mode: int, folder: Path) -> str:
    """Return why a file or folder cannot be used by the store in `folder`; empty if it can."""
    if os.access(path, mode):
        return ""
    try:
        status = path.stat()
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return f"{path} is on a read-only file system: mount a writable volume there."
    except OSError as failure:
        return f"{path} cannot be used: {failure.strerror}."
    user, group = os.geteuid(), os.getegid()
    cause = (
        f"{path} belongs to user {status.st_uid} and group {status.st_gid} with the permissions"
        f" {stat.S_IMODE(status.st_mode):o}, so this service, user {user} and group {group}, cannot"
    )
    if path in folder.parents:
        # Nobody should give away a folder that may be everybody's.
        return f"{cause} create or reach {folder}: create it with install -d -o {user} -g {group}."
    return (
        f"{cause} read and write it. Give it the folder: chown -R {user}:{group} {folder}, or in a"
        " container the folder of the host that is mounted there; a new named volume needs none."
    )
