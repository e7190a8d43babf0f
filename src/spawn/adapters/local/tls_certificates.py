"""The certificate of the TLS listeners, loaded again when its files change."""

import asyncio
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from spawn.ports.runtime import CertificateStatus, Clock

POLL_S: Final = 5.0
"""Seconds between two looks at the files."""

WARNING_DAYS: Final = 30
"""Days before the end of the certificate from which it is reported, once a day."""

_DAY_S: Final = 86_400

_PEM_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)
_SEQUENCE: Final = 0x30
_CONTEXT_0: Final = 0xA0
_UTC_TIME: Final = 0x17
_LONG_LENGTH: Final = 0x80
_FIELDS_BEFORE_VALIDITY: Final = 3
"""Serial number, signature algorithm and issuer."""


class CertificateError(Exception):
    """The files of a certificate cannot be used; the message is one line with the reason."""


class CertificateFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM: the certificate with its chain, its key, the authority of client ones."""

    certificate: Path
    key: Path
    client_authority: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        files = (self.certificate, self.key, self.client_authority)
        return tuple(file for file in files if file is not None)


class TlsCertificates:
    """The current certificate: new connections take it, open ones keep theirs.

    A new pair is loaded into a context of its own, so a broken one changes nothing, and no session
    of an earlier authority of clients can be resumed.
    """

    def __init__(self, files: CertificateFiles, clock: Clock) -> None:
        """Load the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._files = files
        self._clock = clock
        self._signature = _read_signature(files)
        self._context, self._expires_at = _load(files)
        self._error = ""
        self._reloads = self._failed_reloads = 0

    def status(self) -> CertificateStatus:
        """Return when the certificate expires, and why the last reload failed, if it did."""
        return CertificateStatus(
            expires_at=self._expires_at,
            left_s=(self._expires_at - self._clock.now()).total_seconds(),
            error=self._error,
            reloads=self._reloads,
            failed_reloads=self._failed_reloads,
        )

    def get_context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        return self._context

    def reload(self) -> None:
        """Load the files again; a pair that cannot be used leaves the current one in place."""
        self._signature = _read_signature(self._files)
        try:
            context, expires_at = _load(self._files)
        except CertificateError as error:
            self._keep_current(str(error))
            return
        if expires_at <= self._clock.now() < self._expires_at:
            self._keep_current(f"{self._files.certificate} has expired")
            return
        self._context, self._expires_at, self._error = context, expires_at, ""
        self._reloads += 1

    def _keep_current(self, error: str) -> None:
        self._error = error
        self._failed_reloads += 1

    async def watch(
        self,
        on_reload: Callable[[CertificateStatus], None],
        on_expiring: Callable[[CertificateStatus], None],
    ) -> None:
        """Load the files again when they change; report each attempt, and an end that is near.

        They are loaded once they have stayed the same for `POLL_S`: the two of a pair are written
        one after the other.
        """
        days_reported, last_signature = WARNING_DAYS, self._signature
        while True:
            status = self.status()
            days_left = int(status.left_s // _DAY_S)
            if days_left < days_reported:
                on_expiring(status)
            days_reported = min(days_left, WARNING_DAYS)
            await asyncio.sleep(POLL_S)
            signature = await asyncio.to_thread(_read_signature, self._files)
            if signature != self._signature and signature == last_signature:
                await asyncio.to_thread(self.reload)
                on_reload(self.status())
            last_signature = signature


def _read_signature(files: CertificateFiles) -> tuple[tuple[int, ...], ...]:
    """Return what changes when a file is written or a link to it is replaced."""
    signature: list[tuple[int, ...]] = []
    for path in files.paths:
        try:
            state = path.stat()
        except OSError:
            signature.append(())
        else:
            signature.append((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(signature)


def _load(files: CertificateFiles) -> tuple[ssl.SSLContext, datetime]:
    """Return a context with the files, and the time at which the certificate expires.

    Raises:
        CertificateError: they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    path = files.certificate
    try:
        expires_at = read_expiry(path.read_text(encoding="ascii"))
        path = files.key
        # An encrypted key fails; without a password OpenSSL would ask for it on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_authority is not None:
            path = files.client_authority
            context.load_verify_locations(path)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise CertificateError(f"{path} cannot be used: {_describe(error)}") from error
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise CertificateError(f"{path} cannot be used: it is no PEM certificate") from error
    return context, expires_at


def _describe(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not that of the certificate"
    return f"it is damaged, encrypted or of another format ({error.reason or 'SSL error'})"


def read_expiry(pem: str) -> datetime:
    """Return the time at which the first certificate of a PEM text expires.

    The standard library decodes a certificate of a peer, but none of a file.

    Raises:
        ValueError, IndexError: the text has no certificate, or it is malformed.
    """
    block = _PEM_CERTIFICATE.search(pem)
    if block is None:
        raise ValueError("no certificate")
    der = ssl.PEM_cert_to_DER_cert(block[0])
    body, _ = _enter(der, 0, _SEQUENCE)
    position, _ = _enter(der, body, _SEQUENCE)
    if der[position] == _CONTEXT_0:
        position = _skip(der, position)
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        position = _skip(der, position)
    position, _ = _enter(der, position, _SEQUENCE)
    return _read_time(der, _skip(der, position))


def _enter(der: bytes, position: int, tag: int) -> tuple[int, int]:
    """Return where the content of an element begins and ends."""
    if der[position] != tag:
        raise ValueError("another element")
    length, begin = der[position + 1], position + 2
    if length & _LONG_LENGTH:
        size = length & ~_LONG_LENGTH
        length, begin = int.from_bytes(der[begin : begin + size], "big"), begin + size
    return begin, begin + length


def _skip(der: bytes, position: int) -> int:
    return _enter(der, position, der[position])[1]


def _read_time(der: bytes, position: int) -> datetime:
    """Return a time; one of two digits for the year is of 1950 to 2049 (RFC 5280, 4.1.2.5)."""
    is_short = der[position] == _UTC_TIME
    begin, end = _enter(der, position, der[position])
    text = der[begin:end].decode("ascii")
    if is_short:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
