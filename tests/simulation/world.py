"""A store, its backups and its successors on a fake disk: one short history with faults.

Real are the high-water mark and its check, the files of an archive, the steps of a backup with its
index and retention, and the claims of epochs. The engine is a model: a log of records with
checksums, synced at each commit, as the engine promises; a restore is a model of the order of the
real one. So are receipts and the outbox: clients repeat requests without a response, with the key
of the first, and a consumer is sent events from a bookmark. The projection is not simulated: it is
the engine's, and tested with it.
"""

import errno
import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.simulation.fake_disk import FakeDisk, FakeFcntl, FakeOs, FakePath, PowerCut

from spawn.adapters.archives import durable_files, folder_archive
from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.duckdb.archive import backup_writer
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    Segment,
    list_set_numbers,
    name_in_set,
    read_set,
)
from spawn.adapters.duckdb.archive.backup_writer import BackupWriter
from spawn.adapters.duckdb.archive.epoch_claims import choose_epoch, claim_new_epoch
from spawn.adapters.duckdb.connection import Cursor, Engine
from spawn.adapters.duckdb.journal import high_water_mark
from spawn.adapters.duckdb.journal.high_water_mark import (
    HighWaterMark,
    JournalPosition,
    MarkNotSynced,
)
from spawn.adapters.duckdb.journal.tail import Tail, check_mark
from spawn.adapters.embedded import synced_folders
from spawn.adapters.embedded.options import BackupOptions
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.errors import SpawnError, StorageDamaged, StorageIncompatible

STORE_ID = "5" * 32
ARCHIVE = "/archive"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_SYNC_AFTER_S = 1.0  # as the journal's appender
_NO_HASH = "0" * 64
_ACTIONS = 40


class Violation(AssertionError):
    """A promise that was broken."""


class FakeClock:
    """Wall clock and monotonic clock, which move only when they are told to."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return _START + timedelta(seconds=self.elapsed_s)

    def jump_s(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.elapsed_s


class ModelEngine:
    """Log of records, each with length and checksum; a commit writes a group and syncs it."""

    def __init__(self, disk: FakeDisk, path: FakePath) -> None:
        self.path = path
        self.key: EncryptionKey | None = None
        self._disk = disk
        self._descriptor = disk.open(path, os.O_RDWR | os.O_CREAT)
        content = path.read_bytes()
        self.epoch = 1
        self.rows: list[tuple[str, str]] = []
        self.bookmark = 0
        self._is_folder_synced = False
        self._end = 0
        for end, record in _read_records(content):
            self._apply(record)
            self._end = end

    def _apply(self, record: dict[str, Any]) -> None:
        self.epoch = record.get("epoch", self.epoch)
        self.rows += (tuple(row) for row in record.get("rows", ()))
        self.bookmark = record.get("bookmark", self.bookmark)

    def commit(self, record: dict[str, Any]) -> None:
        """Write a record durably; it is applied only if that has succeeded."""
        body = json.dumps(record).encode()
        content = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
        self._disk.pwrite(self._descriptor, content, self._end)
        self._disk.fsync(self._descriptor)
        if not self._is_folder_synced:  # as the engine's adapter does for each new log
            synced_folders.sync_folder(cast("Any", self.path.parent))
            self._is_folder_synced = True
        self._end += len(content)
        self._apply(record)

    def sync(self) -> None:
        self._disk.fsync(self._descriptor)

    def close(self) -> None:
        self._disk.close(self._descriptor)

    def tail(self) -> Tail:
        """Return the end of the journal."""
        row_hash = self.rows[-1][1] if self.rows else _NO_HASH
        return Tail(self.epoch, len(self.rows), bytes.fromhex(row_hash))


def _read_records(content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    offset = 0
    while len(content) >= offset + 8:
        size = int.from_bytes(content[offset : offset + 4], "big")
        body = content[offset + 8 : offset + 8 + size]
        if (
            len(body) < size
            or not size
            or zlib.crc32(body) != int.from_bytes(content[offset + 4 : offset + 8], "big")
        ):
            return
        offset += 8 + size
        yield offset, json.loads(body)


class ModelCursor:
    """Cursor that knows the few statements of the mark's check and of a backup."""

    def __init__(self, engine: ModelEngine, clock: FakeClock) -> None:
        self.engine = engine
        self._clock = clock
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, statement: str, parameters: list[Any] | None = None) -> "ModelCursor":
        rows = self.engine.rows
        position = parameters[0] if parameters else 0
        has_row = 0 < position <= len(rows)
        if "max(position), 0) from journal" in statement:
            self._rows = [(len(rows),)]
        elif "select max(position) from journal where recorded_at" in statement:
            self._rows = [(position,)]  # a change is a row
        elif "lower(hex(hash)), epoch_us" in statement:
            self._rows = [(rows[position - 1][1], position)] if has_row else []
        elif "lower(hex(hash))" in statement:
            self._rows = [(rows[position - 1][1],)] if has_row else []
        elif "select hash from journal" in statement:
            self._rows = [(bytes.fromhex(rows[position - 1][1]),)] if has_row else []
        else:
            assert statement in {"begin", "rollback"} or "from bookmarks" in statement, statement
            self._rows = []
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return self._rows[0] if self._rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


