"""The figures inside a result, however deep."""

from collections.abc import Iterator


def numbers(value: object) -> Iterator[float]:
    """Every float of a result in built-in types."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
