"""What is counted and logged of requests stays within bounds, whatever requests there are."""

import asyncio
import json
import os

from spawn.entrypoints.http.metrics.request_metrics import MAX_SERIES, RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog, Entry
from spawn.entrypoints.http.middleware.limits import TokenBuckets


def counted(metrics: RequestMetrics) -> dict[str, float]:
    """How many requests each method was counted with."""
    histogram = next(iter(metrics.collect()))
    found: dict[str, float] = {}
    for sample in histogram.samples:
        if sample.name.endswith("_count"):
            method = sample.labels["http_request_method"]
            found[method] = found.get(method, 0) + sample.value
    return found


def test_strange_methods_share_one_label() -> None:
    metrics = RequestMetrics()
    for method in ("GET", "PROPFIND", "BREW"):
        metrics.observe(method, "/", 200, 0.1)
    assert counted(metrics) == {"GET": 1, "other": 2}


def test_series_beyond_the_bound_are_counted_together() -> None:
    metrics = RequestMetrics()
    for number in range(MAX_SERIES + 50):
        metrics.observe("GET", f"/{number}", 200, 0.1)
    assert counted(metrics) == {"GET": MAX_SERIES, "other": 50}


async def test_lines_that_nobody_takes_are_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    try:
        log = AccessLog(writer, capacity=3)
        line: Entry = (0.0, "GET", "/", "/", 200, 0.001, "127.0.0.1", "r", "t")
        for _ in range(5):
            log.append(line)
        assert log.dropped == 2
        await asyncio.wait_for(log.close(), 10)
        lines = os.read(reader, 65536).splitlines()
        assert [json.loads(text)["request_id"] for text in lines] == ["r"] * 3
    finally:
        os.close(reader)
        os.close(writer)


def test_clients_beyond_the_bound_are_forgotten_first_met_first() -> None:
    buckets = TokenBuckets(1.0, clients=2)
    for client in ("a", "a", "b", "c"):
        assert buckets.take(client, 0.0) == 0.0
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("b", 0.0) > 0.0  # remembered: its burst is used up
    assert buckets.take("a", 0.0) == 0.0  # forgotten, which favours it
