"""The compose file is valid and hardened, and its servers run with its commands and files."""

import json
import os
import re
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import tenacity
from policy.rules import RULES, Resource
from tests.infra.monitoring.servers import find_program, skip_or_fail
from tests.loopback import free_port

from spawn.entrypoints.settings import read_settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.yaml"
COMPOSE: dict[str, Any] = msgspec.yaml.decode(FILE.read_bytes())
VARIABLE = re.compile(r"\$\{(\w+):-(.*?)\}")


def read_services(**variables: str) -> dict[str, dict[str, Any]]:
    """Return the services as the engine reads them with these variables of its environment."""
    text = VARIABLE.sub(lambda match: variables.get(match[1], match[2]), FILE.read_text())
    services: dict[str, dict[str, Any]] = msgspec.yaml.decode(text)["services"]
    return services


SERVICES = read_services()
BINDINGS = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "nats": ("nats-server", "/usr/sbin/nats-server"),
}
"""Programs of this machine that stand for images."""


def test_the_file_follows_the_compose_specification() -> None:
    tool = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    if not tool.exists():
        skip_or_fail("check-jsonschema is not installed (make .venv/dev.stamp)")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout


def as_container(name: str) -> Resource:
    """Return a service as the container that the policy pack knows."""
    service = SERVICES[name]
    image = service["image"]
    built = "build" in service or image.startswith("spawn:")
    inputs = {
        # Without a user of its own the image's holds, and ours is not root.
        "user": service.get("user") or ("10001:10001" if built else ""),
        "image": image,
        "envs": [f"{key}={value}" for key, value in service.get("environment", {}).items()],
        "ports": [
            {"ip": port.split(":")[0], "external": port} for port in service.get("ports", [])
        ],
        "readOnly": service["read_only"],
        "capabilities": {"drops": service["cap_drop"], "adds": service.get("cap_add")},
        "securityOpts": service["security_opt"],
        "memory": service.get("mem_limit"),
        "privileged": service.get("privileged"),
        "networkMode": service.get("network_mode"),
        "pidMode": service.get("pid"),
        "ipcMode": service.get("ipc"),
        "devices": service.get("devices"),
        "groupAdds": service.get("group_add"),
        "command": service.get("command"),
    }
    kind = "docker:index/container:Container"
    return Resource(type=kind, name=name, stack="dev", inputs=inputs)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_follows_the_rules_of_the_policy_pack(name: str) -> None:
    resource = as_container(name)
    assert [violation for rule in RULES for violation in rule.find(resource)] == []


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_ends_by_signals_and_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True  # process 1 ignores a signal without a handler
    assert service["pids_limit"] <= 256
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    named = {volume.split(":")[0] for volume in service.get("volumes", []) if volume[0] != "."}
    assert named <= set(COMPOSE["volumes"])
    for volume in service.get("volumes", []):
        if volume.startswith("."):
            assert (ROOT / volume.split(":")[0]).exists(), volume
            assert volume.endswith(":ro"), volume


def test_the_settings_of_the_service_are_settings() -> None:
    settings = read_settings(SERVICES["spawn"]["environment"] | {"SPAWN_HOST": "0.0.0.0"})  # noqa: S104
    assert settings.auth == "keys"
    assert settings.ontology_url == "http://ontology:8100"
    assert settings.backup_url == "file:///backups"


def test_no_variable_of_the_file_is_a_setting_of_the_service() -> None:
    # A command on the same machine reads every SPAWN_ variable, and stops at an unknown one.
    names = {match[1] for match in VARIABLE.finditer(FILE.read_text())}
    assert names == {"SERVICE_IMAGE", "SERVICE_PORT"}


def test_links_name_the_port_that_is_published() -> None:
    service = read_services(SERVICE_PORT="9000")["spawn"]
    assert service["ports"] == ["127.0.0.1:9000:8000"]
    assert read_settings(service["environment"]).base_url == "http://127.0.0.1:9000"


