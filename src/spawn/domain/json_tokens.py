"""Strict reading of a JSON object into raw tokens: numbers keep their exact text.

Nothing is converted here. A number becomes `Number`, the text it was written with, so that an
amount never passes through a float and the column's type decides what the text means.
"""

import json

from spawn.domain.errors import InvalidInput, MalformedBody

MAX_DEPTH = 32
"""How deep objects and arrays may nest; the outermost object is level 1."""

MAX_NUMBER_LENGTH = 80
"""Characters of one number; 38 digits, 30 rounded decimals and an exponent fit easily."""


class Number(str):
    """The text of a JSON number. A `str` too, so ask `type(token) is str` for a JSON string."""

    __slots__ = ()


Token = None | bool | str | Number | list["Token"] | dict[str, "Token"]
"""A JSON value; `str` is a JSON string and `Number` a number."""


def read_object(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Token]:
    """The one JSON object that `body` is.

    Raises:
        MalformedBody: not UTF-8, not JSON, data after the end, a key twice at any depth, U+0000, a
            lone surrogate, NaN or Infinity, nesting beyond `max_depth`, an endless number.
        InvalidInput: well-formed, but not an object (`wrong_type` at the root).
    """
    tree = read_token(body, max_depth=max_depth)
    if type(tree) is not dict:
        raise InvalidInput.at("", "wrong_type", f"a JSON object is expected, not {kind(tree)}")
    return tree


def read_token(body: bytes, *, max_depth: int = MAX_DEPTH) -> Token:
    """The one JSON value that `body` is, of whatever type; refuses as `read_object` does."""
    try:
        text = body.decode().strip(" \t\n\r")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        tree, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        said = error.msg.removesuffix(" at")
        raise MalformedBody(f"the body is not JSON: {said} at {where}") from None
    except RecursionError:
        raise MalformedBody(f"the body nests deeper than {max_depth} levels") from None
    if end != len(text):
        raise MalformedBody(f"data follows the JSON value at character {end}")
    # Only an escape can smuggle in a NUL or a lone surrogate, and only many openers can nest deep:
    # the walk through the whole tree is for those bodies alone.
    if "\\u" in text or text.count("{") + text.count("[") > max_depth:
        _inspect(tree, max_depth)
    return tree  # type: ignore[no-any-return]  # the decoder is typed Any; its hooks make tokens


def write_token(token: Token) -> str:
    """The token as compact JSON text again, every number with its own digits."""
    if isinstance(token, dict):
        members = (f"{_quote(key)}:{write_token(value)}" for key, value in token.items())
        return "{" + ",".join(members) + "}"
    if isinstance(token, list):
        return "[" + ",".join(map(write_token, token)) + "]"
    if type(token) is str:
        return _quote(token)
    return token if isinstance(token, Number) else _LITERALS[token]


def kind(token: Token) -> str:
    """What a person calls this kind of JSON value, with its article."""
    return _KINDS[type(token)]


_quote = json.JSONEncoder(ensure_ascii=False).encode
_LITERALS: dict[Token, str] = {None: "null", True: "true", False: "false"}
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    str: "a string",
    Number: "a number",
    list: "an array",
    dict: "an object",
}


def _pairs(pairs: list[tuple[str, Token]]) -> dict[str, Token]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add() is the idiom for "seen now"
        raise MalformedBody(f"the key {twice[:64]!r} occurs twice in one object")
    return found


def _number(text: str) -> Number:
    if len(text) > MAX_NUMBER_LENGTH:
        raise MalformedBody(f"a number is longer than {MAX_NUMBER_LENGTH} characters")
    return Number(text)


def _constant(text: str) -> Token:
    raise MalformedBody(f"{text} is not a JSON number")


def _inspect(tree: Token, max_depth: int) -> None:
    """Refuse deep nesting and text that is no Unicode text, without recursing ourselves."""
    level: list[Token] = [tree]
    depth = 0
    while level:
        inner: list[Token] = []
        for token in level:
            if isinstance(token, str):
                _check_text(token)
            elif isinstance(token, dict):
                for key in token:
                    _check_text(key)
                inner.extend(token.values())
            elif isinstance(token, list):
                inner.extend(token)
        if depth >= max_depth and any(isinstance(token, dict | list) for token in level):
            raise MalformedBody(f"the body nests deeper than {max_depth} levels")
        level = inner
        depth += 1


def _check_text(text: str) -> None:
    if "\0" in text:
        raise MalformedBody("the body contains U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedBody("the body contains a lone surrogate") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_number, parse_int=_number, parse_constant=_constant
)
