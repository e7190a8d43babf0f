"""How the tests of the engine read a refusal."""

from collections.abc import Callable

import pytest

from spawn.domain.errors import InvalidInput


def refused(call: Callable[[], object]) -> dict[str, str]:
    """The code at each pointer of the refusal that `call` must end in."""
    with pytest.raises(InvalidInput) as caught:
        call()
    return {error.pointer: error.code for error in caught.value.errors}
