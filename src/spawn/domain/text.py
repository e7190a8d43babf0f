"""What a text may be: bounded, and free of characters that no person typed on purpose.

Two kinds exist. A *line* (a name, a title, a key) is trimmed, not empty and without control
characters. *Prose* (a description, a reason) may hold line breaks, but neither U+0000, which no
store keeps reliably, nor a lone surrogate, which is no character at all.
"""

import re

from spawn.domain.errors import FieldError

_BLANKS = (
    "".join(chr(point) for point in (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029))
    + "\u202f\u205f\u3000"
)
"""What `str.strip` takes off, less the control characters."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def trimmed(text: str) -> str:
    """The text without blanks at its ends; control characters stay, to be refused."""
    return text.strip(_BLANKS)


def check_line(text: str, pointer: str, maximum: int, faults: list[FieldError]) -> None:
    """Append what is wrong with a line of at most `maximum` characters."""
    # Printable text has neither control characters nor exotic blanks: the usual case ends here.
    if text.isprintable() and 0 < len(text) <= maximum and text[0] != " " != text[-1]:
        return
    if not trimmed(text):
        faults.append(FieldError(pointer, "empty", "must not be empty"))
    elif len(text) > maximum:
        faults.append(_too_long(text, pointer, maximum))
    elif _CONTROL.search(text):
        faults.append(FieldError(pointer, "control_character", "must not hold control characters"))
    elif text != trimmed(text):
        faults.append(FieldError(pointer, "not_trimmed", "must not begin or end with blanks"))


def check_prose(text: str, pointer: str, maximum: int, faults: list[FieldError]) -> None:
    """Append what is wrong with prose of at most `maximum` characters; it may be empty."""
    if len(text) > maximum:
        faults.append(_too_long(text, pointer, maximum))
    elif not text.isprintable() and _UNSTORABLE.search(text):
        faults.append(
            FieldError(pointer, "control_character", "must not hold U+0000 or lone surrogates")
        )


def pointer_token(name: str) -> str:
    """The name as one token of a JSON Pointer (RFC 6901), cut to a bounded length."""
    return name[:100].replace("~", "~0").replace("/", "~1")


def _too_long(text: str, pointer: str, maximum: int) -> FieldError:
    return FieldError(
        pointer, "too_long", f"must have at most {maximum} characters; it has {len(text)}"
    )
