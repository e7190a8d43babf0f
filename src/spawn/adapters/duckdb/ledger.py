# ruff: noqa: S608 -- statements are made of our own constants and whitelisted, quoted names
"""The journal as its writer sees it: the end of the chain, what is known by heart, the append.

Everything here but `lookup` runs on the writer's thread.
"""

import contextlib
import os
from datetime import datetime
from typing import Any, NamedTuple

import duckdb
import msgspec

from spawn.adapters import journal
from spawn.adapters.duckdb import layout
from spawn.adapters.duckdb.caches import Heads, Recent
from spawn.adapters.duckdb.engine import Cursor, Engine, damaged, translate
from spawn.adapters.duckdb.mark import Mark, Reached, fallen_short
from spawn.adapters.duckdb.pages import PageCache
from spawn.adapters.duckdb.projection import Projection
from spawn.adapters.duckdb.reading import places_on_disk
from spawn.adapters.duckdb.receipts import Receipts
from spawn.adapters.duckdb.rows import (
    RECEIPT_KIND,
    ROW_COLUMNS,
    SELECT_ROW,
    Held,
    JournalRow,
    Place,
    answer_from,
    chain,
    instant,
    key_of,
    link,
    micros,
    receipt_columns,
    row_from,
)
from spawn.adapters.duckdb.shelf import SchemaShelf
from spawn.domain import documents
from spawn.domain.change import Answer, Change, Committed, Stored, Write
from spawn.domain.errors import (
    Duplicate,
    SpawnError,
    Stale,
    StorageDamaged,
    StorageFull,
    Unavailable,
)
from spawn.domain.events import DomainEvent
from spawn.ports.governance import SchemaRecord
from spawn.ports.runtime import Clock

_SYNC_AFTER_S = 1.0
_TAIL_ROWS = 1_000
_CATCH_UP_ROWS = 2_000
_LITERAL_CHARS = 32_768
_NO_HASH = bytes(32)


class PreparedRow(NamedTuple):
    """One write with its key, its document and the event about it."""

    key: str
    write: Write
    document: str
    event: DomainEvent | None


class Prepared:
    """A change with all that can be worked out before its turn, so that little can fail in it."""

    __slots__ = ("change", "guarded", "rows", "written")

    def __init__(self, change: Change, documents_: list[bytes]) -> None:
        events = journal.events_by_key(change)
        self.change = change
        self.rows = [
            PreparedRow(
                key_of(write.kind, write.id),
                write,
                document.decode(),
                events.get((write.kind, write.id)),
            )
            for write, document in zip(change.writes, documents_, strict=True)
        ]
        self.written = {row.key for row in self.rows}
        if change.receipt is not None:
            # A space is in no kind, so this can be no aggregate.
            self.written.add(f"receipt {change.receipt.scope} {change.receipt.key}")
        self.guarded = {key_of(guard.kind, guard.id) for guard in change.guards}


class _Placed(NamedTuple):
    """A change under way: its rows as they will stand in the journal."""

    turn: int
    prepared: Prepared
    rows: list[JournalRow]
    recorded_at: datetime
    answer: Answer | None