def test_the_stream_outlives_its_container() -> None:
    nats = SERVICES["nats"]
    folder = nats["command"][nats["command"].index("--store_dir") + 1]
    (volume,) = [each for each in nats["volumes"] if each.endswith(f":{folder}")]
    # The image of NATS has no such folder: the volume would be root's, and NATS could not write.
    first = SERVICES["stream-volume"]
    assert first["image"] == SERVICES["spawn"]["image"]
    assert first["volumes"] == [f"{volume.partition(':')[0]}:/backups"]
    assert nats["user"] == "10001:10001"
    assert nats["depends_on"] == {"stream-volume": {"condition": "service_completed_successfully"}}


def test_every_host_that_a_setting_names_is_a_service() -> None:
    texts = [json.dumps(service.get("environment", {})) for service in SERVICES.values()]
    texts += [path.read_text() for path in (ROOT / "infra" / "compose").iterdir()]
    hosts = {
        host
        for text in texts
        for host in re.findall(r"(?:https?://|nats://|\"|endpoint: )([a-z]+):\d+", text)
    }
    assert hosts == {
        "ontology",
        "nats",
        "collector",
        "prometheus",
        "alertmanager",
        "spawn",
        "traces",
    }


def test_the_service_admits_the_name_by_which_the_others_call_it() -> None:
    settings = read_settings(SERVICES["spawn"]["environment"])
    called = SERVICES["metrics-key"]["environment"]["SPAWN_URL"]
    assert urlsplit(called).hostname in settings.hosts


def test_the_images_of_monitoring_are_those_of_the_stacks() -> None:
    for stack in ("dev", "staging", "prod"):
        document = msgspec.yaml.decode((ROOT / "infra" / f"Pulumi.{stack}.yaml").read_bytes())
        images = document["config"]["spawn:monitoring"]
        for name in ("prometheus", "alertmanager", "grafana"):
            assert images[f"{name}_image"].partition("@")[0] == SERVICES[name]["image"]


