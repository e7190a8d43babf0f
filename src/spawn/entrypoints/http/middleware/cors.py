"""Cross-origin resource sharing: headers for the allowed origins."""

from typing import Final

from spawn.entrypoints.http.protocol.response import Header

_EXPOSED_HEADERS: Final = (
    b"etag, location, link, retry-after, x-request-id, deprecation, sunset, spawn-warnings, allow, "
    b"content-encoding, www-authenticate"
)
_PREFLIGHT_MAX_AGE_S: Final = b"600"


class CorsPolicy:
    """The allowed origins; `*` allows every origin, an empty set none."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    @property
    def is_enabled(self) -> bool:
        """Whether any origin is allowed."""
        return bool(self._origins)

    def response_headers(self, origin: bytes) -> tuple[Header, ...]:
        """Return the headers of a response to an origin; none if it is not allowed."""
        if not self._is_allowed(origin):
            return ()
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        )

    def preflight_headers(self, headers: dict[bytes, bytes], allow: bytes) -> tuple[Header, ...]:
        """Return the headers of a response to a preflight request; none if it is not one."""
        origin = headers.get(b"origin")
        if origin is None or b"access-control-request-method" not in headers:
            return ()
        if not self._is_allowed(origin):
            return ()
        return (
            (b"access-control-allow-methods", allow),
            (
                b"access-control-allow-headers",
                headers.get(b"access-control-request-headers", b""),
            ),
            (b"access-control-max-age", _PREFLIGHT_MAX_AGE_S),
        )

    def _is_allowed(self, origin: bytes) -> bool:
        return "*" in self._origins or origin.decode("latin-1") in self._origins
