"""Content that is sealed opens with its key and purpose only, and unchanged."""

import pytest
from tests.adapters.storage.encryption_keys import KEY, OTHER_KEY

from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.domain.errors import StorageDamaged, StorageIncompatible

CONTENT = b"content of a file " * 9


def test_sealed_content_opens_and_is_different_each_time() -> None:
    first, second = (KEY.seal(CONTENT, b"test") for _ in range(2))
    assert first != second
    assert CONTENT[:8] not in first
    assert KEY.unseal(first, b"test", "x") == KEY.unseal(second, b"test", "x") == CONTENT


def test_every_changed_byte_is_found() -> None:
    sealed = KEY.seal(b"abc", b"test")
    for number in range(len(sealed)):
        changed = bytearray(sealed)
        changed[number] ^= 1
        with pytest.raises(StorageDamaged):
            KEY.unseal(bytes(changed), b"test", "x")
    for size in range(len(sealed)):
        with pytest.raises(StorageDamaged):
            KEY.unseal(sealed[:size], b"test", "x")


def test_content_of_one_purpose_opens_for_no_other() -> None:
    with pytest.raises(StorageDamaged, match="x was changed"):
        KEY.unseal(KEY.seal(CONTENT, b"audit log"), b"schema cache", "x")


def test_another_key_is_named() -> None:
    with pytest.raises(StorageIncompatible) as failure:
        OTHER_KEY.unseal(KEY.seal(CONTENT, b"test"), b"test", "The file x")
    assert failure.value.detail == (
        f"The file x is encrypted with the key {KEY.id}, and the key given is {OTHER_KEY.id}: name"
        " the file of that key in SPAWN_ENCRYPTION_KEY_FILE."
    )


def test_derived_keys_are_those_of_rfc_5869() -> None:
    """Keys of later releases must be the same; computed once with HMAC-SHA-256 by hand."""
    import hashlib
    import hmac

    secret = b"s" * 32
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    expected = hmac.digest(extracted, b"spawn engine\x01", hashlib.sha256)
    assert EncryptionKey(secret).derive(b"engine") == expected


def test_a_key_shows_only_its_name() -> None:
    assert repr(KEY) == f"EncryptionKey({KEY.id})"
    assert len(KEY.id) == 16
    assert KEY.id != OTHER_KEY.id
