"""A local ontology server: the real protocol on a developer's machine, with drills.

It publishes, lists, serves and withdraws schema versions. Drills make it slow, failing, senseless
or silent on purpose, so that what a service does then can be seen; they are switched from loopback
addresses only.
"""

import asyncio
import ipaddress
import random
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, delete, get, post, put, route
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from spawn.domain.errors import (
    Conflict,
    FieldError,
    InvalidInput,
    MalformedBody,
    NotFound,
    SpawnError,
)
from spawn.domain.json_tokens import Number, read_object
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES, fingerprint
from spawn.entrypoints.ontology_server.documents import Shelf
from spawn.entrypoints.settings import AddressError

MAX_AGE_S: Final = 30
LONGEST_S: Final = 300.0
"""Seconds that a drill may delay or hold an answer."""

_GARBAGE: Final = b'{"columns": [{"name": "oops", <!doctype html><title>502 Bad Gateway</title>'
_VERSION = re.compile(r"0|[1-9][0-9]{0,8}")
_STATUS: Final[dict[type[SpawnError], HTTPStatus]] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    MalformedBody: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
}

AnyRequest = Request[Any, Any, Any]


class Drill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the server does wrong on purpose; as constructed, nothing.

    Each answer waits `latency_s`, then fails with `error_status` at the rate `error_rate` (0 to 1).
    `garbage` answers with no JSON, `hang` not at all until the drill ends. `accept_invalid` lets
    anything be published.
    """

    latency_s: float = 0.0
    error_rate: float = 0.0
    error_status: int = 503
    garbage: bool = False
    hang: bool = False
    accept_invalid: bool = False

    def __post_init__(self) -> None:
        """Keep every drill within bounds."""
        if not 0 <= self.latency_s <= LONGEST_S:
            detail = f"must be 0 to {LONGEST_S:g} seconds"
            raise InvalidInput.at("/latency_s", "out_of_range", detail)
        if not 0 <= self.error_rate <= 1:
            raise InvalidInput.at("/error_rate", "out_of_range", "must be 0 to 1")
        failures = [status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST]
        if self.error_status not in failures:
            raise InvalidInput.at("/error_status", "out_of_range", "must be a status from 400 on")


class Server:
    """The shelf and the drill in force."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.drill = Drill()
        self._changed = asyncio.Event()

    def switch(self, drill: Drill) -> None:
        """Put a drill in force; who hangs in the one before is let go."""
        self.drill = drill
        self._changed.set()
        self._changed = asyncio.Event()

    async def disturb(self) -> Response[bytes] | None:
        """Do what the drill says; an answer takes the place of the right one."""
        drill = self.drill
        if drill.hang:
            try:
                async with asyncio.timeout(LONGEST_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if drill.latency_s:
            await asyncio.sleep(drill.latency_s)
        if random.random() < drill.error_rate:  # noqa: S311  # a drill, not a secret
            return _problem(HTTPStatus(drill.error_status), "drill", "This failure is a drill.")
        if drill.garbage:
            return Response(_GARBAGE, media_type="application/json")
        return None


def create_app(shelf: Shelf) -> Litestar:
    """The server's application over a shelf."""
    return Litestar(
        route_handlers=[
            _health,
            _registry,
            _latest,
            _versions,
            _version,
            _publish,
            _publish_version,
            _withdraw,
            _show_drill,
            _set_drill,
            _end_drill,
        ],
        state=State({"server": Server(shelf)}),
        before_request=_before,
        exception_handlers={
            SpawnError: _refusal,
            HTTPException: _http_failure,
            Exception: _failure,
        },
        openapi_config=None,
        request_max_body_size=MAX_DOCUMENT_BYTES,
        logging_config=None,
    )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as failure:
        why = failure.strerror or str(failure)
        raise AddressError(f"{host}:{port} cannot be listened on: {why}") from failure


def serve(host: str, port: int, directory: Path | None, *, told: Callable[[int], object]) -> None:
    """Serve until interrupted; `directory` keeps what is published, None forgets it at the end.

    `told` hears of the port that is listened on: port 0 takes a free one.

    Raises:
        AddressError: the address is in use, or not one of this machine's.
    """
    config = uvicorn.Config(
        create_app(Shelf(directory)),
        host=host,
        port=port,
        log_level="warning",
        # A forwarded address could claim to be loopback.
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=256,
    )
    with _listening(host, port) as bound:
        told(bound.getsockname()[1])
        uvicorn.Server(config).run([bound])


def _server(request: AnyRequest) -> Server:
    server: Server = request.app.state.server
    return server


async def _before(request: AnyRequest) -> Response[bytes] | None:
    """Drills disturb what clients read, never the switches or a publication."""
    if request.method in {"GET", "HEAD"} and request.url.path != "/drill":
        return await _server(request).disturb()
    return None


@route("/health", http_method=["GET", "HEAD"])
async def _health(request: AnyRequest) -> Response[bytes]:
    ids = _server(request).shelf.ids()
    return _json({"status": "ok", "schemas": len(ids)})


@route("/schemas", http_method=["GET", "HEAD"])
async def _registry(request: AnyRequest) -> Response[bytes]:
    shelf = _server(request).shelf
    entries = [
        {
            "id": schema_id,
            "title": _title(shelf.document(schema_id)),
            "latest_version": shelf.versions(schema_id)[-1],
            "url": f"/schemas/{schema_id}",
        }
        for schema_id in shelf.ids()
    ]
    return _tagged(request, msgspec.json.encode({"schemas": entries}))


@route("/schemas/{schema_id:str}", http_method=["GET", "HEAD"])
async def _latest(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    return _tagged(request, _server(request).shelf.document(schema_id))


@route("/schemas/{schema_id:str}/versions", http_method=["GET", "HEAD"])
async def _versions(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    numbers = _server(request).shelf.versions(schema_id)
    entries = [{"version": n, "url": f"/schemas/{schema_id}/versions/{n}"} for n in numbers]
    return _tagged(request, msgspec.json.encode({"id": schema_id, "versions": entries}))


@route("/schemas/{schema_id:str}/versions/{version:str}", http_method=["GET", "HEAD"])
async def _version(
    request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]
) -> Response[bytes]:
    return _tagged(request, _server(request).shelf.document(schema_id, _number(version)))


@post("/schemas/{schema_id:str}/versions")
async def _publish(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    """Publish under the version the document states, or the next one if it states none."""
    document = await _body(request)
    claimed = read_object(document).get("version")
    shelf = _server(request).shelf
    if isinstance(claimed, Number) and _VERSION.fullmatch(claimed):
        return _published(request, schema_id, int(claimed), document)
    return _published(request, schema_id, shelf.next_version(schema_id), document)


@put("/schemas/{schema_id:str}/versions/{version:str}")
async def _publish_version(
    request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]
) -> Response[bytes]:
    return _published(request, schema_id, _number(version), await _body(request))


@delete("/schemas/{schema_id:str}/versions/{version:str}", status_code=204)
async def _withdraw(request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]) -> None:
    _server(request).shelf.delete(schema_id, _number(version))


@get("/drill")
async def _show_drill(request: AnyRequest) -> Response[bytes]:
    _require_loopback(request)
    return _json(_server(request).drill)


@put("/drill")
async def _set_drill(request: AnyRequest) -> Response[bytes]:
    _require_loopback(request)
    try:
        drill = msgspec.json.decode(await _body(request), type=Drill)
    except msgspec.ValidationError as error:
        raise InvalidInput.at("", "wrong_type", str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    _server(request).switch(drill)
    return _json(drill)


@delete("/drill", status_code=204)
async def _end_drill(request: AnyRequest) -> None:
    _require_loopback(request)
    _server(request).switch(Drill())


def _published(
    request: AnyRequest, schema_id: str, version: int, document: bytes
) -> Response[bytes]:
    server = _server(request)
    put_ = server.shelf.put if server.drill.accept_invalid else server.shelf.publish
    created = put_(schema_id, version, document)
    place = f"/schemas/{schema_id}/versions/{version}"
    status = HTTPStatus.CREATED if created else HTTPStatus.OK
    answer = {"id": schema_id, "version": version, "url": place}
    return _json(answer, status_code=status, headers={"Location": place})


def _title(document: bytes) -> str:
    """The name a document gives itself; one published in a drill may not even be JSON."""
    try:
        name = read_object(document).get("name")
    except (MalformedBody, InvalidInput):
        return ""
    return name if isinstance(name, str) else ""


def _number(text: str) -> int:
    if _VERSION.fullmatch(text) is None:
        raise NotFound("A version is a whole number.")
    return int(text)


async def _body(request: AnyRequest) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise HTTPException(status_code=status, detail="The body must be application/json.")
    return await request.body()


def _require_loopback(request: AnyRequest) -> None:
    host = request.client.host if request.client else ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        status = HTTPStatus.FORBIDDEN
        raise HTTPException(status_code=status, detail="Drills are switched from loopback only.")


def _tagged(request: AnyRequest, document: bytes) -> Response[bytes]:
    """A document with its validators; 304 without it if the client has it already."""
    try:
        tag = f'"{fingerprint(document)}"'
    except (MalformedBody, InvalidInput):
        tag = f'"{len(document)}-senseless"'
    headers = {"ETag": tag, "Cache-Control": f"max-age={MAX_AGE_S}"}
    asked = request.headers.get("if-none-match", "")
    known = {one.strip().removeprefix("W/") for one in asked.split(",")}
    if tag in known or "*" in known:
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(document, media_type="application/json", headers=headers)


def _json(value: object, **options: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json", **options)


def _refusal(_: AnyRequest, error: SpawnError) -> Response[bytes]:
    status = next((s for t, s in _STATUS.items() if isinstance(error, t)), None)
    errors = error.errors if isinstance(error, InvalidInput) else ()
    code = status or HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(code, error.code, error.detail[:2000], errors)


def _http_failure(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    status = HTTPStatus(error.status_code)
    answer = _problem(status, status.name.lower(), error.detail)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _failure(_: AnyRequest, error: Exception) -> Response[bytes]:
    """The edge: nothing of an unforeseen failure but its kind leaves the process."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem(status, "internal", f"An unforeseen {type(error).__name__}.")


def _problem(
    status: HTTPStatus, code: str, detail: str, errors: tuple[FieldError, ...] = ()
) -> Response[bytes]:
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "errors": errors,
    }
    return Response(
        msgspec.json.encode(body),
        status_code=status.value,
        media_type="application/problem+json",
    )
