"""A bounded cache respects its limits of entries and of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from spawn.application.bounded_cache import BoundedCache


def test_oldest_entry_is_evicted_for_the_newest() -> None:
    cache: BoundedCache[bytes] = BoundedCache(2)
    for key in "abc":
        assert cache.put(key, key.encode()) == key.encode()
    assert [cache.get(key) for key in "abc"] == [None, b"b", b"c"]


def test_an_entry_that_is_put_again_is_the_newest() -> None:
    cache: BoundedCache[bytes] = BoundedCache(2)
    for key in "abac":
        cache.put(key, key.encode())
    assert [cache.get(key) for key in "abc"] == [b"a", None, b"c"]


def test_large_entries_leave_space_for_fewer() -> None:
    cache: BoundedCache[bytes] = BoundedCache(10, 100, len)
    cache.put("a", bytes(60))
    cache.put("b", bytes(40))
    assert cache.get("a") is not None
    cache.put("c", bytes(30))
    assert [cache.get(key) is None for key in "abc"] == [True, False, False]


def test_entry_larger_than_the_cache_is_returned_and_not_cached() -> None:
    cache: BoundedCache[bytes] = BoundedCache(10, 100, len)
    cache.put("a", bytes(50))
    assert len(cache.put("b", bytes(101))) == 101
    assert cache.get("b") is None


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=60))))
def test_newest_entries_that_fit_stay_cached(puts: list[tuple[int, bytes]]) -> None:
    cache: BoundedCache[bytes] = BoundedCache(4, 100, len)
    for key, value in puts:
        cache.put(key, value)
        entries = [entry for key in range(6) if (entry := cache.get(key)) is not None]
        assert len(entries) <= 4
        assert sum(map(len, entries)) <= 100
        assert cache.get(key) == value