class Memory(NamedTuple):
    """What is known by heart, each part bounded."""

    heads: Heads
    entities: Recent[Held]
    pages: PageCache
    receipts: Receipts


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
        self.heads, self.entities, self.pages, self.receipts = memory
        self.epoch = 1
        self.position = 0
        self.projects_position = 0
        self.trouble: SpawnError | None = None
        self._hash = _NO_HASH
        self._recorded_at: datetime | None = None
        self._load()

    # -- opening ----------------------------------------------------------------------------

    def _load(self) -> None:
        self._cursor = self._engine.cursor()
        layout.migrate(self._cursor, self._clock.now().replace(tzinfo=None))
        self.shelf = SchemaShelf(self._cursor)
        self.projection = Projection(self._cursor, self.shelf.fields)
        self._prepare_append()
        self._find_end()
        self._check_mark()
        self.receipts.load(self._cursor, self._clock.now())
        floors = self._cursor.execute("select kind, max(key) from aggregates group by kind")
        self.heads.complete_above(dict(floors.fetchall()))
        self._catch_up()

    def _prepare_append(self) -> None:
        types = {row[0]: row[1] for row in self._cursor.execute("describe journal").fetchall()} | {
            "recorded_at": "BIGINT",
            "receipt_body": "VARCHAR",
            "hash": "VARCHAR",
        }
        types["changed"] = ["VARCHAR"]
        shape = msgspec.json.encode([{name: types[name] for name in (*ROW_COLUMNS, "hash")}])
        special = {
            "recorded_at": "make_timestamp(r.recorded_at)",
            "changed": "coalesce(r.changed, [])",
            "receipt_body": "from_base64(r.receipt_body)",
        }
        values = ", ".join(special.get(name, f"r.{name}") for name in ROW_COLUMNS)
        sources = {"now": "(select $1::varchar as payload)", "staged": "stage_journal"}
        for name, source in sources.items():
            rows = f"select unnest(from_json(payload, '{shape.decode()}')) r from {source}"
            self._cursor.execute(
                f"prepare append_{name} as"
                f" insert into journal select {values}, unhex(r.hash) from ({rows})"
            )

    def _find_end(self) -> None:
        found = self._cursor.execute("select epoch from store").fetchone()
        self.epoch = int(found[0]) if found else 1
        tail = self._cursor.execute(
            f"select hash, {SELECT_ROW} from journal"
            " where position > (select max(position) from journal) - ? order by position",
            [_TAIL_ROWS + 1],
        ).fetchall()
        before: bytes | None = None
        for stored_hash, *values in tail:
            row = row_from(values)
            first = _NO_HASH if row.position == 1 else before
            if first is not None and link(row, first) != bytes(stored_hash):
                raise damaged(self._engine.path.name)
            before = bytes(stored_hash)
            self.position = row.position
            self._recorded_at = instant(row.recorded_at)
        self._hash = before or _NO_HASH

    def _check_mark(self) -> None:
        mark, name = self._mark.read(), self._engine.path.name
        if mark is not None and mark.epoch >= self.epoch:
            if (mark.epoch, mark.position) > (self.epoch, self.position):
                raise fallen_short(name, self.position, mark.position)
            found = self._cursor.execute(
                "select hash from journal where position = ?", [mark.position]
            ).fetchone()
            if mark.position and (found is None or bytes(found[0]).hex() != mark.hash):
                raise StorageDamaged(
                    f"The database {name} and its high-water mark {self._mark.path.name} belong to"
                    " different histories: put the matching mark back, or restore a backup."
                )
        self._mark.write(Reached(self.epoch, self.position, self._hash.hex()))

    def _catch_up(self) -> None:
        """Take what the journal holds beyond the state tables as pending."""
        found = self._cursor.execute("select coalesce(max(position), 0) from aggregates").fetchone()
        at = int(found[0]) if found else 0
        newest = self._cursor.execute("select coalesce(max(_position), 0) from projects").fetchone()
        self.projects_position = int(newest[0]) if newest else 0
        while at < self.position:
            rows = [row_from(v) for v in self._rows(at, at + _CATCH_UP_ROWS)]
            at += _CATCH_UP_ROWS
            places = self._places({key_of(row.kind, row.id): row.kind for row in rows})
            for row in rows:
                if row.kind != RECEIPT_KIND:
                    key = key_of(row.kind, row.id)
                    self._settle_row(key, row, self._decoded(row), places.get(key))
                    places[key] = self.heads.get(key)
            while len(self.projection) > _CATCH_UP_ROWS:
                self.project(_CATCH_UP_ROWS)

    def _rows(self, after: int, through: int) -> list[Any]:
        return self._cursor.execute(
            f"select {SELECT_ROW} from journal where position > ? and position <= ?"
            " order by position",
            [after, through],
        ).fetchall()

    def _decoded(self, row: JournalRow) -> msgspec.Struct:
        schema = self.shelf.book.written_under(row.schema_version)
        return documents.decode(row.kind, (row.document or "").encode(), schema)

    # -- committing -------------------------------------------------------------------------

    def commit(self, group: list[Prepared]) -> list[Committed | SpawnError]:
        """Write what of the group can be written, in one transaction; an outcome for each."""
        outcomes: list[Any] = [None] * len(group)
        try:
            self._check_writable()
            places = self._places({k: k for p in group for k in (*p.written, *p.guarded)})
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
        free = free_bytes(self._engine)
        if free < self._reserve_bytes:
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
            _check_version(row.write, places.get(row.key))
        for guard in prepared.change.guards:
            _check_version(guard, places.get(key_of(guard.kind, guard.id)))
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
        chained = chain(rows, self._hash)
        try:
            self._append(chained.payload)
        except duckdb.Error as failure:
            error = self.heal(failure)
            if self._hash != chained.hash:  # else it had become durable before the failure
                self._retry(accepted, places, outcomes, error)
                return
        self._hash = chained.hash
        self.position = rows[-1].position
        self._mark.write(Reached(self.epoch, self.position, self._hash.hex()))
        self._settle(placed, places)
        for item in placed:
            at = journal.cursor(self.epoch, item.rows[-1].position)
            outcomes[item.turn] = Committed(item.recorded_at, at)

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

    def _place(self, accepted: list[tuple[int, Prepared]], outcomes: list[Any]) -> list[_Placed]:
        placed: list[_Placed] = []
        position, recorded_at = self.position, self._recorded_at
        for index, prepared in accepted:
            recorded_at = journal.next_instant(recorded_at, self._clock.now())
            change, columns, answer = prepared.change, {}, None
            if change.receipt is not None:
                try:
                    answer = change.receipt.answer(recorded_at)
                except Exception:  # noqa: BLE001 -- the caller's code must not take its group down
                    outcomes[index] = Unavailable("The answer to keep could not be made.")
                    continue
                columns = receipt_columns(
                    change.receipt.scope, change.receipt.key, change.receipt.fingerprint, answer
                )
            rows = _rows_of(prepared, position, micros(recorded_at), columns)
            position += len(rows)
            placed.append(_Placed(index, prepared, rows, recorded_at, answer))
        return placed

    def _append(self, payload: str) -> None:
        run = self._cursor.execute
        if len(payload) < _LITERAL_CHARS:
            # A prepared statement takes constants only. In JSON a quote can always be escaped, so
            # none is left in the text to end the constant early. Alone, it is its transaction.
            run("execute append_now('" + payload.replace("'", "\\u0027") + "')")
            return
        run("begin")
        run("insert into stage_journal values (?)", [payload])
        run("execute append_staged")
        run("delete from stage_journal")
        run("commit")

    def _settle(self, placed: list[_Placed], places: dict[str, Place | None]) -> None:
        """Make what is durable visible, before anyone is told."""
        seen: list[tuple[Held | None, Held]] = []
        for item in placed:
            self._recorded_at = item.recorded_at
            for prepared, row in zip(item.prepared.rows, item.rows, strict=False):
                known = places.get(prepared.key)
                before, after = self._settle_row(prepared.key, row, prepared.write.state, known)
                if row.kind == "project":
                    self.projects_position = row.position
                    seen.append((before if known else None, after))
                    if known and before is None:
                        self.pages.clear(row.position)
            receipt = item.prepared.change.receipt
            if receipt is not None:
                last = item.rows[-1]
                self.receipts.put(
                    receipt.scope, receipt.key, receipt.fingerprint, last.position, last.recorded_at
                )
        if seen:
            self.pages.written(seen)

    def _settle_row(
        self, key: str, row: JournalRow, state: msgspec.Struct, known: Place | None
    ) -> tuple[Held | None, Held]:
        created = known.created if known else row.position
        created_at = known.created_at if known else row.recorded_at
        place = Place(row.version, created, row.position, created_at)
        stored = Stored(
            kind=row.kind,
            id=row.id,
            version=row.version,
            state=state,
            created_at=instant(created_at),
            updated_at=instant(row.recorded_at),
            schema_version=row.schema_version,
        )
        before, after = self.entities.get(key), Held(stored, place)
        self.projection.note(key, after, fresh=known is None)
        self.heads.put(key, place)
        self.entities.put(key, after)
        return before, after

    # -- looking up -------------------------------------------------------------------------

    def known(self, kind: str, name: str, key: str) -> tuple[Place | None, bool]:
        """The place of an aggregate and True, or None and whether it surely does not exist."""
        place = self.heads.get(key)
        if place is not None:
            return place, True
        pending = self.projection.get(key)
        if pending is not None:
            return pending.held.place, True
        return None, self.heads.surely_absent(kind, name)

    def _places(self, keys: dict[str, Any]) -> dict[str, Place | None]:
        places: dict[str, Place | None] = {}
        unknown: list[str] = []
        for key in keys:
            kind, _, name = key.partition(":")
            places[key], sure = self.known(kind, name, key)
            if not sure and name:
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
        return self._mark.unsynced_s() > 0 or wal_bytes(self._engine) > self._tidy_bytes

    def tidy(self) -> None:
        """Sync the mark, and fold a grown log into the file."""
        self._mark.sync()
        if wal_bytes(self._engine) > self._tidy_bytes:
            self._cursor.execute("checkpoint")

    def probe(self) -> None:
        """Go through the engine durably: one counter moves, no journal row is made."""
        self._check_writable()
        self._cursor.execute("update store set probed = probed + 1")

    def in_transaction(self, work: Any) -> Any:
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

    def adopt(self, record: SchemaRecord) -> None:
        """Put a schema in force; see `SchemaStore.adopt`."""
        self.shelf.book = self.in_transaction(lambda cursor: self.shelf.adopt(cursor, record))
        # A statement prepared before a change of tables is planned anew at each execution.
        self._prepare_append()
        self.projection.prepare(self.shelf.fields)
        self.pages.clear(self.position)

    def record(self, record: SchemaRecord) -> None:
        """Remember a candidate schema; see `SchemaStore.record`."""
        self.shelf.book = self.in_transaction(lambda cursor: self.shelf.record(cursor, record))

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

    def _reopen(self) -> None:
        """Open the file anew and believe only what it says.

        Raises:
            SpawnError: it still cannot be opened.
        """
        try:
            self.heads.clear()
            self._engine.reopen()
            self.entities.clear()
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