def stage_segment(
    cursor: ModelCursor, partial: FakePath, segment: Segment, _key: object
) -> Segment:
    """Write rows to a local file, in place of the engine's copy."""
    rows = cursor.engine.rows[segment.first - 1 : segment.last]
    content = json.dumps(rows).encode()
    try:
        partial.write_bytes(content)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return Segment(
        name=segment.name,
        first=segment.first,
        last=segment.last,
        size_bytes=len(content),
        sha256=sha256(content).hexdigest(),
        hash=rows[-1][1],
    )


@contextmanager
def installed(patch: pytest.MonkeyPatch, disk: FakeDisk, clock: FakeClock) -> Iterator[None]:
    """Let the modules under test use a disk and a clock."""
    FakePath.disk = disk
    fake_os, fake_fcntl = FakeOs(disk), FakeFcntl(disk)
    shutil = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=1 << 40))
    with patch.context() as each:
        for module in (high_water_mark, durable_files, synced_folders, folder_archive):
            each.setattr(module, "os", fake_os)
        for module in (high_water_mark, durable_files):
            each.setattr(module, "fcntl", fake_fcntl)
        each.setattr(high_water_mark, "time", clock)
        each.setattr(folder_archive, "Path", FakePath)
        each.setattr(folder_archive, "shutil", shutil)
        each.setattr(backup_writer, "stage_segment", stage_segment)
        each.setattr(backup_writer, "read_schema_snapshot", lambda _: b'{"schemas":[]}')
        each.setattr(backup_writer, "_SMALL_SEGMENT_ROWS", 4)
        each.setattr(backup_writer, "SEGMENT_ROWS", 8)
        yield


