"""Strict JSON parsing into raw tokens that keep the exact text of numbers.

Nothing is converted here. A number becomes a `NumberToken`, its source text, so that an amount
never passes through a float and the column's type decides the meaning of the text.
"""

import json

from spawn.domain.errors import InvalidInput, MalformedBody

MAX_DEPTH = 32
"""Nesting levels of objects and arrays, at most; the outermost object is level 1."""

MAX_NUMBER_LENGTH = 80
"""Characters of one number; enough for 38 digits, 30 rounded decimals and an exponent."""


class NumberToken(str):
    """The text of a JSON number; test `type(token) is str` for a JSON string."""

    __slots__ = ()


Token = None | bool | str | NumberToken | list["Token"] | dict[str, "Token"]
"""A JSON value; `str` is a JSON string and `NumberToken` a number."""


def parse_object(body: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Token]:
    """Parse a body that is exactly one JSON object.

    Raises:
        MalformedBody: not UTF-8, not JSON, data after the end, a duplicate key at any depth,
            U+0000, a lone surrogate, NaN or Infinity, nesting beyond `max_depth`, an overlong
            number.
        InvalidInput: well-formed, but not an object (`wrong_type` at the root).
    """
    tree = parse_token(body, max_depth=max_depth)
    if type(tree) is not dict:
        raise InvalidInput.at(
            "", "wrong_type", f"a JSON object is expected, not {describe_type(tree)}"
        )
    return tree


def parse_token(body: bytes, *, max_depth: int = MAX_DEPTH) -> Token:
    """Parse a body that is exactly one JSON value of any type.

    Raises:
        MalformedBody: as `parse_object`.
    """
    try:
        text = body.decode().strip(" \t\n\r")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        tree, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        location = f"line {error.lineno} column {error.colno}"
        message = error.msg.removesuffix(" at")
        raise MalformedBody(f"the body is not JSON: {message} at {location}") from None
    except RecursionError:
        raise MalformedBody(f"the body nests deeper than {max_depth} levels") from None
    if end != len(text):
        raise MalformedBody(f"data follows the JSON value at character {end}")
    # Only an escape can contain a NUL or a lone surrogate, and only many opening brackets can nest
    # deep: other bodies need no walk through the whole tree.
    if "\\u" in text or text.count("{") + text.count("[") > max_depth:
        _check_tree(tree, max_depth)
    return tree  # type: ignore[no-any-return]  # the decoder is typed Any; its hooks make tokens


def format_token(token: Token) -> str:
    """Return the token as compact JSON text, every number with its own digits."""
    if isinstance(token, dict):
        members = (f"{_quote(key)}:{format_token(value)}" for key, value in token.items())
        return "{" + ",".join(members) + "}"
    if isinstance(token, list):
        return "[" + ",".join(map(format_token, token)) + "]"
    if type(token) is str:
        return _quote(token)
    return token if isinstance(token, NumberToken) else _LITERALS[token]


def describe_type(token: Token) -> str:
    """Return the name of a token's JSON type, with its article."""
    return _TYPE_NAMES[type(token)]


_quote = json.JSONEncoder(ensure_ascii=False).encode
_LITERALS: dict[Token, str] = {None: "null", True: "true", False: "false"}
_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    str: "a string",
    NumberToken: "a number",
    list: "an array",
    dict: "an object",
}


def _build_object(pairs: list[tuple[str, Token]]) -> dict[str, Token]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in keys or keys.add(key))  # type: ignore[func-returns-value]  # add() returns None, which is falsy
        raise MalformedBody(f"the key {duplicate[:64]!r} occurs twice in one object")
    return members


def _build_number(text: str) -> NumberToken:
    if len(text) > MAX_NUMBER_LENGTH:
        raise MalformedBody(f"a number is longer than {MAX_NUMBER_LENGTH} characters")
    return NumberToken(text)


def _reject_constant(text: str) -> Token:
    raise MalformedBody(f"{text} is not a JSON number")


def _check_tree(tree: Token, max_depth: int) -> None:
    """Reject deep nesting and text that is not Unicode, without recursion."""
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
    object_pairs_hook=_build_object,
    parse_float=_build_number,
    parse_int=_build_number,
    parse_constant=_reject_constant,
)
