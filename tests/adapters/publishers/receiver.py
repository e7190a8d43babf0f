"""HTTP server for webhooks with scripted responses that can be stopped and restarted."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import uvicorn
from tests.loopback import free_port

CannedResponse = tuple[int, dict[str, str]]
ACCEPTED: CannedResponse = (204, {})


class Message(msgspec.Struct, frozen=True):
    """One received request."""

    path: str
    headers: dict[str, str]
    body: bytes

    def event(self) -> dict[str, Any]:
        """Decode the structured event in the body."""
        event: dict[str, Any] = msgspec.json.decode(self.body)
        return event


class AnnouncingServer(uvicorn.Server):
    """Uvicorn server with an event for the moment from which it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_listening.set()


class Receiver:
    """Webhook receiver; `accepted_messages` got a response with a success status."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        self.respond: Callable[[Message], CannedResponse] = lambda _message: ACCEPTED
        self.messages: list[Message] = []
        self.accepted_messages: list[Message] = []
        self.response_gate: asyncio.Event | None = None
        self.has_endless_body = False
        self._changed = asyncio.Event()
        self._server: AnnouncingServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def come_back(self) -> None:
        config = uvicorn.Config(
            self._serve,
            host="127.0.0.1",
            port=self.port,
            lifespan="off",
            log_config=None,
            interface="asgi3",
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = AnnouncingServer(config)
        # The signal handlers of the test's process stay as they are.
        self._task = asyncio.create_task(self._server._serve())
        async with asyncio.timeout(10):
            await self._server.is_listening.wait()

    async def go_away(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._task
            self._server = self._task = None

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def events(self, number: int) -> list[dict[str, Any]]:
        await self.wait_until(lambda: len(self.accepted_messages) >= number)
        return [message.event() for message in self.accepted_messages]

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            chunk = await receive()
            body += chunk.get("body", b"")
            if not chunk.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        message = Message(scope["path"], headers, body)
        self.messages.append(message)
        if self.response_gate is not None:
            await self.response_gate.wait()
        status, extra_headers = self.respond(message)
        if status < 300:
            self.accepted_messages.append(message)
        self._changed.set()
        fields = [(name.encode(), value.encode()) for name, value in extra_headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        if self.has_endless_body:
            disconnect = asyncio.create_task(_wait_for_disconnect(receive))
            while not disconnect.done():
                await send({"type": "http.response.body", "body": bytes(8192), "more_body": True})
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


async def _wait_for_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
