"""Validation of free text: length and character rules.

Two kinds exist. A *line* (a name, a title, a key) is trimmed, not empty and without control
characters. *Prose* (a description, a reason) may hold line breaks, but neither U+0000, which no
store keeps reliably, nor a lone surrogate, which is no Unicode character.
"""

import re

from spawn.domain.errors import FieldError

MAX_SHOWN_CHARACTERS = 300
"""Characters of one text in a link, a code or a cell; a longer one is shortened."""

_BLANKS = (
    "".join(chr(point) for point in (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029))
    + "\u202f\u205f\u3000"
)
"""The characters that `str.strip` removes, less the control characters."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def trim(text: str) -> str:
    """Return the text without blanks at its ends; control characters stay, to be rejected."""
    return text.strip(_BLANKS)


def check_line(text: str, pointer: str, maximum: int, errors: list[FieldError]) -> None:
    """Append the errors of a line of at most `maximum` characters."""
    # Printable text has neither control characters nor exotic blanks: the common case ends here.
    if text.isprintable() and 0 < len(text) <= maximum and text[0] != " " != text[-1]:
        return
    if not trim(text):
        errors.append(FieldError(pointer, "empty", "must not be empty"))
    elif len(text) > maximum:
        errors.append(_too_long(text, pointer, maximum))
    elif _CONTROL.search(text):
        errors.append(FieldError(pointer, "control_character", "must not hold control characters"))
    elif text != trim(text):
        errors.append(FieldError(pointer, "not_trimmed", "must not begin or end with blanks"))


def check_prose(text: str, pointer: str, maximum: int, errors: list[FieldError]) -> None:
    """Append the errors of prose of at most `maximum` characters; it may be empty."""
    if len(text) > maximum:
        errors.append(_too_long(text, pointer, maximum))
    elif not text.isprintable() and _UNSTORABLE.search(text):
        errors.append(
            FieldError(pointer, "control_character", "must not hold U+0000 or lone surrogates")
        )


def escape_pointer_token(name: str) -> str:
    """Return a name as a JSON Pointer token (RFC 6901), cut to 100 characters."""
    return name[:100].replace("~", "~0").replace("/", "~1")


def shorten(text: object, characters: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return the text, its end replaced by an ellipsis if it is longer."""
    whole = str(text)
    return whole if len(whole) <= characters else whole[: characters - 1] + "…"


def _too_long(text: str, pointer: str, maximum: int) -> FieldError:
    return FieldError(
        pointer, "too_long", f"must have at most {maximum} characters; it has {len(text)}"
    )
