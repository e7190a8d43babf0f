"""A real HTTP server that receives webhooks, answers as told and can be switched off."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import uvicorn

Answer = tuple[int, dict[str, str]]
TAKEN: Answer = (204, {})


class Message(msgspec.Struct, frozen=True):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def event(self) -> dict[str, Any]:
        """The structured event in the body."""
        event: dict[str, Any] = msgspec.json.decode(self.body)
        return event


class Announcing(uvicorn.Server):
    """uvicorn's server, which says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class Receiver:
    """Messages that were answered with success are `taken`, in their order."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        self.answer: Callable[[Message], Answer] = lambda _message: TAKEN
        self.messages: list[Message] = []
        self.taken: list[Message] = []
        self.hold: asyncio.Event | None = None
        self.endless = False
        self._changed = asyncio.Event()
        self._server: Announcing | None = None
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
        self._server = Announcing(config)
        # The signal handlers of the test's process stay as they are.
        self._task = asyncio.create_task(self._server._serve())
        async with asyncio.timeout(10):
            await self._server.up.wait()

    async def go_away(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._task
            self._server = self._task = None

    async def until(self, there: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not there():
                self._changed.clear()
                await self._changed.wait()

    async def events(self, number: int) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.taken) >= number)
        return [message.event() for message in self.taken]

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            piece = await receive()
            body += piece.get("body", b"")
            if not piece.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        message = Message(scope["path"], headers, body)
        self.messages.append(message)
        if self.hold is not None:
            await self.hold.wait()
        status, more = self.answer(message)
        if status < 300:
            self.taken.append(message)
        self._changed.set()
        fields = [(name.encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        if self.endless:
            gone = asyncio.create_task(_gone(receive))
            while not gone.done():
                await send({"type": "http.response.body", "body": bytes(8192), "more_body": True})
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
