# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""The journal as its writer sees it: the end of the chain, what is known by heart, the append.

Everything here but `lookup` runs on the writer's thread.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import duckdb

from spawn.adapters.duckdb import tables
from spawn.adapters.duckdb.connection import Cursor, Engine, damaged, translate
from spawn.adapters.duckdb.journal import bookmarks
from spawn.adapters.duckdb.journal.cache_update import Memory, settle
from spawn.adapters.duckdb.journal.high_water_mark import Mark
from spawn.adapters.duckdb.journal.prepared_change import (
    Placed,
    Prepared,
    check_version,
    pending_of,
    rows_of,
    spelled_out,
)
from spawn.adapters.duckdb.journal.tail import Appender, Tail, check_mark, find_tail
from spawn.adapters.duckdb.journal_rows import (
    RECEIPT_KIND,
    SELECT_ROW,
    Chained,
    JournalRow,
    Place,
    answer_from,
    chain,
    instant,
    key_of,
    micros,
    receipt_columns,
    row_from,
)
from spawn.adapters.duckdb.schema_table import SchemaShelf
from spawn.adapters.duckdb.state.projection import Projection
from spawn.adapters.duckdb.state.queries import places_on_disk
from spawn.adapters.embedded import journal
from spawn.adapters.embedded.schema_history import SchemaBook
from spawn.domain.change import Answer, Committed
from spawn.domain.errors import (
    SpawnError,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from spawn.ports.runtime import Clock

T = TypeVar("T")
_SYNC_AFTER_S = 1.0
_CATCH_UP_ROWS = 2_000
_MAX_PENDING_ROWS = 200_000


class Ledger:
    """The end of the journal and everything the writer knows by heart."""

    def __init__(
        self,
        engine: Engine,
        mark: Mark,
        clock: Clock,
        memory: Memory,
        *,
        reserve_bytes: int,
        tidy_bytes: int,
    ) -> None:
        self._engine = engine
        self._mark = mark
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._tidy_bytes = tidy_bytes
        self._memory = memory
        self.heads, self.entities, self.shown, self.pages, self.receipts, self.recent = memory
        self.projects_position = 0
        self.trouble: SpawnError | None = None
        self._load()

    @property
    def epoch(self) -> int:
        """The epoch that positions are issued in."""
        return self._tail.epoch

    @property
    def position(self) -> int:
        """The last durable row."""
        return self._tail.position

    # -- opening ----------------------------------------------------------------------------

    def _load(self) -> None:
        self._cursor = self._engine.cursor()
        tables.migrate(self._cursor, self._clock.now().replace(tzinfo=None))
        self.shelf = SchemaShelf(self._cursor)
        self.projection = Projection(self._cursor, self.shelf.fields, self.shelf.retired)
        self._appender = Appender(self._cursor)
        self._tail = find_tail(self._cursor, self._engine.path.name)
        check_mark(self._cursor, self._tail, self._mark, self._engine.path.name)
        self.receipts.load(self._cursor, self._clock.now())
        floors = self._cursor.execute("select kind, max(key) from aggregates group by kind")
        self.heads.complete_above(dict(floors.fetchall()))
        self._catch_up()

    def _catch_up(self) -> None:
        """Take what the journal holds beyond the state tables as pending."""
        found = self._cursor.execute("select coalesce(max(position), 0) from aggregates").fetchone()
        at = int(found[0]) if found else 0
        newest = self._cursor.execute("select coalesce(max(_position), 0) from projects").fetchone()
        self.projects_position = int(newest[0]) if newest else 0
        while at < self.position:
            rows = [row_from(v) for v in self._rows(at, at + _CATCH_UP_ROWS)]
            at += _CATCH_UP_ROWS
            places = self._places(key_of(row.kind, row.id) for row in rows)
            for row in rows:
                if row.kind != RECEIPT_KIND:
                    key = key_of(row.kind, row.id)
                    document = (row.document or "").encode()
                    state = self.shelf.book.read(row.kind, document, row.schema_version)
                    shape = self.shelf.book.shape(row.kind, row.schema_version)
                    pending = pending_of(row, state, places.get(key), shape)
                    self.projection.note(key, pending)
                    self.heads.put(key, pending.place)
                    places[key] = pending.place
            while len(self.projection) > _CATCH_UP_ROWS:
                self.project(_CATCH_UP_ROWS)

    def _rows(self, after: int, through: int) -> list[Any]:
        return self._cursor.execute(
            f"select {SELECT_ROW} from journal where position > ? and position <= ?"
            " order by position",
            [after, through],
        ).fetchall()

    # -- committing -------------------------------------------------------------------------

    def commit(self, group: list[Prepared]) -> list[Committed | SpawnError]:
        """Write what of the group can be written, in one transaction; an outcome for each."""
        outcomes: list[Any] = [None] * len(group)
        group = [spelled_out(prepared, self.shelf.book) for prepared in group]
        try:
            self._check_writable()
            places = self._places(key for p in group for key in (*p.keys, *p.guarded))
        except SpawnError as error:
            return [error] * len(group)
        except duckdb.Error as error:
            return [self.heal(error)] * len(group)
        accepted: list[tuple[int, Prepared]] = []
        for index, prepared in enumerate(group):
            try:
                outcomes[index] = self._decide(prepared, places)
            except SpawnError as error:
                outcomes[index] = error
            except duckdb.Error as error:
                outcomes[index] = self.heal(error)
            if outcomes[index] is None:
                accepted.append((index, prepared))
        if accepted:
            self._write(accepted, places, outcomes)
        return outcomes

    def _check_writable(self) -> None:
        if self.trouble is not None:
            self._reopen()
        if len(self.projection) > _MAX_PENDING_ROWS:
            raise Unavailable("The state tables cannot follow the journal.")
        if self._engine.free_bytes() < self._reserve_bytes:
            raise StorageFull(
                f"Less than the reserve of {self._reserve_bytes} bytes is free on the disk."
            )

    def _decide(self, prepared: Prepared, places: dict[str, Place | None]) -> Committed | None:
        """The answer of a repeated request, or None if the change may go ahead.

        Raises:
            IdempotencyMismatch, Duplicate, Stale: it may not.
        """
        receipt = prepared.change.receipt
        if receipt is not None:
            known = self.receipts.find(
                self._cursor, receipt.scope, receipt.key, receipt.fingerprint, self._clock.now()
            )
            if known is not None:
                answer = self.answer(self._cursor, known.position)
                return Committed(instant(known.recorded_at), self.cursor(), replayed=answer)
        for row in prepared.rows:
            check_version(row.write, places.get(row.key))
        for guard in prepared.change.guards:
            check_version(guard, places.get(key_of(guard.kind, guard.id)))
        return None

    def answer(self, cursor: Cursor, position: int) -> Answer:
        """The answer that the receipt at a position keeps."""
        found = cursor.execute(
            "select receipt_status, receipt_headers, receipt_body from journal where position = ?",
            [position],
        ).fetchone()
        if found is None:
            raise damaged(self._engine.path.name)
        return answer_from(*found)

    def _write(
        self,
        accepted: list[tuple[int, Prepared]],
        places: dict[str, Place | None],
        outcomes: list[Any],
    ) -> None:
        placed = self._place(accepted, outcomes)
        rows = [row for item in placed for row in item.rows]
        if not rows:
            return
        chained = chain(rows, self._tail.hash)
        try:
            self._append(chained.payload, rows[: placed[0].prepared.encoded])
        except duckdb.Error as failure:
            error = self.heal(failure)
            if self._tail.hash != chained.hash:  # else it had become durable before the failure
                self._retry(accepted, places, outcomes, error)
                return
        self._durable(placed, chained, places)
        for item in placed:
            at = journal.cursor(self.epoch, item.rows[-1].position)
            outcomes[item.turn] = Committed(item.recorded_at, at)

    def _durable(
        self, placed: list[Placed], chained: Chained, places: dict[str, Place | None]
    ) -> None:
        """Go on from rows that the journal has now."""
        rows = [row for item in placed for row in item.rows]
        self.recent.put(rows)
        self._tail = Tail(self.epoch, rows[-1].position, chained.hash, placed[-1].recorded_at)
        self._mark.write(self._tail.reached())
        settled = settle(self._memory, self.projection, self.shelf.book, placed, places)
        self.projects_position = settled or self.projects_position

    def _retry(
        self,
        accepted: list[tuple[int, Prepared]],
        places: dict[str, Place | None],
        outcomes: list[Any],
        error: SpawnError,
    ) -> None:
        """One by one, after a group failed; unless there is no hope or it was one already."""
        hopeless = isinstance(error, StorageFull | StorageDamaged) or self.trouble is not None
        for item in accepted:
            if outcomes[item[0]] is not None:
                continue
            if hopeless or len(accepted) == 1:
                outcomes[item[0]] = error
            else:
                self._write([item], places, outcomes)

    def _place(self, accepted: list[tuple[int, Prepared]], outcomes: list[Any]) -> list[Placed]:
        placed: list[Placed] = []
        position, recorded_at = self.position, self._tail.recorded_at
        for index, prepared in accepted:
            recorded_at = journal.next_instant(recorded_at, self._clock.now())
            change, columns = prepared.change, dict[str, Any]()
            if change.receipt is not None:
                try:
                    answer = change.receipt.answer(recorded_at)
                except Exception:  # noqa: BLE001 -- the caller's code must not take its group down
                    outcomes[index] = Unavailable("The answer to keep could not be made.")
                    continue
                columns = receipt_columns(
                    change.receipt.scope, change.receipt.key, change.receipt.fingerprint, answer
                )
            rows = rows_of(prepared, position, micros(recorded_at), columns)
            position += len(rows)
            placed.append(Placed(index, prepared, rows, recorded_at))
        return placed

    def _append(self, payload: str, encoded: list[JournalRow]) -> None:
        """Append, and project encoded rows in the same transaction.

        A change with such rows is a group of its own, and nothing may wait before it: see
        `Prepared`.
        """
        if not encoded:
            self._appender.append(payload)
            return
        self.project_all()
        self._cursor.execute("begin")
        self._appender.append_within(payload)
        self.projection.take_in(encoded[0].position, encoded[-1].position)
        self._cursor.execute("commit")

    # -- looking up -------------------------------------------------------------------------

    def known(self, key: str) -> tuple[Place | None, bool]:
        """The place of an aggregate and True, or None and whether it surely does not exist."""
        place = self.heads.get(key)
        if place is None:
            pending = self.projection.get(key)
            if pending is None:
                return None, self.heads.surely_absent(key)
            place = pending.place
        return place, True

    def _places(self, keys: Iterable[str]) -> dict[str, Place | None]:
        places: dict[str, Place | None] = {}
        unknown: list[str] = []
        for key in keys:
            places[key], sure = self.known(key)
            if not sure:
                unknown.append(key)
        for key, place in places_on_disk(self._cursor, unknown).items():
            places[key] = place
            self.heads.put(key, place)
        return places

    def cursor(self) -> str:
        """The position of the newest acknowledged change."""
        return journal.cursor(self.epoch, self.position)

    # -- the state tables -------------------------------------------------------------------

    def lag_rows(self) -> int:
        """How many aggregates are ahead of their projection."""
        return len(self.projection)

    def lag_s(self) -> float:
        """How long the oldest of them has waited."""
        return self.projection.age_s()

    def project(self, rows: int) -> None:
        """Project some of them."""
        self.projection.step(rows)
        if self._mark.unsynced_s() >= _SYNC_AFTER_S:
            self._mark.sync()

    def project_all(self) -> None:
        """Project whatever is pending."""
        while len(self.projection):
            self.projection.step(_CATCH_UP_ROWS)

    def untidy(self) -> bool:
        """Whether the mark is unsynced, or the log has grown enough to be folded into the file."""
        return self._mark.unsynced_s() > 0 or self._engine.log_bytes() > self._tidy_bytes

    def tidy(self) -> None:
        """Sync the mark, and fold a grown log into the file."""
        self._mark.sync()
        if self._engine.log_bytes() > self._tidy_bytes:
            self._cursor.execute("checkpoint")

    def probe(self) -> None:
        """Go through the engine durably: one counter moves, no journal row is made."""
        self._check_writable()
        self._cursor.execute("update store set probed = probed + 1")

    def keep_bookmarks(self, positions: Mapping[str, str]) -> None:
        """Put the positions in the place of those kept under the same names."""
        self._check_writable()
        bookmarks.save(self._cursor, positions)

    def in_transaction(self, work: Callable[[Cursor], T]) -> T:
        """Run `work(cursor)` whole or not at all, with the state tables caught up.

        This is where a change of the tables themselves belongs, such as adopting a schema.
        """
        self._check_writable()
        self.project_all()
        self._cursor.execute("begin")
        try:
            done = work(self._cursor)
            self._cursor.execute("commit")
        except SpawnError:
            self._cursor.execute("rollback")
            raise
        return done

    def commit_with(self, prepared: Prepared, work: Callable[[Cursor], T]) -> T:
        """Commit a change and do other work on the file, both or neither.

        Raises:
            Duplicate, Stale: of the change.
            SpawnError: whatever the work raises.
        """
        self._check_writable()
        places = self._places(prepared.keys)
        self._decide(prepared, places)
        placed = self._place([(0, prepared)], [None])
        chained = chain(placed[0].rows, self._tail.hash)

        def both(cursor: Cursor) -> T:
            done = work(cursor)
            self._appender.append_within(chained.payload)
            return done

        done = self.in_transaction(both)
        self._durable(placed, chained, places)
        return done

    def turn_to(self, book: SchemaBook) -> None:
        """Go by another book, as the file does already; what was known in its shape is forgotten.

        Readers that still have the old one are told by the tables that they changed.
        """
        self.shelf.book = book
        try:
            # A statement prepared before a change of tables is planned anew at each execution.
            self._appender.prepare()
            self.projection.prepare(self.shelf.fields, self.shelf.retired)
        except duckdb.Error:
            self._reopen()
        self.entities.clear()
        self.shown.clear()
        self.projects_position = self.position
        self.pages.clear(self.position)

    def scratch(self, statement: str, *parameters: Any) -> None:
        """Run a statement about temporary tables, of which the file knows nothing."""
        self._cursor.execute(statement, parameters)

    def place(self, key: str) -> Place | None:
        """Where an aggregate stands."""
        return self._places([key])[key]

    # -- failing and healing ----------------------------------------------------------------

    def heal(self, failure: duckdb.Error) -> SpawnError:
        """Bring the writer back to a working state, if need be by opening the file anew."""
        error = translate(failure, self._engine.path.name)
        with contextlib.suppress(duckdb.Error):
            self._cursor.execute("rollback")
        try:
            self._cursor.execute("select count(*) from stage_journal").fetchone()
        except duckdb.Error:
            self.trouble = error
            with contextlib.suppress(SpawnError):
                self._reopen()
        return error

    def doubt(self) -> SpawnError:
        """Something failed that should not: believe only the file from now on."""
        self.trouble = Unavailable("The writer failed and opens the file anew.")
        with contextlib.suppress(SpawnError):
            self._reopen()
        return Unavailable("The store failed at this; look at what became of it and try again.")

    def _reopen(self) -> None:
        """Open the file anew and believe only what it says.

        Raises:
            SpawnError: it still cannot be opened.
        """
        try:
            self.heads.clear()
            self.recent.clear()
            self._engine.reopen()
            self.entities.clear()
            self.shown.clear()
            self._load()
        except duckdb.Error as failure:
            self.trouble = translate(failure, self._engine.path.name)
            raise self.trouble from failure
        except SpawnError as error:
            self.trouble = error
            raise
        self.pages.clear(self.position)
        self.trouble = None

    def close(self) -> None:
        """Project, fold the log, sync the mark; whatever fails now will be done at the start."""
        with contextlib.suppress(duckdb.Error, SpawnError):
            self.project_all()
            self._cursor.execute("checkpoint")
        self._mark.close()
