"""A container engine for the image test: docker's, or podman in a folder of its own."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

_NEEDED = ("podman", "buildah", "runc", "debootstrap", "iptables")
_BASE = "localhost/spawn-test-base:trixie"
_RELEASE = "trixie"
_TIMEOUT_S = 3600.0
"""On a loaded machine the base takes half an hour, and a build a quarter."""
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_STORAGE = """\
[storage]
driver = "overlay"
runroot = "{folder}/run"
graphroot = "{folder}/storage"
"""


class Engine:
    """Commands of an engine; `docker` on the path of its shells is the engine."""

    def __init__(self, folder: Path, environment: dict[str, str], base_image: str) -> None:
        self.folder = folder
        self.environment = environment
        self.base_image = base_image

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the repository, and return it with its output."""
        result = subprocess.run(
            ["/bin/sh", "-c", command],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        if check and result.returncode:
            raise SystemExit(
                f"image-test: exit code {result.returncode}: {command}\n{result.stdout}"
                f"{result.stderr}"
            )
        return result

    def inspect(self, image: str) -> dict[str, Any]:
        """Return the description of an image."""
        document: dict[str, Any] = json.loads(self.run(f"docker image inspect {image}").stdout)[0]
        return document


def find_engine(folder: Path, base_image: str) -> Engine:
    """Return docker's engine, or podman with a base image that is made here unless one is named.

    Raises:
        SystemExit: there is neither; the message names what is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _has_docker():
        return Engine(folder, dict(os.environ), base_image)
    missing = [name for name in _NEEDED if shutil.which(name, path=_system_path()) is None]
    if missing or os.geteuid():
        raise SystemExit(
            "image-test: there is no running docker, so it needs root and the packages "
            f"{' '.join(missing or _NEEDED)}"
        )
    engine = Engine(folder, _write_podman_settings(folder), base_image or _BASE)
    if not base_image and engine.run(f"podman image exists {_BASE}", check=False).returncode:
        _make_base(engine)
    return engine


def _has_docker() -> bool:
    """Whether docker is installed and its engine runs."""
    command = ["/bin/sh", "-c", "docker info"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _system_path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _write_podman_settings(folder: Path) -> dict[str, str]:
    """Write the settings of podman and a command `docker` that is podman; return the variables."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    shim = commands / "docker"
    # `make image` must find buildah, which dates layers, so the shim reports no engine.
    shim.write_text('#!/bin/sh\n[ "$1" = info ] && exit 1\nexec podman "$@"\n')
    shim.chmod(0o755)
    (folder / "containers.conf").write_text(_CONTAINERS)
    (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
    return {
        **os.environ,
        "PATH": f"{commands}:{_system_path()}",
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }


def _make_base(engine: Engine) -> None:
    """Make a base image of Debian with Python, from the archive that this machine uses.

    It lacks what Debian's own slim images lack: manuals, translations, documentation.
    """
    root = engine.folder / "base"
    shutil.rmtree(root, ignore_errors=True)
    print(f"making the base image from Debian {_RELEASE} with debootstrap", flush=True)
    archives = "apt-get indextargets --format '$(SITE)' 'Created-By: Packages'"
    engine.run(
        "debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates"
        f" {_RELEASE} {root} $({archives} | grep -m1 /debian$)"
        f" && ln -s /usr/bin/python3 {root}/usr/local/bin/python3"
        f" && find {root}/usr/share/doc -type f ! -name copyright -delete"
        f" && rm -rf {root}/usr/share/man/* {root}/usr/share/locale/* {root}/usr/share/info/*"
        f" && tar -C {root} --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*'"
        f" --exclude='./proc/*' --exclude='./sys/*' -c . | podman import - {_BASE}"
    )
    shutil.rmtree(root)