class Node:
    """A process that serves one file: it commits, keeps its mark, delivers and takes backups.

    What clients and the consumer know is here too, and survives it: acknowledged changes,
    requests without a response, the events that the consumer was sent, and the newest instant
    that a reader has; `synced_instant` is the one that a power cut must leave.
    """

    def __init__(self, world: "World", folder: str) -> None:
        self.world = world
        self.path = FakePath(folder) / "s.duckdb"
        self.acknowledged: dict[int, str] = {}
        self.unanswered: list[tuple[str, ...]] = []
        self.received: dict[int, str] = {}
        self.receipts: dict[str, int] = {}
        self.instant = self.synced_instant = _START
        self.is_dead = True

    def start(self) -> None:
        """Open mark and file as the service does.

        Raises:
            StorageDamaged: what was acknowledged is missing.
        """
        self.mark = HighWaterMark(cast("Any", self.path))
        try:
            self.mark.require_database(cast("Any", self.path))
            self.engine = ModelEngine(self.world.disk, self.path)
            self.world.sync_at_start(self)
            self.cursor = ModelCursor(self.engine, self.world.clock)
            self.world.check_mark(cast("Cursor", self.cursor), self.engine.tail(), self.mark, "s")
        except StorageDamaged:
            self.mark.release()
            raise
        held = self.mark.held_instant or _START
        if held < self.instant:
            raise Violation(f"a start does not know {self.instant}, which a reader has")
        self.synced_instant = held
        self.writer = self.world.open_writer(self)
        self.receipts = self.world.load_receipts(self)
        self.place = self.engine.bookmark
        self.is_dead = False

    def commit(self, count: int) -> None:
        """Send a request for a group of changes, each with an idempotency key."""
        name, bits = self.path.parent.name, self.world.random.getrandbits
        self._request(tuple(f"{name}-{bits(48):x}" for _ in range(count)))

    def repeat(self) -> None:
        """Repeat a request whose response never came, if there is one."""
        if self.unanswered:
            self._request(self.unanswered.pop(0))

    def _request(self, keys: tuple[str, ...]) -> None:
        self.unanswered.append(keys)  # until its response comes
        for key in keys:
            place = self.receipts.get(key)
            if place is not None and (
                place > len(self.engine.rows) or self.engine.rows[place - 1][0] != key
            ):
                raise Violation(f"the response to {key} is repeated, but its change is lost")
        new_keys = [key for key in keys if key not in self.receipts]
        if not new_keys or self._commit(new_keys):
            self.unanswered.remove(keys)
            rows = enumerate(self.engine.rows, start=1)
            self.acknowledged.update((n, row[1]) for n, row in rows if row[0] in keys)

    def _commit(self, keys: list[str]) -> bool:
        """Commit changes: first the engine, then the mark; return whether it was done."""
        rows, row_hash = [], self.engine.rows[-1][1] if self.engine.rows else _NO_HASH
        for key in keys:
            row_hash = sha256(f"{row_hash} {key}".encode()).hexdigest()
            rows.append((key, row_hash))
        first = len(self.engine.rows) + 1
        try:
            self.world.commit(self, {"rows": rows})
        except OSError as failure:
            self._end_after(failure)
            # The engine may have the changes: then a repetition must find their receipts.
            self.receipts = self.world.load_receipts(self)
            return False
        self.receipts.update((key, first + n) for n, key in enumerate(keys))
        return True

    def _end_after(self, failure: OSError) -> None:
        if failure.errno == errno.EIO:
            self.world.after_failed_sync(self)

    def deliver(self) -> None:
        """Send the next events to the consumer, and save the bookmark now and then."""
        try:
            self.world.deliver(self, self.world.random.randint(1, 5))
        except OSError as failure:
            self._end_after(failure)

    def give_instant(self) -> None:
        """Give a reader the present instant, which later changes must follow."""
        instant = self.world.clock.now()
        try:
            self.world.hold_instant(self, instant)
        except OSError as failure:
            self._end_after(failure)
        else:
            self.instant = instant

    def send(self, rows: list[tuple[str, str]]) -> None:
        """Let the consumer have the events after the place; it may have had some of them."""
        for row in rows:
            self.place += 1
            if self.place > len(self.received) + 1:
                raise Violation(f"the event {len(self.received) + 1} was never delivered")
            self.received[self.place] = row[1]

    def save_bookmark(self, place: int) -> None:
        self.engine.commit({"bookmark": place})

    def write_mark(self) -> None:
        """Write the mark after a commit, and sync it once its last sync is old."""
        try:
            self.mark.write(self.engine.tail().journal_position())
            if self.mark.unsynced_s() > _SYNC_AFTER_S:
                self.mark.sync()
                self.synced_instant = self.instant
        except MarkNotSynced as failure:
            raise OSError(errno.EIO, "fsync") from failure

    def back_up(self) -> None:
        """Take a backup, and note what it promises to restore."""
        claimed = max(self.world.claimed, default=1)
        try:
            while True:
                progress = self.writer._write_step(cast("Cursor", self.cursor))
                point = progress.backup_set.points[-1]
                if point.position == point.observed_position:
                    break
        except StorageIncompatible:
            self.is_dead = True
            return
        except (OSError, SpawnError):
            return
        if claimed > self.engine.epoch:
            raise Violation(
                f"epoch {self.engine.epoch} took a backup although {claimed} is claimed"
            )
        self.world.backed_up = (self.engine.epoch, point.position)

    def stop(self) -> None:
        self.is_dead = True


