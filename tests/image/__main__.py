"""Build the image and use it as an operator does.

    python -m tests.image [--base-image IMAGE] [--once] [--folder PATH]

The image is built twice from an empty cache, and its layers are compared. The commands of
docs/deployment.md run it plain and hardened, stop it, start it, back it up and restore it. Needs
docker with a running engine, or root and Debian's podman, buildah, runc and debootstrap.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import tenacity
from tests.image.engine import Engine, find_engine
from tests.loopback import free_port

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/spawn:dev"
MEGABYTE = 1_000_000
IMAGE_BYTES = 300 * MEGABYTE
LAYER_BYTES = 150 * MEGABYTE
STARTUP_S = 300.0
"""A first start on a loaded machine, in a file system that is still cold, takes minutes."""
PROJECT = {
    "project_name": "Wind farm of the image test",
    "currency_code": "EUR",
    "total_amount": "125000000.00",
}


def read_commands(heading: str) -> str:
    """Return the commands below a heading of docs/deployment.md."""
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    section = text.partition(f"### {heading}\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None, heading
    return block[1]


class ImageTest:
    """The test with one engine; each step prints what it found."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ports = {"8000": free_port(), "8001": free_port()}
        self.key = ""

    def follow(self, heading: str) -> str:
        """Run the commands below a heading, on free ports; return their output."""
        return "".join(self.run_step(step) for step in self.list_steps(heading))

    def list_steps(self, heading: str) -> list[str]:
        """Return the commands below a heading, each on one line."""
        commands = self.localize(read_commands(heading)).replace("\\\n", " ")
        return [line for line in commands.splitlines() if line]

    def run_step(self, step: str) -> str:
        """Run one command; what reads a file of a service that has just started may wait for it."""
        deadline = time.monotonic() + STARTUP_S
        while step.startswith("docker exec") and time.monotonic() < deadline:
            result = self.engine.run(step, check=False)
            if result.returncode == 0:
                return result.stdout
            time.sleep(0.2)
        return self.engine.run(step).stdout

    def localize(self, commands: str) -> str:
        for documented, port in self.ports.items():
            commands = commands.replace(f"127.0.0.1:{documented}:", f"127.0.0.1:{port}:")
        commands = commands.replace("/etc/spawn", str(self.engine.folder / "keys"))
        return re.sub(r"(?<= )spawn:dev", IMAGE, commands)

    def client(self, port: str = "8000") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = f"http://127.0.0.1:{self.ports[port]}"
        return httpx.Client(base_url=url, headers=headers, timeout=60)

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type((httpx.TransportError, httpx.HTTPStatusError)),
        wait=tenacity.wait_fixed(0.02),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )
    def wait_until_ready(self, port: str = "8000") -> None:
        with self.client(port) as client:
            client.get("/monitoring/ready").raise_for_status()

    def remove(self, *, volumes: bool = True) -> None:
        self.engine.run("docker rm --force spawn spawn-restored", check=False)
        if volumes:
            names = "spawn-data spawn-backups spawn-restored"
            self.engine.run(f"docker volume rm --force {names}", check=False)

    def build(self, *, twice: bool) -> None:
        certificate = os.environ.get("PIP_CERT", "")
        secret = f"--secret id=ca,src={certificate}" if certificate else ""
        base = f"--build-arg BASE_IMAGE={self.engine.base_image}" if self.engine.base_image else ""
        layers = []
        for _ in range(2 if twice else 1):
            started = time.monotonic()
            self.engine.run(f"make image IMAGE={IMAGE} BUILD_ARGS='--no-cache {base} {secret}'")
            layers.append(self.engine.inspect(IMAGE)["RootFS"]["Layers"])
            print(f"built in {time.monotonic() - started:.0f} s: layer {layers[-1][-1]}")
        assert all(each == layers[0] for each in layers), f"the layers differ: {layers}"

    def inspect(self) -> None:
        description = self.engine.inspect(IMAGE)
        config = description["Config"]
        labels = config["Labels"]
        assert config["User"] == "10001:10001"
        assert config["StopSignal"] in {"SIGTERM", "15"}
        assert set(config["Volumes"]) == {"/data"}
        for label in ("version", "revision", "source"):
            print(f"label {label}: {labels[f'org.opencontainers.image.{label}']}")
        assert labels["org.opencontainers.image.version"] != "unknown"
        base = self.engine.inspect(self.engine.base_image)["Size"] if self.engine.base_image else 0
        size = description["Size"]
        print(
            f"size {size / MEGABYTE:.1f} MB: base {base / MEGABYTE:.1f} MB, "
            f"service {(size - base) / MEGABYTE:.1f} MB"
        )
        assert size <= IMAGE_BYTES, "remove what the service does not need"
        assert not base or size - base <= LAYER_BYTES, "remove what the service does not need"
        in_image = f"docker run --rm --user 0 --entrypoint sh {IMAGE} -c"
        special = self.engine.run(f"{in_image} 'find / -xdev -perm /6000 -type f'").stdout
        assert not special, f"setuid or setgid: {special}"
        for command in ("gcc", "cc", "pip", "pip3"):
            found = self.engine.run(f"{in_image} 'command -v {command}'", check=False)
            assert found.returncode, f"the image has {command}"
        self._check_sbom()

    def _check_sbom(self) -> None:
        program = (
            "import importlib.metadata as m, json;"
            "print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
        )
        run = "docker run --rm --entrypoint"
        installed = json.loads(self.engine.run(f"{run} python3 {IMAGE} -c '{program}'").stdout)
        packages = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in installed}
        sbom = json.loads(self.engine.run(f"{run} cat {IMAGE} /opt/spawn/sbom.json").stdout)
        listed = {
            (component["name"], component["version"])
            for component in [*sbom["components"], sbom["metadata"]["component"]]
            if component["purl"].startswith("pkg:pypi/")
        }
        # Packages of the base's own Python are Debian's.
        assert listed <= packages, f"listed and not installed: {listed - packages}"
        query = f"{run} dpkg-query {IMAGE} --show --showformat '${{Package}}\\n'"
        system = self.engine.run(query, check=False).stdout.splitlines()
        assert {c["name"] for c in sbom["components"]} >= set(system)
        print(f"the SBOM lists {len(listed)} packages of Python and {len(system)} of the base")

    def run_plain(self) -> None:
        self.remove()
        output = self.follow("Run it")
        assert re.search(r"^spn_live_first_\w+$", output, re.MULTILINE), output
        self.wait_until_ready()
        logs = self.engine.run("docker logs spawn 2>&1").stdout
        assert "docker exec NAME cat /data/first-key.txt" in logs
        with self.client() as client:
            assert client.get("/v1/ops/projects").status_code == 401
            assert client.get("/monitoring/live").status_code == 200
        print("a published port serves a closed service, whose log names the first key")
        self.remove()

    def run_hardened(self) -> tuple[str, dict[str, Any]]:
        self.follow("Harden it")
        self.wait_until_ready()
        run = self.engine.run
        self.key = run("docker exec spawn cat /data/first-key.txt").stdout.strip()
        status = run("docker exec spawn cat /proc/1/status").stdout
        assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE), status
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE), status
        assert re.search(r"^Uid:\s10001\s10001\s10001\s10001$", status, re.MULTILINE), status
        for path in ("/x", "/opt/spawn/x", "/etc/x"):
            assert run(f"docker exec spawn touch {path}", check=False).returncode, path
        with self.client() as client:
            response = client.post("/v1/ops/projects", json=PROJECT)
            assert response.status_code == 201, response.text
            address = response.headers["location"]
            project: dict[str, Any] = client.get(address).json()
            for media_type in (
                "application/vnd.apache.arrow.stream",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/vnd.apache.parquet",
            ):
                export = client.get("/v1/data/projects", headers={"Accept": media_type})
                assert export.status_code == 200, export.text
                assert export.headers["content-type"].startswith(media_type)
        settings = (
            "--env SPAWN_OTLP_ENDPOINT=http://127.0.0.1:4318"
            " --env SPAWN_EVENTS_URL=nats://127.0.0.1:4222/x"
        )
        run(f"docker run --rm {settings} {IMAGE} serve --check-config")
        health = re.search(
            r"^    CMD (\[.*\])$", (ROOT / "Containerfile").read_text(), re.MULTILINE
        )
        assert health is not None
        run(f"docker exec spawn {shlex.join(json.loads(health[1]))}")
        print("hardened: no capability, no writable root; Arrow, Excel, Parquet, NATS and OTLP")
        return address, project

    def start_again(self, address: str, project: dict[str, Any]) -> None:
        """Stop, start, back up and restore; the project is there each time."""
        steps = self.list_steps("Stop, back up and restore it")
        for step in steps:
            started = time.monotonic()
            self.run_step(step)
            duration_s = time.monotonic() - started
            if step.startswith("docker stop"):
                state = "docker inspect spawn --format '{{.State.ExitCode}}'"
                assert self.engine.run(state).stdout.strip() == "0"
                print(f"SIGTERM ended the service in {duration_s:.1f} s with exit code 0")
            elif step.startswith("docker start"):
                self.wait_until_ready()
                self._report_start()
            if not step.startswith("docker start"):
                continue
            with self.client() as client:
                assert client.get(address).json() == project
        self.wait_until_ready("8001")
        with self.client("8001") as client:
            restored = client.get(address)
            assert restored.json() == project, restored.text
        print("after the restart and after the restore the project is there")
        self.remove()

    def run_encrypted(self) -> None:
        """Create a project with a key set, and find neither its name nor the key in the volume."""
        self.key = ""
        self.follow("Encrypt its data")
        self.wait_until_ready()
        run = self.engine.run
        self.key = run("docker exec spawn cat /data/first-key.txt").stdout.strip()
        with self.client() as client:
            response = client.post("/v1/ops/projects", json=PROJECT)
            assert response.status_code == 201, response.text
            address = response.headers["location"]
            project = client.get(address).json()
        run("docker stop --time 30 spawn")
        volume = run("docker volume inspect spawn-data --format '{{.Mountpoint}}'").stdout.strip()
        search = f"docker run --rm --user 0 --volume {volume}:/d:ro --entrypoint grep {IMAGE}"
        assert run(f"{search} -rl spn_live /d").stdout == "/d/first-key.txt\n"
        found = run(f"{search} -rl '{PROJECT['project_name']}' /d", check=False)
        assert (found.returncode, found.stdout) == (1, ""), found
        unset = f"docker run --rm --volume spawn-data:/data {IMAGE} serve"
        rejected = run(unset, check=False)
        assert rejected.returncode == 1
        assert "SPAWN_ENCRYPTION_KEY_FILE" in rejected.stderr, rejected.stderr
        run("docker start spawn")
        self.wait_until_ready()
        with self.client() as client:
            assert client.get(address).json() == project
        print("with a key the volume has no plain name, and opens with that key alone")
        self.remove()

    def _report_start(self) -> None:
        """Print the time from the start of the process to the line that the service is ready."""
        format_ = "'{{.State.StartedAt}}'"
        text = self.engine.run(f"docker inspect spawn --format {format_}").stdout
        started = re.search(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d\.\d{1,6})", text)
        lines = self.engine.run("docker logs spawn 2>&1").stdout.splitlines()
        serving = [json.loads(line) for line in lines if '"message":"serving ' in line]
        assert started is not None
        ready = datetime.fromisoformat(serving[-1]["time"]).replace(tzinfo=None)
        begin = datetime.fromisoformat(f"{started[1]}T{started[2]:0<26}"[:26])
        load = os.getloadavg()[0]
        print(f"ready {(ready - begin).total_seconds():.2f} s after the start (load {load:.1f})")

    def run_on_foreign_folder(self) -> None:
        folder = self.engine.folder / "foreign"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        run = f"docker run --rm --volume {folder}:/data {IMAGE}"
        result = self.engine.run(f"{run} serve", check=False)
        assert result.returncode == 1
        assert "/data belongs to user" in result.stderr, result.stderr
        assert "chown -R 10001:10001" in result.stderr, result.stderr
        if os.geteuid() == 0:
            os.chown(folder, 10001, 10001)
            self.engine.run(f"{run} keys create desk --scopes projects:read")
        print("a folder of another owner is named with the remedy, and the remedy works")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--base-image", default="", help="base (default: the Containerfile's)")
    parser.add_argument("--once", action="store_true", help="do not build a second time")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "image-test")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    test = ImageTest(find_engine(arguments.folder.resolve(), arguments.base_image))
    try:
        test.build(twice=not arguments.once)
        test.inspect()
        test.run_plain()
        test.start_again(*test.run_hardened())
        test.run_encrypted()
        test.run_on_foreign_folder()
    finally:
        test.remove()
    print("the image is good")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
