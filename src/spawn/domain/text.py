"""Validation of free text: length and character rules.

Two kinds exist. A *line* (a name, a title, a key) is trimmed, not empty and without control
characters; on input it is also normalized (NFC) and without invisible characters. *Prose* (a
description, a reason) may hold line breaks, but neither U+0000, which no store keeps reliably, nor
a lone surrogate, which is no Unicode character.

URLs are checked strictly, since the standard parser accepts hosts and ports that lead nowhere.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, unquote, urlsplit

from spawn.domain.errors import FieldError, InvalidInput

MAX_SHOWN_CHARACTERS = 300
"""Characters of one text in a link, a code or a cell; a longer one is shortened."""

MAX_SUGGESTIONS = 5
"""Unknown names of one request for which similar names are searched."""

_MAX_COMPARED_CHARACTERS = 64
_QUOTED_ITEM = re.compile(r'"((?:[^"]|"")*)"(,|$)')
_BLANKS = (
    "".join(chr(point) for point in (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029))
    + "\u202f\u205f\u3000"
)
"""The characters that `str.strip` removes, less the control characters."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_HOST_CHARACTERS = 253
"""Characters of a host name."""

_UNENCODED = re.compile(r"[\x00-\x20\x7f<>\"\\^`{|}]")
_HALF_ENCODED = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DOTTED_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_NON_ASCII = re.compile("[^\x00-\x7f]")
_JOINERS = "\u200c\u200d"
_MAX_LABEL_CHARACTERS = 63
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_PORT = 65_535
REDACTED = "***"
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_TEXT = re.compile(
    r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|((?:password|secret|token|api_?key)=)[^\s&]+"
)
# API keys, also cut ones, and JSON Web Tokens, wherever they stand.
_CREDENTIAL = re.compile(
    r"spn_(?:live|test)_[A-Za-z0-9._-]*_[0-9a-f]{8,}(?:_[0-9a-f]*)?"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]*"
)
_MAX_ENCODINGS = 3
"""Layers of percent-encoding below which credentials are searched."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# The joiners U+200C and U+200D are letters' parts in Arabic and Indic scripts, and only there.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
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


def suggest_name(name: str, names: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the most similar of the names; empty if none is similar."""
    if len(name) > _MAX_COMPARED_CHARACTERS:
        return ""
    similar = difflib.get_close_matches(name, list(names), n=1, cutoff=0.7)
    return f" Did you mean '{similar[0]}'?" if similar else ""


def split_list(text: str, pointer: str) -> list[str]:
    """Split values separated by commas; a value with a comma or a quote is quoted as in CSV.

    Raises:
        InvalidInput: a quoted value does not end, or a blank begins or ends an unquoted value.
    """
    items: list[str] = []
    start = 0
    while True:
        if text.startswith('"', start):
            match = _QUOTED_ITEM.match(text, start)
            if match is None:
                detail = "a quoted value ends with a quote before a comma; a quote in it is doubled"
                raise InvalidInput.at(pointer, "malformed_list", detail)
            items.append(match[1].replace('""', '"'))
            end = match.end(1) + 1
        else:
            end = text.find(",", start)
            end = len(text) if end < 0 else end
            items.append(_require_trimmed(text[start:end], pointer))
        if end == len(text):
            return items
        start = end + 1


def _require_trimmed(item: str, pointer: str) -> str:
    """Return an unquoted value, which a comma inside a value may have cut."""
    if item != trim(item):
        detail = (
            'a blank begins or ends a value: write a value with a comma in quotes, "Alpha, Beta",'
            " and no blanks after the commas of the list"
        )
        raise InvalidInput.at(pointer, "malformed_list", detail)
    return item


def escape_pointer_token(name: str) -> str:
    """Return a name as a JSON Pointer token (RFC 6901), cut to 100 characters."""
    return name[:100].replace("~", "~0").replace("/", "~1")


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced."""
    text = _URL_CREDENTIALS.sub(f"{REDACTED}@", redact_keys(text))
    return _SECRET_TEXT.sub(lambda match: f"{match[2] or (match[1] or '') + ' '}{REDACTED}", text)


def redact_keys(text: str) -> str:
    """Return the text with API keys and JSON Web Tokens replaced, also percent-encoded ones.

    A text in which encoded ones stand is returned decoded.
    """
    decoded = text
    for _ in range(_MAX_ENCODINGS):
        if "%" not in decoded:
            break
        decoded = unquote(decoded)
    return _CREDENTIAL.sub(REDACTED, decoded) if has_credential(decoded) else text


def has_credential(text: str) -> bool:
    """Whether an API key or a JSON Web Token stands anywhere in the text."""
    return _CREDENTIAL.search(text) is not None


def escape_unprintable(text: str) -> str:
    """Return a text without control characters: it stays on its line, and commands no terminal."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


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


def split_web_url(text: str) -> SplitResult:
    """Return the parts of an http or https URL.

    Raises:
        ValueError: the text is no such URL; the message names the rule and quotes nothing.
    """
    parts = split_url(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("an http or https URL is expected")
    check_address(parts.netloc.rpartition("@")[2])
    if _HALF_ENCODED.search(f"{parts.path}?{parts.query}"):
        raise ValueError("a % of the URL does not begin two hexadecimal digits")
    return parts


def split_url(text: str) -> SplitResult:
    """Return the parts of a URL of any scheme.

    Raises:
        ValueError: it has a character that a URL cannot have, or an unclosed bracket.
    """
    if _UNENCODED.search(text):
        raise ValueError("the URL contains a character that must be percent-encoded")
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError("the host of the URL is malformed") from None


def check_address(text: str) -> None:
    """Check a host with or without a port, as a URL has it.

    Raises:
        ValueError: the host or the port is malformed.
    """
    start, bracket, rest = text.partition("]")
    host, colon, port = rest.partition(":") if bracket else text.partition(":")
    if colon and not (_PORT.fullmatch(port) and 0 < int(port) <= _MAX_PORT):
        raise ValueError(f"the port of the URL is not a number from 1 to {_MAX_PORT}")
    try:
        is_host = _is_ipv6_host(start, host) if bracket else _is_host_name(host)
    except ValueError:
        is_host = False
    if not is_host:
        raise ValueError("the host of the URL is malformed")


def _is_ipv6_host(start: str, rest: str) -> bool:
    return start.startswith("[") and not rest and bool(IPv6Address(start[1:]))


def _is_host_name(host: str) -> bool:
    """Whether it is an IPv4 address, or a name that may be one.

    IDNA 2008 is not in the standard library: the clients, which encode international names by it,
    check their letters.
    """
    if _DOTTED_NUMBERS.fullmatch(host):
        return bool(IPv4Address(host))
    for letter in _NON_ASCII.findall(host):
        if unicodedata.category(letter)[0] not in "LMNP" and letter not in _JOINERS:
            return False
    name = _NON_ASCII.sub("a", host)
    labels = name.removesuffix(".").split(".")
    return (
        len(name) <= MAX_HOST_CHARACTERS
        and _HOST.fullmatch(name) is not None
        and all(0 < len(label) <= _MAX_LABEL_CHARACTERS for label in labels)
    )
