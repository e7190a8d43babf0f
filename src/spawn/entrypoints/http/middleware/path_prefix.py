"""Path of the public URL, under which a gateway publishes the service."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from spawn.entrypoints.http.protocol.request import RESOURCE_METADATA
from spawn.entrypoints.http.protocol.response import Header

_PATH_TARGET: Final = re.compile(rb"<(?=/(?!/))")
"""Begin of a target in a Link header that is a path; `//` would begin a host."""


class PathPrefix:
    """A path prefix such as `/data-hub`, which begins the links of every response."""

    def __init__(self, prefix: str) -> None:
        self._decoded = unquote(prefix)
        self._encoded = prefix.encode()
        self._metadata_path = RESOURCE_METADATA + self._decoded

    def strip(self, path: str) -> str:
        """Return a path without the prefix, which some gateways strip and others keep.

        Metadata of a resource with a path are well known under the path behind their name
        (RFC 9728, 3.1): `/.well-known/oauth-protected-resource/data-hub`.
        """
        if path == self._metadata_path:
            return RESOURCE_METADATA
        rest = path.removeprefix(self._decoded)
        if rest == path or rest[:1] not in {"", "/"}:
            return path
        return rest or "/"

    def add_to_links(self, headers: Iterable[Header]) -> list[Header]:
        """Return headers whose Location and Link have the prefix."""
        return [(name, self._add(name, value)) for name, value in headers]

    def _add(self, name: bytes, value: bytes) -> bytes:
        if name == b"link":
            return _PATH_TARGET.sub(b"<" + self._encoded, value)
        if name == b"location" and value.startswith(b"/"):
            return self._encoded + value
        return value
