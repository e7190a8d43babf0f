"""Index of a backup set: its segments, its points, their checksums and its signature.

An archive is a folder with one folder per set. A set is complete on its own: its segments hold the
journal from the first row. Nothing counts that the index of the set does not list, and the index is
replaced last, so that an interrupted backup leaves the previous one.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import uuid4

import msgspec

from spawn.adapters.embedded.archive import Archive
from spawn.adapters.encryption.encryption_key import NO_KEYS, ArchiveKeys, wrong_key_error
from spawn.domain.errors import StorageDamaged
from spawn.ports.backups import JournalHead

INDEX_NAME: Final = "index.json"
INDEX_FORMAT: Final = 1
_PURPOSE: Final = b"backup index"
_SET_PREFIX: Final = "set-"
_EPOCH_PREFIX: Final = "epoch-"
_IN_SET: Final = re.compile(r"set-([0-9]{1,12})/(.+)")


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """File with the journal rows from `first` to `last`; `hash` is that of the last row."""

    name: str
    first: int
    last: int
    size_bytes: int
    sha256: str
    hash: str


class IndexedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Position at which a set can be restored with certainty about everything beside the journal.

    The schemas and the bookmarks were read when the journal ended at `observed_position`, which is
    later than `position` only while a backup catches up.
    """

    position: int
    observed_position: int
    hash: str
    recorded_at: datetime | None
    taken_at: datetime
    schemas: str
    schemas_sha256: str
    bookmarks: Mapping[str, str]


