"""Local ontology server: the registry protocol on a developer's machine, with drills.

It publishes, lists, serves and deletes schema versions. A drill injects faults, so that the
service's reaction can be observed; drills are configured from loopback addresses only.
"""

import re
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

from spawn.adapters.local.listening_sockets import bind_sockets
from spawn.adapters.ontology.faults import FaultInjector, FaultSettings, InjectedError
from spawn.adapters.ontology.published_documents import PublishedDocuments
from spawn.application.web_addresses import is_loopback
from spawn.domain.errors import (
    Conflict,
    FieldError,
    InvalidInput,
    MalformedBody,
    NotFound,
    SpawnError,
)
from spawn.domain.schemas.document_parser import MAX_DOCUMENT_BYTES, compute_fingerprint

MAX_AGE_S: Final = 30
_VERSION = re.compile(r"0|[1-9][0-9]{0,8}")
_STATUS: Final[dict[type[SpawnError], HTTPStatus]] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    MalformedBody: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
}

AnyRequest = Request[Any, Any, Any]


class OntologyServer(msgspec.Struct, frozen=True):
    """The published documents and the faults of the drill."""

    documents: PublishedDocuments
    faults: FaultInjector


def create_app(documents: PublishedDocuments) -> Litestar:
    """Create the ASGI application of the server."""
    return Litestar(
        route_handlers=[
            _get_health,
            _list_schemas,
            _get_latest_version,
            _list_versions,
            _get_version,
            _publish_next_version,
            _publish_version,
            _delete_version,
            _get_drill,
            _start_drill,
            _end_drill,
        ],
        state=State({"server": OntologyServer(documents, FaultInjector())}),
        before_request=_inject_faults,
        exception_handlers={
            SpawnError: _handle_spawn_error,
            InjectedError: _handle_injected_error,
            HTTPException: _handle_http_exception,
            Exception: _handle_unexpected_error,
        },
        openapi_config=None,
        request_max_body_size=MAX_DOCUMENT_BYTES,
        logging_config=None,
    )


def run_ontology_server(
    host: str, port: int, directory: Path | None, *, on_listening: Callable[[int], object]
) -> None:
    """Serve until interrupted.

    Args:
        host: The address to bind.
        port: The port to bind; 0 takes a free one.
        directory: Directory of the published documents; None loses them at the end.
        on_listening: Called with the port that was bound.

    Raises:
        AddressError: the address is in use, or not one of this machine's.
    """
    config = uvicorn.Config(
        create_app(PublishedDocuments(directory)),
        host=host,
        port=port,
        log_level="warning",
        # A forwarded address could claim to be loopback.
        proxy_headers=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=256,
    )
    with bind_sockets(host, port) as sockets:
        for listener in sockets:
            listener.listen()
        on_listening(sockets[0].getsockname()[1])
        uvicorn.Server(config).run(sockets)


def _get_server(request: AnyRequest) -> OntologyServer:
    server: OntologyServer = request.app.state.server
    return server


async def _inject_faults(request: AnyRequest) -> Response[bytes] | None:
    """Inject faults into reads, but never into a publication or the drill's own routes."""
    if request.method in {"GET", "HEAD"} and request.url.path != "/drill":
        body = await _get_server(request).faults.inject()
        if body is not None:
            return Response(body, media_type="application/json")
    return None


@route("/health", http_method=["GET", "HEAD"])
async def _get_health(request: AnyRequest) -> Response[bytes]:
    ids = _get_server(request).documents.ids()
    return _json_response({"status": "ok", "schemas": len(ids)})


@route("/schemas", http_method=["GET", "HEAD"])
async def _list_schemas(request: AnyRequest) -> Response[bytes]:
    documents = _get_server(request).documents
    entries = [
        {
            "id": schema_id,
            "title": documents.title(schema_id),
            "latest_version": documents.versions(schema_id)[-1],
            "url": f"/schemas/{schema_id}",
        }
        for schema_id in documents.ids()
    ]
    return _cacheable_response(request, msgspec.json.encode({"schemas": entries}))


