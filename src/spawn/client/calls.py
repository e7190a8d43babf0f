"""Requests of the operations, and what their responses mean, free of any transport.

An operation is a generator: it yields requests, gets their responses, and returns its result. The
synchronous and the asynchronous client run the same operations.
"""

import math
import re
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from spawn.client.mappings import ImportMappingDocument
from spawn.client.problems import (
    ApprovalPending,
    JobFailed,
    StaleVersionProblem,
    UnreadableResponse,
    build_problem,
    read_retry_after,
)
from spawn.client.records import (
    CountRecord,
    DryRunRecord,
    EventPage,
    ImportRecord,
    JobRecord,
    Json,
    PageRecord,
    ProjectRecord,
    decode_json,
    read_project,
)

T = TypeVar("T")
_LISTS: Final = (list, tuple, set, frozenset)
_OPTIONS: Final = frozenset(
    {"after", "as_of", "bom", "decimals", "fields", "format", "limit", "nested", "schema_version"}
    | {"sort", "subject", "type"}
)
"""Parameters that are no filters: None means that they are not sent."""

DATASET_SUFFIXES: Final = (".csv", ".ndjson", ".json", ".parquet", ".arrow", ".xlsx")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""RFC 6750 has fewer characters; a server may have its own form of tokens."""

PROJECTS: Final = "/v1/ops/projects"
EVENTS: Final = "/v1/events"
EVENT_STREAM: Final = f"{EVENTS}/stream"
IMPORTS: Final = "/v1/ops/imports"
MAX_UPDATE_ATTEMPTS: Final = 5
"""Attempts at a change that others overtake."""

Changes = Mapping[str, Json]
ResolveConflict = Callable[[ProjectRecord], Changes | None]
"""Function of the current project that returns the changes to send now; None gives up."""

STALE: Final = 412
"""Status of a change that another one overtook."""

_PENDING: Final = 202


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `is_repeatable` if sending it twice does no more than sending it once."""

    method: str
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    is_repeatable: bool = True
    is_command: bool = False
    raises: bool = True


class Finished(msgspec.Struct, Generic[T], frozen=True):
    """The result of an operation that has ended."""

    result: T