class BackupSet(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one set of files holds; `key_id` names the key that encrypts them."""

    format: int
    store_id: str
    epoch: int
    store_format: int
    number: int
    created_at: datetime
    key_id: str = ""
    segments: tuple[Segment, ...] = ()
    points: tuple[IndexedPoint, ...] = ()

    @property
    def last_position(self) -> int:
        """Position of the last row in the segments; 0 without rows."""
        return self.segments[-1].last if self.segments else 0


class EpochClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Claim of an epoch, by which a restored store excludes the one before it.

    The `token` is of this claim alone, so that its writer recognises it.
    """

    store_id: str
    epoch: int
    claimed_at: datetime
    token: str = ""


class _SignedIndex(msgspec.Struct, frozen=True, omit_defaults=True):
    """Index as it is stored; an encrypted one has the set as a text in base64."""

    sha256: str
    signature: str
    backup_set: msgspec.Raw
    key_id: str = ""


def name_in_set(number: int, name: str) -> str:
    """Return the name of a file of a set in its archive."""
    return f"{_SET_PREFIX}{number:06d}/{name}"


def list_set_numbers(archive: Archive) -> list[int]:
    """Return the numbers of the sets that have an index, oldest first.

    Raises:
        OSError: the archive cannot be read.
    """
    return sorted(
        int(match[1])
        for name in archive.list_names(_SET_PREFIX)
        if (match := _IN_SET.fullmatch(name)) and match[2] == INDEX_NAME
    )


def remove_set(archive: Archive, number: int) -> None:
    """Remove a set; first its index, so that a half-removed one never counts."""
    archive.remove([name_in_set(number, INDEX_NAME)])
    archive.remove(archive.list_names(name_in_set(number, "")))


def read_set(archive: Archive, number: int, keys: ArchiveKeys = NO_KEYS) -> BackupSet:
    """Read the index of a set and check it.

    Raises:
        StorageDamaged: the index is damaged, of a later release, or not signed with the key.
        StorageIncompatible: it is encrypted with another key than the given one.
        OSError: it cannot be read.
    """
    name = name_in_set(number, INDEX_NAME)
    path = f"{archive}/{name}"
    try:
        index = msgspec.json.decode(archive.read(name), type=_SignedIndex)
        body = bytes(index.backup_set)
        if hashlib.sha256(body).hexdigest() != index.sha256:
            raise StorageDamaged(f"The index {path} is damaged: its checksum differs.")
        _check_signature(path, keys.signing, body, index.signature)
        content = _decrypt(path, index, body, keys) if index.key_id else body
        backup_set = msgspec.json.decode(content, type=BackupSet)
    except (msgspec.DecodeError, binascii.Error) as error:
        raise StorageDamaged(f"The index {path} is damaged: {error}.") from error
    if backup_set.format > INDEX_FORMAT:
        raise StorageDamaged(
            f"The index {path} has format {backup_set.format}: use the release that wrote it."
        )
    return backup_set


def _check_signature(path: str, key: bytes | None, body: bytes, signature: str) -> None:
    if key is not None and not hmac.compare_digest(_sign(key, body), signature):
        raise StorageDamaged(
            f"The index {path} is not signed with the key: use the key that it was written with."
        )


def _decrypt(path: str, index: _SignedIndex, body: bytes, keys: ArchiveKeys) -> bytes:
    key = keys.encryption
    if key is None or key.id != index.key_id:
        raise wrong_key_error(f"The index {path}", index.key_id, key)
    ciphertext = base64.b64decode(msgspec.json.decode(body, type=str), validate=True)
    return key.unseal(ciphertext, _PURPOSE, f"The index {path}")


def is_set_signed(archive: Archive, number: int) -> bool:
    """Whether the index of a set has a signature, with any key.

    Raises:
        StorageDamaged: the index is damaged.
        OSError: it cannot be read.
    """
    name = name_in_set(number, INDEX_NAME)
    try:
        return bool(msgspec.json.decode(archive.read(name), type=_SignedIndex).signature)
    except msgspec.DecodeError as error:
        raise StorageDamaged(f"The index {archive}/{name} is damaged: {error}.") from error


def write_set(archive: Archive, backup_set: BackupSet, keys: ArchiveKeys) -> None:
    """Replace the index of a set, after all that it lists is durable.

    Raises:
        StorageBusy: another process has replaced it meanwhile.
        OSError: it could not be written.
    """
    body = msgspec.json.encode(backup_set)
    if keys.encryption is not None:
        ciphertext = keys.encryption.seal(body, _PURPOSE)
        body = msgspec.json.encode(base64.b64encode(ciphertext).decode())
    signature = "" if keys.signing is None else _sign(keys.signing, body)
    digest = hashlib.sha256(body).hexdigest()
    index = _SignedIndex(digest, signature, msgspec.Raw(body), backup_set.key_id)
    archive.replace(name_in_set(backup_set.number, INDEX_NAME), msgspec.json.encode(index))


def _sign(key: bytes, content: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def sign_head(head: JournalHead, signing_key: bytes | None) -> JournalHead:
    """Return the head with its signature; without a key it has none."""
    if signing_key is None:
        return head
    return msgspec.structs.replace(head, signature=_sign(signing_key, _head_content(head)))


def head_of_set(backup_set: BackupSet, signing_key: bytes | None) -> JournalHead:
    """Return the head at the newest point of a set, which has one; signed if there is a key."""
    point = backup_set.points[-1]
    head = JournalHead(
        store_id=backup_set.store_id,
        epoch=backup_set.epoch,
        position=point.position,
        hash=point.hash,
    )
    return sign_head(head, signing_key)


def is_head_signed(head: JournalHead, signing_key: bytes) -> bool:
    """Whether the head has the signature of the key."""
    return hmac.compare_digest(_sign(signing_key, _head_content(head)), head.signature)


def _head_content(head: JournalHead) -> bytes:
    return f"spawn-head {head.store_id} {head.epoch} {head.position} {head.hash}".encode()


def read_epoch_claims(archive: Archive, store_id: str) -> list[EpochClaim]:
    """Return the claims of epochs of a store; a claim that is cut short is none.

    Raises:
        OSError: one cannot be read.
    """
    claims: list[EpochClaim] = []
    for name in archive.list_names(_EPOCH_PREFIX):
        try:
            claim = msgspec.json.decode(archive.read(name), type=EpochClaim)
        except msgspec.DecodeError:
            continue
        if claim.store_id == store_id:
            claims.append(claim)
    return claims


def find_claimed_epoch(archive: Archive, store_id: str) -> int:
    """Return the highest epoch of a store of which there is a claim, also one that is cut short.

    Raises:
        OSError: the archive cannot be read.
    """
    prefix = f"{_EPOCH_PREFIX}{store_id[:8]}-"
    numbers = [name[len(prefix) :].partition(".")[0] for name in archive.list_names(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def claim_epoch(archive: Archive, claim: EpochClaim) -> None:
    """Claim an epoch of a store, which no other process can claim again.

    Raises:
        FileExistsError: it is claimed.
        OSError: the archive cannot be written.
    """
    name = f"{_EPOCH_PREFIX}{claim.store_id[:8]}-{claim.epoch:06d}.json"
    archive.create(name, msgspec.json.encode(msgspec.structs.replace(claim, token=uuid4().hex)))
