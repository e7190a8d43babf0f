"""The issuer's signing keys (JWKS), cached in memory and on disk.

The order is fresh, stale, disk, like that of schemas: a failing issuer does not end the service,
and keys are used for at most a day beyond the last successful request.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from spawn.adapters.publishers.http_client import DirectTransport, create_ssl_context
from spawn.domain.errors import Unavailable

ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = {
    "RS256": ("RSA", ""),
    "PS256": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Accepted algorithms, each with the type and the curve of its keys; none is symmetric."""

FRESH_S: Final = 300.0
"""Age from which the keys are requested again."""

MAX_AGE_S: Final = 86_400.0
"""Age up to which keys are used while the issuer cannot be reached."""

REFRESH_PAUSE_S: Final = 30.0
"""Pause between requests for unknown key ids, and after a failed request."""

MIN_RSA_BITS: Final = 2048
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 50
_FILE: Final = "signing-keys.json"


class SigningKey(msgspec.Struct, frozen=True):
    """A public key with its id, type, curve and, if the issuer names one, its algorithm."""

    id: str
    key_type: str
    curve: str
    algorithm: str | None
    key: Any

    def fits(self, algorithm: str) -> bool:
        """Whether the key is one for an algorithm."""
        if self.algorithm not in {None, algorithm}:
            return False
        return ALGORITHMS[algorithm] == (self.key_type, self.curve)


def read_keys(document: bytes) -> dict[str, SigningKey]:
    """Return the usable signing keys of a JWKS by their ids.

    Symmetric and private keys, RSA keys of less than 2048 bits, keys for encryption, keys without
    an id and ids that occur twice are left out.

    Raises:
        ValueError: the document is no JWKS.
    """
    try:
        items = msgspec.json.decode(document, type=dict[str, Any])["keys"]
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError("the document is no JSON Web Key Set") from error
    if not isinstance(items, list) or len(items) > MAX_KEYS:
        raise ValueError(f"a key set is a list of at most {MAX_KEYS} keys")
    ids = [item.get("kid") for item in items if isinstance(item, dict)]
    keys = {}
    for item in items:
        key = _read_key(item) if isinstance(item, dict) else None
        if key is not None and ids.count(key.id) == 1:
            keys[key.id] = key
    return keys


def _read_key(item: dict[str, Any]) -> SigningKey | None:
    # An extra: the settings check that it is installed.
    from joserfc import jwk
    from joserfc.errors import JoseError

    key_id, key_type = item.get("kid"), item.get("kty")
    if not isinstance(key_id, str) or not key_id or key_type not in ("RSA", "EC", "OKP"):
        return None
    if item.get("use", "sig") != "sig" or "d" in item or not _may_verify(item):
        return None
    public = {name: value for name, value in item.items() if name in _PUBLIC_MEMBERS}
    if key_type == "RSA" and _count_bits(public.get("n")) < MIN_RSA_BITS:
        return None  # joserfc would only warn.
    try:
        key = jwk.import_key(public)
        key.get_op_key("verify")
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    curve = "" if key_type == "RSA" else str(item.get("crv", ""))
    algorithm = item.get("alg")
    if not isinstance(algorithm, str | None):
        return None
    return SigningKey(key_id, str(key_type), curve, algorithm, key)


def _may_verify(item: dict[str, Any]) -> bool:
    """Whether the operations of a key, if it names any, have the verification of signatures."""
    operations = item.get("key_ops", ["verify"])
    return isinstance(operations, list) and "verify" in operations


def _count_bits(modulus: Any) -> int:
    """Return the bits of an RSA modulus in base64; 0 if it is none."""
    try:
        raw = base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4))
    except (TypeError, ValueError):
        return 0
    return int.from_bytes(raw).bit_length()


_PUBLIC_MEMBERS: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})


def _open_transport(url: str) -> DirectTransport:
    # The certificates of all authorities take 50 ms to load, so only what needs them loads them.
    return DirectTransport(
        verify=create_ssl_context() if url.startswith("https") else None, connections=1
    )


class SigningKeys:
    """The signing keys at a URL; `generation` changes whenever the keys do."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        cache_dir: Path | None,
        transport: httpx.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.generation = 0
        self._cache_file = None if cache_dir is None else cache_dir / _FILE
        self._monotonic = monotonic
        self._timeout_s = timeout_s
        self._document = b""
        self._keys: dict[str, SigningKey] = {}
        self._fetched_at_s: float | None = None
        self._next_request_s = float("-inf")
        self._lock = asyncio.Lock()
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            transport=transport or _open_transport(url),
            follow_redirects=False,
            trust_env=False,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether the keys were requested a short time ago."""
        fetched_at_s = self._fetched_at_s
        return fetched_at_s is not None and self._monotonic() - fetched_at_s < FRESH_S

    async def find(self, key_id: str) -> SigningKey | None:
        """Return the key of an id; None if the issuer has none.

        An unknown id causes a request to the issuer, at most one in `REFRESH_PAUSE_S` seconds.

        Raises:
            Unavailable: no keys were ever loaded, or they are too old.
        """
        if key_id not in self._keys or not self.is_fresh:
            await self.refresh(unless_known=key_id)
        if self._fetched_at_s is None or self._monotonic() - self._fetched_at_s > MAX_AGE_S:
            raise Unavailable("The issuer's signing keys cannot be loaded.", retry_after_s=5.0)
        return self._keys.get(key_id)

    async def refresh(self, *, unless_known: str = "") -> None:
        """Request the keys again, unless another caller just did or the pause has not passed."""
        async with self._lock:
            if unless_known in self._keys and self.is_fresh:
                return
            now_s = self._monotonic()
            if now_s < self._next_request_s:
                return
            self._next_request_s = now_s + REFRESH_PAUSE_S
            try:
                document = await self._request()
                keys = read_keys(document)
            except (httpx.HTTPError, TimeoutError, ValueError):
                await self._load_from_disk()
                return
            self._adopt(document, keys, self._monotonic())
            await self._save(document)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _request(self) -> bytes:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        body = bytearray()
        async with (
            asyncio.timeout(self._timeout_s),
            self._http.stream("GET", self.url, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"the issuer responded with status {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise ValueError(f"the key set is larger than {MAX_DOCUMENT_BYTES} bytes")
        return bytes(body)

    def _adopt(self, document: bytes, keys: dict[str, SigningKey], fetched_at_s: float) -> None:
        if document != self._document:
            self.generation += 1
        self._document, self._keys, self._fetched_at_s = document, keys, fetched_at_s

    async def _load_from_disk(self) -> None:
        """Use the last valid keys of an earlier process, until the issuer responds."""
        if self._cache_file is None or self._fetched_at_s is not None:
            return
        try:
            document = await asyncio.to_thread(self._cache_file.read_bytes)
            age_s = time.time() - (await asyncio.to_thread(self._cache_file.stat)).st_mtime
            keys = read_keys(document)
        except (OSError, ValueError):
            return
        self._adopt(document, keys, self._monotonic() - max(age_s, FRESH_S))

    async def _save(self, document: bytes) -> None:
        if self._cache_file is None:
            return
        try:
            await asyncio.to_thread(_write_atomically, self._cache_file, document)
        except OSError:
            return  # A full disk is not fatal: the keys are in memory.


def _write_atomically(path: Path, document: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(document)
    partial.replace(path)
