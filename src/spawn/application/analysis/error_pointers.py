"""Refusals of a step, told in the words of the request that the step is a part of."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from spawn.domain.errors import FieldError, InvalidInput


@contextmanager
def renamed(pointers: Mapping[str, str]) -> Iterator[None]:
    """Tell refusals of a step in the words of the case: leading pointers are replaced."""
    try:
        yield
    except InvalidInput as failure:
        raise InvalidInput([_renamed(error, pointers) for error in failure.errors]) from failure


def _renamed(error: FieldError, pointers: Mapping[str, str]) -> FieldError:
    for old, new in pointers.items():
        if error.pointer == old or error.pointer.startswith(f"{old}/"):
            pointer = new + error.pointer.removeprefix(old)
            return msgspec.structs.replace(error, pointer=pointer)
    return error
