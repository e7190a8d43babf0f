"""Each rule of the policy pack finds each way of breaking it, and nothing in a sound resource."""

from collections.abc import Callable
from typing import Any

import pytest
from policy.rules import RULES, Resource

CONTAINER: dict[str, Any] = {
    "user": "10001:10001",
    "image": "registry.example/spawn:1.2.0",
    "envs": ["SPAWN_HOST=0.0.0.0", "SPAWN_BACKUP_SIGNING_KEY_FILE=/run/spawn/key"],
    "ports": [{"internal": 8000, "external": 8000, "ip": "127.0.0.1"}],
    "uploads": [{"file": "/etc/x.yml", "content": "a: 1"}],
    "readOnly": True,
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges:true"],
    "memory": 512,
}
POD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001},
    "containers": [
        {
            "name": "spawn",
            "image": "registry.example/spawn@sha256:" + "0" * 64,
            "env": [{"name": "SPAWN_PORT", "value": "8000"}],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "resources": {"limits": {"memory": "512Mi"}},
        }
    ],
}


VOLUME = "docker:index/volume:Volume"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # what the rules find


def container(**changes: Any) -> Resource:
    kept = {key: value for key, value in (CONTAINER | changes).items() if value is not None}
    kind = "docker:index/container:Container"
    return Resource(type=kind, name="spawn-service", stack="prod", inputs=kept)


def workload(change: Callable[[dict[str, Any]], Any] = lambda _: None) -> Resource:
    copied = {
        "securityContext": dict(POD["securityContext"]),
        "containers": [
            {
                key: dict(value) if isinstance(value, dict) else value
                for key, value in POD["containers"][0].items()
            }
        ],
    }
    change(copied)
    inputs = {"spec": {"template": {"spec": copied}}}
    return Resource(type="kubernetes:apps/v1:StatefulSet", name="x", stack="prod", inputs=inputs)


def first(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0]
    return found


def volume(
    name: str, stack: str, *, protect: bool, kind: str = "docker:index/volume:Volume"
) -> Resource:
    return Resource(type=kind, name=name, stack=stack, inputs={}, protect=protect)


def find(resource: Resource) -> set[str]:
    return {rule.name for rule in RULES if list(rule.find(resource))}


CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
SOUND = [
    container(),
    container(envs=["SPAWN_AUTH=off", "SPAWN_HOST=127.0.0.1"], ports=[]),
    container(image="sha256:" + "0" * 64),
    workload(),
    volume("spawn-data", "prod", protect=True),
    volume("spawn-data", "dev", protect=False),
    volume("spawn-prometheus-data", "prod", protect=False),
    Resource(type="kubernetes:core/v1:Service", name="x", stack="prod", inputs={"spec": {}}),
]
PLANTED = [
    ("no-root", container(user="0:0")),
    ("no-root", container(user="root")),
    ("no-root", container(user=None)),
    ("no-root", workload(lambda pod: pod["securityContext"].update(runAsUser=0))),
    ("no-root", workload(lambda pod: pod["securityContext"].pop("runAsNonRoot"))),
    ("no-privilege", container(privileged=True)),
    ("no-privilege", container(capabilities={"drops": ["NET_RAW"]})),
    ("no-privilege", container(securityOpts=None)),
    ("no-privilege", container(readOnly=None)),
    ("no-privilege", workload(lambda pod: first(pod).pop("securityContext"))),
    (
        "no-privilege",
        workload(lambda pod: first(pod)["securityContext"].update(privileged=True)),
    ),
    ("no-plaintext-secret", container(envs=["GF_SECURITY_ADMIN_PASSWORD=admin"])),
    ("no-plaintext-secret", container(envs=["NOTE=spn_live_desk_abcdef"])),
    (
        "no-plaintext-secret",
        workload(lambda pod: first(pod).update(env=[{"name": "API_TOKEN", "value": "x"}])),
    ),
    (
        "no-plaintext-secret",
        Resource(
            type="kubernetes:core/v1:ConfigMap",
            name="x",
            stack="prod",
            inputs={"data": {"tls.key": "-----BEGIN PRIVATE KEY-----"}},
        ),
    ),
    ("no-public-bind-without-auth", container(envs=["SPAWN_AUTH=off", "SPAWN_HOST=0.0.0.0"])),
    ("no-public-bind-without-auth", container(envs=["SPAWN_AUTH=off"])),
    ("no-public-bind-without-auth", container(ports=[{"external": 8000, "ip": EVERYWHERE}])),
    ("no-public-bind-without-auth", container(ports=[{"external": 8000}])),
    ("no-public-bind-without-auth", container(networkMode="host")),
    (
        "no-public-bind-without-auth",
        workload(lambda pod: first(pod).update(env=[{"name": "SPAWN_AUTH", "value": "off"}])),
    ),
    (
        "no-public-bind-without-auth",
        Resource(
            type="kubernetes:core/v1:Service",
            name="x",
            stack="prod",
            inputs={"spec": {"type": "NodePort"}},
        ),
    ),
    ("pinned-images", container(image="registry.example:5000/spawn")),
    ("pinned-images", container(image="spawn:latest")),
    ("pinned-images", workload(lambda pod: first(pod).update(image="spawn:dev"))),
    ("limits", container(memory=None)),
    ("limits", workload(lambda pod: first(pod).pop("resources"))),
    ("protected-data", volume("spawn-data", "prod", protect=False)),
    ("protected-data", volume("spawn-backups", "staging", protect=False)),
    ("protected-data", volume("spawn-pvc-spawn-data", "prod", protect=False, kind=CLAIM)),
]


@pytest.mark.parametrize("resource", SOUND)
def test_a_sound_resource_breaks_no_rule(resource: Resource) -> None:
    assert find(resource) == set()


@pytest.mark.parametrize(("rule", "resource"), PLANTED)
def test_a_planted_violation_is_found_by_its_rule(rule: str, resource: Resource) -> None:
    assert find(resource) == {rule}


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _ in PLANTED} == {rule.name for rule in RULES}
