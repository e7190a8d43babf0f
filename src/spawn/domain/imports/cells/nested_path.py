"""Paths into nested records: members, indexes, and conditions on repeated elements.

`title.narrative.0.text` is the text of the first narrative of each title. A step over an array
applies to each of its items, unless it is an index. `transaction[transaction-type.@code=2]` keeps
the items in which the inner path has one of the texts after the equals sign, as in `=2|3`. An
object with a member `text` at the end of a path stands for that text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec

from spawn.domain.imports.mapping import Choice
from spawn.domain.json_tokens import Token

TEXT_MEMBER: Final = "text"
"""Member with the text of an element that also has attributes."""

MAX_VALUES: Final = 10_000
"""Values that one path selects from a record, at most."""

_MAX_STEPS: Final = 16
_STEP = re.compile(r"([^.\[\]]+)(?:\[([^\[\]=]+)=([^\[\]]*)\])?(?:\.|\Z)")
_INDEX = re.compile(r"\d{1,6}", re.ASCII)


class PathStep(msgspec.Struct, frozen=True):
    """One step: the name of a member or an index, and the condition on its items."""

    name: str
    index: int | None
    condition: "tuple[PathStep, ...] | None" = None
    texts: frozenset[str] = frozenset()


def is_path(text: str) -> bool:
    """Return whether a text is a path."""
    return parse_path(text) is not None


@lru_cache(1024)
def parse_path(text: str) -> tuple[PathStep, ...] | None:
    """Return the steps of a path, None if the text is none."""
    steps: list[PathStep] = []
    end = 0
    for match in _STEP.finditer(text):
        if match.start() != end:
            return None
        end = match.end()
        name, inner, texts = match.groups()
        condition = None if inner is None else parse_path(inner)
        if inner is not None and condition is None:
            return None
        index = int(name) if _INDEX.fullmatch(name) else None
        steps.append(PathStep(name, index, condition, frozenset((texts or "").split("|"))))
    is_complete = end == len(text) and not text.endswith(".")
    return tuple(steps) if is_complete and 0 < len(steps) <= _MAX_STEPS else None


def select_values(record: Token, steps: Sequence[PathStep]) -> Token:
    """Return the value at a path, a list of several values, or None without any.

    Of more than `MAX_VALUES` it has one beyond them, which tells that there are more.
    """
    values: list[Token] = []
    for value in map(_read_text, _walk(record, steps)):
        if value is not None:
            values.append(value)
        if len(values) > MAX_VALUES:
            break
    return values if len(values) > 1 else (values[0] if values else None)


def _walk(node: Token, steps: Sequence[PathStep]) -> Iterator[Token]:
    if not steps:
        yield from node if isinstance(node, list) else (node,)
        return
    step, *rest = steps
    if isinstance(node, list) and step.index is None:
        for item in node:
            yield from _walk(item, steps)
        return
    for child in step_into(node, step):
        yield from _walk(child, rest)


def step_into(node: Token, step: PathStep) -> Iterator[Token]:
    """Yield what a step leads to from an item; a list is one for the step of an index alone."""
    if isinstance(node, dict):
        if step.name in node:
            yield _filter_items(node[step.name], step)
            return
    elif isinstance(node, list):
        if step.index is not None and step.index < len(node):
            yield node[step.index]
        return
    # An element that is not repeated is its own first item, and one without attributes its text.
    if step.index == 0 or (step.name == TEXT_MEMBER and not isinstance(node, dict)):
        yield node


def _filter_items(node: Token, step: PathStep) -> Token:
    if step.condition is None:
        return node
    items = node if isinstance(node, list) else [node]
    condition = step.condition
    return [
        item
        for item in items
        if any(_read_text(value) in step.texts for value in _walk(item, condition))
    ]


def read_texts(value: Token) -> Token:
    """Return the texts of elements that have attributes beside; other values as they are."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [_read_text(item) for item in value]
    return _read_text(value)


def _read_text(value: Token) -> Token:
    return value.get(TEXT_MEMBER) if isinstance(value, dict) and TEXT_MEMBER in value else value


def choose_elements(
    record: Mapping[str, Token], choices: Sequence[Choice]
) -> tuple[dict[str, Token], list[str]]:
    """Return the record with the chosen elements only, and a note on each choice among others.

    A choice with `same` replaces an element by a later edition of it, which needs no note.
    """
    result = dict(record)
    notes: list[str] = []
    for choice in choices:
        items = result.get(choice.element)
        if not isinstance(items, list):
            continue
        groups: dict[str, list[Token]] = {}
        for item in items:
            groups.setdefault(repr([_at(item, path) for path in choice.same]), []).append(item)
        chosen_items: list[Token] = []
        for group in groups.values():
            numbers = [_read_number(_at(item, choice.highest)) for item in group]
            pairs = zip(group, numbers, strict=True)
            # Elements that agree in the number are parts of one edition, and all stay.
            chosen_items += [item for item, number in pairs if number == max(numbers)]
        result[choice.element] = chosen_items
        if not choice.same and len(chosen_items) < len(items):
            numbers_text = ", ".join(str(_at(item, choice.highest)) for item in items[:10])
            notes.append(
                f"{len(chosen_items)} of {len(items)} {choice.element} used, by {numbers_text}"
            )
    return result, notes


def _at(item: Token, path: str) -> Token:
    return select_values(item, parse_path(path) or ())


def _read_number(token: Token) -> Decimal:
    try:
        value = Decimal(token) if isinstance(token, str) else Decimal("-Infinity")
    except InvalidOperation:
        return Decimal("-Infinity")
    return value if value.is_finite() else Decimal("-Infinity")
