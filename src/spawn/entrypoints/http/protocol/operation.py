"""Declarations of operations: what requests are checked for and the OpenAPI document states."""

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from spawn.application.datasets.dataset_columns import DatasetName
from spawn.domain.approvals.approval import CommandPreview
from spawn.domain.approvals.approval_policy import CommandFacts, StateFacts
from spawn.domain.principal import Scope

Schema = Any
"""A wire type, the name of a component, or a JSON Schema, perhaps `Computed`; None: no content."""

JSON: Final = "application/json"
HTML: Final = "text/html"
BODY_PROBLEMS: Final = (
    "malformed_body",
    "invalid_input",
    "unsupported_media_type",
    "body_too_large",
    "request_timeout",
)
"""Problems of every operation that reads a JSON body."""

PATH_PATTERNS: Final[Mapping[str, str]] = {
    "number": r"^(0|[1-9][0-9]{0,8})$",
    "schema_id": r"^[a-z][a-z0-9_]{0,62}$",
    "name": r"^[a-z0-9][a-z0-9._-]{0,62}$",
    "code": r"^[a-z]+([_-][a-z]+)*$",
    "dataset": (rf"^({'|'.join(sorted(DatasetName))})(\.(ndjson|csv|json|parquet|arrow|xlsx))?$"),
    "asset": r"^[a-z.]+$",
}
"""Patterns of path parameters by name; all others are resource ids."""

PUBLIC: Final[tuple[Scope, ...]] = ()
"""The scopes of an operation that everybody may call, also without credentials."""

_WRITE_PRECONDITIONS: Final = ("If-Match", "If-None-Match", "If-Unmodified-Since")
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_ETAG_LIST: Final = r'^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$'


class Cache(StrEnum):
    """Caching of a response that the route encodes."""

    NO_STORE = "no-store"
    REVALIDATE = "no-cache"
    """The response has an entity tag of its content, and 304 if the client has it."""


class Computed(msgspec.Struct, frozen=True):
    """A JSON Schema or an example that the document computes, and the start of a process need not.

    The document asks again each time it is built, so `compute` is a cached function.
    """

    compute: Callable[[], Any]


class Parameter(msgspec.Struct, frozen=True):
    """A query or header parameter; `component` is its name among the document's components.

    Without a schema it stands for the fields of the active schema, which the handler checks.
    """

    name: str
    schema: Schema
    description: str
    location: str = "query"
    is_required: bool = False
    examples: Mapping[str, Any] = {}
    component: str = ""


IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    "Return the first response again when the request is repeated within 24 hours.",
    "header",
    component="IdempotencyKey",
)
IF_MATCH: Final = Parameter(
    "If-Match",
    {"type": "string", "pattern": _ETAG_LIST},
    "The ETag of the version that the change is based on, or * for any.",
    "header",
    is_required=True,
    component="IfMatch",
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    {"type": "string", "pattern": _ETAG_LIST},
    "The ETag of a cached response.",
    "header",
    component="IfNoneMatch",
)


class Approvable(msgspec.Struct, frozen=True):
    """A command that the approval policy may stop, and that has a dry run.

    `facts` are the members of its body that rules read, `state_facts` attributes of the state that
    it results in. A command that is one change needs no
    `check`. Any other has a function of the request and the path's parameters that checks the
    command without writing, and returns its preview.
    """

    facts: CommandFacts = CommandFacts()
    state_facts: StateFacts | None = None
    check: Callable[..., Awaitable[CommandPreview]] | None = None


DRY_RUN: Final = Parameter(
    "dry_run",
    {"type": "string", "enum": ["true", "false"], "default": "false"},
    "Check the command and return what it would change; nothing is written.",
)


class Body(msgspec.Struct, frozen=True):
    """A request body, in one of its media types; `max_bytes` replaces the service's limit.

    With `has_many_values` its lists may have more values than the event loop reads at once: the
    handler reads it on a thread, and its size alone is bounded.
    `example` is the typical one, `further_examples` are others by name, `file_examples` those of
    media types that are files.
    """

    schema: Schema
    media_types: tuple[str, ...] = (JSON,)
    example: Any = None
    further_examples: Mapping[str, Any] = {}
    file_examples: Mapping[str, str] = {}
    max_bytes: int | None = None
    has_many_values: bool = False


