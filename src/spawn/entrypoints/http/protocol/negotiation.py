"""Content negotiation: Accept headers and their quality values, and byte ranges."""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

BYTE_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)
"""A range of one part: first and last byte, or nothing and the length of a suffix."""


def is_later_part(range_header: str) -> bool:
    """Whether a Range header names a part behind the first byte of a file.

    A suffix, the first byte and a range that is not understood may begin the reading of a file. One
    whose end precedes its beginning is the whole file.
    """
    match = BYTE_RANGE.fullmatch(range_header)
    return match is not None and int(match[1] or 0) > 0 and not is_reversed(match)


def is_reversed(byte_range: re.Match[str]) -> bool:
    """Whether the end of a `BYTE_RANGE` precedes its beginning."""
    return bool(byte_range[1] and byte_range[2]) and int(byte_range[2]) < int(byte_range[1])


@lru_cache(maxsize=256)
def select_media_type(accept: str, media_types: tuple[str, ...]) -> str | None:
    """Return the media type of highest quality under an Accept header; None if none is accepted."""
    ranges = [_parse_media_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return media_types[0]
    scores = [(_find_quality(ranges, name), -index) for index, name in enumerate(media_types)]
    quality, index = max(scores)
    return media_types[-index] if quality > 0 else None


def _parse_media_range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    return name, parse_quality(parameters)


def parse_quality(parameters: Collection[str]) -> float:
    """Return the `q` among header parameters; 1 when absent, 0 when malformed."""
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0


def _find_quality(ranges: list[tuple[str, float]], media_type: str) -> float:
    """Return the quality of the most specific range that matches."""
    by_name = dict(ranges)
    main_type = media_type.partition("/")[0]
    for name in (media_type, f"{main_type}/*", "*/*"):
        if name in by_name:
            return by_name[name]
    return 0.0
