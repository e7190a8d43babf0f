"""Verification of an archive: every file, every row, the chain, and a head from elsewhere."""

from collections.abc import Iterable
from contextlib import closing

import duckdb
import msgspec

from spawn.adapters.archives.durable_files import hash_file
from spawn.adapters.duckdb.archive.backup_index import (
    BackupSet,
    head_of_set,
    is_head_signed,
    list_set_numbers,
)
from spawn.adapters.duckdb.archive.pinned_set import PinnedSet, pin_set
from spawn.adapters.duckdb.archive.segments import (
    ChainCheck,
    add_segment_key,
    read_chained_rows,
    segment_source,
)
from spawn.adapters.duckdb.connection import Cursor
from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys
from spawn.domain.errors import StorageDamaged
from spawn.ports.backups import JournalHead


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of a verification, none if all is well, and the head of the journal."""

    target: str
    rows: int
    findings: tuple[str, ...]
    head: JournalHead | None


class HeadCheck:
    """Check that a journal contains the row of a head that was stored elsewhere."""

    def __init__(self, head: JournalHead | None, signing_key: bytes | None) -> None:
        self._head = head
        self._signing_key = signing_key
        self._hash_there = ""

    def add(self, position: int, row_hash: bytes) -> None:
        """Note the hash of the next row."""
        if self._head is not None and position == self._head.position:
            self._hash_there = row_hash.hex()

    def findings(self, store_id: str, last_position: int) -> list[str]:
        """Return why the journal does not have the row of the head."""
        head = self._head
        if head is None:
            return []
        if self._signing_key is not None and not is_head_signed(head, self._signing_key):
            return ["the head is not signed with the key"]
        if head.store_id != store_id:
            return [f"the head is of the store {head.store_id}, not of {store_id}"]
        if head.position > last_position:
            missing = f"the journal ends at {last_position}, below the head {head.position}"
            return [f"{missing}: changes are missing"]
        if head.position and self._hash_there != head.hash:
            return [f"row {head.position} is not the one of the head: the history was changed"]
        return []


def verify_archive(
    archive: Archive, *, head: JournalHead | None = None, keys: ArchiveKeys = NO_KEYS
) -> Verification:
    """Verify every set of an archive.

    Raises:
        OSError: the folder cannot be read.
    """
    if not archive.exists():
        raise FileNotFoundError(2, "No such folder of backups", str(archive))
    findings: list[str] = []
    rows, is_newest_read = 0, False
    newest_head: JournalHead | None = None
    seen: set[int] = set()
    # Listed again for each, because retention removes sets meanwhile, and backups add others.
    while remaining := [number for number in list_set_numbers(archive) if number not in seen]:
        number, is_newest_read = remaining[0], False
        seen.add(number)
        check = HeadCheck(head if number == remaining[-1] else None, keys.signing)
        backup_set: BackupSet | None = None
        try:
            with pin_set(archive, number, keys) as pinned:
                set_findings = verify_set(pinned, check)
                backup_set = pinned.backup_set
        except (OSError, StorageDamaged) as error:
            set_findings = [str(error)]
        if set_findings and number not in list_set_numbers(archive):
            continue  # its removal has caused them
        is_newest_read = number == remaining[-1]
        findings += (f"set {number}: {finding}" for finding in set_findings)
        if backup_set is not None:
            rows += backup_set.last_position
            newest_head = (
                head_of_set(backup_set, keys.signing) if backup_set.points else newest_head
            )
    if not seen:
        findings.append("there is no backup")
    elif not is_newest_read:
        findings.append("the newest set was removed while it was read: verify again")
    return Verification(target=str(archive), rows=rows, findings=tuple(findings), head=newest_head)


def verify_set(pinned: PinnedSet, head_check: HeadCheck, through: int | None = None) -> list[str]:
    """Return the findings about one set, or about its rows up to a position."""
    backup_set = pinned.backup_set
    last = backup_set.last_position if through is None else through
    segments = [segment for segment in backup_set.segments if segment.first <= last]
    findings = [
        finding
        for name, size_bytes, sha256 in [
            *((s.name, s.size_bytes, s.sha256) for s in segments),
            *{(p.schemas, None, p.schemas_sha256) for p in backup_set.points},
        ]
        if (finding := _check_file(pinned, name, size_bytes, sha256))
    ]
    if findings:
        return findings
    hashes_by_position = {point.position: point.hash for point in backup_set.points}
    # Temporary files of this engine would be plain.
    with closing(duckdb.connect(config={"threads": 1, "temp_directory": ""})) as cursor:
        add_segment_key(cursor, pinned.key)
        chain = ChainCheck()
        for segment in segments:
            try:
                source = segment_source([pinned.path(segment.name)], pinned.key)
                _check_segment(cursor, source, chain, head_check, hashes_by_position)
            except duckdb.Error as failure:
                return [f"{segment.name} cannot be read: {str(failure).splitlines()[0]}"]
            if not chain.finding and (chain.position, chain.hash.hex()) != (
                segment.last,
                segment.hash,
            ):
                chain.finding = f"it ends at row {chain.position}, not as the index says"
            if chain.finding:
                return [f"{segment.name}: {chain.finding}"]
    if through is not None:
        return []
    return head_check.findings(backup_set.store_id, chain.position)


def _check_file(pinned: PinnedSet, name: str, size_bytes: int | None, sha256: str) -> str:
    try:
        path = pinned.path(name)
        if size_bytes is not None and path.stat().st_size != size_bytes:
            return f"{path.name} has {path.stat().st_size} bytes instead of {size_bytes}"
        return "" if hash_file(path) == sha256 else f"{path.name} was changed: its checksum differs"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as failure:
        return f"{name} cannot be read: {failure.strerror}"


def _check_segment(
    cursor: Cursor,
    source: str,
    chain: ChainCheck,
    head_check: HeadCheck,
    hashes_by_position: dict[int, str],
) -> None:
    for row, stored_hash in read_chained_rows(cursor, source):
        if not chain.add(row, stored_hash):
            return
        head_check.add(row.position, stored_hash)
        expected_hash = hashes_by_position.get(row.position)
        if expected_hash is not None and expected_hash != stored_hash.hex():
            chain.finding = f"row {row.position} is not the one that the index lists"
            return


def join_findings(findings: Iterable[str]) -> str:
    """Return the findings as one sentence."""
    return "; ".join(findings)
