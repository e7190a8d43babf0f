"""The text of an API key: `spn_<environment>_<client>_<secret>_<check>`.

The check digits find a mistyped or truncated key before any look-up, and let scanners recognise
keys in files. Only the hash of the secret is stored; its 256 random bits need no slow hash.
"""

import hashlib
import re
import zlib
from typing import Final

import msgspec

PREFIX: Final = "spn_"
SECRET_BYTES: Final = 32
_KEY: Final = re.compile(
    r"(spn_(?:live|test)_([a-z0-9][a-z0-9._-]{0,62})_([0-9a-f]{64}))_([0-9a-f]{8})"
)


class ParsedKey(msgspec.Struct, frozen=True):
    """A key with valid check digits: its client, and the SHA-256 of its secret in hexadecimal."""

    client: str
    secret_sha256: str


def format_key(environment: str, client: str, secret: bytes) -> str:
    """Return the text of a key.

    Args:
        environment: `live` or `test`, so that one cannot be taken for the other.
        client: name of the client.
        secret: `SECRET_BYTES` random bytes.
    """
    body = f"{PREFIX}{environment}_{client}_{secret.hex()}"
    return f"{body}_{_compute_check(body)}"


def parse_key(text: str) -> ParsedKey | None:
    """Return the parts of a key; None if it is no key, or its check digits are wrong."""
    match = _KEY.fullmatch(text)
    if match is None or _compute_check(match[1]) != match[4]:
        return None
    return ParsedKey(match[2], hash_secret(bytes.fromhex(match[3])))


def hash_secret(secret: bytes) -> str:
    """Return the SHA-256 of a secret in hexadecimal."""
    return hashlib.sha256(secret).hexdigest()


def _compute_check(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