class Machine:
    """The compose file on this machine: volumes are folders, names are ports of loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options: dict[str, list[str]] = {}
        self.ports = {
            f"{name}:{port}": free_port()
            for name, port in (
                ("spawn", 8000),
                ("ontology", 8100),
                ("nats", 4222),
                ("prometheus", 9090),
                ("alertmanager", 9093),
                ("collector", 4318),
            )
        }

    def url(self, address: str) -> str:
        return f"http://127.0.0.1:{self.ports[address]}"

    def localize(self, text: str, service: str) -> str:
        """Replace names of services, folders of the container and its port by those of here."""
        for address, port in self.ports.items():
            text = text.replace(address, f"127.0.0.1:{port}")
            name, _, number = address.partition(":")
            if name == service:
                text = re.sub(rf"\b{number}\b", str(port), text)
        mounts = [volume.split(":")[:2] for volume in SERVICES[service].get("volumes", [])]
        for source, target in sorted(mounts, key=lambda mount: -len(mount[1])):
            path = self.mount(source, service)
            # A folder of the container begins the text, or follows a space, `=` or `file://`.
            before = r"(^|(?<=[\s=])|(?<=file://))"
            text = re.sub(rf"{before}{re.escape(target)}(?![\w.])", str(path), text)
        return text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # the file's

    def mount(self, source: str, service: str) -> Path:
        """Return the path of a volume; a file of ours is copied with the names of here."""
        if not source.startswith("."):
            path = self.folder / source
            path.mkdir(exist_ok=True)
            return path
        original = ROOT / source
        if original.is_dir():
            return original
        copy = self.folder / original.name
        if not copy.exists():
            copy.touch()
            copy.write_text(self.localize(original.read_text(), service))
        return copy

    def command(self, service: str) -> list[str]:
        """Return the command of a service, with a program of this machine for its image."""
        program = SERVICES[service].get("entrypoint") or (
            [find_program(*BINDINGS[service])]
            if service in BINDINGS
            else [sys.executable, "-m", "spawn.entrypoints.cli"]
        )
        arguments = SERVICES[service].get("command", ["serve"])
        local = [self.localize(argument, service) for argument in arguments]
        return [*program, *local, *self.options.get(service, [])]

    def listen_option(self, address: str) -> str:
        """Return the option for the address of here; in a container it is the default one."""
        return f"--web.listen-address=127.0.0.1:{self.ports[address]}"

    def environment(self, service: str) -> dict[str, str]:
        base = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
        variables: Mapping[str, str] = SERVICES[service].get("environment", {})
        local = {name: self.localize(value, service) for name, value in variables.items()}
        if service == "spawn":
            local |= {
                # What the image sets, here.
                "SPAWN_PORT": str(self.ports["spawn:8000"]),
                "SPAWN_STORAGE_URL": f"duckdb:///{self.folder}/data/spawn.duckdb",
            }
        return base | local

    @contextmanager
    def running(self, service: str, ready_url: str) -> Iterator[None]:
        log = self.folder / f"{service}.log"
        command = self.command(service)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(service),
                stdout=stream,
                stderr=stream,
            )
        try:
            for attempt in tenacity.Retrying(
                wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(60), reraise=True
            ):
                with attempt:
                    assert process.poll() is None or attempt.retry_state.attempt_number > 1
                    httpx.get(ready_url, timeout=5).raise_for_status()
            yield
        except BaseException as error:
            error.add_note(log.read_text())
            raise
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.real
@pytest.mark.slow
def test_the_servers_run_with_their_commands_and_files(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "keys").mkdir(mode=0o750)  # as the image has it, which a new volume copies
    monitoring_port = free_port()
    machine.options = {
        "nats": ["--http_port", str(monitoring_port)],
        "prometheus": [machine.listen_option("prometheus:9090")],
        "alertmanager": [
            machine.listen_option("alertmanager:9093"),
            "--cluster.listen-address=",
        ],
    }
    with ExitStack() as stack:
        run = stack.enter_context
        run(machine.running("nats", f"http://127.0.0.1:{monitoring_port}/healthz"))
        run(machine.running("ontology", machine.url("ontology:8100") + "/health"))
        run(machine.running("spawn", machine.url("spawn:8000") + "/monitoring/ready"))
        for _ in range(2):  # the second time the key is there, and none is made
            subprocess.run(
                machine.command("metrics-key"),
                env=machine.environment("metrics-key")
                | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                check=True,
                timeout=60,
            )
        assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "keys" / "metrics_key").stat().st_mode & 0o777 == 0o644
        key = (tmp_path / "keys" / "metrics_key").read_text().strip()
        assert key.startswith("spn_test_prometheus_")
        run(machine.running("alertmanager", machine.url("alertmanager:9093") + "/-/ready"))
        run(machine.running("prometheus", machine.url("prometheus:9090") + "/-/ready"))
        check_scrape(machine)
        check_delivery(machine, monitoring_port)


def check_scrape(machine: Machine) -> None:
    """Assert that Prometheus reads the metrics with its key, and knows rules and Alertmanager."""
    api = machine.url("prometheus:9090") + "/api/v1"
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60), reraise=True
    ):
        with attempt:
            (target,) = httpx.get(f"{api}/targets").json()["data"]["activeTargets"]
            assert target["health"] == "up", target
            found = httpx.get(f"{api}/alertmanagers").json()["data"]["activeAlertmanagers"]
            assert len(found) == 1
    groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
    assert len(groups) > 1


def check_delivery(machine: Machine, monitoring_port: int) -> None:
    """Assert that a project reaches the stream, and that a backup is in its folder."""
    first_key = (machine.folder / "data" / "first-key.txt").read_text().strip()
    headers = {"Authorization": f"Bearer {first_key}", "Idempotency-Key": secrets.token_hex(8)}
    project = {"project_name": "Wind farm", "total_amount": 1_000_000, "currency_code": "EUR"}
    with httpx.Client(base_url=machine.url("spawn:8000"), headers=headers, timeout=30) as client:
        assert client.post("/v1/ops/projects", json=project).is_success
        assert client.post("/v1/admin/backups").is_success
        schemas = client.get("/v1/governance/schemas/project_schema").json()
        assert schemas
    streams = f"http://127.0.0.1:{monitoring_port}/jsz?streams=true"
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60), reraise=True
    ):
        with attempt:
            assert httpx.get(streams).json()["messages"] >= 1
    assert list((machine.folder / "backups").rglob("index.json"))
