"""Request metrics and access log use bounded memory."""

import asyncio
import json
import os

from spawn.entrypoints.http.metrics.request_metrics import MAX_SERIES, RequestMetrics
from spawn.entrypoints.http.middleware.access_log import AccessLog, AccessLogEntry


def counts_by_method(metrics: RequestMetrics) -> dict[str, float]:
    """Return the number of recorded requests by method."""
    histogram = next(iter(metrics.collect()))
    counts: dict[str, float] = {}
    for sample in histogram.samples:
        if sample.name.endswith("_count"):
            method = sample.labels["http_request_method"]
            counts[method] = counts.get(method, 0) + sample.value
    return counts


def test_unknown_methods_share_one_label() -> None:
    metrics = RequestMetrics()
    for method in ("GET", "PROPFIND", "BREW"):
        metrics.observe(method, "/", 200, 0.1)
    assert counts_by_method(metrics) == {"GET": 1, "other": 2}


def test_series_beyond_the_bound_are_counted_together() -> None:
    metrics = RequestMetrics()
    for number in range(MAX_SERIES + 50):
        metrics.observe("GET", f"/{number}", 200, 0.1)
    assert counts_by_method(metrics) == {"GET": MAX_SERIES, "other": 50}


async def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    try:
        log = AccessLog(writer, capacity=3)
        line: AccessLogEntry = (0.0, "GET", "/", "/", 200, 0.001, "127.0.0.1", "r", "t")
        for _ in range(5):
            log.append(line)
        assert log.dropped == 2
        await asyncio.wait_for(log.close(), 10)
        lines = os.read(reader, 65536).splitlines()
        assert [json.loads(text)["request_id"] for text in lines] == ["r"] * 3
    finally:
        os.close(reader)
        os.close(writer)
