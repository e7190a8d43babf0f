"""The numbers inside a result, at any depth."""

from collections.abc import Iterator


def iterate_numbers(value: object) -> Iterator[float]:
    """Yield every float of a result in built-in types."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from iterate_numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from iterate_numbers(item)