class World:
    """Disk, archive and the nodes of one history. Planted faults override its methods."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = FakeDisk(self.random)
        self.clock = FakeClock()
        self.archive: FolderArchive
        self.claimed: list[int] = []
        self.backed_up = (0, 0)
        self.nodes: list[Node] = []
        self.check_mark: Callable[..., None] = check_mark

    # -- the order of the protocol, which planted faults change ---------------------------------

    def commit(self, node: Node, record: dict[str, Any]) -> None:
        node.engine.commit(record)
        node.write_mark()

    def hold_instant(self, node: Node, instant: datetime) -> None:
        node.mark.hold_instant(node.engine.tail().journal_position(), instant)

    def after_failed_sync(self, node: Node) -> None:
        """Stop: after a failed sync only what the disk has after a restart proves anything."""
        node.stop()
        raise PowerCut

    def load_receipts(self, node: Node) -> dict[str, int]:
        """Return the journal rows by their keys, as a start reads them."""
        return {key: n for n, (key, _) in enumerate(node.engine.rows, start=1)}

    def deliver(self, node: Node, count: int) -> None:
        """Send committed events, then save how far the consumer is, not each time."""
        node.send(node.engine.rows[node.place : node.place + count])
        if self.random.random() < 0.5:
            node.save_bookmark(node.place)

    def sync_at_start(self, node: Node) -> None:
        """Make durable what a killed process may have left in memory, as a start does."""
        node.engine.sync()

    def open_writer(self, node: Node) -> BackupWriter:
        return BackupWriter(
            cast("Engine", node.engine),
            store_id=STORE_ID,
            epoch=node.engine.epoch,
            clock=self.clock,
            options=BackupOptions(
                archive=self.archive, full_interval_s=60.0, retained_sets=2, reserve_bytes=0
            ),
            on_superseded=lambda _: node.stop(),
            on_fatal=node.stop,
        )

    # -- a history ------------------------------------------------------------------------------

    def run(self, actions: int) -> None:
        """Run one history, and check every promise at its end and after each power cut."""
        for folder in ("/a", ARCHIVE):
            self.disk.mkdir(folder, parents=False, exist_ok=False)
        self.disk._root.sync()
        self.archive = FolderArchive(cast("Any", FakePath(ARCHIVE)))
        self.nodes = [Node(self, "/a")]
        for _ in range(actions):
            self._inject()
            try:
                self._act()
            except PowerCut:
                self._end_programs()
                self._recover()
        self._cut_power()
        self._recover()
        self.disk.faults.clear()
        successors = len(self.nodes)
        self._restore()
        if self.backed_up != (0, 0) and len(self.nodes) == successors:
            raise Violation("no store can be restored, although nothing fails any more")

    def _end_programs(self) -> None:
        """Cut the power, or as often kill the programs: the system then still has the writes."""
        has_failed_sync = errno.EIO in self.disk.faults.values()
        if has_failed_sync or self.random.random() < 0.5:
            self._cut_power()
        else:
            self.disk.kill()

    def _cut_power(self) -> None:
        self.disk.crash()
        for node in self.nodes:
            node.instant = node.synced_instant

    def _inject(self) -> None:
        """Choose the faults of the next steps."""
        self.disk.faults.clear()
        self.disk.cut_at = None
        chance = self.random.random()
        at = self.disk.steps + self.random.randint(1, self.random.choice((12, 40)))
        if chance < 0.25:
            self.disk.cut_at = at
        elif chance < 0.4:
            number = errno.ENOSPC if self.random.random() < 0.5 else errno.EIO
            self.disk.faults = dict.fromkeys(range(at, at + self.random.randint(1, 3)), number)

    def _act(self) -> None:
        node = self.random.choice(self.nodes[-2:])
        self.clock.elapsed_s += self.random.choice((0.01, 0.3, 2.0, 70.0))
        if node.is_dead:
            self._restart(node)
        elif (chance := self.random.random()) < 0.35:
            node.commit(self.random.randint(1, 3))
        elif chance < 0.45:
            node.repeat()
        elif chance < 0.55:
            node.deliver()
        elif chance < 0.6:
            node.give_instant()
        elif chance < 0.85:
            node.back_up()
        elif chance < 0.93:
            self._restore()
        else:
            self._truncate(node)

    def _restart(self, node: Node) -> None:
        """Start a node again; only a fault of the disk or a successor may prevent it."""
        if hasattr(node, "engine"):
            node.engine.close()
            node.mark.release()
        try:
            node.start()
        except StorageDamaged as error:
            raise Violation(f"an intact store does not start: {error.detail}") from error
        except (OSError, SpawnError):
            self.disk.kill()
            for each in self.nodes:
                each.stop()
            return
        self._check_acknowledged(node)

    def _restore(self) -> None:
        """Build a successor from the newest set, claim its epoch, and let it start."""
        with suppress(OSError, SpawnError):
            numbers = list_set_numbers(self.archive)
            if not numbers:
                return
            backup_set = read_set(self.archive, numbers[-1])
            rows = self._read_rows(backup_set)
            epoch = choose_epoch(self.archive, STORE_ID, backup_set.epoch)
            successor = Node(self, f"/n{len(self.nodes)}-{self.disk.steps}")
            folder = cast("Any", successor.path.parent)
            synced_folders.create_folder(folder)
            engine = ModelEngine(self.disk, successor.path)
            engine.commit({"epoch": epoch, "rows": rows})
            mark = HighWaterMark(cast("Any", successor.path))
            mark.create(JournalPosition(epoch, len(rows), engine.tail().hash.hex()))
            synced_folders.sync_folder(folder)
            if not claim_new_epoch(self.archive, STORE_ID, epoch, self.clock):
                raise Violation("a claim was not possible on a disk that can be written")
            if epoch in self.claimed:
                raise Violation(f"epoch {epoch} was claimed twice")
            self.claimed.append(epoch)
            engine.close()
            mark.release()
            successor.acknowledged = {n: row[1] for n, row in enumerate(rows, start=1)}
            self.nodes.append(successor)

    def _truncate(self, node: Node) -> None:
        """Cut the log of a stopped store: it must not start if its mark knows of more."""
        self.disk.kill()  # no fault meanwhile: what is cut is put back
        for each in self.nodes:
            each.stop()
        content = node.path.read_bytes()
        ends = [end for end, _ in _read_records(content)]
        if not ends:
            return
        mark = HighWaterMark(cast("Any", node.path))
        marked = mark.read()
        mark.release()
        self.disk.truncate(str(node.path), ends[-2] if len(ends) > 1 else 0)
        engine = ModelEngine(self.disk, node.path)
        is_known = marked is not None and (marked.epoch, marked.position) > (
            engine.epoch,
            len(engine.rows),
        )
        engine.close()
        try:
            node.start()
        except StorageDamaged:
            pass
        except (OSError, SpawnError):
            is_known = False
        else:
            if is_known:
                raise Violation("a store whose log was cut starts as if nothing was missing")
            node.stop()
        self.disk.truncate(str(node.path), 0)
        descriptor = self.disk.open(node.path, os.O_RDWR)
        file = self.disk._file(descriptor)
        file.write(0, content)
        file.sync()
        self.disk.kill()
        node.stop()

    # -- promises -------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Start the newest node after a power cut, and check every promise."""
        for node in self.nodes:
            node.stop()
        self._check_archive()
        node = self.nodes[-1]
        self.disk.faults.clear()
        if hasattr(node, "engine"):
            del node.engine
        self._restart(node)

    def _check_acknowledged(self, node: Node) -> None:
        rows = node.engine.rows
        for position, row_hash in node.acknowledged.items():
            if position > len(rows) or rows[position - 1][1] != row_hash:
                raise Violation(f"the acknowledged change {position} is lost")
        if len({key for key, _ in rows}) < len(rows):
            raise Violation("a request that was repeated took effect twice")
        for position, row_hash in node.received.items():
            if position > len(rows) or rows[position - 1][1] != row_hash:
                raise Violation(f"the event {position} was delivered, but its change is lost")

    def _check_archive(self) -> None:
        """Check that every listed file is whole, and the newest backup restorable."""
        numbers = list_set_numbers(self.archive)
        newest = (0, 0)
        for number in numbers:
            try:
                backup_set = read_set(self.archive, number)
            except (StorageDamaged, OSError) as error:
                raise Violation(f"the index of set {number} is not whole: {error}") from error
            try:
                self._read_rows(backup_set)
            except OSError as error:
                raise Violation(f"set {number} lists a file that is missing: {error}") from error
            newest = max(newest, (backup_set.epoch, backup_set.points[-1].position))
        if newest < self.backed_up:
            raise Violation(f"the backup of {self.backed_up} is lost: the newest is {newest}")
        names = self.archive.list_names("epoch-")
        for epoch in self.claimed:
            if f"epoch-{STORE_ID[:8]}-{epoch:06d}.json" not in names:
                raise Violation(f"the claim of epoch {epoch} is lost")

    def _read_rows(self, backup_set: BackupSet) -> list[tuple[str, str]]:
        rows: list[tuple[str, str]] = []
        for segment in backup_set.segments:
            content = self.archive.read(name_in_set(backup_set.number, segment.name))
            if sha256(content).hexdigest() != segment.sha256:
                raise Violation(f"{segment.name} is not whole")
            rows += (tuple(row) for row in json.loads(content))
        for point in backup_set.points:
            self.archive.read(name_in_set(backup_set.number, point.schemas))
        return rows


class Summary(SimpleNamespace):
    """Histories and steps of a run, and its first violation."""

    histories: int
    steps: int
    violation: str


def simulate(
    seed: int,
    steps: int,
    new_world: Callable[[int], World] = World,
    patch: pytest.MonkeyPatch | None = None,
) -> Summary:
    """Run histories until a number of steps, or to the first violation."""
    summary = Summary(histories=0, steps=0, violation="")
    patch = patch or pytest.MonkeyPatch()
    while summary.steps < steps and not summary.violation:
        world = new_world(seed + summary.histories)
        with installed(patch, world.disk, world.clock):
            try:
                world.run(_ACTIONS)
            except Violation as violation:
                summary.violation = f"seed {seed + summary.histories}: {violation}"
        summary.histories += 1
        summary.steps += world.disk.steps
    return summary
