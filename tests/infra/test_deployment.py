"""Stack of the Pulumi program, and tests that find faults in it."""

from typing import Any

import msgspec
import pytest
from tests.infra.recording import INFRA, Deployment, Registration, deploy, stack_config

SERVICE = "spawn:index:Service"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/image:Image"
CONTAINER = "docker:index/container:Container"


def check_graph(deployment: Deployment) -> None:
    assert set(deployment.resources) == {
        "pulumi:pulumi:Stack",
        SERVICE,
        NETWORK,
        VOLUME,
        IMAGE,
        CONTAINER,
    }
    service = deployment.resources[SERVICE].urn
    children = [deployment.resources[kind] for kind in (NETWORK, VOLUME, IMAGE, CONTAINER)]
    assert {child.parent for child in children} == {service}
    dependencies = {deployment.resources[kind].urn for kind in (NETWORK, VOLUME, IMAGE)}
    assert deployment.resources[CONTAINER].depends_on == dependencies


def check_hardening(container: Registration) -> None:
    inputs = container.inputs
    assert inputs["user"] == "10001:10001"
    assert inputs["readOnly"] is True
    assert inputs["capabilities"] == {"drops": ["ALL"]}
    assert inputs["securityOpts"] == ["no-new-privileges:true"]
    assert inputs["memory"] == inputs["memorySwap"] == 1536
    assert inputs["restart"] == "unless-stopped"
    assert set(inputs["tmpfs"]) == {"/tmp"}  # noqa: S108  # a mount inside the container
    assert "noexec" in inputs["tmpfs"]["/tmp"]  # noqa: S108  # as above
    assert not inputs.get("privileged", False)
    assert [port["ip"] for port in inputs["ports"]] == ["127.0.0.1"]
    assert inputs["healthcheck"]["tests"][0] == "CMD"
    assert "/monitoring/ready" in inputs["healthcheck"]["tests"][-1]
    assert inputs["stopTimeout"] >= 30


def check_data(deployment: Deployment) -> None:
    mounts = deployment.resources[CONTAINER].inputs["volumes"]
    assert mounts == [{"containerPath": "/data", "volumeName": "spawn-data"}]


def check_protected(volume: Registration) -> None:
    assert volume.protect
    assert volume.retain_on_delete


def check(deployment: Deployment) -> None:
    check_graph(deployment)
    check_hardening(deployment.resources[CONTAINER])
    check_data(deployment)


def dev_with(**changes: object) -> dict[str, Any]:
    config = stack_config("dev")
    return {"spawn:service": config["spawn:service"] | changes}


def test_the_dev_stack_is_one_hardened_service_with_its_data() -> None:
    check(deploy("dev"))


def test_the_dev_stack_exports_the_addresses_of_the_service() -> None:
    assert deploy("dev").outputs == {
        "url": "http://127.0.0.1:8000",
        "ready_url": "http://127.0.0.1:8000/monitoring/ready",
        "container": "spawn-service",
        "data_volume": "spawn-data",
    }


def test_the_configured_port_memory_and_ontology_reach_the_container() -> None:
    config = dev_with(port=9100, memory_mib=2048, ontology_url="http://ontology:7000")
    deployment = deploy("dev", config=config)
    inputs = deployment.resources[CONTAINER].inputs
    assert inputs["ports"] == [{"internal": 8000, "external": 9100, "ip": "127.0.0.1"}]
    assert inputs["memory"] == 2048
    assert "SPAWN_ONTOLOGY_URL=http://ontology:7000" in inputs["envs"]
    assert deployment.outputs["url"] == "http://127.0.0.1:9100"


def test_protected_data_survives_the_stack() -> None:
    check_protected(deploy("dev", config=dev_with(keep_data=True)).resources[VOLUME])


def test_dev_data_is_deleted_with_the_stack() -> None:
    volume = deploy("dev").resources[VOLUME]
    assert not volume.protect
    assert not volume.retain_on_delete


def test_the_image_is_built_from_the_containerfile_at_the_root() -> None:
    build = deploy("dev").resources[IMAGE].inputs["build"]
    assert (INFRA / build["dockerfile"]).resolve().is_file()
    assert (INFRA / build["context"] / "pyproject.toml").is_file()
    containerfile = (INFRA / build["dockerfile"]).read_text()
    assert all(f"ARG {name}=" in containerfile for name in build["args"])


def test_the_stack_and_the_image_agree_on_user_port_and_data() -> None:
    containerfile = (INFRA / "../Containerfile").read_text()
    inputs = deploy("dev").resources[CONTAINER].inputs
    assert f"\nUSER {inputs['user']}\n" in containerfile
    assert f"\nEXPOSE {inputs['ports'][0]['internal']:.0f}\n" in containerfile
    assert f"\nVOLUME {inputs['volumes'][0]['containerPath']}\n" in containerfile
    storage = next(env for env in inputs["envs"] if env.startswith("SPAWN_STORAGE_URL="))
    assert f"{storage} " in containerfile


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 80},
        {"port": "8000"},
        {"memory_mib": 64},
        {"ontology_url": "ftp://ontology"},
        {"keep_data": "yes"},
        {"image": ""},
        {"privileged": True},
    ],
)
def test_a_malformed_or_unknown_key_stops_the_program(changes: dict[str, object]) -> None:
    name = next(iter(changes))
    with pytest.raises(msgspec.ValidationError, match=name):
        deploy("dev", config=dev_with(**changes))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('ip="127.0.0.1"', 'ip="0.0.0.0"'),
        ("user=USER,", 'user="0:0",'),
        ("read_only=True", "read_only=False"),
        ('drops=["ALL"]', 'drops=["NET_RAW"]'),
        ('security_opts=["no-new-privileges:true"],', ""),
        ("memory=self._config.memory_mib,", ""),
        ("healthcheck=self._build_health_check(),", ""),
        ('restart="unless-stopped",', ""),
        ("volume_name=self.volume.name", 'host_path="/var/lib/spawn"'),
        ("name=self.network.name", 'name="spawn-network"'),
        ("image=self.image.image_name", "image=self._config.image"),
        ("read_only=True,", "read_only=True, privileged=True,"),
    ],
)
def test_a_fault_in_the_program_is_detected(right: str, wrong: str) -> None:
    source = (INFRA / "deployment.py").read_text()
    assert source.count(right) == 1
    faulty_deployment = deploy("dev", source=source.replace(right, wrong))
    with pytest.raises((AssertionError, KeyError)):
        check(faulty_deployment)


@pytest.mark.parametrize("option", ["protect=keep, ", ", retain_on_delete=keep"])
def test_an_unprotected_volume_is_detected(option: str) -> None:
    source = (INFRA / "deployment.py").read_text()
    assert source.count(option) == 1
    faulty_deployment = deploy(
        "dev", config=dev_with(keep_data=True), source=source.replace(option, "")
    )
    with pytest.raises(AssertionError):
        check_protected(faulty_deployment.resources[VOLUME])
