"""`spawn keys` and the first key, on the file of a stopped service and over HTTP."""

import json
import stat
from pathlib import Path

import httpx
import pytest
from tests.product.service import Service

from spawn.entrypoints.cli.parser import main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPAWN_STORAGE_URL", f"duckdb:///{tmp_path}/spawn.duckdb")
    for name in ("SPAWN_URL", "SPAWN_KEY", "SPAWN_KEY_FILE"):
        # Set first, so that what --key writes there is removed after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.usefixtures("store")
def test_keys_of_a_stopped_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "desk", "--scopes", "projects:read,analysis"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("spn_live_desk_")
    assert first.count("\n") == 1
    assert main(["keys", "rotate", "desk", "--days", "30"]) == 0
    assert capsys.readouterr().out != first
    assert main(["keys", "rotate", "desk"]) == 1
    assert "2 valid keys" in capsys.readouterr().err
    assert main(["keys", "revoke", "desk", "1"]) == 0
    assert main(["keys", "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows[1:]] == [["desk", "1", "revoked"], ["desk", "2", "live"]]
    assert rows[1][-2:] == ["analysis,projects:read", "all"]
    assert main(["keys", "create", "desk", "--scopes", "admin"]) == 1
    assert "has the name desk already" in capsys.readouterr().err
    assert main(["keys", "create", "other", "--scopes", "everything"]) == 1
    assert "/scopes/0" in capsys.readouterr().err
    assert main(["keys", "revoke", "nobody"]) == 1
    capsys.readouterr()
    assert main(["keys", "revoke", "desk", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"client": "desk", "number": None}
    limits = ["--rows", "country_code=ES,PT", "--rows", "x_desk=north"]
    assert main(["keys", "create", "iberia", "--scopes", "projects:read", *limits]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.rstrip().endswith("country_code=ESP,PRT x_desk=north")
    for limit in ("sector=a, b", "sector", "=wind"):
        with pytest.raises(SystemExit, match="2"):
            main(["keys", "create", "x", "--scopes", "projects:read", "--rows", limit])


@pytest.mark.real
def test_first_key_is_in_a_private_file_and_commands_send_it(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(store, SPAWN_AUTH="keys")
    service.start()
    try:
        key_file = store / "first-key.txt"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        key = key_file.read_text().strip()
        log = service.log.read_text()
        for command in (f"\n  cat {key_file}\n", f"docker exec NAME cat {key_file}\n"):
            assert command in log
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{service.url}/v1/admin/clients").status_code == 401
        clients = httpx.get(f"{service.url}/v1/admin/clients", headers=headers).json()
        assert [client["name"] for client in clients["items"]] == ["first"]
        assert main(["keys", "list"]) == 1
        assert "unauthenticated" in capsys.readouterr().err
        assert main(["--key", str(key_file), "keys", "list"]) == 0
        assert main(["--key", str(store / "none"), "keys", "list"]) == 2
        monkeypatch.setenv("SPAWN_KEY_FILE", "")
        monkeypatch.setenv("SPAWN_KEY", key)
        assert main(["keys", "create", "desk", "--scopes", "metrics:read"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith("spn_live_desk_")
        key_file.unlink()
        service.stop()
        service.start()
        assert not key_file.exists()
        assert key not in service.log.read_text()
    finally:
        service.kill()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_key_in_place_of_a_name_or_a_number_is_not_printed(
    capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["keys", "create", "desk", "--scopes", "admin"]) == 0
    key = capsys.readouterr().out.split()[-1]
    assert main(["keys", "revoke", key, *options]) == 1
    with pytest.raises(SystemExit, match="2"):
        main(["keys", "revoke", "desk", key, *options])
    shown = capsys.readouterr()
    assert key.split("_")[3] not in shown.err + shown.out
    assert "***" in shown.err