class CommandTried(Exception):
    """The response to the dry run of a command, which ends its operation."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__("the command was tried")
        self.response = response


Operation = Generator[Call, httpx.Response, T]


class VersionedRecord(Protocol):
    """A record whose changes name the version that they are based on."""

    @property
    def version(self) -> int:
        """Its version, from 1."""

    @property
    def etag(self) -> str | None:
        """Its tag; None in a list."""


R = TypeVar("R", bound=VersionedRecord)


class Resource(msgspec.Struct, Generic[R], frozen=True):
    """The path of one resource, and the function that reads it from a response.

    `has_text_decimals` if its decimals are sent as texts, and not as numbers of JSON.
    """

    path: str
    read: Callable[[httpx.Response], R]
    has_text_decimals: bool = False


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def raise_problem(response: httpx.Response) -> httpx.Response:
    """Return a successful response.

    Raises:
        ProblemError: it is a problem, or it redirects: the client follows no other address.
    """
    if not response.is_success:
        raise build_problem(response.status_code, response.headers, response.content)
    return response


def raise_pending(response: httpx.Response) -> httpx.Response:
    """Return the response to a command that was carried out.

    Raises:
        ApprovalPending: it waits for the decision of another person.
    """
    if response.status_code == _PENDING:
        raise ApprovalPending(str(decode_json(response.content).get("approval_id", "")))
    return response


@contextmanager
def reading_response() -> Iterator[None]:
    """Run code that reads a response.

    Raises:
        UnreadableResponse: it is not what the service sends.
    """
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableResponse(f"The response cannot be read: {error}.") from error


def advance(operation: "Operation[T]", response: httpx.Response | None) -> "Call | Finished[T]":
    """Return the next request of an operation, or its result."""
    try:
        with reading_response():
            return next(operation) if response is None else operation.send(response)
    except StopIteration as end:
        return Finished(end.value)


def try_command(operation: "Operation[Any]") -> "Operation[httpx.Response]":
    """Read what an operation reads, then send its command as a dry run, and return the response.

    Raises:
        ValueError: the operation has no command, or changes something without one.
    """
    step = advance(operation, None)
    while isinstance(step, Call) and not step.is_command and step.method == "GET":
        step = advance(operation, (yield step))
    operation.close()
    if not isinstance(step, Call) or not step.is_command:
        raise ValueError("only a command has a dry run")
    params = {**step.params, "dry_run": "true"}
    response = yield msgspec.structs.replace(step, params=params, raises=True)
    return response


def new_key() -> str:
    """Return a new idempotency key."""
    return uuid.uuid4().hex


def read_base_url(text: str) -> httpx.URL:
    """Return the address of a service.

    Raises:
        ValueError: it is malformed, has no scheme or no host, so that no request could be sent, or
            a query or fragment, which no path can follow.
    """
    try:
        url = httpx.URL(text)
        host = url.host
    except (httpx.InvalidURL, UnicodeError) as failure:
        raise ValueError(f"base_url is malformed: {failure}") from None
    if url.scheme not in {"http", "https"} or not host:
        raise ValueError("base_url begins with http:// or https:// and a host")
    if url.query or url.fragment:
        raise ValueError("base_url ends with its path: it has no query and no fragment")
    return url


def check_timeout(timeout_s: float) -> float:
    """Return a time within which a service can respond.

    Raises:
        ValueError: it is no time above 0.
    """
    if not 0 < timeout_s < math.inf:
        raise ValueError(f"timeout_s is a number of seconds above 0, not {timeout_s}")
    return timeout_s


def build_headers(headers: Mapping[str, str] | None, token: str | None) -> dict[str, str]:
    """Return the headers of every request.

    Raises:
        ValueError: the token is no token, such as a line of a file with its end. It is not shown.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise ValueError("token has a character that no token has, such as a line end, or is empty")
    authorization = {} if token is None else {"Authorization": f"Bearer {token}"}
    return {**(headers or {}), **authorization}


def history_path(project_id: str) -> str:
    """Return the path of the history of a project."""
    return f"{project_path(project_id)}/history"


def quarantine_path(import_id: str) -> str:
    """Return the path of the quarantined rows of an import."""
    return f"{IMPORTS}/{quote_segment(import_id)}/quarantine"


def dataset_file(dataset: str, target: Path) -> str:
    """Return the name of a dataset in the format of a file's suffix.

    Raises:
        ValueError: no format has this suffix.
    """
    suffix = target.suffix.lower()
    if suffix not in DATASET_SUFFIXES:
        raise ValueError(f"{target.name} has none of the suffixes {', '.join(DATASET_SUFFIXES)}")
    return f"{dataset}{suffix}"


def dataset_path(dataset: str) -> str:
    """Return the path of a dataset, whose name may have a suffix."""
    return f"/v1/data/{quote_segment(dataset)}"


def encode_document(document: object) -> bytes:
    """Return a body; JSON has no NaN or infinity, and would show null in their place.

    Raises:
        ValueError: a number is not finite.
    """
    pending = [msgspec.to_builtins(document)]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON: leave the value out, or send None")
    return _ENCODER.encode(document)


def quote_segment(name: str) -> str:
    """Return a name as a segment of a path.

    Raises:
        ValueError: it is empty, and the path would be that of something else.
    """
    if not name:
        raise ValueError("an id or a name is empty")
    return quote(name, safe="")


def project_path(project_id: str) -> str:
    """Return the path of a project."""
    return f"{PROJECTS}/{quote_segment(project_id)}"


def build_change(
    method: str, path: str, document: object, headers: Mapping[str, str], key: str | None
) -> Call:
    """Return a change with an idempotency key, so that it may be sent twice."""
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    content = {} if document is None else {"Content-Type": media}
    return Call(
        method=method,
        path=path,
        body=None if document is None else encode_document(document),
        headers={**content, "Idempotency-Key": key or new_key(), **headers},
        is_command=True,
    )


