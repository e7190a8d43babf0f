"""Sealed files are read at any position, and no changed or missing part goes unnoticed."""

import random
from pathlib import Path

import pytest
from tests.adapters.storage.encryption_keys import KEY, OTHER_KEY

from spawn.adapters.encryption.sealed_files import (
    CHUNK_BYTES,
    EphemeralCipher,
    FileSealer,
    SealedFile,
)
from spawn.domain.errors import StorageDamaged, StorageIncompatible

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
PURPOSE = b"upload x"


def write_sealed(path: Path, content: bytes, piece_bytes: int = 40_000) -> SealedFile:
    sealer = FileSealer(KEY, PURPOSE)
    pieces = [content[at : at + piece_bytes] for at in range(0, len(content), piece_bytes)]
    path.write_bytes(b"".join([*map(sealer.seal, pieces), sealer.finish()]))
    return SealedFile(path, KEY, PURPOSE)


def read_all(file: SealedFile) -> bytes:
    with file.open("rb") as reader:
        return reader.read()


@pytest.mark.parametrize("size", SIZES)
def test_content_of_any_size_is_read_back(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    file = write_sealed(tmp_path / "f", content)
    assert read_all(file) == content
    assert size < 32 or content[:32] not in file.path.read_bytes()


def test_content_is_read_at_any_position(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * CHUNK_BYTES + 17)
    choose = random.Random(2)
    with write_sealed(tmp_path / "f", content).open("rb") as reader:
        for _ in range(200):
            start, size = choose.randrange(len(content)), choose.randrange(2 * CHUNK_BYTES)
            assert reader.seek(start) == start
            assert reader.read(size) == content[start : start + size]
        assert reader.seek(-5, 2) == len(content) - 5
        assert reader.read() == content[-5:]
        assert reader.seek(len(content) + 9) == len(content) + 9
        assert reader.read(1) == b""


def test_lines_are_read_one_by_one(tmp_path: Path) -> None:
    lines = [b"line %d\n" % number for number in range(20_000)]
    with write_sealed(tmp_path / "f", b"".join(lines)).open("rb") as reader:
        assert list(reader) == lines


def test_changed_exchanged_and_missing_chunks_are_found(tmp_path: Path) -> None:
    file = write_sealed(tmp_path / "f", random.Random(3).randbytes(3 * CHUNK_BYTES))
    sealed = file.path.read_bytes()
    header, chunk = 5 + 8 + 16, CHUNK_BYTES + 16
    first, second = sealed[header : header + chunk], sealed[header + chunk : header + 2 * chunk]
    changes = {
        "a byte": sealed[:99] + bytes([sealed[99] ^ 1]) + sealed[100:],
        "the salt": sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:],
        "exchanged": sealed[:header] + second + first + sealed[header + 2 * chunk :],
        "no last chunk": sealed[:-chunk],
        "half a chunk": sealed[:-100],
        "no chunk": sealed[:header],
        "one more": sealed + first,
    }
    for name, content in changes.items():
        file.path.write_bytes(content)
        with pytest.raises(StorageDamaged, match="changed or cut off"):
            read_all(file)
        assert name


def test_a_file_of_another_name_key_or_kind_is_rejected(tmp_path: Path) -> None:
    file = write_sealed(tmp_path / "f", b"abc")
    with pytest.raises(StorageDamaged):
        read_all(SealedFile(file.path, KEY, b"upload y"))
    with pytest.raises(StorageIncompatible, match=KEY.id):
        read_all(SealedFile(file.path, OTHER_KEY, PURPOSE))
    file.path.write_bytes(b"plain text, longer than the header of a sealed file")
    with pytest.raises(StorageDamaged, match="is not encrypted"):
        read_all(file)


def test_any_part_of_a_temporary_file_is_decrypted() -> None:
    content, cipher = random.Random(4).randbytes(5_000), EphemeralCipher()
    encrypted = b"".join(cipher.apply(content[at : at + 7], at) for at in range(0, 5_000, 7))
    assert encrypted != content
    for start in (0, 1, 15, 16, 17, 4_990):
        assert cipher.apply(encrypted[start:], start) == content[start:]
    assert EphemeralCipher().apply(encrypted, 0) != content
