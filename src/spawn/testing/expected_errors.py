"""Expectation of invalid input by pointer and field code, not by class alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spawn.domain.errors import InvalidInput


@contextmanager
def expect_invalid(*errors: tuple[str, str]) -> Iterator[None]:
    """Expect invalid input with exactly these pairs of pointer and field code."""
    with pytest.raises(InvalidInput) as invalid:
        yield
    assert sorted((error.pointer, error.code) for error in invalid.value.errors) == sorted(errors)
