"""The key set of an import contains exactly the added keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.imports.import_state import KeySet

pytestmark = pytest.mark.core


@given(st.lists(st.text(max_size=8), max_size=200))
def test_a_key_set_contains_the_added_keys(keys: list[str]) -> None:
    key_set = KeySet()
    for key in keys:
        key_set.add(key)
    assert len(key_set) == len(set(keys))
    assert all(key in key_set for key in keys)
    assert "never added, being longer than eight" not in key_set


def test_a_key_set_grows_with_its_keys() -> None:
    key_set = KeySet()
    for number in range(5_000):
        key_set.add(f"key {number}")
    assert len(key_set) == 5_000
    assert all(f"key {number}" in key_set for number in range(5_000))
    assert not any(f"other {number}" in key_set for number in range(5_000))
