"""Positions of feed followers, stored in the file."""

from collections.abc import Mapping

from spawn.adapters.duckdb.connection import Cursor
from spawn.domain.errors import CursorInvalid, StorageDamaged
from spawn.domain.events.position import Position


def load(cursor: Cursor) -> dict[str, Position | None]:
    """Return every position by name; an empty text is the beginning of the feed.

    Raises:
        StorageDamaged: a stored text is no position.
    """
    rows = cursor.execute("select name, position from bookmarks").fetchall()
    try:
        return {name: Position.parse(text) if text else None for name, text in rows}
    except CursorInvalid as error:
        raise StorageDamaged("A stored feed position cannot be read.") from error


def save(cursor: Cursor, positions: Mapping[str, Position | None]) -> None:
    """Save the positions under their names, in one transaction."""
    cursor.execute("begin")
    for name, position in positions.items():
        cursor.execute("delete from bookmarks where name = ?", [name])
        text = "" if position is None else str(position)
        cursor.execute("insert into bookmarks values (?, ?)", [name, text])
    cursor.execute("commit")
