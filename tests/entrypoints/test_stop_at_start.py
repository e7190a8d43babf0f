"""A signal during the start ends the service, which as process 1 would else ignore it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.loopback import free_port


@pytest.mark.real
@pytest.mark.parametrize("is_background", [False, True], ids=["foreground", "background"])
def test_sigterm_during_the_start_ends_the_service(tmp_path: Path, *, is_background: bool) -> None:
    # A shell starts its background jobs with SIGINT ignored.
    starter = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if is_background else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPAWN_")}
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        settings = {
            "SPAWN_STORAGE_URL": f"duckdb:///{tmp_path}/spawn.duckdb",
            "SPAWN_PORT": str(free_port()),
            "SPAWN_ONTOLOGY_URL": f"http://127.0.0.1:{silent_server.getsockname()[1]}",
            "SPAWN_ONTOLOGY_TIMEOUT_S": "60",
        }
        with subprocess.Popen(
            [*starter, sys.executable, "-m", "spawn.entrypoints.cli", "serve"],
            env=environment | settings,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            # The start waits for this server.
            connection, _ = silent_server.accept()
            with connection:
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "spawn: interrupted"
