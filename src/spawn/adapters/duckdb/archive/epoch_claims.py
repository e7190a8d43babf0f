"""Epochs of a store: the choice and claim of the next one, and positions in it."""

import errno
from pathlib import Path
from typing import Final

from spawn.adapters.duckdb.archive.backup_index import (
    EpochClaim,
    claim_epoch,
    find_claimed_epoch,
)
from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.embedded.archive import Archive
from spawn.domain.errors import StorageIncompatible, Unavailable
from spawn.ports.runtime import Clock

FOLLOWING_SUFFIX: Final = ".following"
"""Ending of the file beside a follower's, which keeps it from being served."""

_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def choose_epoch(archive: Archive, store_id: str, epoch: int) -> int:
    """Return the epoch after the present one and after every claim in the archive."""
    return max(epoch, find_claimed_epoch(archive, store_id)) + 1


def claim_new_epoch(archive: Archive, store_id: str, epoch: int, clock: Clock) -> bool:
    """Claim an epoch, which stops the store of the one before; return whether that was possible.

    Raises:
        Unavailable: another restore or promotion has claimed it meanwhile.
        OSError: the archive cannot be written, although it is not read-only.
    """
    try:
        claim_epoch(archive, EpochClaim(store_id=store_id, epoch=epoch, claimed_at=clock.now()))
    except FileExistsError as error:
        raise Unavailable(
            "Another restore or promotion has claimed the same epoch: retry."
        ) from error
    except OSError as failure:
        if failure.errno in _READ_ONLY:
            return False
        raise
    return True


def renumber(text: str, epoch: int, position: int) -> str:
    """Return a publisher's position in a new epoch; it never leads the journal."""
    if not text:
        return ""
    number = int(text.rpartition(".")[2])
    return f"{epoch}.{min(number, position)}"


def renumber_bookmarks(cursor: Cursor, epoch: int, position: int) -> None:
    """Move the positions of publishers to a new epoch, in the caller's transaction."""
    bookmarks = cursor.execute("select name, position from bookmarks").fetchall()
    cursor.execute("delete from bookmarks")
    for name, text in bookmarks:
        cursor.execute(
            "insert into bookmarks values (?, ?)", [name, renumber(text, epoch, position)]
        )


def require_store(path: Path) -> None:
    """Check that a file is not a follower's.

    Raises:
        StorageIncompatible: it is, and two stores of one epoch would issue the same positions.
    """
    if path.with_name(path.name + FOLLOWING_SUFFIX).exists():
        raise StorageIncompatible(
            f"{path.name} follows another store and is not served: run `spawn promote` first, once"
            " that store is stopped."
        )
