"""Encrypted files that are written as a stream and read at any position.

A file has chunks, each sealed with AES-256-GCM under a key of the file alone. The nonce of a chunk
is its number, and the last chunk is marked as such, so that neither a changed order nor a missing
end goes unnoticed (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).
"""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from spawn.adapters.encryption.encryption_key import (
    KEY_ID_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    EncryptionKey,
    wrong_key_error,
)
from spawn.domain.errors import StorageDamaged

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK_BYTES: Final = 64 * 1024
"""Bytes of content in each chunk but the last."""

_MAGIC: Final = b"SPWNS"
_SALT_BYTES: Final = 16
_HEADER_BYTES: Final = len(_MAGIC) + KEY_ID_BYTES + _SALT_BYTES
_SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES
_NEXT, _LAST = b"next", b"last"


def _create_cipher(key: EncryptionKey, purpose: bytes, salt: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key.derive(purpose, salt))


class FileSealer:
    """Encryption of one file: the bytes that `seal` and `finish` yield are its content."""

    def __init__(self, key: EncryptionKey, purpose: bytes) -> None:
        salt = os.urandom(_SALT_BYTES)
        self._cipher = _create_cipher(key, purpose, salt)
        self._output = bytearray(_MAGIC + key.id_bytes + salt)
        self._content = bytearray()
        self._number = 0

    def seal(self, content: bytes) -> bytes:
        """Return the bytes to write after some more content; none until a chunk is full."""
        self._content += content
        # The last chunk is known at the end only, so one is held back.
        while len(self._content) > CHUNK_BYTES:
            self._add(self._content[:CHUNK_BYTES], _NEXT)
            del self._content[:CHUNK_BYTES]
        return self._take()

    def finish(self) -> bytes:
        """Return the last bytes to write."""
        self._add(self._content, _LAST)
        return self._take()

    def _add(self, content: bytearray, place: bytes) -> None:
        nonce = self._number.to_bytes(NONCE_BYTES)
        self._output += self._cipher.encrypt(nonce, bytes(content), place)
        self._number += 1

    def _take(self) -> bytes:
        ciphertext = bytes(self._output)
        self._output.clear()
        return ciphertext


class SealedFile:
    """File that a `FileSealer` wrote; open it as one opens a path."""

    def __init__(self, path: Path, key: EncryptionKey, purpose: bytes) -> None:
        self.path = path
        self._key = key
        self._purpose = purpose

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open the content for reading, at any position.

        Raises:
            StorageIncompatible: the file is encrypted with another key.
            StorageDamaged: it is no encrypted file; reading raises it where one was changed.
            OSError: it cannot be opened.
        """
        file = self.path.open(mode)
        try:
            return io.BufferedReader(_Chunks(file, self._key, self._purpose), CHUNK_BYTES)
        except BaseException:
            file.close()
            raise


class _Chunks(io.RawIOBase):
    """Content of a sealed file, chunk by chunk."""

    def __init__(self, file: BinaryIO, key: EncryptionKey, purpose: bytes) -> None:
        super().__init__()
        self._file = file
        self._name = Path(file.name).name
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            raise StorageDamaged(f"The file {self._name} is not encrypted, and should be.")
        key_id = header[len(_MAGIC) :][:KEY_ID_BYTES]
        if key_id != key.id_bytes:
            raise wrong_key_error(self._name, key_id.hex(), key)
        self._cipher = _create_cipher(key, purpose, header[-_SALT_BYTES:])
        size = os.fstat(file.fileno()).st_size - _HEADER_BYTES
        self._count = max(1, -(-size // _SEALED_CHUNK_BYTES))
        self._size = size - self._count * TAG_BYTES
        self._position = 0
        self._number, self._chunk = -1, b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position of the content, and return it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a chunk, and return the number of bytes; 0 at the end."""
        number, offset = divmod(self._position, CHUNK_BYTES)
        if number >= self._count:
            return 0
        content = self._read_chunk(number)[offset : offset + len(buffer)]
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _read_chunk(self, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if number != self._number:
            self._file.seek(_HEADER_BYTES + number * _SEALED_CHUNK_BYTES)
            ciphertext = self._file.read(_SEALED_CHUNK_BYTES)
            place = _LAST if number == self._count - 1 else _NEXT
            try:
                chunk = self._cipher.decrypt(number.to_bytes(NONCE_BYTES), ciphertext, place)
            except (InvalidTag, ValueError):
                raise StorageDamaged(
                    f"The file {self._name} was changed or cut off since it was encrypted."
                ) from None
            self._number, self._chunk = number, chunk
        return self._chunk

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


class EphemeralCipher:
    """Cipher of a temporary file that no other process reads: its key is never written.

    AES-256 in counter mode, so that any part can be read. A file that is changed on the disk is
    noticed by nobody, as one that is not encrypted.
    """

    _BLOCK_BYTES: Final = 16

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def apply(self, content: bytes, position: int) -> bytes:
        """Return the content encrypted, or decrypted, that begins at a position of the file."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        block, offset = divmod(position, self._BLOCK_BYTES)
        mode = modes.CTR(block.to_bytes(self._BLOCK_BYTES))
        encryptor = Cipher(algorithms.AES256(self._key), mode).encryptor()
        encryptor.update(bytes(offset))
        return encryptor.update(content)
