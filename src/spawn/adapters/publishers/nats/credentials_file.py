"""Credentials files of NATS: a user's JWT, and the seed of the key that signs a nonce."""

import binascii
from base64 import b32decode, b64encode
from importlib.util import find_spec
from pathlib import Path

import msgspec

from spawn.adapters.publishers.url import malformed_url_error

MAX_FILE_BYTES = 64 * 1024
_SEED_BYTES = 32
_USER_SEED_PREFIX = "SU"


class NatsCredentialsFile(msgspec.Struct, frozen=True):
    """A user's JWT and the 32 bytes of its Ed25519 seed."""

    jwt: bytes
    seed: bytes

    def sign(self, nonce: str) -> bytes:
        """Return the signature of the server's nonce in base64."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        return b64encode(key.sign(nonce.encode()))


def read_credentials_file(path: Path) -> NatsCredentialsFile:
    """Read a creds file as `nsc` writes it.

    Raises:
        InvalidInput: it cannot be read, or has no JWT and seed of a user; no error quotes it.
    """
    if find_spec("cryptography") is None:
        raise malformed_url_error(
            "A creds file needs the extra nats: run `make extras` in a clone; "
            "the container image includes it."
        )
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode("ascii")
        jwt = _find_block(text, "NATS USER JWT")
        return NatsCredentialsFile(jwt.encode(), _decode_seed(_find_block(text, "USER NKEY SEED")))
    except (OSError, ValueError):
        raise malformed_url_error(
            f"The creds file {path.name} cannot be read, or has no JWT and seed of a user."
        ) from None


def _find_block(text: str, title: str) -> str:
    """Return the line after the heading of a block.

    Raises:
        ValueError: there is none.
    """
    lines = iter(text.splitlines())
    for line in lines:
        if f"BEGIN {title}" in line:
            return next(lines, "").strip()
    raise ValueError(f"no block {title}")


def _decode_seed(text: str) -> bytes:
    """Decode a seed: two bytes of prefix, the seed, and a CRC-16 of them.

    Raises:
        ValueError: it is no seed of a user.
    """
    data = b32decode(text + "=" * (-len(text) % 8))
    body, checksum = data[:-2], int.from_bytes(data[-2:], "little")
    is_whole = len(body) == _SEED_BYTES + 2 and binascii.crc_hqx(body, 0) == checksum
    if not is_whole or not text.startswith(_USER_SEED_PREFIX):
        raise ValueError("not the seed of a user")
    return body[2:]
