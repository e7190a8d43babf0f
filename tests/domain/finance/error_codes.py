"""Error codes of rejected calls."""

from collections.abc import Callable

import pytest

from spawn.domain.errors import InvalidInput


def error_codes(call: Callable[[], object]) -> dict[str, str]:
    """Return the code at each pointer of the `InvalidInput` that `call` must raise."""
    with pytest.raises(InvalidInput) as caught:
        call()
    return {error.pointer: error.code for error in caught.value.errors}
