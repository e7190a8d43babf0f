"""Questions about all of the data at once, apart from the path of requests."""

from collections.abc import Sequence
from typing import Protocol

from spawn.domain.quality.rules import Measure, Measured


class QualityStore(Protocol):
    """Counts how much of the stored data keeps a rule."""

    async def measure(self, measures: Sequence[Measure]) -> Measured:
        """A tally of each measure, all over one state of the projects.

        The state shows every change acknowledged before the call. MUST agree with
        `adapters.counting`, which says in plain Python what each measure counts, and MUST NOT hold
        up commands or other reads meanwhile.

        Raises:
            InvalidInput: a measure names a field that the active schema has not.
            DeadlineExceeded: counting took too long; it was stopped.
        """
        ...
