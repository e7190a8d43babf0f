"""Checks of the head of a request: its target, its framing and its host name."""

import re
import string
from typing import Final
from urllib.parse import unquote_to_bytes

_ESCAPE: Final = re.compile(rb"%(.{0,2})", re.DOTALL)
_HEXADECIMAL: Final = frozenset(string.hexdigits.encode())
_NOT_ESCAPED: Final = frozenset(
    (string.ascii_letters + string.digits + "-._~/\\").encode()
) | frozenset((*range(0x20), 0x7F))
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


def describe_target_error(raw_path: bytes) -> str:
    """Return why a target is not the one spelling of its path; empty if it is.

    One resource has one spelling, so that no proxy, cache or rule sees another path than the
    service does.

    Args:
        raw_path: the path as it was sent.
    """
    if b"//" in raw_path:
        return "The path has an empty segment: send single slashes."
    if b"/." in raw_path and not {b".", b".."}.isdisjoint(raw_path.split(b"/")):
        return "The path has a dot segment: send the path that it leads to."
    return _describe_escape_error(raw_path) if b"%" in raw_path else ""


def _describe_escape_error(raw_path: bytes) -> str:
    for match in _ESCAPE.finditer(raw_path):
        digits = match[1]
        if len(digits) != 2 or not _HEXADECIMAL.issuperset(digits):  # noqa: PLR2004 -- %XX
            return "The path has a % without two hexadecimal digits: send %25 for it."
        if int(digits, 16) in _NOT_ESCAPED:
            escape = match[0].decode("ascii")
            return f"The path has {escape}, which no path of this service needs: send it unescaped."
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return "The path is not UTF-8 once it is unescaped."
    return ""


def is_host(host: bytes) -> bool:
    """Whether the value of a Host header is a name or an address, perhaps with a port."""
    return _HOST.fullmatch(host) is not None
