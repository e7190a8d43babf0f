"""Publishers of domain events that live in the process: business metrics, and the log."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from loguru import logger
from opentelemetry.metrics import Meter

from spawn.domain.change import Entry
from spawn.ports.publishers import Terms, Undelivered

IN_PROCESS_BATCH: Final = 1_000
METRICS: Final = "metrics"


class _Status(msgspec.Struct, frozen=True):
    """What the metrics want to know of a project's document."""

    status: str = ""


_status: Final = msgspec.json.Decoder(_Status)


class MetricsPublisher:
    """Counts what happened: events by type, and projects by the status they reached."""

    def __init__(self, meter: Meter) -> None:
        self._events = meter.create_counter(
            "spawn_domain_events", description="Domain events, by type."
        )
        self._reached = meter.create_counter(
            "spawn_project_status_reached", description="Projects that reached a status."
        )
        self.terms = Terms(name=METRICS, batch=IN_PROCESS_BATCH, durable=False)

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Count the entries; each label once per batch."""
        for type_, number in Counter(entry.type for entry in entries).items():
            self._events.add(number, {"type": type_})
        reached = Counter(
            _status.decode(entry.document).status for entry in entries if "status" in entry.changed
        )
        for status, number in reached.items():
            self._reached.add(number, {"status": status})
        return ()

    async def probe(self) -> str:
        """They are at hand."""
        return "counted in /monitoring/metrics"

    async def close(self) -> None:
        """Nothing is held."""


class LogPublisher:
    """At level INFO one line per batch of events, and at DEBUG one more per event.

    The log tells what happens while the service runs, so it has no position that outlives it.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    async def publish(self, entries: Sequence[Entry]) -> Sequence[Undelivered]:
        """Log the entries."""
        logger.info(
            "{} domain events",
            len(entries),
            types=dict(Counter(entry.type for entry in entries)),
            first=entries[0].position,
            last=entries[-1].position,
        )
        for entry in entries:
            logger.debug(
                "{} {} version {}",
                entry.type,
                entry.id,
                entry.version,
                actor=entry.actor,
                position=entry.position,
                changed=entry.changed,
            )
        return ()

    async def probe(self) -> str:
        """It is at hand."""
        return "written to the log"

    async def close(self) -> None:
        """Nothing is held."""
