"""Signatures after the Standard Webhooks specification, with secrets that can be rotated.

The secrets file has one secret per line, `whsec_` and base64 of 24 to 64 random bytes, for all
receivers or, after the publisher's name and a space, for that one. A receiver has at most two at a
time: messages are then signed with both, so that it can change over at any time.
"""

import asyncio
import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from pathlib import Path
from time import monotonic

from spawn.domain.errors import InvalidInput, Unavailable

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of secrets, not one
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
MAX_LIVE_KEYS = 2
MAX_FILE_BYTES = 1024 * 1024
_CHECK_INTERVAL_S = 1.0


class Signer:
    """Signer of the messages to one receiver; it reloads a changed secrets file in a second."""

    def __init__(self, path: Path, receiver: str) -> None:
        self._path = path
        self._receiver = receiver
        self._file_state = (-1, -1)
        self._checked_at_s = 0.0
        self._keys: tuple[bytes, ...] = ()
        self._reload()

    async def refresh(self) -> None:
        """Reload a changed secrets file, at most once a second.

        It is read on a thread, since the file may be on a network disk.

        Raises:
            Unavailable: the secrets file was changed into one that cannot be used.
        """
        if monotonic() - self._checked_at_s > _CHECK_INTERVAL_S:
            try:
                await asyncio.to_thread(self._reload)
            except InvalidInput as failure:
                raise Unavailable(failure.errors[0].detail) from failure

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """Return the headers by which the receiver verifies a message.

        Args:
            message_id: The same in every attempt to deliver the message.
            timestamp: Seconds since 1970.
            body: The body to sign.
        """
        content = f"{message_id}.{timestamp}.".encode() + body
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(sign(key, content) for key in self._keys),
        }

    def _reload(self) -> None:
        try:
            status = self._path.stat()
            if self._file_state != (status.st_mtime_ns, status.st_size):
                with self._path.open("rb") as file:
                    text = file.read(MAX_FILE_BYTES).decode()
                self._keys = parse_secrets(text, self._receiver)
                self._file_state = (status.st_mtime_ns, status.st_size)
        except (OSError, UnicodeDecodeError):
            raise _unusable_error(f"The secrets file {self._path.name} cannot be read.") from None
        self._checked_at_s = monotonic()


def sign(key: bytes, content: bytes) -> str:
    """Return one `v1` signature: HMAC-SHA256 in base64."""
    return "v1," + b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def parse_secrets(text: str, receiver: str) -> tuple[bytes, ...]:
    """Parse the keys of a receiver; a line with a name counts for that receiver alone.

    Raises:
        InvalidInput: a line is malformed, or the receiver has no secret or too many.
    """
    keys: list[bytes] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, secret = line.strip().rpartition(" ")
        if secret and not line.lstrip().startswith("#"):
            key = _parse_key(secret, number)
            if name.strip() in ("", receiver):
                keys.append(key)
    if not keys:
        raise _unusable_error(f"The secrets file has no secret for {receiver}.")
    if len(keys) > MAX_LIVE_KEYS:
        raise _unusable_error(
            f"The secrets file has more than {MAX_LIVE_KEYS} secrets for {receiver}."
        )
    return tuple(keys)


def _parse_key(secret: str, number: int) -> bytes:
    """Decode a secret; no error ever quotes it."""
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise _unusable_error(
            f"Line {number} of the secrets file is not {SECRET_PREFIX} and base64 of"
            f" {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes."
        )
    return key


def _unusable_error(detail: str) -> InvalidInput:
    return InvalidInput.at("", "secrets_unusable", detail)
