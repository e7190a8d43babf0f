"""Storage port for analytics: measures over all stored data, off the request path."""

from collections.abc import Sequence
from typing import Protocol

from spawn.domain.quality.measures import Measure, Measurement


class QualityStore(Protocol):
    """Counts how many stored values satisfy a rule."""

    async def measure(self, measures: Sequence[Measure]) -> Measurement:
        """Return a tally of each measure, all over one state of the projects.

        The state includes every change acknowledged before the call. MUST agree with
        `adapters.embedded.quality_counts`, the definition of each measure in plain Python, and
        MUST NOT block commands or other reads meanwhile.

        Raises:
            InvalidInput: a measure names a field that the active schema does not have.
            DeadlineExceeded: counting took too long and was stopped.
        """
        ...
