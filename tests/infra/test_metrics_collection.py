"""Prometheus of the stack: hardened, on loopback, with its key as a secret file."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pulumi.runtime import rpc
from tests.infra.recording import Deployment, deploy, stack_config

KEY = "spn_live_prometheus_key"


def deploy_with(**changes: Any) -> Deployment:
    prometheus = {"image": "docker.io/prom/prometheus:v3.7.3", "port": 9090} | changes
    config = {**stack_config("dev"), "spawn:prometheus": prometheus, "spawn:metrics_key": KEY}
    return deploy("dev", config=config)


def reveal(value: Any) -> Any:
    return rpc.unwrap_rpc_secret(value) if rpc.is_rpc_secret(value) else value


def test_a_stack_without_the_setting_has_no_prometheus() -> None:
    assert "prometheus" not in deploy("dev").by_name


def test_the_key_is_a_secret_in_a_file_and_nowhere_else() -> None:
    inputs = deploy_with().by_name["prometheus-server"].inputs
    uploads = inputs["uploads"]
    assert rpc.is_rpc_secret(uploads) or any(rpc.is_rpc_secret(u["content"]) for u in uploads)
    files = {upload["file"]: reveal(upload["content"]) for upload in reveal(uploads)}
    assert files["/etc/spawn/metrics-key"] == KEY
    others = {name: value for name, value in inputs.items() if name != "uploads"}
    assert KEY not in json.dumps(others)
    assert "envs" not in inputs


def test_prometheus_is_hardened_and_on_the_network_of_the_service() -> None:
    deployment = deploy_with(port=9191, memory_mib=256)
    inputs = deployment.by_name["prometheus-server"].inputs
    assert inputs["user"] == "65534:65534"
    assert inputs["readOnly"] is True
    assert inputs["capabilities"] == {"drops": ["ALL"]}
    assert inputs["securityOpts"] == ["no-new-privileges:true"]
    assert inputs["memory"] == inputs["memorySwap"] == 256
    assert inputs["ports"] == [{"internal": 9090, "external": 9191, "ip": "127.0.0.1"}]
    assert [network["name"] for network in inputs["networksAdvanced"]] == ["spawn-network"]
    assert deployment.by_name["spawn-service"].urn in (
        deployment.by_name["prometheus-server"].depends_on
    )


@pytest.mark.parametrize("changes", [{"port": 80}, {"image": ""}, {"memory": 512}])
def test_a_malformed_or_unknown_setting_stops_the_program(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(changes))):
        deploy_with(**changes)


def test_the_configuration_is_valid_and_scrapes_with_the_key(tmp_path: Path) -> None:
    uploads = reveal(deploy_with().by_name["prometheus-server"].inputs["uploads"])
    text = next(reveal(u["content"]) for u in uploads if u["file"].endswith(".yml"))
    (scrape,) = json.loads(text)["scrape_configs"]
    assert scrape["metrics_path"] == "/monitoring/metrics"
    assert scrape["authorization"] == {"credentials_file": "/etc/spawn/metrics-key"}
    assert scrape["static_configs"] == [{"targets": ["spawn-service:8000"]}]
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "metrics-key").write_text(KEY)
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/spawn", str(tmp_path)))
    subprocess.run([tool, "check", "config", str(file)], check=True, capture_output=True)
