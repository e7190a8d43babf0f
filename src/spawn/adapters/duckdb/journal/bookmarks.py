"""Positions of feed followers, stored in the file."""

from collections.abc import Mapping

from spawn.adapters.duckdb.connection import Cursor


def load(cursor: Cursor) -> dict[str, str]:
    """Return every position by name."""
    return dict(cursor.execute("select name, position from bookmarks").fetchall())


def save(cursor: Cursor, positions: Mapping[str, str]) -> None:
    """Save the positions under their names, in one transaction."""
    cursor.execute("begin")
    for name, position in positions.items():
        cursor.execute("delete from bookmarks where name = ?", [name])
        cursor.execute("insert into bookmarks values (?, ?)", [name, position])
    cursor.execute("commit")
