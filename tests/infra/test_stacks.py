"""The Pulumi program with each stack file on each target, and faults that the checks find."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kubernetes_objects import build_objects
from stack_config import parse_stack_config
from tests.infra.recording import (
    INFRA,
    SECRETS,
    STACKS,
    TARGETS,
    build_plain_objects,
    deploy,
    read_source,
    stack_config,
)
from tests.infra.stack_checks import check_objects, check_stack, find_violations

from spawn.entrypoints.settings import SettingsError, read_settings

ALL = [(stack, target) for stack in STACKS for target in TARGETS]


@pytest.mark.parametrize(("stack", "target"), ALL)
def test_every_stack_is_sound_on_every_target(stack: str, target: str) -> None:
    check_stack(deploy(stack, target), stack, target)


Fault = tuple[str, str, str]
"""A module of the program, a text that it has once, and the one that a mistake would leave."""

_SECRET_KEY = SECRETS["spawn:metrics_key"]
DOCKER_FAULTS: list[Fault] = [
    ("docker_target", ', ip="127.0.0.1")]', ', ip="0.0.0.0")]'),
    ("docker_target", ', ip="127.0.0.1")]', ")]"),
    ("docker_target", "            user=user,", '            user="0:0",'),
    ("docker_target", "read_only=True", "read_only=False"),
    ("docker_target", "read_only=True,", "read_only=True, privileged=True,"),
    ("docker_target", 'drops=["ALL"]', 'drops=["NET_RAW"]'),
    ("docker_target", 'security_opts=["no-new-privileges:true"],', ""),
    ("docker_target", "memory=memory_mib,", ""),
    ("docker_target", 'restart="unless-stopped",', ""),
    ("docker_target", "init=True,", ""),
    ("docker_target", "stop_timeout=30,", ""),
    ("docker_target", "volume_name=volume.name)", 'host_path="/srv")'),
    ("docker_target", "name=self.network.name)", 'name="spawn-network")'),
    ("docker_target", "protect=keep, ", "protect=not keep, "),
    ("docker_target", "retain_on_delete=keep", "retain_on_delete=not keep"),
    ("docker_target", "BACKUP_FOLDER: self.backups}", "BACKUP_FOLDER: self.data}"),
    (
        "docker_target",
        "key_file: self._secrets[METRICS_KEY],",
        f'key_file: "{_SECRET_KEY}",',
    ),
    (
        "docker_target",
        '"GF_SECURITY_ADMIN_PASSWORD__FILE": password_file',
        '"GF_SECURITY_ADMIN_PASSWORD": "admin"',
    ),
    ("__main__", "config.require_secret(name)", "pulumi.Output.from_input(config.require(name))"),
]
KUBERNETES_FAULTS: list[Fault] = [
    ("kubernetes_objects", '"runAsUser": USER_ID,', '"runAsUser": 0,'),
    ("kubernetes_objects", '"runAsNonRoot": True,', ""),
    ("kubernetes_objects", '"allowPrivilegeEscalation": False,', ""),
    ("kubernetes_objects", '"readOnlyRootFilesystem": True,', ""),
    ("kubernetes_objects", '"capabilities": {"drop": ["ALL"]},', ""),
    ("kubernetes_objects", '"limits": {"memory": memory, ', '"limits": {'),
    ("kubernetes_objects", '"enableServiceLinks": False,', ""),
    (
        "kubernetes_objects",
        '"terminationGracePeriodSeconds": 60,',
        '"terminationGracePeriodSeconds": 5,',
    ),
    ("kubernetes_objects", '"fsGroup": USER_ID,', ""),
    ("kubernetes_objects", '"seccompProfile": {"type": "RuntimeDefault"},', ""),
    (
        "kubernetes_objects",
        '"replicas": 1,\n        "serviceName"',
        '"replicas": 2,\n        "serviceName"',
    ),
    (
        "kubernetes_objects",
        '_claim_volume("backups", BACKUP_CLAIM),\n        *key',
        '_claim_volume("backups", DATA_CLAIM),\n        *key',
    ),
    ("kubernetes_objects", '"items": items}', "}"),
    ("kubernetes_objects", '"type": "ClusterIP",', '"type": "LoadBalancer",'),
    ("kubernetes_objects", 'ingress=[{"from": clients, "ports"', 'ingress=[{"ports"'),
    (
        "kubernetes_objects",
        '_build_policy("spawn-default", {}, ingress=[]',
        '_build_policy("spawn-default", {}, ingress=[{}]',
    ),
    ("kubernetes_objects", '"authorization": {', '"oauth2": {'),
    (
        "kubernetes_objects",
        '_build_probe("/monitoring/live", failures=6)',
        '_build_probe("/monitoring/ready", failures=6)',
    ),
    (
        "kubernetes_objects",
        "for name, value in variables.items()]",
        'for name, value in (variables | {"GRAFANA_PASSWORD": "x"}).items()]',
    ),
    (
        "kubernetes_objects",
        '"mountPath": BACKUP_FOLDER, "readOnly": True}',
        '"mountPath": BACKUP_FOLDER}',
    ),
    (
        "kubernetes_objects",
        'if each["name"] in SERVICE_SECRETS.values()',
        'if "BACKUP" in each["name"]',
    ),
    (
        "kubernetes_objects",
        'if each["name"] in SERVICE_SECRETS.values()',
        'if "ENCRYPTION" in each["name"]',
    ),
    ("kubernetes_objects", ', "ephemeral-storage": "256Mi"}', "}"),
    ("kubernetes_objects", '"emptyDir": {"sizeLimit": "64Mi"}', '"emptyDir": {}'),
    ("kubernetes_objects", '"cpu": "100m", "memory": memory,', '"cpu": "100m", "memory": "64Mi",'),
    ("kubernetes_objects", '"defaultMode": 0o440', '"defaultMode": 0o444'),
    ("kubernetes_objects", '"ReadWriteOnce"', '"ReadWriteMany"'),
    ("kubernetes_objects", '.io/enforce"] = "restricted"', '.io/enforce"] = "privileged"'),
    ("kubernetes_objects", "failures=60)", "failures=3)"),
    ("kubernetes_objects", 'ingress=[{"from": [_pod_peer(NAME)], "ports"', 'ingress=[{"ports"'),
    ("kubernetes_target", "protect=keep, ", ""),
    ("kubernetes_target", "retain_on_delete=keep", ""),
    ("kubernetes_target", "depends_on=list(needed), ", ""),
    (
        "kubernetes_target",
        "if kind in _PODS else self._created[:1]",
        'if kind == "x" else self._created[:1]',
    ),
    ("kubernetes_target", ' or kind == "Namespace")', ")"),
]
SHARED_FAULTS: list[Fault] = [
    ("stack_config", '"SPAWN_PORT": str', '"SPAWN_AUTH": "off", "SPAWN_PORT": str'),
    ("stack_config", '"SPAWN_BACKUP_URL"', '"SPAWN_BACKUP"'),
    ("stack_config", "    if hosts:", "    if not hosts:"),
    ("stack_config", '"SPAWN_BACKUP_SIGNING_KEY_FILE"', '"SPAWN_BACKUP_SIGNING_KEY"'),
    ("stack_config", '"SPAWN_STORAGE_URL": f"duckdb:///{DATA_FOLDER}/spawn.duckdb",', ""),
    ("stack_config", '"SPAWN_BACKUP_RETENTION": str(backup.retention),', ""),
    (
        "__main__",
        "pulumi.export(name, output)",
        'pulumi.export(name, config.require("metrics_key"))',
    ),
]
FAULTS = [
    *[("docker", fault) for fault in DOCKER_FAULTS + SHARED_FAULTS],
    *[("kubernetes", fault) for fault in KUBERNETES_FAULTS + SHARED_FAULTS],
]
UNPROTECTED = {"protect=keep, ", "retain_on_delete=keep", ' or kind == "Namespace")'}
"""Faults that only a stack whose data are kept can show."""
OF_ONTOLOGY_SERVER = {'ingress=[{"from": [_pod_peer(NAME)], "ports"'}
"""Faults that only the stack with an ontology server can show."""


PURE_MODULES = {"kubernetes_objects", "stack_config"}
"""Modules whose effect on Kubernetes shows without Pulumi, in a tenth of the time."""


def check_with_fault(stack: str, target: str, module: str, source: str) -> None:
    if target == "kubernetes" and module in PURE_MODULES:
        objects, namespace = build_plain_objects(stack, sources={module: source})
        check_objects(objects, stack, namespace)
    else:
        check_stack(deploy(stack, target, sources={module: source}), stack, target)


@pytest.mark.parametrize(("target", "fault"), FAULTS, ids=[f"{t}-{f[1]}" for t, f in FAULTS])
def test_a_fault_in_the_program_is_found_in_every_stack(target: str, fault: Fault) -> None:
    module, right, wrong = fault
    source = read_source(module)
    assert source.count(right) == 1, right
    for stack in STACKS:
        if stack == "dev" and right in UNPROTECTED and "not" not in wrong:
            continue
        if stack != "dev" and right in OF_ONTOLOGY_SERVER:
            continue
        with pytest.raises((AssertionError, LookupError, SettingsError)):
            check_with_fault(stack, target, module, source.replace(right, wrong))


@pytest.mark.parametrize("stack", STACKS)
def test_the_plain_objects_of_a_stack_are_sound(stack: str) -> None:
    objects, namespace = build_plain_objects(stack)
    check_objects(objects, stack, namespace)


def test_the_image_of_a_container_is_the_one_that_the_stack_builds_or_pulls() -> None:
    for stack, right in (("dev", "return built.repo_digest"), ("prod", "return pulled.image_id")):
        source = read_source("docker_target")
        assert source.count(right) == 1
        named = source.replace(right, "return pulumi.Output.from_input(service.image)")
        with pytest.raises(AssertionError):
            check_stack(deploy(stack, "docker", sources={"docker_target": named}), stack, "docker")


def test_a_stack_without_the_key_of_prometheus_runs_the_service_and_says_what_is_next() -> None:
    for target in TARGETS:
        deployment = deploy("prod", target, secrets={})
        assert "spawn keys create prometheus" in deployment.outputs["next_step"]
        assert not deployment.find("ServiceMonitor")
        assert "spawn-prometheus" not in deployment.resources
        assert deployment.find("Container" if target == "docker" else "StatefulSet")


def with_section(stack: str, section: str, **changes: object) -> dict[str, Any]:
    return {f"spawn:{section}": stack_config(stack).get(f"spawn:{section}", {}) | changes}


def test_the_settings_of_a_stack_reach_its_container() -> None:
    config = with_section(
        "prod", "service", port=9100, memory_mib=3072, public_url="https://x.example"
    )
    deployment = deploy("prod", "docker", config=config)
    inputs = deployment.resources["spawn-service"].inputs
    assert inputs["ports"] == [{"internal": 8000, "external": 9100, "ip": "127.0.0.1"}]
    assert inputs["memory"] == 3072
    assert "SPAWN_PUBLIC_URL=https://x.example" in inputs["envs"]
    assert deployment.outputs["url"] == "http://127.0.0.1:9100"


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("service", {"port": 80}),
        ("service", {"port": "8000"}),
        ("service", {"memory_mib": 64}),
        ("service", {"ontology_url": "ftp://ontology"}),
        ("service", {"keep_data": False}),
        ("service", {"image": "spawn"}),
        ("service", {"image": "registry.example/spawn:1.0"}),
        ("service", {"privileged": True}),
        ("service", {"ontology_server": True}),
        ("backup", {"interval_s": 1}),
        ("backup", {"interval_s": 7_200, "full_interval_s": 3_600}),
        ("backup", {"verify_schedule": "daily"}),
        ("kubernetes", {"namespace": "Spawn_1"}),
        ("monitoring", {"prometheus_image": ""}),
        ("monitoring", {"grafana_image": "docker.io/grafana/grafana:11.6.0"}),
        ("monitoring", {"memory": 512}),
        ("monitoring", {"runbooks_url": "docs/runbooks"}),
        ("monitoring", {"runbooks_url": "https://docs.example/runbooks/"}),
    ],
)
def test_a_malformed_or_unknown_setting_stops_the_program(
    section: str, changes: dict[str, object]
) -> None:
    name = next(iter(changes))
    with pytest.raises(msgspec.ValidationError, match=name):
        deploy("prod", config=with_section("prod", section, **changes))


@pytest.mark.parametrize(("url", "port"), [("http://ontology:8080", 8080), ("http://ontology", 80)])
def test_pods_may_connect_to_the_port_of_the_ontology_server(url: str, port: int) -> None:
    config = parse_stack_config(
        {
            "target": "kubernetes",
            "service": stack_config("prod")["spawn:service"] | {"ontology_url": url},
        }
    )
    policies = [each for each in build_objects(config, {}) if each["kind"] == "NetworkPolicy"]
    ports = [each["port"] for rule in policies[1]["spec"]["egress"] for each in rule["ports"]]
    assert port in ports
    assert 443 in ports


def test_an_unknown_target_stops_the_program() -> None:
    with pytest.raises(ValueError, match="must be one of docker, kubernetes, or module:Class"):
        deploy("dev", "mainframe")


def test_the_documented_target_of_a_third_party_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (INFRA.parent / "docs" / "deployment.md").read_text("utf-8")
    block = re.search(r"```python\n# infra/hosted_target.py.*?\n(.*?)```", text, re.DOTALL)
    assert block is not None
    (tmp_path / "hosted_target.py").write_text(block[1])
    monkeypatch.syspath_prepend(tmp_path)
    deployment = deploy("prod", "hosted_target:HostedTarget")
    service = deployment.resources["spawn-service"]
    assert service.type == "gcp:cloudrunv2/service:Service"
    assert service.protect
    (container,) = service.inputs["template"]["containers"]
    check_variables = {each["name"]: each["value"] for each in container["envs"]}
    assert read_settings(check_variables).auth == "keys"
    assert deployment.outputs["ready_url"] == "https://data.example/monitoring/ready"


def test_the_program_and_the_image_agree_on_user_ports_and_folders() -> None:
    containerfile = (INFRA.parent / "Containerfile").read_text("utf-8")
    inputs = deploy("dev", "docker").resources["spawn-service"].inputs
    assert f"\nUSER {inputs['user']}\n" in containerfile
    assert f"\nEXPOSE {inputs['ports'][0]['internal']:.0f}\n" in containerfile
    for mount in inputs["volumes"]:
        folder = mount["containerPath"]
        assert folder == "/run/spawn" or f" {folder}" in containerfile
    build = deploy("dev", "docker").resources["spawn-image"].inputs["build"]
    assert (INFRA / build["dockerfile"]).resolve().is_file()
    assert (INFRA / build["context"] / "pyproject.toml").is_file()
    assert all(f"ARG {name}=" in containerfile for name in build["args"])


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_a_stack_file_as_it_is_names_no_image_that_could_be_deployed(stack: str) -> None:
    config = stack_config(stack, is_ready=False)
    for target in TARGETS:
        violations = find_violations(deploy(stack, target, config=config), stack)
        assert violations
        assert all("has the placeholder of a digest" in each for each in violations)


@pytest.mark.parametrize("target", TARGETS)
def test_a_stack_exports_the_image_that_it_runs(target: str) -> None:
    deployment = deploy("prod", target)
    assert deployment.outputs["image"] == stack_config("prod")["spawn:service"]["image"]


@pytest.mark.parametrize("target", TARGETS)
def test_alerts_link_the_runbooks_at_the_address_of_the_stack(target: str) -> None:
    base = "https://handbook.example/spawn"
    config = with_section("prod", "monitoring", runbooks_url=base)
    texts = str(
        [each.revealed for each in deploy("prod", target, config=config).resources.values()]
    )
    links = set(re.findall(r"runbook_url['\"]?: ['\"]?([^\s'\"\\]+)", texts))
    assert f"{base}/service-down.html" in links
    assert {link.rpartition("/")[0] for link in links} == {base}
