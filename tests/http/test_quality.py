"""Quality over HTTP: measured on demand and on schedule, stored, monitored."""

from pathlib import Path

import httpx
import tenacity
from prometheus_client.parser import text_string_to_metric_families
from tests.http.conftest import WIND, Start

QUALITY = "/v1/governance/quality"


def test_a_run_on_demand_returns_every_measured_rule(start: Start) -> None:
    with start(quality_interval_s=0.0).client() as client:
        missing = client.get(QUALITY)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
        bare = {"project_name": "Bare", "total_amount": "1.00"}
        ids = [
            client.post("/v1/ops/projects", json=body).json()["project_id"] for body in (WIND, bare)
        ]
        run = client.post(f"{QUALITY}/runs")
        assert run.status_code == 201
        assert run.headers["location"] == f"{QUALITY}/runs/1"
        report = run.json()
        assert (report["projects"], report["broken"]) == (2, [])
        results = {result["rule_id"]: result for result in report["results"]}
        assert results["completeness.country_code"] == {
            "rule_id": "completeness.country_code",
            "kind": "project",
            "dimension": "completeness",
            "columns": ["country_code"],
            "description": "country_code is present.",
            "unit": "share",
            "threshold": None,
            "severity": "info",
            "value": 0.5,
            "passed": None,
            "met": 1,
            "checked": 2,
            "samples": [ids[1]],
            "measured_at": report["measured_at"],
            "position": report["position"],
        }
        valid = results["validity.total_amount"]
        assert (valid["threshold"], valid["value"], valid["passed"]) == (1, 1.0, True)
        assert client.get(QUALITY).json() == report
        again = client.get(run.headers["location"], headers={"if-none-match": run.headers["etag"]})
        assert again.status_code == 304


def test_runs_are_paged_newest_first(start: Start) -> None:
    with start(quality_interval_s=0.0).client() as client:
        for _ in range(5):
            assert client.post(f"{QUALITY}/runs").status_code == 201
        numbers, url = [], f"{QUALITY}/runs?limit=2"
        while url:
            page = client.get(url)
            numbers += [item["run"] for item in page.json()["items"]]
            url = page.links.get("next", {}).get("url", "")
        assert numbers == [5, 4, 3, 2, 1]
        assert client.get(f"{QUALITY}/runs?after=bm9uc2Vuc2U").json()["code"] == "cursor_invalid"
        for path in ("/runs/6", "/runs/0", "/runs/x"):
            assert client.get(f"{QUALITY}{path}").status_code == 404


def test_a_report_survives_a_restart_without_a_new_measurement(
    start: Start, tmp_path: Path
) -> None:
    url = f"duckdb:///{tmp_path}/store.duckdb"
    service = start(storage_url=url, quality_interval_s=0.0)
    with service.client() as client:
        client.post("/v1/ops/projects", json=WIND)
        report = client.post(f"{QUALITY}/runs").json()
    assert {result["passed"] for result in report["results"]} == {True, None}
    service.stop()
    with start(storage_url=url, quality_interval_s=0.0).client() as again:
        assert again.get(QUALITY).json() == report


def test_scheduled_runs_report_a_missed_level_everywhere(start: Start) -> None:
    with start(quality_interval_s=0.05, freshness_s=0.2).client() as client:
        client.post("/v1/ops/projects", json=WIND)
        feed = {"type": "spawn.quality.breached.v1"}
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AssertionError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(20),
            reraise=True,
        ):
            with attempt:
                events = client.get("/v1/events", params=feed).json()["events"]
                assert len(events) == 1
        (event,) = events
        assert event["subject"] == "quality_rules/freshness.last_change"
        assert event["data"]["after"]["kept"] is False
        assert client.get(QUALITY).json()["broken"] == ["freshness.last_change"]
        check = client.get("/monitoring/health").json()["checks"]["quality"]
        assert check["broken"] == ["freshness.last_change"]
        assert client.get("/monitoring/ready").status_code == 200
        assert metrics(client)[("spawn_quality_rule_passed", "freshness.last_change")] == 0


def metrics(client: httpx.Client) -> dict[tuple[str, str], float]:
    text = client.get("/monitoring/metrics").text
    return {
        (sample.name, sample.labels.get("rule", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("spawn_quality")
    }


def test_metrics_have_the_latest_run(start: Start) -> None:
    with start(quality_interval_s=0.0).client() as client:
        assert metrics(client) == {}
        client.post("/v1/ops/projects", json=WIND)
        client.post(f"{QUALITY}/runs")
        values = metrics(client)
        assert values["spawn_quality_rule_passed", "validity.total_amount"] == 1
        assert values["spawn_quality_rule_value", "completeness.sector"] == 1
        assert ("spawn_quality_rule_passed", "completeness.sector") not in values