@route("/schemas/{schema_id:str}", http_method=["GET", "HEAD"])
async def _get_latest_version(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    return _cacheable_response(request, _get_server(request).documents.document(schema_id))


@route("/schemas/{schema_id:str}/versions", http_method=["GET", "HEAD"])
async def _list_versions(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    numbers = _get_server(request).documents.versions(schema_id)
    entries = [{"version": n, "url": f"/schemas/{schema_id}/versions/{n}"} for n in numbers]
    return _cacheable_response(request, msgspec.json.encode({"id": schema_id, "versions": entries}))


@route("/schemas/{schema_id:str}/versions/{version:str}", http_method=["GET", "HEAD"])
async def _get_version(
    request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]
) -> Response[bytes]:
    return _cacheable_response(
        request, _get_server(request).documents.document(schema_id, _parse_version(version))
    )


@post("/schemas/{schema_id:str}/versions")
async def _publish_next_version(request: AnyRequest, schema_id: FromPath[str]) -> Response[bytes]:
    """Publish under the version in the document, or under the next one."""
    document = await _read_body(request)
    version = _get_server(request).documents.claimed_version(schema_id, document)
    return _publish(request, schema_id, version, document)


@put("/schemas/{schema_id:str}/versions/{version:str}")
async def _publish_version(
    request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]
) -> Response[bytes]:
    return _publish(request, schema_id, _parse_version(version), await _read_body(request))


@delete("/schemas/{schema_id:str}/versions/{version:str}", status_code=204)
async def _delete_version(
    request: AnyRequest, schema_id: FromPath[str], version: FromPath[str]
) -> None:
    _get_server(request).documents.delete(schema_id, _parse_version(version))


@get("/drill")
async def _get_drill(request: AnyRequest) -> Response[bytes]:
    _require_loopback(request)
    return _json_response(_get_server(request).faults.settings)


@put("/drill")
async def _start_drill(request: AnyRequest) -> Response[bytes]:
    _require_loopback(request)
    try:
        settings = msgspec.json.decode(await _read_body(request), type=FaultSettings)
    except msgspec.ValidationError as error:
        raise InvalidInput.at("", "wrong_type", str(error)) from None
    except msgspec.DecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}") from None
    _get_server(request).faults.configure(settings)
    return _json_response(settings)


@delete("/drill", status_code=204)
async def _end_drill(request: AnyRequest) -> None:
    _require_loopback(request)
    _get_server(request).faults.configure(FaultSettings())


def _publish(request: AnyRequest, schema_id: str, version: int, document: bytes) -> Response[bytes]:
    server = _get_server(request)
    documents = server.documents
    store = documents.put if server.faults.settings.accept_invalid else documents.publish
    is_new = store(schema_id, version, document)
    url = f"/schemas/{schema_id}/versions/{version}"
    status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    body = {"id": schema_id, "version": version, "url": url}
    return _json_response(body, status_code=status, headers={"Location": url})


def _parse_version(text: str) -> int:
    if _VERSION.fullmatch(text) is None:
        raise NotFound("A version is a whole number, such as 3.")
    return int(text)


async def _read_body(request: AnyRequest) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise HTTPException(
            status_code=status,
            detail="The body must be JSON: set Content-Type to application/json.",
        )
    return await request.body()


def _require_loopback(request: AnyRequest) -> None:
    host = request.client.host if request.client else ""
    if not is_loopback(host):
        status = HTTPStatus.FORBIDDEN
        raise HTTPException(
            status_code=status, detail="Drills are configured from loopback addresses only."
        )


def _cacheable_response(request: AnyRequest, document: bytes) -> Response[bytes]:
    """Return a document with its validators, or 304 if the client has it already."""
    try:
        tag = f'"{compute_fingerprint(document)}"'
    except (MalformedBody, InvalidInput):
        tag = f'"{len(document)}-senseless"'
    headers = {"ETag": tag, "Cache-Control": f"max-age={MAX_AGE_S}"}
    if_none_match = request.headers.get("if-none-match", "")
    client_tags = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    if tag in client_tags or "*" in client_tags:
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(document, media_type="application/json", headers=headers)


def _json_response(value: object, **options: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json", **options)


def _handle_spawn_error(_: AnyRequest, error: SpawnError) -> Response[bytes]:
    status = next((s for t, s in _STATUS.items() if isinstance(error, t)), None)
    errors = error.errors if isinstance(error, InvalidInput) else ()
    code = status or HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem_response(code, error.code, error.detail[:2000], errors)


def _handle_http_exception(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    status = HTTPStatus(error.status_code)
    response = _problem_response(status, status.name.lower(), error.detail)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def _handle_injected_error(_: AnyRequest, error: InjectedError) -> Response[bytes]:
    return _problem_response(error.status, "drill", "This failure is a drill.")


def _handle_unexpected_error(_: AnyRequest, error: Exception) -> Response[bytes]:
    """Return a problem that reveals only the type of an unexpected error."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _problem_response(
        status, "internal", f"The server failed unexpectedly: {type(error).__name__}."
    )


def _problem_response(
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
