"""Every command of the runbooks runs against a service, and prints something."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.adapters.publishers.certificates import write_certificate
from tests.http.conftest import WIND, Service, discard_access_log
from tests.infra.monitoring.servers import (
    find_program,
    running_prometheus,
    skip_or_fail,
)
from tests.product.ontology import run_ontology_server, send_json

__all__ = ["discard_access_log"]

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
SCHEMA = {"id": "project_schema", "version": 1, "columns": [{"name": "a", "type": "date"}]}
TOOLS = ("bash", "curl", "openssl")

# One process starts the service for all of them.
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("runbooks")]


def list_blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of the runbooks, for a service with data, a schema server and backups."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        skip_or_fail(f"{missing[0]} is not installed")
    find_program("promtool")
    folder = tmp_path_factory.mktemp("runbooks")
    (folder / "data").mkdir()
    write_certificate(folder, "service")
    program = folder / "bin" / "spawn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m spawn.entrypoints.cli "$@"\n')
    program.chmod(0o755)
    document = json.dumps(SCHEMA).encode()
    with run_ontology_server(lambda handler: send_json(handler, 200, document)) as ontology:
        storage_url = f"duckdb:///{folder}/data/spawn.duckdb"
        service = Service(
            storage_url=storage_url,
            backup_url=f"file://{folder}/backups",
            ontology_url=ontology,
            auth="keys",
        ).start()
        key = {"authorization": f"Bearer {service.key}"}
        created = httpx.post(f"{service.url}/v1/ops/projects", json=WIND, headers=key)
        assert created.status_code == 201
        measured = httpx.post(f"{service.url}/v1/governance/quality/runs", headers=key)
        assert measured.status_code == 201
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
        yield {
            **inherited,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "SPAWN_URL": service.url,
            "SPAWN_KEY": service.key,
            "SPAWN_STORAGE_URL": storage_url,
            "DATA_FOLDER": str(folder / "data"),
            "BACKUP_FOLDER": str(folder / "backups"),
            "ONTOLOGY_URL": ontology,
            "TLS_CERTIFICATE": str(folder / "service.pem"),
        }
        service.stop()


def run_blocks(page: Path, environment: dict[str, str], folder: Path) -> None:
    for block in list_blocks(page):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 -- from PATH
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        assert done.stdout + done.stderr, block


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "PROMETHEUS_URL" not in p.read_text()], ids=lambda page: page.stem
)
def test_the_commands_of_a_runbook_run(
    page: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    assert list_blocks(page)
    run_blocks(page, environment, tmp_path)


def test_the_commands_of_the_watchdog_run(environment: dict[str, str], tmp_path: Path) -> None:
    with running_prometheus(tmp_path, [], "127.0.0.1:9") as prometheus:
        here = {**environment, "PROMETHEUS_URL": prometheus}
        run_blocks(RUNBOOKS / "watchdog.md", here, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_has_every_section(page: Path) -> None:
    headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
    assert headings == ([] if page.stem == "index" else ["Symptom", "Impact", "Check", "Remedy"])


def test_the_index_lists_every_runbook_and_explains_every_variable() -> None:
    index = (RUNBOOKS / "index.md").read_text()
    for page in PAGES:
        if page.stem != "index":
            assert f"]({page.name})" in index
        for name in re.findall(r"\$([A-Z_]+)", "".join(list_blocks(page))):
            assert f"\n{name}" in index, name
