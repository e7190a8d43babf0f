"""Publisher of domain events to the service's own metrics."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from opentelemetry.metrics import Meter

from spawn.domain.events.journal_entry import JournalEntry
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions

BATCH_SIZE: Final = 1_000
METRICS_PUBLISHER: Final = "metrics"


class _Status(msgspec.Struct, frozen=True):
    """The one field of a project document that metrics need."""

    status: str = ""


_status_decoder: Final = msgspec.json.Decoder(_Status)


class MetricsPublisher:
    """Counter of events by type, and of projects by the status they reached."""

    def __init__(self, meter: Meter) -> None:
        self._events = meter.create_counter(
            "spawn_domain_events", description="Domain events, by type."
        )
        self._status_changes = meter.create_counter(
            "spawn_project_status_reached", description="Projects that reached a status."
        )
        self.delivery_options = DeliveryOptions(
            name=METRICS_PUBLISHER, batch=BATCH_SIZE, durable=False
        )

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Count the entries, each label once per batch."""
        for type_, number in Counter(entry.type for entry in entries).items():
            self._events.add(number, {"type": type_})
        statuses = Counter(
            _status_decoder.decode(entry.document).status
            for entry in entries
            if "status" in entry.changed
        )
        for status, number in statuses.items():
            self._status_changes.add(number, {"status": status})
        return ()

    async def probe(self) -> str:
        """Return where the counts are published."""
        return "counted in /monitoring/metrics"

    async def close(self) -> None:
        """Do nothing: there is no connection."""
