r"""Patterns of schema columns: a safe subset of regular expressions, matched in linear time.

A pattern comes from elsewhere and runs on every write, so it must not be able to stall the
service. Backtracking engines are stalled by `^(a+)+$`, and by `a*a*a*a*b` without any nesting, so
the subset is parsed here and matched by a lazily built deterministic automaton, whose time is
proportional to the text whatever the pattern.

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
"""Characters of a value that a pattern may be applied to."""

_CACHED_STEPS: Final = 512
_TOP: Final = 0x10FFFF

_Ranges = tuple[tuple[int, int], ...]
_Frontier = tuple[int, ...]

_DIGIT: Final[_Ranges] = ((48, 57),)
_WORD: Final[_Ranges] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Final[_Ranges] = ((9, 13), (32, 32))
_NAMED: Final[dict[str, _Ranges]] = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROL: Final[dict[str, int]] = {"t": 9, "n": 10, "r": 13}
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}")


class PatternRefused(Exception):
    """The text is no pattern of the subset; the message says why."""


@lru_cache(maxsize=512)
def explicit_form(pattern: str) -> str:
    r"""The same pattern with every character as `[\x{…}-\x{…}]`, for other linear-time engines.

    Engines differ in what `.`, `\s` and the ends mean; ranges of code points mean one thing.

    Raises:
        PatternRefused: outside the subset, or too long.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternRefused(f"longer than {MAX_PATTERN_LENGTH} characters")
    return _spelled(_Parser(pattern).parse())


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a whole text matches; texts beyond the bound do not.

    Raises:
        PatternRefused: outside the subset, too long or too large.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise PatternRefused(f"longer than {MAX_PATTERN_LENGTH} characters")
    return _Automaton(_Parser(pattern).parse()).matches


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

    def varies(self) -> bool:
        """Whether a repetition of variable length is somewhere inside."""
        own = self.kind == "repeat" and self.low != self.high
        return own or any(part.varies() for part in self.parts)


