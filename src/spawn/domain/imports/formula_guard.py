"""Guard of CSV cells against spreadsheets that treat text as a formula; it can be taken off.

Spreadsheets treat a cell that begins with `= + - @`, a tab or a carriage return as a formula. Such
text gets a leading apostrophe, and so does text that begins with apostrophes before one of these
characters. Taking one apostrophe off returns every text as it was.
"""

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]").match
_GUARDED = re.compile(r"'+[=+\-@\t\r]").match
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII).fullmatch


def escape_formula(text: str) -> str:
    """Return text with an apostrophe before it if a spreadsheet would treat it as a formula."""
    return "'" + text if _FORMULA(text) and not _NUMBER(text) else text


def unescape_formula(text: str) -> str:
    """Return the text that `escape_formula` was called with."""
    return text[1:] if text[:1] == "'" and _GUARDED(text) else text
