"""Texts of cells: white space, null markers, translations, and the error of what has none."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec

from spawn.domain.imports.cells.sheet_cell import ERROR_VALUES
from spawn.domain.imports.cells.unit_text import split_unit
from spawn.domain.imports.mapping import Otherwise
from spawn.domain.json_tokens import Token

_MAX_QUOTED_CHARACTERS: Final = 60
MAX_LISTED_VALUES: Final = 5
"""Values that a reason lists, at most."""

Converter = Callable[[str, int], Token]
"""Function of text and decimal places; raises `CellError`."""


class CellError(Exception):
    """A cell that cannot be converted: a stable code, and a sentence with its text.

    `column` is the one of several columns in which it is.
    """

    def __init__(self, code: str, detail: str, column: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.column = column


@contextmanager
def locate_errors(column: str | None) -> Iterator[None]:
    """Name the column in the errors of its cells."""
    try:
        yield
    except CellError as error:
        raise CellError(error.code, error.detail, error.column or column) from None


class TextReader(msgspec.Struct, frozen=True, kw_only=True):
    """Reader of the texts of a column: white space, null markers and translation."""

    nulls: frozenset[str]
    collapse: bool
    enum: dict[str, str] | None
    otherwise: Otherwise
    takes_unit: bool = False

    def read(self, token: Token) -> str | None:
        """Return the text of a single value, None if it is absent.

        Raises:
            CellError: the value is a structure or an error, or the enum has no entry for it.
        """
        text = token if type(token) is str else to_cell_text(token)
        if text is None:
            return None
        if self.collapse:
            text = " ".join(text.split())
        # Registers pad their cells with blanks, also those without a value.
        if text in self.nulls or text.strip() in self.nulls:
            return None
        if text in ERROR_VALUES:
            raise CellError("cell_error", f"the cell has the error {text} of a spreadsheet")
        if self.takes_unit:
            text = _read_unit(text)
            if not text:
                return None
        return text if self.enum is None else self._translate(text, self.enum)

    def read_all(self, token: Token) -> list[str]:
        """Return the texts of one or several values that are present."""
        tokens = token if isinstance(token, list) else [token]
        return [text for item in tokens if (text := self.read(item)) is not None]

    def read_constant(self, token: Token) -> str | None:
        """Return the text of a constant, which no marker makes absent."""
        text = to_cell_text(token)
        return text if text is None or self.enum is None else self._translate(text, self.enum)

    def _translate(self, text: str, enum: Mapping[str, str]) -> str | None:
        translation = enum.get(text)
        if translation is None and self.otherwise is Otherwise.KEEP:
            return text
        if translation is None and self.otherwise is Otherwise.QUARANTINE:
            raise CellError("unmapped_value", f"the mapping has no entry for {quote(text)}")
        return translation


def _read_unit(text: str) -> str:
    """Return the unit of a text, once if it is on both sides of the number: `$ 5 $`."""
    words = split_unit(text)[1].split()
    half = len(words) // 2
    return " ".join(words[:half] if words[:half] == words[half:] else words)


def to_cell_text(token: Token) -> str | None:
    """Return a scalar token as the text of a cell.

    Raises:
        CellError: the token is an object or an array.
    """
    if token is None or type(token) is str:
        return token
    if isinstance(token, str):
        return str(token)
    if isinstance(token, bool):
        return "true" if token else "false"
    raise CellError("wrong_type", "a single value is expected here")


def quote(text: str) -> str:
    """Return the text in quotes, cut to the length of an error message."""
    return repr(
        text if len(text) <= _MAX_QUOTED_CHARACTERS else text[:_MAX_QUOTED_CHARACTERS] + "…"
    )


def add_content(detail: str, content: Token) -> str:
    """Return an error's sentence with the content of the cell, unless it quotes it already."""
    if not isinstance(content, str) or not content.strip():
        return detail
    is_quoted = any(quote(text) in detail for text in (content, content.strip()))
    return detail if is_quoted else f"{detail}; the value is {quote(content)}"
