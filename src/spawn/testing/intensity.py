"""The extent of a search: a usual run tries a part of those rounds that a thorough run tries.

The environment variable `THOROUGH_TESTS` makes a run thorough. A test that searches (kills in a
loop, random ledgers, histories, examples of a property) takes its number of rounds from here, so
that every kind of proof is in each run, and the long searches are in one that nobody waits for.
"""

import os
from typing import Final

THOROUGH_VARIABLE: Final = "THOROUGH_TESTS"


def is_thorough() -> bool:
    """Return whether the searches of this run are thorough."""
    return bool(os.environ.get(THOROUGH_VARIABLE))


def rounds(usual: int, thorough: int) -> int:
    """Return the rounds of a search in this run."""
    return thorough if is_thorough() else usual
