"""Each rule of the policy pack finds each way of breaking it, and nothing in a sound resource."""

from collections.abc import Callable
from typing import Any

import pytest
from policy.rules import RULES, Resource

from spawn.entrypoints.settings import SETTING_NAMES

CONTAINER: dict[str, Any] = {
    "user": "10001:10001",
    "image": "registry.example/spawn:1.2.0@sha256:" + "1" * 64,
    "envs": ["SPAWN_HOST=0.0.0.0", "SPAWN_BACKUP_SIGNING_KEY_FILE=/run/spawn/key"],
    "ports": [{"internal": 8000, "external": 8000, "ip": "127.0.0.1"}],
    "uploads": [{"file": "/etc/x.yml", "content": "a: 1"}],
    "readOnly": True,
    "capabilities": {"drops": ["ALL"]},
    "securityOpts": ["no-new-privileges:true"],
    "memory": 512,
}
POD: dict[str, Any] = {
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "spawn",
            "image": "registry.example/spawn@sha256:" + "1" * 64,
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
DOCKER_SOCKET = "/var/run/docker.sock"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # what the rules find


def container(*, stack: str = "prod", **changes: Any) -> Resource:
    kept = {key: value for key, value in (CONTAINER | changes).items() if value is not None}
    kind = "docker:index/container:Container"
    return Resource(type=kind, name="spawn-service", stack=stack, inputs=kept)


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


def confine(**changes: Any) -> Resource:
    """Return a workload whose container has another security context."""
    return workload(lambda pod: first(pod)["securityContext"].update(changes))


def an_object(kind: str, **inputs: Any) -> Resource:
    return Resource(type=f"kubernetes:{kind}", name="x", stack="prod", inputs=inputs)


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
    container(image="sha256:" + "1" * 64),
    container(image="docker.io/prom/prometheus:v3.7.3", stack="dev"),
    container(image="docker.io/library/python:3.13.9-slim", stack="dev"),
    container(command=["keys", "create", "prometheus", "--key", "/data/first-key.txt"]),
    container(envs=["SPAWN_EVENTS_URL=nats://nats:4222/a@b", "GF_ADMIN_PASSWORD__FILE=/run/x"]),
    container(uploads=[{"file": "/run/spawn/key", "content": "spn_live_desk_abcdef"}]),
    workload(),
    confine(runAsUser=10002, runAsNonRoot=True),
    an_object("core/v1:Secret", stringData={"metrics_key": "spn_live_desk_abcdef"}),
    an_object("networking.k8s.io/v1:Ingress", spec={"tls": [{"hosts": ["data.example"]}]}),
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
    ("no-root", container(groupAdds=["0"])),
    ("no-root", confine(runAsUser=0)),
    ("no-root", confine(runAsNonRoot=False)),
    ("no-privilege", container(privileged=True)),
    ("no-privilege", container(capabilities={"drops": ["NET_RAW"]})),
    ("no-privilege", container(securityOpts=None)),
    ("no-privilege", container(readOnly=None)),
    ("no-privilege", workload(lambda pod: first(pod).pop("securityContext"))),
    (
        "no-privilege",
        workload(lambda pod: first(pod)["securityContext"].update(privileged=True)),
    ),
    ("no-privilege", container(capabilities={"drops": ["ALL"], "adds": ["SYS_ADMIN"]})),
    *(
        ("no-privilege", container(securityOpts=["no-new-privileges:true", option]))
        for option in ("seccomp=unconfined", "apparmor=unconfined", "label=disable")
    ),
    ("no-privilege", confine(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
    ("no-privilege", confine(seccompProfile={"type": "Unconfined"})),
    ("no-privilege", confine(appArmorProfile={"type": "Unconfined"})),
    ("no-privilege", confine(procMount="Unmasked")),
    ("no-privilege", workload(lambda pod: pod["securityContext"].pop("seccompProfile"))),
    (
        "no-privilege",
        workload(
            lambda pod: pod.update(
                initContainers=[first(pod) | {"name": "first", "securityContext": {}}]
            )
        ),
    ),
    ("no-host-access", container(volumes=[{"hostPath": DOCKER_SOCKET, "containerPath": "/x"}])),
    ("no-host-access", container(mounts=[{"type": "bind", "source": "/", "target": "/x"}])),
    ("no-host-access", container(devices=[{"hostPath": "/dev/sda"}])),
    ("no-host-access", container(pidMode="host")),
    ("no-host-access", container(ipcMode="container:other")),
    (
        "no-host-access",
        Resource(
            type=VOLUME,
            name="x",
            stack="prod",
            inputs={"driverOpts": {"type": "none", "o": "bind", "device": "/"}},
        ),
    ),
    ("no-host-access", workload(lambda pod: pod.update(hostPID=True))),
    ("no-host-access", workload(lambda pod: pod.update(hostIPC=True))),
    (
        "no-host-access",
        workload(lambda pod: pod.update(volumes=[{"name": "x", "hostPath": {"path": "/"}}])),
    ),
    ("no-host-access", an_object("core/v1:PersistentVolume", spec={"hostPath": {"path": "/"}})),
    *(
        ("no-plaintext-secret", container(envs=[variable]))
        for variable in (
            "db_password=abc",
            "PULUMI_CONFIG_PASSPHRASE=x",
            "SPAWN_EVENTS_URL=nats://user:hidden@nats:4222/events",
            "DATABASE_URL=postgresql://database/spawn?password=hidden",
        )
    ),
    ("no-plaintext-secret", container(command=["--key", "spn_live_desk_abcdef"])),
    ("no-plaintext-secret", container(command=["--password", "hidden"])),
    ("no-plaintext-secret", container(labels=[{"label": "x", "value": "spn_live_desk_abcdef"}])),
    (
        "no-plaintext-secret",
        workload(lambda pod: first(pod).update(args=["--key", "spn_live_desk_abcdef"])),
    ),
    (
        "no-plaintext-secret",
        workload(lambda pod: first(pod).update(command=["x", "--db-token=hidden"])),
    ),
    ("no-plaintext-secret", an_object("core/v1:ConfigMap", data={"db_password": "hidden"})),
    (
        "no-plaintext-secret",
        Resource(
            type="docker:index/image:Image",
            name="x",
            stack="dev",
            inputs={"imageName": "x:1.2.3", "build": {"args": {"PIP_TOKEN": "hidden"}}},
        ),
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
    ("no-public-bind-without-auth", container(networkMode="container:other")),
    ("no-public-bind-without-auth", container(envs=["SPAWN_AUTH=Off"])),
    ("no-public-bind-without-auth", container(publishAllPorts=True)),
    ("no-public-bind-without-auth", workload(lambda pod: pod.update(hostNetwork=True))),
    (
        "no-public-bind-without-auth",
        workload(lambda pod: first(pod).update(ports=[{"containerPort": 8000, "hostPort": 8000}])),
    ),
    (
        "no-public-bind-without-auth",
        an_object("core/v1:Service", spec={"externalIPs": ["203.0.113.7"]}),
    ),
    (
        "no-public-bind-without-auth",
        an_object("networking.k8s.io/v1:Ingress", spec={"rules": [{"host": "data.example"}]}),
    ),
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
    *(
        ("pinned-images", container(image=image, stack="dev"))
        for image in (
            "registry.example:5000/spawn",
            "spawn:latest",
            "spawn:master",
            "spawn:rolling",
            "spawn:latest-alpine",
            "python:3",
            "python:3.13-slim",
        )
    ),
    ("pinned-images", container(image="registry.example/spawn:1.2.0")),
    ("pinned-images", container(image="spawn:1.2.0@sha256:" + "0" * 64)),
    ("pinned-images", workload(lambda pod: first(pod).update(image="spawn:1.2.0"))),
    (
        "pinned-images",
        Resource(
            type="docker:index/remoteImage:RemoteImage",
            name="x",
            stack="prod",
            inputs={"name": "docker.io/grafana/grafana:11.6.0"},
        ),
    ),
    ("limits", container(memory=None)),
    ("limits", workload(lambda pod: first(pod).pop("resources"))),
    ("protected-data", volume("spawn-data", "prod", protect=False)),
    ("protected-data", volume("spawn-backups", "staging", protect=False)),
    ("protected-data", volume("spawn-pvc-spawn-data", "prod", protect=False, kind=CLAIM)),
]


@pytest.mark.parametrize(
    "kind", ["core/v1:Pod", "core/v1:PodTemplate", "batch/v1:CronJob", "argoproj.io/v1:Rollout"]
)
def test_the_pods_of_every_kind_of_workload_are_checked(kind: str) -> None:
    pod = {"containers": [{"name": "x", "image": "x"}]}
    nested: dict[str, dict[str, Any]] = {
        "core/v1:Pod": {"spec": pod},
        "core/v1:PodTemplate": {"template": {"spec": pod}},
        "batch/v1:CronJob": {"spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}},
        "argoproj.io/v1:Rollout": {"spec": {"template": {"spec": pod}}},
    }
    expected = {"no-root", "no-privilege", "pinned-images", "limits"}
    assert find(an_object(kind, **nested[kind])) == expected


def test_the_service_has_no_setting_whose_name_a_rule_takes_for_a_secret() -> None:
    envs = [f"{name}=x" for name in SETTING_NAMES]
    assert find(container(envs=envs)) == set()


@pytest.mark.parametrize("resource", SOUND)
def test_a_sound_resource_breaks_no_rule(resource: Resource) -> None:
    assert find(resource) == set()


@pytest.mark.parametrize(("rule", "resource"), PLANTED)
def test_a_planted_violation_is_found_by_its_rule(rule: str, resource: Resource) -> None:
    assert find(resource) == {rule}


def test_every_rule_has_a_planted_violation() -> None:
    assert {rule for rule, _ in PLANTED} == {rule.name for rule in RULES}
