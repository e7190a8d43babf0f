"""While derived tables are rebuilt the service is alive, not ready, and says how far it is."""

import asyncio
import json
import socket
from pathlib import Path

from spawn.adapters.embedded.options import RebuildProgress
from spawn.adapters.local.listening_sockets import bind_unix_socket
from spawn.entrypoints.http.server import Listener
from spawn.entrypoints.starting_responder import StartingResponder


async def request(port: int, path: str) -> tuple[int, bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), head.lower(), body


async def test_progress_is_served_until_the_service_is_ready() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        responder = StartingResponder([Listener(sockets=(listener,))])
        await asyncio.to_thread(responder.report, RebuildProgress(1_000, 4_000, 2.0))
        await asyncio.sleep(0)
        assert responder._start is not None
        await responder._start
        status, head, body = await request(port, "/monitoring/ready")
        assert status == 503
        assert b"retry-after: 5" in head
        assert "1,000 of 4,000 journal rows, 500 rows/s" in json.loads(body)["detail"]
        assert (await request(port, "/monitoring/live"))[0] == 200
        await responder.close()
        # Nobody accepts now, but the socket still listens: a client waits for the service.
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


async def test_a_unix_socket_outlives_the_responder(tmp_path: Path) -> None:
    path = str(tmp_path / "http.sock")
    with bind_unix_socket(Path(path), 0o600) as listener:
        responder = StartingResponder([Listener(sockets=(listener,))])
        await asyncio.to_thread(responder.report, RebuildProgress(1_000, 4_000, 2.0))
        await asyncio.sleep(0)
        assert responder._start is not None
        await responder._start
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /monitoring/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await responder.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


async def test_without_a_rebuild_nothing_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        responder = StartingResponder([Listener(sockets=(listener,))])
        await responder.close()
        assert not responder._servers
