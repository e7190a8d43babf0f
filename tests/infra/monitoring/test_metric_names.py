"""Every metric and label of rules and dashboards is in the output of a service that works."""

import json
import re
import ssl
from pathlib import Path

import httpx
import pytest
import tenacity
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.adapters.publishers.certificates import write_certificate
from tests.http.conftest import WIND, Service, discard_access_log
from tests.infra.monitoring.expressions import find_metrics, list_expressions
from tests.infra.monitoring.servers import list_rules
from tests.product.ontology import run_ontology_server, send_json

__all__ = ["discard_access_log"]

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
SCHEMA = {"id": "project_schema", "version": 1, "columns": [{"name": "a", "type": "date"}]}
OF_PROMETHEUS = {"up", "ALERTS"}
"""Series that Prometheus itself writes."""

# One process starts the service for all of them.
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("metric names")]


@tenacity.retry(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(30), reraise=True)
def scrape(client: httpx.Client) -> str:
    """Return the metrics once the import and the backup are in them."""
    text = client.get("/monitoring/metrics").raise_for_status().text
    assert 'spawn_import_rows_total{outcome="quarantined"} 1.0' in text
    assert 'spawn_job_runs_total{kind="import",outcome="ended"} 1.0' in text
    assert "spawn_backup_age_seconds" in text
    return text


def use(client: httpx.Client) -> None:
    """Do what the metrics measure."""
    created = client.post("/v1/ops/projects", json=WIND)
    client.get(created.headers["location"])
    rows = "".join(json.dumps(row) + "\n" for row in (WIND, {**WIND, "dscr": "high"}))
    types = {"content-type": "application/x-ndjson"}
    assert client.post("/v1/ops/imports", content=rows, headers=types).status_code == 202
    assert client.post("/v1/governance/quality/runs").status_code in {200, 201}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """The metrics of a service that has done what they measure."""
    folder = tmp_path_factory.mktemp("metrics")
    write_certificate(folder, "service")
    document = json.dumps(SCHEMA).encode()
    with run_ontology_server(lambda handler: send_json(handler, 200, document)) as url:
        service = Service(
            storage_url=f"duckdb:///{folder}/spawn.duckdb",
            backup_url=f"file://{folder}/backups",
            ontology_url=url,
            tls_certificate_file=str(folder / "service.pem"),
            tls_key_file=str(folder / "service.key.pem"),
        ).start()
        context = ssl.create_default_context(cafile=str(folder / "service.pem"))
        with httpx.Client(
            base_url=service.url.replace("http:", "https:"), verify=context
        ) as client:
            use(client)
            text = scrape(client)
        service.stop()
    return list(text_string_to_metric_families(text))


@pytest.fixture(scope="module")
def series(families: list[Metric]) -> dict[str, dict[str, set[str]]]:
    """The labels with their values of each series, by its name."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in families:
        found.setdefault(family.name, {})
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


@pytest.mark.parametrize(
    ("place", "expression"), [pytest.param(p, e, id=p) for p, e in list_expressions()]
)
def test_every_metric_is_measured(
    series: dict[str, dict[str, set[str]]], place: str, expression: str
) -> None:
    recorded = {rule["record"] for rule in list_rules() if "record" in rule}
    names = find_metrics(expression)
    assert names - series.keys() - recorded - OF_PROMETHEUS == set(), place
    assert names or expression.startswith("vector("), place


def test_a_metric_that_nothing_measures_is_found(series: dict[str, dict[str, set[str]]]) -> None:
    assert find_metrics("rate(spawn_no_such_total[5m])") - series.keys() == {"spawn_no_such_total"}


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("spawn_registry_breaker_state", "state", {"open", "half_open"}),
        ("spawn_schema_versions", "state", {"quarantined", "failed"}),
        ("spawn_import_rows_total", "outcome", {"quarantined"}),
        ("spawn_quality_rule_passed", "severity", {"error"}),
        ("http_server_request_duration_seconds_bucket", "le", {"0.25", "0.5"}),
        ("http_server_request_duration_seconds_count", "http_request_method", {"GET", "POST"}),
        ("http_server_request_duration_seconds_count", "http_route", {"/v1/ops/projects"}),
        ("spawn_http_places_in_use", "kind", {"requests", "uploads"}),
    ],
)
def test_values_of_labels_that_rules_name_exist(
    series: dict[str, dict[str, set[str]]], metric: str, label: str, values: set[str]
) -> None:
    assert values <= series[metric][label]


def read_page() -> dict[str, tuple[str, set[str], str]]:
    """Return type, labels and meaning of each documented metric."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {
        name: (type_, set(re.findall(r"`(\w+)`", labels)), meaning)
        for name, type_, labels, meaning in rows
    }


def list_labels(family: Metric) -> set[str]:
    names = {name for sample in family.samples for name in sample.labels}
    return names - {"le"} if family.type == "histogram" else names


def test_the_page_of_metrics_has_those_of_the_service(families: list[Metric]) -> None:
    page = read_page()
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families
    }
    assert page.keys() == exposed.keys()
    for name, family in exposed.items():
        type_, labels, meaning = page[name]
        assert type_ == family.type, name
        assert labels == list_labels(family) or not family.samples, name
        assert meaning == family.documentation or name.startswith("process_"), name
