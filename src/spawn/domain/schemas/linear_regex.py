r"""Regular expressions of column patterns: a safe subset, matched in linear time.

A pattern is external data and runs on every write, so it must not be able to stall the
service. Backtracking engines are stalled by `^(a+)+$`, and by `a*a*a*a*b` without any nesting, so
the subset is parsed here and matched by a lazily built deterministic automaton, whose time is
proportional to the length of the text, for any pattern.

The subset: literals, `.`, classes, `\d \w \s` and their complements (ASCII), groups, `|`, and
`* + ? {m} {m,} {m,n}`. A group that holds a variable repetition may be optional but not repeated.
No lookaround, backreferences, flags, lazy or possessive forms; anchors only at the two ends, where
they are redundant: a pattern always matches the whole value.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAX_PATTERN_LENGTH: Final = 200
MAX_REPEAT: Final = 256
MAX_STATES: Final = 512
MAX_MATCHED_LENGTH: Final = 1_000
"""Maximum characters of a value to which a pattern is applied."""

_MAX_CACHED_STEPS: Final = 512
_MAX_CODE_POINT: Final = 0x10FFFF

_Ranges = tuple[tuple[int, int], ...]
_StateSet = tuple[int, ...]

_DIGIT: Final[_Ranges] = ((48, 57),)
_WORD: Final[_Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[_Ranges] = ((9, 13), (32, 32))
_NAMED_CLASSES: Final[dict[str, _Ranges]] = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROL_ESCAPES: Final[dict[str, int]] = {"t": 9, "n": 10, "r": 13}
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}")


_EVERY_CHARACTER: Final = r"[\s\S]"
_NO_CHARACTER: Final = r"[^\s\S]"
_NAMED_ESCAPES: Final = {9: "\\t", 10: "\\n", 13: "\\r"}
_FIRST_PRINTABLE: Final = 0xA1
"""First code point above the control characters and the blanks of Latin-1."""


class UnsupportedPattern(Exception):
    """The text is not a pattern of the supported subset; the message is the reason."""


@lru_cache(maxsize=512)
def expand_pattern(pattern: str) -> str:
    r"""Rewrite a pattern with each character as `[\x{…}-\x{…}]`, for other linear engines.

    Engines differ on `.`, `\s` and the ends; ranges of code points mean the same in all.

    Raises:
        UnsupportedPattern: outside the subset, or too long.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"longer than {MAX_PATTERN_LENGTH} characters")
    return _format_node(_Parser(pattern).parse())


@lru_cache(maxsize=512)
def format_ecma_pattern(pattern: str) -> str:
    r"""Rewrite a pattern in ECMA-262 (with the flag `u`) with the same meaning, anchored.

    Published documents have this form. `\d`, `\w`, `\s`, `.` and the ends differ between
    dialects, so they become classes of characters; RE2, Rust and Python read the result alike.

    Raises:
        UnsupportedPattern: outside the subset, or too long.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"longer than {MAX_PATTERN_LENGTH} characters")
    return f"^(?:{_format_ecma(_Parser(pattern).parse())})$"


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a predicate that matches whole texts; texts above the limit never match.

    Raises:
        UnsupportedPattern: outside the subset, too long or too large.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"longer than {MAX_PATTERN_LENGTH} characters")
    return _Automaton(_Parser(pattern).parse()).matches


@lru_cache(maxsize=512)
def find_shortest_match(pattern: str) -> int | None:
    r"""Return the fewest characters of a text that matches; None if none does, as of `[^\s\S]`.

    Raises:
        UnsupportedPattern: outside the subset, or too long.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UnsupportedPattern(f"longer than {MAX_PATTERN_LENGTH} characters")
    return _Parser(pattern).parse().find_fewest()


class _Node:
    """A parsed expression: `kind` is chars, sequence, choice or repeat."""

    __slots__ = ("high", "kind", "low", "parts", "ranges")

    def __init__(
        self,
        kind: str,
        *,
        parts: tuple["_Node", ...] = (),
        ranges: _Ranges = (),
        low: int = 1,
        high: int | None = 1,
    ) -> None:
        self.kind = kind
        self.parts = parts
        self.ranges = ranges
        self.low = low
        self.high = high

    def has_variable_repeat(self) -> bool:
        """Whether the expression contains a repetition of variable length."""
        is_variable = self.kind == "repeat" and self.low != self.high
        return is_variable or any(part.has_variable_repeat() for part in self.parts)

    def find_fewest(self) -> int | None:
        """Return the fewest characters of a match; None if nothing matches."""
        if self.kind == "chars":
            return 1 if self.ranges else None
        counts = [part.find_fewest() for part in self.parts]
        possible = [count for count in counts if count is not None]
        if self.kind == "choice":
            return min(possible, default=None)
        if self.kind == "repeat" and not self.low:
            return 0
        # A sequence needs each part, and a repetition has one part.
        return self.low * sum(possible) if len(possible) == len(counts) else None