class Success(msgspec.Struct, frozen=True):
    """A successful response, in one of its media types.

    `headers` are names of header components; `alternatives` are the schemas of further media
    types, such as tables beside the JSON.
    """

    schema: Schema
    description: str
    status: int = 200
    media_types: tuple[str, ...] = (JSON,)
    headers: tuple[str, ...] = ()
    example: Any = None
    further_examples: Mapping[str, Any] = {}
    alternatives: Mapping[str, Schema] = {}


class _Address(msgspec.Struct, frozen=True):
    """Method, path template and operation id; without an id the document omits the operation."""

    method: str
    path: str
    id: str


class Operation(_Address, frozen=True, kw_only=True):
    """An operation: one method of one path.

    Args:
        tag: a key of the document's tags.
        scopes: the caller needs one of these; `PUBLIC` for an operation without access control.
        serves_row_scopes: whether callers with a row scope may call it: every response is then of
            the rows that they may see, or of no rows.
        summary: a title, such as `Get a job`.
        returns: the response; `also` are responses with another status.
        description: sentences; without them the docstring of the handler.
        parameters: query and header parameters; path parameters follow from the path.
        body: the request body.
        problems: codes of problems beside those of every operation.
        cache: the caching of responses that the route encodes.
        formats: media types by the value of a parameter `format`, which overrides Accept.
        has_suffix: whether the path may end in a format, which overrides both.
        accept_types: media types that Accept may name, if others than those of the response.
        approval: set for a command that may need an approval.
        is_audited: whether every request is in the audit log; administration always is.
        is_calculation: whether a request that is no GET changes nothing all the same.
    """

    tag: str
    scopes: tuple[Scope, ...]
    summary: str
    returns: Success
    serves_row_scopes: bool = False
    also: tuple[Success, ...] = ()
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[str, ...] = ()
    cache: Cache | None = None
    formats: Mapping[str, str] = {}
    has_suffix: bool = False
    accept_types: tuple[str, ...] = ()
    approval: Approvable | None = None
    is_audited: bool = False
    is_calculation: bool = False

    @property
    def is_command(self) -> bool:
        """Whether it changes something, and runs to its end once it has begun."""
        return self.method != "GET" and not self.is_calculation

    @property
    def use_case(self) -> str:
        """The name of the use case, `get_job` for the id `getJob`; spans have it."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.id).lower()

    @property
    def path_parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the path."""
        return tuple(_PATH_PARAMETER.findall(self.path))

    @property
    def media_types(self) -> tuple[str, ...]:
        """Media types between which Accept selects; the first is the default."""
        return self.accept_types or (*self.returns.media_types, *self.returns.alternatives)

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """Query and header parameters, with those of its formats and its caching."""
        parameters = self.parameters
        if self.approval is not None:
            parameters = (*parameters, DRY_RUN)
        if self.formats:
            schema = {"type": "string", "enum": list(self.formats)}
            text = "Response format; takes precedence over the Accept header."
            parameters = (*parameters, Parameter("format", schema, text))
        if self.cache is Cache.REVALIDATE and IF_NONE_MATCH not in parameters:
            parameters = (*parameters, IF_NONE_MATCH)
        return parameters

    @property
    def ignored_preconditions(self) -> tuple[bytes, ...]:
        """Lower-case names of conditional header fields that the operation cannot honour.

        RFC 9110 lets a server ignore If-None-Match and the dates of a read, whose response is then
        the whole one. A change that ignored its precondition would overwrite what it protects.
        """
        declared = {p.name for p in self.all_parameters if p.location == "header"}
        names = ("If-Match",) if self.method == "GET" else _WRITE_PRECONDITIONS
        return tuple(name.lower().encode() for name in names if name not in declared)

    @property
    def responses(self) -> tuple[Success, ...]:
        """The successful responses, with 304 where the client may have a copy."""
        responses = (self.returns, *self.also)
        if IF_NONE_MATCH not in self.all_parameters:
            return responses
        first = self.returns
        if "ETag" not in first.headers:
            first = msgspec.structs.replace(first, headers=("ETag", *first.headers))
        not_modified = Success(None, "Unchanged since that ETag.", 304, headers=first.headers)
        return (first, *self.also, not_modified)