def project_resource(project_id: str) -> Resource[ProjectRecord]:
    """Return a project as a resource."""
    return Resource(project_path(project_id), _project_of)


def get_project(project_id: str, params: Mapping[str, str]) -> Operation[ProjectRecord]:
    """Read one project."""
    return (yield from get_resource(project_resource(project_id), params))


def create_project(fields: Changes, key: str | None) -> Operation[ProjectRecord]:
    """Create a project."""
    return _project_of((yield build_change("POST", PROJECTS, fields, {}, key)))


def update_project(
    project: ProjectRecord, changes: Changes, resolve: ResolveConflict | None, key: str | None
) -> Operation[ProjectRecord]:
    """Amend the version of a project; after another change, what `resolve` returns."""
    resource = project_resource(project.project_id)
    return (yield from amend(resource, project, changes, resolve, key))


def transition_project(
    project: ProjectRecord, transition: Changes, key: str | None
) -> Operation[ProjectRecord]:
    """Move the version of a project to another status."""
    resource = project_resource(project.project_id)
    path = f"{resource.path}/transitions"
    return (yield from change(resource, project, ("POST", path), transition, None, key))


def amend(
    resource: Resource[R],
    record: R,
    changes: Changes,
    resolve: Callable[[R], Changes | None] | None,
    key: str | None = None,
) -> Operation[R]:
    """Send a merge patch of a version; after another change, what `resolve` returns."""
    target = ("PATCH", resource.path)
    return (yield from change(resource, record, target, changes, resolve, key))


def delete(resource: Resource[R], record: R, key: str | None) -> Operation[R]:
    """Remove a version of a resource, and return what is left of it."""
    return (yield from change(resource, record, ("DELETE", resource.path), None, None, key))


def change(
    resource: Resource[R],
    record: R,
    target: tuple[str, str],
    changes: object,
    resolve: Callable[[R], Changes | None] | None,
    key: str | None,
) -> Operation[R]:
    """Send a command on a version of a resource; after another change, what `resolve` returns.

    Each attempt has a key of its own, derived from `key`: attempts differ in what they send.
    """
    current = record
    for attempt in range(1, MAX_UPDATE_ATTEMPTS + 1):
        if current.etag is None:
            current = yield from _read_etag(resource, current)
        if resource.has_text_decimals:
            changes = msgspec.to_builtins(changes)
        headers = {"If-Match": current.etag or "*"}
        call = build_change(*target, changes, headers, _key_of_attempt(key, attempt))
        response = yield msgspec.structs.replace(call, raises=False)
        if response.status_code != STALE or resolve is None or attempt == MAX_UPDATE_ATTEMPTS:
            return resource.read(raise_problem(response))
        current = yield from get_resource(resource, {})
        next_changes = resolve(current)
        if next_changes is None:
            raise_problem(response)
        changes = next_changes or {}
    raise AssertionError("the last attempt returns or raises")


def _key_of_attempt(key: str | None, attempt: int) -> str | None:
    return key if key is None or attempt == 1 else f"{key}-{attempt}"


def get_resource(resource: Resource[R], params: Mapping[str, str]) -> Operation[R]:
    """Read a resource."""
    response = yield Call(method="GET", path=resource.path, params=params)
    return resource.read(response)


def _read_etag(resource: Resource[R], record: R) -> Operation[R]:
    """Read a resource of a list again for its tag.

    Raises:
        StaleVersionProblem: it has another version by now.
    """
    current = yield from get_resource(resource, {})
    if current.version != record.version:
        body = b'{"code":"stale_version","detail":"The current version is %d."}' % current.version
        problem = build_problem(STALE, httpx.Headers(), body)
        assert isinstance(problem, StaleVersionProblem)  # noqa: S101 - the class of this status
        raise problem
    return current


def _project_of(response: httpx.Response) -> ProjectRecord:
    return read_project(decode_json(raise_pending(response).content), response.headers.get("etag"))


def read_page(path: str, params: Mapping[str, str]) -> Operation[PageRecord]:
    """Read one page of a list."""
    response = yield Call(method="GET", path=path, params=params)
    return msgspec.convert(decode_json(response.content), PageRecord)


