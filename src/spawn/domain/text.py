"""Validation of free text: length and character rules.

Two kinds exist. A *line* (a name, a title, a key) is trimmed, not empty and without control
characters; on input it is also normalized (NFC) and without invisible characters. *Prose* (a
description, a reason) may hold line breaks, but neither U+0000, which no store keeps reliably, nor
a lone surrogate, which is no Unicode character.
"""

import re
import unicodedata
from urllib.parse import urlsplit

from spawn.domain.errors import FieldError

MAX_SHOWN_CHARACTERS = 300
"""Characters of one text in a link, a code or a cell; a longer one is shortened."""

_BLANKS = (
    "".join(chr(point) for point in (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029))
    + "\u202f\u205f\u3000"
)
"""The characters that `str.strip` removes, less the control characters."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
REDACTED = "***"
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_TEXT = re.compile(
    r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|((?:password|secret|token|api_?key)=)[^\s&]+"
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The joiners U+200C and U+200D are letters' parts in Arabic and Indic scripts, and only there.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
    "|(?<![\u0600-\u06ff\u0750-\u077f\u08a0-\u0dff])[\u200c\u200d]"
)
_CONTROL_NAMES = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\x1b": "ESCAPE"}


def trim(text: str) -> str:
    """Return the text without blanks at its ends; control characters stay, to be rejected."""
    return text.strip(_BLANKS)


def normalize(text: str) -> str:
    """Return the text in normalization form C, in which equal texts have equal characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def check_visible(text: str, pointer: str, errors: list[FieldError]) -> None:
    """Append an error for the first character that shows nothing or changes the direction."""
    if not text.isascii() and (match := _INVISIBLE.search(text)):
        detail = f"must not contain the invisible character {_name_character(match[0])}"
        errors.append(FieldError(pointer, "invisible_character", detail))


def check_line(text: str, pointer: str, maximum: int, errors: list[FieldError]) -> None:
    """Append the errors of a line of at most `maximum` characters."""
    # Printable text has neither control characters nor exotic blanks: the common case ends here.
    if text.isprintable() and 0 < len(text) <= maximum and text[0] != " " != text[-1]:
        return
    if not trim(text):
        errors.append(FieldError(pointer, "empty", "must not be empty"))
    elif len(text) > maximum:
        errors.append(_too_long(text, pointer, maximum))
    elif match := _CONTROL.search(text):
        detail = f"must not contain the control character {_name_character(match[0])}"
        errors.append(FieldError(pointer, "control_character", detail))
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


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced."""
    text = _URL_CREDENTIALS.sub(f"{REDACTED}@", text)
    return _SECRET_TEXT.sub(lambda match: f"{match[2] or (match[1] or '') + ' '}{REDACTED}", text)


def redact_url(url: str) -> str:
    """Return the URL without credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url


def shorten(text: object, characters: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return the text, its end replaced by an ellipsis if it is longer."""
    whole = str(text)
    return whole if len(whole) <= characters else whole[: characters - 1] + "…"


def _name_character(char: str) -> str:
    name = _CONTROL_NAMES.get(char) or unicodedata.name(char, "")
    return f"U+{ord(char):04X} {name}".rstrip()


def _too_long(text: str, pointer: str, maximum: int) -> FieldError:
    return FieldError(
        pointer, "too_long", f"must have at most {maximum} characters; it has {len(text)}"
    )
