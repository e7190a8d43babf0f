"""Patterns match like the standard engine, and no pattern can stall a write."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spawn.domain.schemas.linear_regex import (
    MAX_MATCHED_LENGTH,
    UnsupportedPattern,
    compile_pattern,
    find_shortest_match,
)

pytestmark = pytest.mark.core

ATOMS = st.sampled_from(
    ["a", "b", "-", "[ab]", "[^a]", "[a-c1]", ".", r"\d", r"\w", r"\D", r"\.", "[-a]", r"[\]a]"]
)
QUANTIFIERS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,}", "{0,2}"])


def patterns() -> st.SearchStrategy[str]:
    """Patterns of the subset, and some that nest repetitions."""
    piece = st.tuples(ATOMS, QUANTIFIERS).map("".join)
    return st.recursive(
        piece,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map("".join),
            st.tuples(inner, inner).map("|".join).map("({})".format),
            st.tuples(inner, QUANTIFIERS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        ),
        max_leaves=6,
    )


@given(patterns(), st.lists(st.text("abc1-.]", max_size=6), min_size=1, max_size=8))
def test_a_pattern_matches_as_in_the_standard_engine(pattern: str, texts: list[str]) -> None:
    try:
        matches = compile_pattern(pattern)
    except UnsupportedPattern:
        assume(False)  # noqa: FBT003  # hypothesis's own signature
    reference = re.compile(pattern, re.ASCII)
    assert [matches(text) for text in texts] == [bool(reference.fullmatch(t)) for t in texts]


@pytest.mark.parametrize("pattern", [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", r"\t|\n|\r"])
def test_a_named_class_has_the_characters_of_the_standard_engine(pattern: str) -> None:
    matches, reference = compile_pattern(pattern), re.compile(pattern, re.ASCII)
    for character in map(chr, range(0x180)):
        assert matches(character) == bool(reference.fullmatch(character)), ascii(character)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[A-Z]{2}-[0-9]{4}$", "AB-1234", "AB-12345"),
        (r"\d+(\.\d+)?", "10.25", "10."),
        ("(solar|wind)( farm)?", "wind farm", "windfarm"),
        ("[a-z][a-z0-9]*(_[0-9]{3})*", "a1_001_002", "a1_01"),
        (r"\D\W\S", "a-x", "1-x"),
        (r"[^\d]\s\w", "a _", "a  "),
        ("é+", "éé", "e"),
        ("", "", "x"),
    ],
)
def test_everyday_patterns_match_whole_values(pattern: str, good: str, bad: str) -> None:
    matches = compile_pattern(pattern)
    assert matches(good)
    assert not matches(bad)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "(a*)*",
        "((ab)+c)*",
        "(a{1,5}){2}",
        "a**",
        "a+?",
        "a{2}{3}",
        "(?=a)b",
        "(?<!a)b",
        "(?P<n>a)",
        "(?i)a",
        r"(a)\1",
        r"\bword\b",
        r"\x41",
        r"\p{L}",
        "a^b",
        "a$b",
        "(a",
        "a)",
        "[a",
        "[]",
        "[z-a]",
        "[[:alpha:]]",
        "a{3,2}",
        "a{999}",
        "a{x}",
        "*a",
        "a\\",
        "x" * 201,
        "(?:.{256}){256}",
    ],
)
def test_what_is_outside_the_subset_is_rejected(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["a*" * 60 + "b", "(a|a)*b", "(a|b|ab)*c", "[ab]*a[ab]{200}", ".*.*.*.*.*x"]
)
def test_a_pattern_that_stalls_others_finishes_in_linear_work(pattern: str) -> None:
    # A backtracking engine would not come back from the first of these within the universe.
    matches = compile_pattern(pattern)
    text = "".join("ab"[(i * i // 7) % 2] for i in range(MAX_MATCHED_LENGTH - 1))
    assert not matches(text + "!")
    assert not matches("a" * (MAX_MATCHED_LENGTH - 1) + "!")


def test_a_value_beyond_the_bound_does_not_match() -> None:
    matches = compile_pattern("a*")
    assert matches("a" * MAX_MATCHED_LENGTH)
    assert not matches("a" * (MAX_MATCHED_LENGTH + 1))


def test_ranges_of_a_class_are_inclusive_at_both_ends() -> None:
    matches = compile_pattern("[b-dx]")
    assert [c for c in "abcdexyz" if matches(c)] == ["b", "c", "d", "x"]
    negated = compile_pattern("[^b-dx]")
    assert [negated(c) for c in "abcdex"] == [True, False, False, False, True, False]


@pytest.mark.parametrize(
    ("pattern", "fewest"),
    [
        ("a{3}", 3),
        ("a|bb", 1),
        ("(?:ab){2}c?", 4),
        ("(a|bc){2,3}d+", 3),
        ("", 0),
        (r"[^\s\S]*", 0),
        (r"[^\s\S]|a", 1),
        (r"[^\s\S]", None),
        (r"a[^\s\S]{1,2}", None),
    ],
)
def test_the_shortest_match_of_a_pattern_has_so_many_characters(
    pattern: str, fewest: int | None
) -> None:
    assert find_shortest_match(pattern) == fewest


@given(patterns(), st.text("abc1-.]", max_size=6))
def test_no_text_shorter_than_the_shortest_match_matches(pattern: str, text: str) -> None:
    try:
        matches = compile_pattern(pattern)
    except UnsupportedPattern:
        return
    fewest = find_shortest_match(pattern)
    assert not matches(text) or (fewest is not None and len(text) >= fewest)
