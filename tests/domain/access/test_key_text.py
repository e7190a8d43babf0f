"""The text of API keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.access.key_text import format_key, hash_secret, parse_key

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
# To draw a text of a pattern takes ten times as long.
NAMES = st.builds(str.__add__, st.sampled_from(LETTERS), st.text(f"{LETTERS}._-", max_size=62))


@pytest.mark.core
@given(NAMES, st.binary(min_size=32, max_size=32), st.sampled_from(["live", "test"]))
def test_key_is_read_back(name: str, secret: bytes, environment: str) -> None:
    parsed = parse_key(format_key(environment, name, secret))
    assert parsed is not None
    assert (parsed.client, parsed.secret_sha256) == (name, hash_secret(secret))


@pytest.mark.core
@given(st.binary(min_size=32, max_size=32), st.data())
def test_mistyped_character_is_found(secret: bytes, data: st.DataObject) -> None:
    key = format_key("live", "pricing-desk", secret)
    place = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefxyz_-").filter(lambda c: c != key[place]))
    assert parse_key(key[:place] + letter + key[place + 1 :]) is None


@pytest.mark.core
@pytest.mark.parametrize("text", ["", "spn_", "spn_live_desk", "Bearer spn_live_desk_00_00"])
def test_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None
