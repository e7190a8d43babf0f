"""Publishers of domain events that live in the process: business metrics, and the log."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from loguru import logger
from opentelemetry.metrics import Meter

from spawn.domain.change import Entry


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

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Count the entries; each label once per batch."""
        for type_, number in Counter(entry.type for entry in entries).items():
            self._events.add(number, {"type": type_})
        reached = Counter(
            _status.decode(entry.document).status for entry in entries if "status" in entry.changed
        )
        for status, number in reached.items():
            self._reached.add(number, {"status": status})

    async def close(self) -> None:
        """Nothing is held."""


class LogPublisher:
    """At level DEBUG one line per batch of events, and at TRACE one per event."""

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Log the entries."""
        types = Counter(entry.type for entry in entries)
        logger.debug(
            "{} domain events",
            len(entries),
            types=dict(types),
            first=entries[0].position,
            last=entries[-1].position,
        )
        for entry in entries:
            logger.trace(
                "{} {} version {}",
                entry.type,
                entry.id,
                entry.version,
                actor=entry.actor,
                position=entry.position,
                changed=entry.changed,
            )

    async def close(self) -> None:
        """Nothing is held."""
