"""Signatures after the Standard Webhooks specification, with secrets that can be rotated.

The secrets file has a secret a line, `whsec_` and base64 of 24 to 64 random bytes, for all
receivers or, after the publisher's name and a space, for that one. A receiver has at most two at a
time: messages are then signed with both, so that it can change over whenever it likes.
"""

import asyncio
import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from pathlib import Path
from time import monotonic

from spawn.domain.errors import InvalidInput, Unavailable

PREFIX = "whsec_"
MIN_BYTES = 24
MAX_BYTES = 64
MAX_LIVE = 2
MAX_FILE_BYTES = 1024 * 1024
_LOOK_EVERY_S = 1.0


class Signer:
    """Signs what is sent to one receiver; a changed secrets file is in force within a second."""

    def __init__(self, path: Path, receiver: str) -> None:
        self._path = path
        self._receiver = receiver
        self._seen = (-1, -1)
        self._looked_at = 0.0
        self._keys: tuple[bytes, ...] = ()
        self._read()

    async def refresh(self) -> None:
        """Look at the file again, unless that was a moment ago; on a thread, for it may be far.

        Raises:
            Unavailable: the secrets file was changed into one that cannot be used.
        """
        if monotonic() - self._looked_at > _LOOK_EVERY_S:
            try:
                await asyncio.to_thread(self._read)
            except InvalidInput as failure:
                raise Unavailable(failure.errors[0].detail) from failure

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers that let the receiver verify a message; `timestamp` in seconds since 1970."""
        content = f"{message_id}.{timestamp}.".encode() + body
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signature(key, content) for key in self._keys),
        }

    def _read(self) -> None:
        try:
            status = self._path.stat()
            if self._seen != (status.st_mtime_ns, status.st_size):
                with self._path.open("rb") as file:
                    text = file.read(MAX_FILE_BYTES).decode()
                self._keys = read_secrets(text, self._receiver)
                self._seen = (status.st_mtime_ns, status.st_size)
        except (OSError, UnicodeDecodeError):
            raise _unusable(f"The secrets file {self._path.name} cannot be read.") from None
        self._looked_at = monotonic()


def signature(key: bytes, content: bytes) -> str:
    """One `v1` signature: HMAC-SHA256 in base64."""
    return "v1," + b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def read_secrets(text: str, receiver: str) -> tuple[bytes, ...]:
    """The keys of a receiver; a line of its own name is for it alone.

    Raises:
        InvalidInput: a line is malformed, or the receiver has no secret or too many.
    """
    keys: list[bytes] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, secret = line.strip().rpartition(" ")
        if secret and not line.lstrip().startswith("#"):
            key = _key(secret, number)
            if name.strip() in ("", receiver):
                keys.append(key)
    if not keys:
        raise _unusable(f"The secrets file has no secret for {receiver}.")
    if len(keys) > MAX_LIVE:
        raise _unusable(f"The secrets file has more than {MAX_LIVE} secrets for {receiver}.")
    return tuple(keys)


def _key(secret: str, number: int) -> bytes:
    """The bytes of a secret; no error ever quotes it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise _unusable(
            f"Line {number} of the secrets file is not {PREFIX} and base64 of {MIN_BYTES} to"
            f" {MAX_BYTES} bytes."
        )
    return key


def _unusable(detail: str) -> InvalidInput:
    return InvalidInput.at("", "secrets_unusable", detail)
