"""Counters of domain events: types, statuses of projects, rows of imports."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from spawn.adapters.publishers.metrics import MetricsPublisher
from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.events.position import Position
from spawn.domain.projects.lifecycle import ProjectStatus


def build_entry(kind: str, type_: str, document: dict[str, Any]) -> JournalEntry:
    return JournalEntry(
        position=Position(1, 1),
        kind=kind,
        id="1",
        version=1,
        type=type_,
        actor="test",
        recorded_at=datetime(2026, 11, 30, tzinfo=UTC),
        schema_version=0,
        changed=tuple(document),
        document=msgspec.json.encode(document),
    )


async def count(*entries: JournalEntry) -> dict[str, dict[str, float]]:
    """Return the value of each counter by its only label."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    publisher = MetricsPublisher(provider.get_meter("test"))
    assert await publisher.publish(entries) == ()
    counts: dict[str, dict[str, float]] = {}
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            (label,) = (point.attributes or {}).values()
            counts.setdefault(metric.name, {})[str(label)] = point.value  # type: ignore[union-attr]  # counters only
    provider.shutdown()
    return counts


def without_zeros(counts: dict[str, float]) -> dict[str, float]:
    return {label: value for label, value in counts.items() if value}


async def test_only_projects_reach_a_status() -> None:
    counts = await count(
        build_entry("project", "project.created", {"status": "PROPOSED"}),
        build_entry("project", "project.amended", {"project_name": "x"}),
        build_entry("facility", "facility.drawn", {"status": "OPEN"}),
    )
    assert without_zeros(counts["spawn_project_status_reached"]) == {"PROPOSED": 1}
    assert without_zeros(counts["spawn_domain_events"]) == {
        "project.created": 1,
        "project.amended": 1,
        "facility.drawn": 1,
    }


async def test_rows_of_an_ended_import_are_counted_by_outcome() -> None:
    assertions = [
        {"name": "rows_accepted", "looked_at": 10, "failed": 3},
        {"name": "sum_of_costs", "looked_at": 10, "failed": 10},
    ]
    counts = await count(
        build_entry("run", "lineage.started", {"assertions": assertions}),
        build_entry("run", "lineage.completed", {"assertions": assertions}),
        build_entry("run", "lineage.failed", {"assertions": []}),
    )
    assert counts["spawn_import_rows"] == {"quarantined": 3, "valid": 7}


async def test_every_series_begins_at_zero() -> None:
    counts = await count()
    assert counts["spawn_import_rows"] == {"quarantined": 0, "valid": 0}
    assert set(counts["spawn_project_status_reached"]) == set(ProjectStatus)
    assert {"project.created", "quality.breached", "lineage.failed"} <= counts[
        "spawn_domain_events"
    ].keys()
    assert {value for values in counts.values() for value in values.values()} == {0}
