"""Encoded documents and pages are kept within bounds, of number and of size."""

from hypothesis import given
from hypothesis import strategies as st

from spawn.entrypoints.http.wire import Bounded


def test_oldest_entry_makes_room_for_the_newest() -> None:
    kept: Bounded[bytes] = Bounded(2)
    for key in "abc":
        assert kept.put(key, key.encode()) == key.encode()
    assert [kept.get(key) for key in "abc"] == [None, b"b", b"c"]


def test_large_entries_leave_room_for_fewer() -> None:
    kept: Bounded[bytes] = Bounded(10, 100, len)
    kept.put("a", bytes(60))
    kept.put("b", bytes(40))
    assert kept.get("a") is not None
    kept.put("c", bytes(30))
    assert [kept.get(key) is None for key in "abc"] == [True, False, False]


def test_entry_beyond_the_whole_room_is_given_back_and_not_kept() -> None:
    kept: Bounded[bytes] = Bounded(10, 100, len)
    kept.put("a", bytes(50))
    assert len(kept.put("b", bytes(101))) == 101
    assert kept.get("b") is None


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=60))))
def test_newest_entries_that_fit_are_kept(puts: list[tuple[int, bytes]]) -> None:
    kept: Bounded[bytes] = Bounded(4, 100, len)
    for key, value in puts:
        kept.put(key, value)
        held = [found for key in range(6) if (found := kept.get(key)) is not None]
        assert len(held) <= 4
        assert sum(map(len, held)) <= 100
        assert kept.get(key) == value
