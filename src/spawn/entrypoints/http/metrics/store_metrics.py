"""Metrics of the work of the store: commits, queries, caches, memory."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

from spawn.ports.storage import Distribution, StoreActivity, StoreControl


class StoreMetrics:
    """Metrics of what the store has done since the process started."""

    def __init__(self, control: StoreControl) -> None:
        self._control = control
        self._activity = StoreActivity()

    async def gather(self) -> None:
        """Load the values that need awaiting, before `collect` reads them."""
        self._activity = await self._control.activity()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of commits, queries, caches and memory."""
        activity = self._activity
        if activity.commit_seconds is not None:
            yield _build_histogram(
                "spawn_storage_commit_seconds",
                "Duration of the commit of a group of changes, its sync included.",
                activity.commit_seconds,
            )
        if activity.group_changes is not None:
            yield _build_histogram(
                "spawn_storage_group_changes",
                "Changes of a group that was committed as one.",
                activity.group_changes,
            )
        queries = GaugeMetricFamily(
            "spawn_storage_queries", "Queries by state: running, waiting.", labels=("state",)
        )
        queries.add_metric(("running",), activity.queries_running)
        queries.add_metric(("waiting",), activity.queries_waiting)
        yield queries
        entries = GaugeMetricFamily(
            "spawn_storage_cache_entries", "Entries of a cache of the store.", labels=("cache",)
        )
        for name, count in activity.cache_entries.items():
            entries.add_metric((name,), count)
        yield entries
        if activity.memory_bytes is not None:
            yield GaugeMetricFamily(
                "spawn_storage_memory_bytes",
                "Memory that the storage engine uses.",
                value=activity.memory_bytes,
            )


def _build_histogram(name: str, text: str, distribution: Distribution) -> Metric:
    bounds = (*map(str, map(float, distribution.bounds)), "+Inf")
    counts = accumulate(map(float, distribution.counts))
    buckets = list(zip(bounds, counts, strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=distribution.total)