def count_projects(params: Mapping[str, str]) -> Operation[int]:
    """Count the projects under filters."""
    response = yield Call(method="GET", path=f"{PROJECTS}/count", params=params)
    return msgspec.convert(decode_json(response.content), CountRecord).count


def calculate(calculator: str, case: Changes) -> Operation[dict[str, Json]]:
    """Calculate a case; nothing is stored, so it may be sent twice."""
    path = f"/v1/analysis/{quote_segment(calculator)}"
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    response = yield Call(method="POST", path=path, body=encode_document(case), headers=headers)
    return decode_json(response.content)


def put_mapping(name: str, mapping: ImportMappingDocument | Changes) -> Operation[None]:
    """Create an import mapping, or find that it has this content."""
    path = f"/v1/ops/import-mappings/{quote_segment(name)}"
    headers = {"Content-Type": "application/json"}
    yield Call(method="PUT", path=path, body=encode_document(mapping), headers=headers)


def read_event_page(params: Mapping[str, str]) -> Operation[EventPage]:
    """Read one page of the feed."""
    response = yield Call(method="GET", path=EVENTS, params=params)
    return msgspec.convert(decode_json(response.content), EventPage)


def get_job(job_id: str) -> Operation[JobRecord]:
    """Read a job."""
    response = yield Call(method="GET", path=f"/v1/jobs/{quote_segment(job_id)}")
    return read_job(response)


def read_job(response: httpx.Response) -> JobRecord:
    """Return the job of a response, with its Retry-After."""
    job = msgspec.convert(decode_json(raise_problem(response).content), JobRecord)
    return msgspec.structs.replace(job, retry_after_s=read_retry_after(response.headers))


def check_job(job: JobRecord) -> None:
    """Check that a job has succeeded.

    Raises:
        JobFailed: it failed or was cancelled.
    """
    if job.status != "succeeded":
        raise JobFailed(job.job_id, job.status, job.error)


def read_dry_run(response: httpx.Response) -> DryRunRecord:
    """Return the dry run of a response."""
    return msgspec.convert(decode_json(raise_problem(response).content), DryRunRecord)


def get_import(import_id: str) -> Operation[ImportRecord]:
    """Read the counts of an import."""
    response = yield Call(method="GET", path=f"{IMPORTS}/{quote_segment(import_id)}")
    return msgspec.convert(decode_json(response.content), ImportRecord)


def to_params(filters: Mapping[str, Any]) -> dict[str, str]:
    """Return query parameters: booleans and instants as text, lists as quoted values.

    A list without an operator is the operand of `in`. An option that is None is left out.

    Raises:
        ValueError: a filter is None, or a list is empty or stands beside another operator: the
            service would find other projects than those that are meant.
    """
    params: dict[str, str] = {}
    for name, value in filters.items():
        if value is None and name in _OPTIONS:
            continue
        param_name = _name_param(name, value)
        if param_name in params:
            raise ValueError(f"{param_name} is given twice")
        params[param_name] = _to_text(value)
    return params


def _name_param(name: str, value: Any) -> str:
    """Return the name of a parameter, with its operator if the value is a list."""
    if value is None:
        field = name.partition("[")[0]
        raise ValueError(f"{name} is None: {field}[exists]=False finds projects without a value")
    if not isinstance(value, _LISTS):
        return name
    if not value:
        raise ValueError(f"{name} is an empty list")
    if name in _OPTIONS or name.endswith("[in]"):
        return name
    if "[" in name:
        raise ValueError(f"{name} takes one value; a list is the operand of [in]")
    return f"{name}[in]"


def find_reference(source: str, reference_id: str) -> dict[str, str]:
    """Return the filters of one external reference, in whose parts there may be colons."""
    return {"external_ref": f"{source}:{reference_id}", "external_ref.source": source}


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _LISTS):
        return ",".join(_quote_item(_to_text(item)) for item in value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _quote_item(text: str) -> str:
    needs_quotes = text != text.strip() or any(char in text for char in ',"')
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text
