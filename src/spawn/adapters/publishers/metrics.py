"""Publisher of domain events to the service's own metrics."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from opentelemetry.metrics import Meter

from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.lineage.run import ENDED_EVENTS, ROWS_ACCEPTED
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.domain.projects.project import PROJECT_KIND
from spawn.ports.publishers import DeliveryFailure, DeliveryOptions

BATCH_SIZE: Final = 1_000
METRICS_PUBLISHER: Final = "metrics"


class _Status(msgspec.Struct, frozen=True):
    """The one field of a project document that metrics need."""

    status: str = ""


class _Assertion(msgspec.Struct, frozen=True):
    """The fields of a run's assertion that metrics need."""

    name: str
    checked_rows: int = msgspec.field(name="looked_at", default=0)
    failed_rows: int = msgspec.field(name="failed", default=0)


class _Run(msgspec.Struct, frozen=True):
    """The one field of a run's document that metrics need."""

    assertions: tuple[_Assertion, ...] = ()


_status_decoder: Final = msgspec.json.Decoder(_Status)
_run_decoder: Final = msgspec.json.Decoder(_Run)
_EVENT_TYPES: Final = frozenset(
    type_ for aggregate in AGGREGATE_TYPES.values() for type_ in aggregate.event_types
)
_RUN_ENDS: Final = frozenset(ENDED_EVENTS.values())
_QUARANTINED: Final = "quarantined"
_VALID: Final = "valid"


class MetricsPublisher:
    """Counter of events by type, of projects by the status they reached, and of imported rows."""

    def __init__(self, meter: Meter) -> None:
        self._events = meter.create_counter(
            "spawn_domain_events", description="Domain events, by type."
        )
        self._status_changes = meter.create_counter(
            "spawn_project_status_reached", description="Projects that reached a status."
        )
        self._import_rows = meter.create_counter(
            "spawn_import_rows", description="Rows of ended imports, by outcome."
        )
        self._begin_at_zero()
        self.delivery_options = DeliveryOptions(
            name=METRICS_PUBLISHER, batch=BATCH_SIZE, durable=False, types=_EVENT_TYPES
        )

    def _begin_at_zero(self) -> None:
        """Create every series: a rate needs a value from before the first event."""
        for type_ in sorted(_EVENT_TYPES):
            self._events.add(0, {"type": type_})
        for status in ProjectStatus:
            self._status_changes.add(0, {"status": status.value})
        for outcome in (_QUARANTINED, _VALID):
            self._import_rows.add(0, {"outcome": outcome})

    async def publish(self, entries: Sequence[JournalEntry]) -> Sequence[DeliveryFailure]:
        """Count the entries, each label once per batch."""
        for type_, number in Counter(entry.type for entry in entries).items():
            self._events.add(number, {"type": type_})
        statuses = Counter(
            _status_decoder.decode(entry.document).status
            for entry in entries
            if entry.kind == PROJECT_KIND and "status" in entry.changed
        )
        for status, number in statuses.items():
            self._status_changes.add(number, {"status": status})
        self._count_import_rows(entries)
        return ()

    def _count_import_rows(self, entries: Iterable[JournalEntry]) -> None:
        for entry in entries:
            if entry.type not in _RUN_ENDS:
                continue
            for assertion in _run_decoder.decode(entry.document).assertions:
                if assertion.name == ROWS_ACCEPTED:
                    valid = assertion.checked_rows - assertion.failed_rows
                    self._import_rows.add(assertion.failed_rows, {"outcome": _QUARANTINED})
                    self._import_rows.add(valid, {"outcome": _VALID})

    async def probe(self) -> str:
        """Return where the counts are published."""
        return "counted in /monitoring/metrics"

    async def close(self) -> None:
        """Do nothing: there is no connection."""
