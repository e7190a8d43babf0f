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
from weakref import WeakValueDictionary

from spawn.domain.errors import InvalidInput, Unavailable

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of secrets, not one
MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
MAX_LIVE_KEYS = 2
MAX_FILE_BYTES = 1024 * 1024
_CHECK_INTERVAL_S = 1.0


class SecretsFile:
    """The secrets file of all receivers, which share its text and the checks for a new one.

    `edition` changes with the text. A check per receiver took a thread for most deliveries.
    """

    def __init__(self, path: Path) -> None:
        self.text = ""
        self.edition = 0
        self._path = path
        self._file_state = (-1, -1)
        self._checked_at_s = 0.0
        self._is_being_checked = False
        self._failure: InvalidInput | None = None

    async def refresh(self) -> None:
        """Read a changed file again, at most once a second.

        It is read on a thread, since the file may be on a network disk. Deliveries that are about
        to start meanwhile use what was read before.

        Raises:
            InvalidInput: the file cannot be read.
        """
        if monotonic() - self._checked_at_s > _CHECK_INTERVAL_S and not self._is_being_checked:
            self._is_being_checked = True
            try:
                await asyncio.to_thread(self.load)
            finally:
                self._is_being_checked = False
        if self._failure is not None:
            raise self._failure

    def load(self) -> None:
        """Read the file if it has changed.

        Raises:
            InvalidInput: the file cannot be read.
        """
        try:
            status = self._path.stat()
            file_state = (status.st_mtime_ns, status.st_size)
            if self._file_state != file_state:
                with self._path.open("rb") as file:
                    self.text = file.read(MAX_FILE_BYTES).decode()
                self._file_state = file_state
                self.edition += 1
        except (OSError, UnicodeDecodeError):
            self.expire()
            detail = f"The secrets file {self._path.name} cannot be read."
            self._failure = _unusable_error(detail)
            raise self._failure from None
        self._failure = None
        self._checked_at_s = monotonic()

    def expire(self) -> None:
        """Check the file before the next delivery."""
        self._checked_at_s = 0.0


_secrets_files: WeakValueDictionary[Path, SecretsFile] = WeakValueDictionary()


class Signer:
    """Signer of the messages to one receiver; it uses a changed secrets file within a second."""

    def __init__(self, path: Path, receiver: str) -> None:
        self.secrets_file = _secrets_files.setdefault(path, SecretsFile(path))
        self._receiver = receiver
        self._edition = 0
        self._keys: tuple[bytes, ...] = ()
        self.secrets_file.load()
        self._parse()

    async def refresh(self) -> None:
        """Use the keys of a changed secrets file.

        Raises:
            Unavailable: the secrets file was changed into one that cannot be used.
        """
        try:
            await self.secrets_file.refresh()
            self._parse()
        except InvalidInput as failure:
            raise Unavailable(failure.errors[0].detail) from failure

    def _parse(self) -> None:
        edition = self.secrets_file.edition
        if edition != self._edition:
            try:
                self._keys = parse_secrets(self.secrets_file.text, self._receiver)
            except InvalidInput:
                self.secrets_file.expire()
                raise
            self._edition = edition

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
