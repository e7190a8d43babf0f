"""A service with planted faults, to prove that the checker finds each kind."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from tests.histories.clients import PROJECTS

Forward = Callable[[httpx.Request], Awaitable[httpx.Response]]
_EVERY = 7
"""Requests of a kind of which one meets the fault."""


class PlantedFault(httpx.AsyncBaseTransport):
    """Transport to a service that is right; subclasses plant one fault."""

    def __init__(self, service: httpx.AsyncBaseTransport) -> None:
        self._service = service
        self._count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)  # the service in this process may never wait, and others want a turn
        response = await self.respond(request)
        await asyncio.sleep(0)
        return response

    async def forward(self, request: httpx.Request) -> httpx.Response:
        response = await self._service.handle_async_request(request)
        await response.aread()
        return response

    async def respond(self, request: httpx.Request) -> httpx.Response:
        return await self.forward(request)

    def is_due(self) -> bool:
        self._count += 1
        return self._count % _EVERY == 0

    async def get(self, request: httpx.Request, path: str) -> httpx.Response:
        """GET another path of the same service."""
        url = request.url.copy_with(path=path, query=None)
        headers = {"host": request.headers["host"]}
        return await self.forward(httpx.Request("GET", url, headers=headers))


def is_item(request: httpx.Request) -> bool:
    return request.url.path.startswith(f"{PROJECTS}/") and request.url.path.count("/") == 4


def rebuild(response: httpx.Response, document: Any, **headers: str) -> httpx.Response:
    """Build a response with another body, and headers replaced."""
    names = {
        k: v
        for k, v in response.headers.items()
        if k not in {"content-length", "content-encoding", *headers}
    }
    return httpx.Response(response.status_code, headers={**names, **headers}, json=document)


class LostUpdate(PlantedFault):
    """Acknowledge an amendment and forget it."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PATCH" or not self.is_due():
            return await self.forward(request)
        response = await self.get(request, request.url.path)
        document = response.json()
        document |= {"version": document["version"] + 1, **json.loads(request.content)}
        epoch_and_more = response.headers["etag"].partition("-")[2]
        return rebuild(response, document, etag=f'"{document["version"]}-{epoch_and_more}')


class StaleRead(PlantedFault):
    """Return what a read of the same project returned some time ago."""

    def __init__(self, service: httpx.AsyncBaseTransport) -> None:
        super().__init__(service)
        self._earlier: dict[str, httpx.Response] = {}

    async def respond(self, request: httpx.Request) -> httpx.Response:
        if request.method != "GET" or not is_item(request):
            return await self.forward(request)
        path = request.url.path
        if path in self._earlier and self.is_due():
            return self._earlier.pop(path)
        response = await self.forward(request)
        if response.status_code == 200:
            self._earlier.setdefault(path, rebuild(response, response.json()))
        return response


class ResurrectedProject(PlantedFault):
    """Show a cancelled project as proposed again, wherever it is shown."""

    @staticmethod
    def _resurrect(versions: list[dict[str, Any]]) -> None:
        names: dict[str, str] = {}
        for version in versions:
            if names.get(version["project_id"]) == "CANCELLED":
                version["status"] = "PROPOSED"
            else:
                names[version["project_id"]] = version["status"]

    async def respond(self, request: httpx.Request) -> httpx.Response:
        response = await self.forward(request)
        if request.method == "GET" and request.url.path.endswith("/history"):
            page = response.json()
            self._resurrect([item["document"] for item in page["items"]])
            return rebuild(response, page)
        if request.url.path == "/v1/events":
            page = response.json()
            self._resurrect([event["data"]["after"] for event in page["events"]])
            return rebuild(response, page)
        return response


class DoubledCommand(PlantedFault):
    """Carry out a keyed creation twice."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == PROJECTS and "idempotency-key" in request.headers and self.is_due():
            headers = dict(request.headers) | {"idempotency-key": f"again-{self._count}"}
            again = httpx.Request("POST", request.url, headers=headers, content=request.content)
            await self.forward(again)
        return await self.forward(request)


class FeedGap(PlantedFault):
    """Leave an event out of the feed."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        response = await self.forward(request)
        if request.url.path != "/v1/events":
            return response
        page = response.json()
        page["events"] = [e for e in page["events"] if not self._is_left_out(e)]
        return rebuild(response, page)

    @staticmethod
    def _is_left_out(event: dict[str, Any]) -> bool:
        position = int(event["id"].partition("@")[0].partition(".")[2])
        return position % 19 == 0


class ReorderedFeed(PlantedFault):
    """Show followers two events in the wrong order."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        response = await self.forward(request)
        if request.url.path != "/v1/events":
            return response
        page = response.json()
        page["events"][:2] = reversed(page["events"][:2])
        return rebuild(response, page)


class ChangedReceipt(PlantedFault):
    """Render a repeated request with the current state in place of its first response."""

    def __init__(self, service: httpx.AsyncBaseTransport) -> None:
        super().__init__(service)
        self._keys: set[str] = set()

    async def respond(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("idempotency-key")
        response = await self.forward(request)
        if key in self._keys and response.is_success:
            document = response.json()
            return rebuild(response, {**document, "updated_at": "2026-01-01T00:00:00Z"})
        self._keys |= {key} if key else set()
        return response


class EffectOfRejection(PlantedFault):
    """Carry out an amendment and respond that the version was stale."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        response = await self.forward(request)
        if request.method == "PATCH" and response.is_success and self.is_due():
            return httpx.Response(412, json={"code": "stale_version"})
        return response


class FalseRejection(PlantedFault):
    """Respond that the version was stale where it was current."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and request.headers["if-match"] != "*" and self.is_due():
            head = await self.get(request, request.url.path)
            if head.headers["etag"] == request.headers["if-match"]:
                return httpx.Response(412, json={"code": "stale_version"})
        return await self.forward(request)


class MissingItem(PlantedFault):
    """Leave a project out of a list."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        response = await self.forward(request)
        if request.method == "GET" and request.url.path == PROJECTS and self.is_due():
            return rebuild(response, {**response.json(), "items": response.json()["items"][1:]})
        return response


class IgnoredPrecondition(PlantedFault):
    """Amend any version, whatever If-Match expects."""

    async def respond(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            request.headers["if-match"] = "*"
        return await self.forward(request)
