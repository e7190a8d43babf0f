"""Key that encrypts the files of a store, and the keys that are derived from it.

Each purpose has a key of its own (HKDF with SHA-256, RFC 5869), so that what is sealed for one
purpose opens for no other. Content is sealed with AES-256-GCM and a random nonce of 96 bits.
"""

import base64
import importlib.util
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from spawn.domain.errors import KeyMismatch, StorageDamaged

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MIN_SECRET_BYTES: Final = 32
"""Length of the text of a key at least; `openssl rand -hex 32` writes twice as many."""

KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

_MAGIC: Final = b"SPWN1"
_HEADER_BYTES: Final = len(_MAGIC) + KEY_ID_BYTES + NONCE_BYTES
_KEY_BYTES: Final = 32
_CACHED_CIPHERS: Final = 16


class EncryptionKey:
    """Key of a store; its text appears in no representation.

    Args:
        secret: the content of the key's file.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._id = self.derive(b"key id")[:KEY_ID_BYTES]
        self._cipher = lru_cache(_CACHED_CIPHERS)(self._create_cipher)

    def __repr__(self) -> str:
        return f"EncryptionKey({self.id})"

    @property
    def id(self) -> str:
        """Name of the key in files and messages, from which the key cannot be found."""
        return self._id.hex()

    @property
    def id_bytes(self) -> bytes:
        """The name of the key as it stands in a file."""
        return self._id

    def derive(self, purpose: bytes, salt: bytes | None = None) -> bytes:
        """Return the 32 bytes of a key for a purpose."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        return HKDF(SHA256(), _KEY_BYTES, salt, b"spawn " + purpose).derive(self._secret)

    def engine_key(self, purpose: bytes) -> str:
        """Return a key for the engine, in base64."""
        return base64.b64encode(self.derive(purpose)).decode()

    def _create_cipher(self, purpose: bytes) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.derive(purpose))

    def seal(self, content: bytes, purpose: bytes) -> bytes:
        """Return content encrypted, so that a change of any byte is found."""
        nonce = os.urandom(NONCE_BYTES)
        return _MAGIC + self._id + nonce + self._cipher(purpose).encrypt(nonce, content, purpose)

    def unseal(self, ciphertext: bytes, purpose: bytes, name: str) -> bytes:
        """Return the content of what `seal` returned.

        Raises:
            KeyMismatch: it is not encrypted, or with another key.
            StorageDamaged: it was changed, or sealed for another purpose.
        """
        from cryptography.exceptions import InvalidTag

        if not is_sealed(ciphertext):
            raise KeyMismatch(
                f"{name} is not encrypted, and a key is given: name a file of this store."
            )
        key_id = ciphertext[len(_MAGIC) :][:KEY_ID_BYTES]
        if key_id != self._id:
            raise wrong_key_error(name, key_id.hex(), self)
        nonce = ciphertext[_HEADER_BYTES - NONCE_BYTES : _HEADER_BYTES]
        try:
            return self._cipher(purpose).decrypt(nonce, ciphertext[_HEADER_BYTES:], purpose)
        except InvalidTag:
            raise StorageDamaged(
                f"{name} was changed: it is not what was encrypted with the key."
            ) from None


class ArchiveKeys(msgspec.Struct, frozen=True):
    """Keys of an archive: one signs its indexes, the other one encrypts its files."""

    signing: bytes | None = None
    encryption: EncryptionKey | None = None


NO_KEYS: Final = ArchiveKeys()


def is_sealed(content: bytes) -> bool:
    """Whether content begins as what `EncryptionKey.seal` returns."""
    return content.startswith(_MAGIC) and len(content) >= _HEADER_BYTES + TAG_BYTES


def wrong_key_error(name: str, key_id: str, key: EncryptionKey | None) -> KeyMismatch:
    """Build the error about something that is encrypted with another key than the given one."""
    given = "no key is given" if key is None else f"the key given is {key.id}"
    return KeyMismatch(
        f"{name} is encrypted with the key {key_id}, and {given}: name the file of that key in"
        " SPAWN_ENCRYPTION_KEY_FILE."
    )


def has_cryptography() -> bool:
    """Whether the package that encrypts our own files is installed."""
    return importlib.util.find_spec("cryptography") is not None
