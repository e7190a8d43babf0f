"""Names and labels of the metrics keep to the conventions of Prometheus, on a store with a file."""

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.http.conftest import WIND, Service

UNITS = ("seconds", "bytes", "ratio", "info", "total")
OTHER_UNITS = re.compile(r"_(milliseconds|ms|us|minutes|hours|days|kb|mb|kib|mib|percent)(_|$)")
MAX_SERIES_OF_A_METRIC = 200


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Metric]]]:
    path = tmp_path_factory.mktemp("store") / "spawn.duckdb"
    service = Service(storage_url=f"duckdb:///{path}").start()
    with service.client() as client:
        for _ in range(3):
            created = client.post("/v1/ops/projects", json=WIND)
            client.get(created.headers["location"])
            client.get("/v1/ops/projects", params={"limit": 2})
        for number in range(50):
            # What clients choose must not become series.
            client.request(
                f"M{number}", f"/nowhere/{number}", headers={"host": f"h{number}.example"}
            )
        text = client.get("/monitoring/metrics").text
        yield text, list(text_string_to_metric_families(text))
    service.stop()


def test_every_metric_has_help_a_type_and_a_conventional_name(
    scraped: tuple[str, list[Metric]],
) -> None:
    for metric in scraped[1]:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name), metric.name
        assert metric.documentation, metric.name
        assert metric.type in {"counter", "gauge", "histogram"}, metric.name
        assert OTHER_UNITS.search(metric.name) is None, metric.name
        assert not (metric.type == "gauge" and metric.name.endswith("_total")), metric.name


def test_labels_have_few_values_whatever_clients_send(scraped: tuple[str, list[Metric]]) -> None:
    text, metrics = scraped
    for metric in metrics:
        series = {
            tuple(sorted((name, value) for name, value in s.labels.items() if name != "le"))
            for s in metric.samples
        }
        assert len(series) <= MAX_SERIES_OF_A_METRIC, metric.name
    assert "nowhere" not in text
    assert "M49" not in text
    assert ".example" not in text


def test_a_store_with_a_file_counts_commits_queries_and_memory(
    scraped: tuple[str, list[Metric]],
) -> None:
    metrics = {metric.name: metric for metric in scraped[1]}
    samples = {s.name: s.value for s in metrics["spawn_storage_commit_seconds"].samples}
    groups = {s.name: s.value for s in metrics["spawn_storage_group_changes"].samples}
    assert samples["spawn_storage_commit_seconds_count"] >= 3
    assert 0 < samples["spawn_storage_commit_seconds_sum"] < 60
    assert groups["spawn_storage_group_changes_sum"] >= 3
    assert metrics["spawn_storage_memory_bytes"].samples[0].value > 0
    caches = {s.labels["cache"]: s.value for s in metrics["spawn_storage_cache_entries"].samples}
    assert caches["aggregates"] >= 3
    states = {s.labels["state"] for s in metrics["spawn_storage_queries"].samples}
    assert states == {"running", "waiting"}


def test_promtool_finds_nothing_to_improve(scraped: tuple[str, list[Metric]]) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [tool, "check", "metrics"], input=scraped[0], text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
