"""Rewriting of JSON Pointers in errors of a step into pointers of the whole request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from spawn.domain.errors import FieldError, InvalidInput


@contextmanager
def rewrite_pointers(pointers: Mapping[str, str]) -> Iterator[None]:
    """Replace leading pointers in errors of a step by pointers of the case."""
    try:
        yield
    except InvalidInput as error:
        errors = [_rewrite_pointer(entry, pointers) for entry in error.errors]
        raise type(error)(errors) from error


def _rewrite_pointer(error: FieldError, pointers: Mapping[str, str]) -> FieldError:
    for old, new in pointers.items():
        if error.pointer == old or error.pointer.startswith(f"{old}/"):
            pointer = new + error.pointer.removeprefix(old)
            return msgspec.structs.replace(error, pointer=pointer)
    return error