def _check_version(item: Any, place: Place | None) -> None:
    current = place.version if place else 0
    if current == item.expected_version:
        return
    if isinstance(item, Write) and item.expected_version == 0:
        raise Duplicate(f"The {item.kind} {item.id} exists already.")
    raise Stale(
        f"The {item.kind} {item.id} is at version {current}, not {item.expected_version}.",
        current=current,
    )


def _rows_of(
    prepared: Prepared, position: int, recorded_at: int, receipt: dict[str, Any]
) -> list[JournalRow]:
    """The journal rows of a change; the last one carries its receipt."""
    change, last = prepared.change, len(prepared.rows)
    if not prepared.rows:
        return [
            JournalRow(
                position=position + 1,
                kind=RECEIPT_KIND,
                id="",
                version=0,
                type="",
                actor=change.actor,
                recorded_at=recorded_at,
                schema_version=change.schema_version,
                traceparent=change.traceparent,
                **receipt,
            )
        ]
    return [
        JournalRow(
            position=position + number,
            kind=row.write.kind,
            id=row.write.id,
            version=row.write.expected_version + 1,
            type=row.event.type if row.event else "",
            actor=change.actor,
            recorded_at=recorded_at,
            schema_version=change.schema_version,
            changed=row.event.changed if row.event else (),
            reason=row.event.reason if row.event else None,
            traceparent=change.traceparent,
            document=row.document,
            **(receipt if number == last else {}),
        )
        for number, row in enumerate(prepared.rows, start=1)
    ]


def free_bytes(engine: Engine) -> int:
    """What an unprivileged process may still write beside the file."""
    disk = os.statvfs(engine.path.parent)
    return disk.f_bavail * disk.f_frsize


def wal_bytes(engine: Engine) -> int:
    """The size of the engine's log; none is 0."""
    try:
        return os.stat(f"{engine.path}.wal").st_size  # noqa: PTH116 -- hot, a Path costs tenfold
    except FileNotFoundError:
        return 0