class _Parser:
    """Recursive descent over the subset; the 200 characters bound the recursion."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern.removeprefix("^")
        self._at = 0
        if self._text.endswith("$") and not self._text.endswith("\\$"):
            self._text = self._text[:-1]

    def parse(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise PatternRefused(f"unexpected {self._text[self._at]!r}")
        return node

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self) -> str:
        if self._at >= len(self._text):
            raise PatternRefused("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _choice(self) -> _Node:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Node("choice", parts=tuple(branches))

    def _sequence(self) -> _Node:
        parts = []
        while self._peek() not in {"", "|", ")"}:
            parts.append(self._repeated(self._atom()))
        return _Node("sequence", parts=tuple(parts))

    def _atom(self) -> _Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return _Node("chars", ranges=self._class())
        if char == "\\":
            return _Node("chars", ranges=self._escape())
        if char == ".":
            return _Node("chars", ranges=_complement(((10, 10), (13, 13))))
        if char in "*+?{":
            raise PatternRefused(f"nothing for {char!r} to repeat")
        if char in _SPECIAL:
            raise PatternRefused(f"{char!r} is not allowed here")
        return _Node("chars", ranges=((ord(char), ord(char)),))

    def _group(self) -> _Node:
        if self._peek() == "?":
            self._at += 1
            if self._take() != ":":
                raise PatternRefused("only plain and (?:…) groups are allowed")
        node = self._choice()
        if self._take() != ")":
            raise PatternRefused("a group is not closed")
        return node

    def _repeated(self, node: _Node) -> _Node:
        char = self._peek()
        if char not in {"*", "+", "?", "{"}:
            return node
        self._at += 1
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._counts()
        if char != "?" and node.varies():
            raise PatternRefused("a repetition is nested in a repetition")
        if self._peek() in {"*", "+", "?", "{"}:
            raise PatternRefused("a repetition follows a repetition")
        return _Node("repeat", parts=(node,), low=low, high=high)

    def _counts(self) -> tuple[int, int | None]:
        text = ""
        while (char := self._take()) != "}":
            text += char
        low, comma, high = text.partition(",")
        if not _is_count(low) or (high and not _is_count(high)):
            raise PatternRefused("a count is not a number")
        least, most = int(low), int(high or low)
        if not least <= most <= MAX_REPEAT:
            raise PatternRefused(f"counts must rise and not pass {MAX_REPEAT}")
        return least, (None if comma and not high else most)

    def _escape(self) -> _Ranges:
        char = self._take()
        if char.lower() in _NAMED:
            named = _NAMED[char.lower()]
            return named if char.islower() else _complement(named)
        if char in _CONTROL:
            return ((_CONTROL[char], _CONTROL[char]),)
        if char.isalnum():
            raise PatternRefused(f"the escape \\{char} is not allowed")
        return ((ord(char), ord(char)),)

    def _class(self) -> _Ranges:
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while (char := self._take()) != "]":
            low = self._member(char)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in {"]", ""}:
                self._at += 1
                ranges.append(_span(low, self._member(self._take())))
            else:
                ranges.extend(low)
        if not ranges:
            raise PatternRefused("a class is empty")
        return _complement(tuple(ranges)) if negated else tuple(ranges)

    def _member(self, char: str) -> _Ranges:
        if char == "[":
            raise PatternRefused("a class within a class is not allowed")
        return self._escape() if char == "\\" else ((ord(char), ord(char)),)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_REPEAT))


def _span(low: _Ranges, high: _Ranges) -> tuple[int, int]:
    (first, first_end), (last, last_end) = low[0], high[0]
    if len(low) != 1 or len(high) != 1 or first != first_end or last != last_end or first > last:
        raise PatternRefused("a range of characters is not in order")
    return first, last


def _complement(ranges: _Ranges) -> _Ranges:
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    return (*gaps, (start, _TOP)) if start <= _TOP else tuple(gaps)


def _spelled(node: _Node) -> str:
    if node.kind == "chars":
        ranges = "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in node.ranges)
        # The complement of everything is a class without members.
        return f"[{ranges}]" if ranges else f"[^\\x{{0}}-\\x{{{_TOP:x}}}]"
    parts = [_spelled(part) for part in node.parts]
    if node.kind != "repeat":
        return f"(?:{('|' if node.kind == 'choice' else '').join(parts)})"
    return f"(?:{parts[0]}){{{node.low},{'' if node.high is None else node.high}}}"


class _Automaton:
    """An automaton over code points, made deterministic step by step as texts need it.

    State i either consumes a character of `_ranges[i]` and goes on to `_next[i][0]`, or consumes
    nothing (`_ranges[i]` is None) and goes on to each of `_next[i]`. State 0 accepts.
    """

    def __init__(self, node: _Node) -> None:
        self._ranges: list[_Ranges | None] = [None]
        self._next: list[tuple[int, ...]] = [()]
        self._start = self._closure((self._build(node, 0),))
        self._steps: dict[tuple[_Frontier, str], _Frontier] = {}

    def matches(self, text: str) -> bool:
        if len(text) > MAX_MATCHED_LENGTH:
            return False
        frontier, steps = self._start, self._steps
        for char in text:
            following = steps.get((frontier, char))
            frontier = self._step(frontier, char) if following is None else following
        return 0 in frontier

    def _step(self, frontier: _Frontier, char: str) -> _Frontier:
        code = ord(char)
        following = self._closure(
            tuple(
                self._next[state][0]
                for state in frontier
                if any(low <= code <= high for low, high in self._ranges[state] or ())
            )
        )
        if len(self._steps) >= _CACHED_STEPS:
            self._steps.clear()
        self._steps[frontier, char] = following
        return following

    def _closure(self, states: tuple[int, ...]) -> _Frontier:
        seen = set(states)
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if self._ranges[state] is None:
                fresh = [target for target in self._next[state] if target not in seen]
                seen.update(fresh)
                waiting.extend(fresh)
        return tuple(sorted(s for s in seen if s == 0 or self._ranges[s] is not None))

    def _add(self, ranges: _Ranges | None, following: tuple[int, ...]) -> int:
        if len(self._next) >= MAX_STATES:
            raise PatternRefused(f"it needs more than {MAX_STATES} states")
        self._ranges.append(ranges)
        self._next.append(following)
        return len(self._next) - 1

    def _build(self, node: _Node, target: int) -> int:
        """The state from which `node` leads to `target`."""
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
