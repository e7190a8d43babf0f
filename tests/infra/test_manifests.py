"""Manifests of every stack are valid for a cluster, and need no Pulumi."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from tests.infra.recording import SECRETS, STACKS, build_plain_objects, stack_config

ROOT = Path(__file__).parents[2]
DEFINITIONS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "kubernetes_1_37.json").read_text("utf-8")
)["$defs"]
OPERATOR = "monitoring.coreos.com/v1"  # its kinds are not the cluster's own


def build_validators() -> dict[tuple[str, str], Any]:
    """Return a validator for each kind by its API version."""
    validators = {}
    for name, definition in DEFINITIONS.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            version = "/".join(filter(None, [kind["group"], kind["version"]]))
            schema = {"$ref": f"#/$defs/{name}", "$defs": DEFINITIONS}
            validators[version, kind["kind"]] = schema
    return validators


SCHEMAS = build_validators()


def find_errors(document: dict[str, Any]) -> list[str]:
    schema = SCHEMAS[document["apiVersion"], document["kind"]]
    validator = jsonschema_rs.Draft7Validator(schema)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(document)]


IMAGE = "registry.example/spawn:1.2.0@sha256:" + "1" * 64


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "infra" / "manifests.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("stack", STACKS)
def test_every_manifest_is_valid_for_the_api_of_the_cluster(stack: str) -> None:
    objects, _ = build_plain_objects(stack)
    checked = [each for each in objects if each["apiVersion"] != OPERATOR]
    assert {each["kind"] for each in checked} >= {
        *("Namespace", "ServiceAccount", "PersistentVolumeClaim", "NetworkPolicy"),
        *("StatefulSet", "Service", "PodDisruptionBudget", "CronJob", "ConfigMap", "Secret"),
    }
    for each in checked:
        assert find_errors(each) == [], each["kind"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), "1"),
        (("spec", "template", "spec", "enableServiceLink"), False),
        (("spec", "template", "spec", "containers", 0, "resources", "limits"), [1]),
        (("spec", "serviceName"), 7),
    ],
)
def test_a_fault_in_a_manifest_is_found(path: tuple[Any, ...], value: Any) -> None:
    objects, _ = build_plain_objects("prod")
    (writer,) = [each for each in objects if each["kind"] == "StatefulSet"]
    place: Any = writer
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert find_errors(writer)


def test_the_command_writes_the_objects_and_no_secret() -> None:
    secrets = "metrics_key,backup_signing_key,encryption_key"
    result = run("prod", "--secrets", secrets, "--image", IMAGE)
    assert result.returncode == 0, result.stderr
    documents = [msgspec.yaml.decode(text) for text in re.split(r"(?m)^---\n", result.stdout)]
    objects, namespace = build_plain_objects("prod")
    expected = [each for each in objects if each["kind"] != "Secret"]
    pods = [each for each in documents if each["kind"] in {"StatefulSet", "CronJob"}]
    assert all(IMAGE in str(each) for each in pods)
    own = stack_config("prod")["spawn:service"]["image"]
    assert str(documents).replace(IMAGE, own) == str(expected)
    assert not any(text in result.stdout for text in SECRETS.values())
    first = result.stdout.splitlines()[0]
    assert f"--namespace {namespace} --from-file=metrics_key --from-file=backup_signing" in first
    assert "--from-file=encryption_key" in first


def test_without_secrets_the_service_runs_and_needs_none() -> None:
    result = run("staging", "--image", IMAGE)
    assert "StatefulSet" in result.stdout
    assert "secretName" not in result.stdout
    assert "SPAWN_BACKUP_SIGNING_KEY_FILE" not in result.stdout
    assert "ServiceMonitor" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("prod",), "placeholder of a digest: name the image with --image"),
        (("prod", "--image", "spawn:1.2.0"), "`image` must name a digest"),
        (("moon",), "Pulumi.moon.yaml"),
    ],
)
def test_no_objects_are_written_of_an_image_that_is_not_known(
    arguments: tuple[str, ...], reason: str
) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert reason in result.stderr


def test_an_unknown_secret_is_named() -> None:
    result = run("prod", "--secrets", "metrics_key,admin_key")
    assert result.returncode == 2
    assert "unknown secrets admin_key" in result.stderr
