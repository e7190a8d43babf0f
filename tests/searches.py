"""How many random cases a test tries under the hypothesis profile in use."""

from hypothesis import settings

_FEWEST = 5


def scale(count: int) -> int:
    """Return the count, or a tenth of it under the quick profile of `make test-core`."""
    return min(count, max(_FEWEST, count * settings().max_examples // 100))
