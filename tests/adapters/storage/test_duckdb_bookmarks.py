"""Positions of followers in the file: all in as many statements as one."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from spawn.adapters.duckdb.journal import bookmarks
from spawn.domain.events.position import Position


class CountingCursor:
    """A cursor that counts its statements."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.statements = 0

    def execute(self, *arguments: Any) -> Any:
        self.statements += 1
        return self._cursor.execute(*arguments)


@pytest.fixture
def cursor() -> Iterator[Any]:
    with duckdb.connect() as connection:
        connection.execute(
            "create table bookmarks (name varchar not null, position varchar not null)"
        )
        yield CountingCursor(connection)


def count_statements(cursor: Any, positions: dict[str, Position | None]) -> int:
    before = int(cursor.statements)
    bookmarks.save(cursor, positions)
    return int(cursor.statements) - before


def test_two_hundred_positions_take_as_many_statements_as_one(cursor: Any) -> None:
    """Changes wait while they are saved, every second."""
    positions: dict[str, Position | None] = {f"hook {n}": Position(1, n) for n in range(200)}
    assert count_statements(cursor, positions) == count_statements(cursor, {"hook 0": None})
    assert bookmarks.load(cursor) == positions | {"hook 0": None}


def test_names_and_positions_of_any_kind_are_read_back_and_replaced(cursor: Any) -> None:
    names = ["http://h/a?b='c'", 'quoted "name"', "back\\slash", "Île 風力", "nul\\u0000"]
    first: dict[str, Position | None] = dict.fromkeys(names, Position(2, 10**17))
    bookmarks.save(cursor, first)
    assert bookmarks.load(cursor) == first
    bookmarks.save(cursor, {names[0]: None})
    assert bookmarks.load(cursor) == first | {names[0]: None}
