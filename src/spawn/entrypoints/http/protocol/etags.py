"""Entity tags: how they are built, and what If-Match and If-None-Match say about them."""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final

from spawn.entrypoints.http.protocol.problems import RequestProblem

GZIP_SUFFIX: Final = "-gzip"
"""Suffix of the entity tag of a representation that gzip compressed."""

_ETAG: Final = re.compile(r'(W/)?"([^"]*)"')
_ETAG_PATTERN: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ETAG_LIST: Final = re.compile(rf"\*|{_ETAG_PATTERN}(?:[ \t]*,[ \t]*{_ETAG_PATTERN})*")
_VERSION_EPOCH: Final = re.compile(r"(\d{1,18})-(\d{1,18})-\d{1,18}(?:-[A-Za-z0-9_-]+)?")


def version_etag(version: int, epoch: int, schema_version: int, names: tuple[str, ...] = ()) -> str:
    """Return the strong tag of a representation: version, epoch, schema version, fields."""
    fields = f"-{fields_digest(names)}" if names else ""
    return f'"{version}-{epoch}-{schema_version}{fields}"'


def fields_digest(names: Iterable[str]) -> str:
    """Return a short hexadecimal digest of a selection of fields."""
    return hashlib.blake2b(",".join(names).encode(), digest_size=6).hexdigest()


def content_etag(body: bytes) -> str:
    """Return a strong tag of the bytes, for resources without a version."""
    digest = hashlib.blake2b(body, digest_size=12).digest()
    return f'"{base64.urlsafe_b64encode(digest).decode()}"'


def validate_etags(name: str, header: str) -> None:
    """Raise unless the header is `*` or a list of entity tags.

    Raises:
        RequestProblem: 400, it is neither.
    """
    if _ETAG_LIST.fullmatch(header) is None:
        raise RequestProblem("malformed_request", f'{name} is "*" or a list of quoted entity tags.')


def is_not_modified(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this representation, so that the response is 304.

    Raises:
        RequestProblem: 400, the header is no list of entity tags.
    """
    if header is None:
        return False
    if header in {etag, "*"}:
        return True
    validate_etags("If-None-Match", header)
    opaque = etag.strip('"')
    return any(match[2].removesuffix(GZIP_SUFFIX) == opaque for match in _ETAG.finditer(header))


def is_version_match(header: str, version: int, epoch: int) -> bool:
    """Whether If-Match names this version and epoch, in any selection of fields or coding."""
    for weak, text in _ETAG.findall(header):
        match = _VERSION_EPOCH.fullmatch(text)
        if not weak and match and (int(match[1]), int(match[2])) == (version, epoch):
            return True
    return False
