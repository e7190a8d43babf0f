"""Files of `infra/monitoring`: rules, routes of alerts, data source and dashboards."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from stack_config import RUNBOOKS_URL

FOLDER = Path(__file__).parent / "monitoring"


def read_rules(runbooks_url: str = RUNBOOKS_URL) -> dict[str, str]:
    """Return the rule files of Prometheus by name, without their unit tests.

    Args:
        runbooks_url: the address of the folder of the runbooks, without a final slash.
    """
    return {
        path.name: path.read_text("utf-8").replace(f"{RUNBOOKS_URL}/", f"{runbooks_url}/")
        for path in sorted((FOLDER / "rules").glob("*.yml"))
        if not path.name.endswith(".test.yml")
    }


@lru_cache
def read_rule_groups(runbooks_url: str = RUNBOOKS_URL) -> list[Any]:
    """Return the groups of all rule files; the argument is that of `read_rules`."""
    return [
        group
        for text in read_rules(runbooks_url).values()
        for group in msgspec.yaml.decode(text)["groups"]
    ]


def read_alertmanager() -> str:
    """Return the configuration of Alertmanager."""
    return (FOLDER / "alertmanager.yml").read_text("utf-8")


def read_dashboards() -> dict[str, str]:
    """Return the dashboards of Grafana by the name of their file."""
    folder = FOLDER / "grafana" / "dashboards"
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.json"))}


def read_provisioning() -> dict[str, str]:
    """Return the provisioning files of Grafana by their path below its folder."""
    folder = FOLDER / "grafana" / "provisioning"
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in sorted(folder.rglob("*.yml"))
    }


def build_prometheus_config(service: str, *, key_file: str, rules: str, alertmanager: str) -> str:
    """Return the configuration of Prometheus; JSON is YAML.

    Args:
        service: the host and port of the service.
        key_file: the file with the key of the scope `metrics:read`.
        rules: the pattern of the rule files.
        alertmanager: the host and port of Alertmanager.
    """
    scrape: dict[str, Any] = {
        "job_name": "spawn",
        "metrics_path": "/monitoring/metrics",
        "authorization": {"credentials_file": key_file},
        "static_configs": [{"targets": [service]}],
    }
    document = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [scrape],
    }
    return json.dumps(document, indent=2) + "\n"
