"""`spawn approvals` lists, shows and decides about the commands of a running service."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.http.conftest import WIND, Service

from spawn.entrypoints.cli import main

POLICY = {"rules": [{"command": "amendProject"}]}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    file = tmp_path / "approvals.json"
    file.write_text(json.dumps(POLICY))
    service = Service(auth="keys", approvals_file=str(file)).start()
    monkeypatch.setenv("SPAWN_URL", service.url)
    yield service
    service.stop()


def create_key(service: Service, name: str, *scopes: str) -> str:
    response = httpx.post(
        f"{service.url}/v1/admin/clients",
        json={"name": name, "scopes": scopes},
        headers={"Authorization": f"Bearer {service.key}"},
    )
    return str(response.json()["key"])


def request_approval(service: Service, description: str) -> str:
    """Request an approval as a maker, and return its id."""
    maker = create_key(service, "maker", "projects:read", "projects:write")
    with service.client() as client:
        client.headers["Authorization"] = f"Bearer {maker}"
        project = client.post("/v1/ops/projects", json=WIND).headers["location"]
        body = {"description": description}
        response = client.patch(project, json=body, headers={"If-Match": "*"})
        assert response.status_code == 202, response.text
        approval_id: str = response.json()["approval_id"]
    return approval_id


def test_checker_lists_shows_and_approves(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    approval_id = request_approval(service, "\x1b[31mred")
    monkeypatch.setenv("SPAWN_KEY", create_key(service, "checker", "approvals:decide"))
    assert main(["approvals", "list", "--state", "pending"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(approval_id)
    assert "pending  key:maker  amendProject" in line
    assert main(["approvals", "show", approval_id]) == 0
    shown = capsys.readouterr().out
    assert "/description: null -> " in shown
    assert "\x1b" not in shown
    assert main(["approvals", "show", approval_id, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["approval_id"] == approval_id
    assert main(["approvals", "approve", approval_id, "--reason", "agreed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "approved"
    assert main(["approvals", "reject", approval_id, "--reason", "too late"]) == 1
    assert "is approved" in capsys.readouterr().err
    assert main(["approvals", "list", "--json", "--command", "amendProject"]) == 0
    assert json.loads(capsys.readouterr().out)["decision"]["actor"] == "key:checker"


def test_decisions_need_a_service_that_knows_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    Service(storage_url=f"duckdb:///{tmp_path}/spawn.duckdb").start().stop()
    for arguments in (["list"], ["show", "x"], ["approve", "x", "--reason", "y"]):
        assert main(["approvals", *arguments]) == 1
        assert "approvals need a running service" in capsys.readouterr().err