class _Parser:
    """Recursive-descent parser of the subset; 200 characters limit the recursion."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern.removeprefix("^")
        self._index = 0
        body = self._text.removesuffix("$")
        backslash_count = len(body) - len(body.rstrip("\\"))
        if backslash_count % 2 == 0:
            self._text = body

    def parse(self) -> _Node:
        node = self._choice()
        if self._index < len(self._text):
            raise UnsupportedPattern(f"unexpected {self._text[self._index]!r}")
        return node

    def _peek(self) -> str:
        return self._text[self._index] if self._index < len(self._text) else ""

    def _next_char(self) -> str:
        if self._index >= len(self._text):
            raise UnsupportedPattern("it ends too early")
        self._index += 1
        return self._text[self._index - 1]

    def _choice(self) -> _Node:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._index += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Node("choice", parts=tuple(branches))

    def _sequence(self) -> _Node:
        parts = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repetition(self._atom()))
        return _Node("sequence", parts=tuple(parts))

    def _atom(self) -> _Node:
        char = self._next_char()
        if char == "(":
            return self._group()
        if char == "[":
            return _Node("chars", ranges=self._class())
        if char == "\\":
            return _Node("chars", ranges=self._escape())
        if char == ".":
            return _Node("chars", ranges=_invert(((10, 10), (13, 13))))
        if char in "*+?{":
            raise UnsupportedPattern(f"nothing for {char!r} to repeat")
        if char in _SPECIAL:
            raise UnsupportedPattern(f"{char!r} is not allowed here")
        return _Node("chars", ranges=((ord(char), ord(char)),))

    def _group(self) -> _Node:
        if self._peek() == "?":
            self._index += 1
            if self._next_char() != ":":
                raise UnsupportedPattern("only plain and (?:…) groups are allowed")
        node = self._choice()
        if self._next_char() != ")":
            raise UnsupportedPattern("a group is not closed")
        return node

    def _repetition(self, node: _Node) -> _Node:
        char = self._peek()
        if char not in {"*", "+", "?", "{"}:
            return node
        self._index += 1
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._counts()
        if char != "?" and node.has_variable_repeat():
            raise UnsupportedPattern("a repetition is nested in a repetition")
        if self._peek() in {"*", "+", "?", "{"}:
            raise UnsupportedPattern("a repetition follows a repetition")
        return _Node("repeat", parts=(node,), low=low, high=high)

    def _counts(self) -> tuple[int, int | None]:
        text = ""
        while (char := self._next_char()) != "}":
            text += char
        low, comma, high = text.partition(",")
        if not _is_count(low) or (high and not _is_count(high)):
            raise UnsupportedPattern("a count is not a number")
        least, most = int(low), int(high or low)
        if not least <= most <= MAX_REPEAT:
            raise UnsupportedPattern(f"counts must rise and not pass {MAX_REPEAT}")
        return least, (None if comma and not high else most)

    def _escape(self) -> _Ranges:
        char = self._next_char()
        if char.lower() in _NAMED_CLASSES:
            class_ranges = _NAMED_CLASSES[char.lower()]
            return class_ranges if char.islower() else _invert(class_ranges)
        if char in _CONTROL_ESCAPES:
            return ((_CONTROL_ESCAPES[char], _CONTROL_ESCAPES[char]),)
        if char.isalnum():
            raise UnsupportedPattern(f"the escape \\{char} is not allowed")
        return ((ord(char), ord(char)),)

    def _class(self) -> _Ranges:
        is_negated = self._peek() == "^"
        self._index += is_negated
        ranges: list[tuple[int, int]] = []
        while (char := self._next_char()) != "]":
            low = self._class_member(char)
            if self._peek() == "-" and self._text[self._index + 1 : self._index + 2] not in {
                "]",
                "",
            }:
                self._index += 1
                ranges.append(_span(low, self._class_member(self._next_char())))
            else:
                ranges.extend(low)
        if not ranges:
            raise UnsupportedPattern("a class is empty")
        return _invert(tuple(ranges)) if is_negated else tuple(ranges)

    def _class_member(self, char: str) -> _Ranges:
        if char == "[":
            raise UnsupportedPattern("a class within a class is not allowed")
        return self._escape() if char == "\\" else ((ord(char), ord(char)),)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_REPEAT))


def _span(low: _Ranges, high: _Ranges) -> tuple[int, int]:
    (first, first_end), (last, last_end) = low[0], high[0]
    if len(low) != 1 or len(high) != 1 or first != first_end or last != last_end or first > last:
        raise UnsupportedPattern("a range of characters is not in order")
    return first, last


def _invert(ranges: _Ranges) -> _Ranges:
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return (*gaps, (start, _MAX_CODE_POINT)) if start <= _MAX_CODE_POINT else tuple(gaps)


def _format_node(node: _Node) -> str:
    if node.kind == "chars":
        ranges = "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in node.ranges)
        # An empty class is written as the complement of every code point.
        return f"[{ranges}]" if ranges else f"[^\\x{{0}}-\\x{{{_MAX_CODE_POINT:x}}}]"
    parts = [_format_node(part) for part in node.parts]
    if node.kind != "repeat":
        return f"(?:{('|' if node.kind == 'choice' else '').join(parts)})"
    return f"(?:{parts[0]}){{{node.low},{'' if node.high is None else node.high}}}"


def _format_ecma(node: _Node) -> str:
    if node.kind == "chars":
        return _format_class(node.ranges)
    if node.kind == "choice":
        return "|".join(map(_format_ecma, node.parts))
    if node.kind == "sequence":
        return "".join(
            f"(?:{_format_ecma(part)})" if part.kind == "choice" else _format_ecma(part)
            for part in node.parts
        )
    (part,) = node.parts
    while part.kind == "sequence" and len(part.parts) == 1:
        (part,) = part.parts
    text = _format_ecma(part)
    return (text if part.kind == "chars" else f"(?:{text})") + _format_counts(node.low, node.high)


def _format_counts(low: int, high: int | None) -> str:
    """Return the shortest quantifier."""
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    if short is not None:
        return short
    if low == high:
        return f"{{{low}}}"
    return f"{{{low},{'' if high is None else high}}}"


def _format_class(ranges: _Ranges) -> str:
    """Return one character as itself, several as a class, negated if that is shorter."""
    gaps = _invert(ranges)
    if not gaps:
        return _EVERY_CHARACTER
    spans = _invert(gaps)
    if not spans:
        return _NO_CHARACTER
    if len(spans) == 1 and spans[0][0] == spans[0][1]:
        return _format_char(spans[0][0], "^$\\.*+?()[]{}|")
    is_negated = spans[-1][1] == _MAX_CODE_POINT
    members = "".join(_format_range(low, high) for low, high in (gaps if is_negated else spans))
    return f"[{'^' if is_negated else ''}{members}]"


def _format_range(low: int, high: int) -> str:
    first, last = (_format_char(code, "\\[]^-") for code in (low, high))
    if low == high:
        return first
    return f"{first}{last}" if high == low + 1 else f"{first}-{last}"


def _format_char(code: int, special: str) -> str:
    """Return a character, escaped where the dialects agree on the escape."""
    if code in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[code]
    char = chr(code)
    if char in special:
        return f"\\{char}"
    is_shown = 0x20 <= code < 0x7F or code >= _FIRST_PRINTABLE  # noqa: PLR2004  # ASCII's ends
    return char if is_shown else f"\\x{code:02x}"


class _Automaton:
    """Automaton over code points, made deterministic lazily, step by step.

    State i either consumes a character of `_ranges[i]` and moves to `_next[i][0]`, or consumes
    nothing (`_ranges[i]` is None) and moves to each of `_next[i]`. State 0 accepts.
    """

    def __init__(self, node: _Node) -> None:
        self._ranges: list[_Ranges | None] = [None]
        self._next: list[tuple[int, ...]] = [()]
        self._start = self._closure((self._build(node, 0),))
        self._steps: dict[tuple[_StateSet, str], _StateSet] = {}

    def matches(self, text: str) -> bool:
        if len(text) > MAX_MATCHED_LENGTH:
            return False
        states, steps = self._start, self._steps
        for char in text:
            next_states = steps.get((states, char))
            states = self._step(states, char) if next_states is None else next_states
        return 0 in states

    def _step(self, states: _StateSet, char: str) -> _StateSet:
        code = ord(char)
        next_states = self._closure(
            tuple(
                self._next[state][0]
                for state in states
                if any(low <= code <= high for low, high in self._ranges[state] or ())
            )
        )
        if len(self._steps) >= _MAX_CACHED_STEPS:
            self._steps.clear()
        self._steps[states, char] = next_states
        return next_states

    def _closure(self, states: tuple[int, ...]) -> _StateSet:
        closure = set(states)
        pending = list(states)
        while pending:
            state = pending.pop()
            if self._ranges[state] is None:
                new_states = [target for target in self._next[state] if target not in closure]
                closure.update(new_states)
                pending.extend(new_states)
        return tuple(sorted(s for s in closure if s == 0 or self._ranges[s] is not None))

    def _add(self, ranges: _Ranges | None, next_states: tuple[int, ...]) -> int:
        if len(self._next) >= MAX_STATES:
            raise UnsupportedPattern(f"it needs more than {MAX_STATES} states")
        self._ranges.append(ranges)
        self._next.append(next_states)
        return len(self._next) - 1

    def _build(self, node: _Node, target: int) -> int:
        """Return the state from which `node` leads to `target`."""
        if node.kind == "chars":
            return self._add(node.ranges, (target,))
        if node.kind == "choice":
            return self._add(None, tuple(self._build(part, target) for part in node.parts))
        if node.kind == "sequence":
            for part in reversed(node.parts):
                target = self._build(part, target)
            return target
        return self._build_repeat(node, target)

    def _build_repeat(self, node: _Node, target: int) -> int:
        (part,) = node.parts
        if node.high is None:
            loop = self._add(None, ())
            self._next[loop] = (self._build(part, loop), target)
            target = loop
        else:
            end = target
            for _ in range(node.high - node.low):
                target = self._add(None, (self._build(part, target), end))
        for _ in range(node.low):
            target = self._build(part, target)
        return target
