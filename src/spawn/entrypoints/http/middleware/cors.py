"""Requests of pages of other origins: headers for the allowed ones, rejection of the others."""

from typing import Final

from spawn.entrypoints.http.protocol.response import Header

_EXPOSED_HEADERS: Final = (
    b"etag, location, link, retry-after, x-request-id, deprecation, sunset, spawn-warnings, allow, "
    b"content-encoding, www-authenticate"
)
_OWN_SITES: Final = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site for requests of the service's own pages, and of people."""

_PREFLIGHT_MAX_AGE_S: Final = b"600"


class CorsPolicy:
    """The allowed origins; `*` allows every origin, an empty set none.

    `own_origin` is the origin of the public URL.
    """

    def __init__(self, origins: frozenset[str], own_origin: str = "") -> None:
        self._origins = origins
        self._own_origin = own_origin.encode()

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

    def is_foreign(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a browser sends the request for a page of an origin that is not allowed.

        Any page can send a POST without a body to a loopback address or a private one. Browsers
        send these headers, and no page can change them.
        """
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None and self._is_allowed(origin):
            return False
        if site is not None:
            return site not in _OWN_SITES
        if origin is None or origin == self._own_origin:
            return False
        return origin.partition(b"://")[2] != headers.get(b"host")

    def _is_allowed(self, origin: bytes) -> bool:
        return "*" in self._origins or origin.decode("latin-1") in self._origins
