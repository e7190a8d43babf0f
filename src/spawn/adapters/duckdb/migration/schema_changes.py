"""Changes of the book of schemas: in the file, in the journal and by heart, whole or not at all."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.duckdb.journal.appender import Ledger
from spawn.adapters.duckdb.journal.prepared_change import Prepared
from spawn.adapters.duckdb.journal_rows import key_of
from spawn.adapters.duckdb.schema_table import make_table, write_book
from spawn.adapters.embedded.schema_history import KIND, SchemaBook, standing, told
from spawn.domain import serialization
from spawn.ports.schemas import SchemaRecord

T = TypeVar("T")


def adopt(ledger: Ledger, record: SchemaRecord, actor: str) -> None:
    """Put a schema in force in a store without projects; see `SchemaStore.adopt`."""
    book = ledger.shelf.book.adopting(record)
    govern(ledger, book, record, actor, partial(make_table, book=book))


def remember(ledger: Ledger, record: SchemaRecord, actor: str) -> None:
    """Keep a version that does not rule; see `SchemaStore.record`."""
    govern(ledger, ledger.shelf.book.recording(record), record, actor, lambda _: None)


def govern(
    ledger: Ledger,
    book: SchemaBook,
    record: SchemaRecord,
    actor: str,
    work: Callable[[Cursor], T],
    changed: tuple[str, ...] = (),
) -> T:
    """Do the work and turn to a book, in one transaction, and tell of the record if it is news."""

    def with_book(cursor: Cursor) -> T:
        done = work(cursor)
        write_book(cursor, book)
        return done

    shown = told(ledger.shelf.book, book, record)
    if shown is None:
        done = ledger.in_transaction(with_book)
    else:
        known = ledger.place(key_of(KIND, shown.schema.id))
        version = known.version if known else 0
        change = standing(shown, book, version=version, actor=actor, changed=changed)
        document = serialization.encode(KIND, change.writes[0].state, book.ruling)
        done = ledger.commit_with(Prepared(change, [document]), with_book)
    if book.ruling is not ledger.shelf.book.ruling:
        ledger.turn_to(book)
    ledger.shelf.book = book
    return done
