"""Metrics of background jobs."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spawn.application.jobs import JobRunner


class JobMetrics(Collector):
    """Metrics of the queue of jobs and of the jobs that this process ran."""

    def __init__(self, jobs: JobRunner) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of jobs."""
        yield GaugeMetricFamily(
            "spawn_jobs_waiting", "Jobs in the queue.", value=self._jobs.waiting_count
        )
        yield GaugeMetricFamily("spawn_jobs_running", "Jobs that run.", value=self._jobs.running)
        runs = CounterMetricFamily(
            "spawn_job_runs",
            "Runs of jobs by kind and outcome: ended, failed, or retry where the store is"
            " unavailable.",
            labels=("kind", "outcome"),
        )
        for (kind, outcome), count in sorted(self._jobs.run_counts.items()):
            runs.add_metric((kind, outcome), count)
        yield runs
