"""Exceptions of the client: problem documents, failed connections, absent packages."""

from typing import Final

import httpx
import msgspec

MAX_PROBLEM_BYTES: Final = 1024 * 1024
"""Bytes of a problem document that are read."""


class ProblemField(msgspec.Struct, frozen=True):
    """An error in one field, by its JSON Pointer."""

    pointer: str
    code: str
    detail: str


class _ProblemDocument(msgspec.Struct, frozen=True):
    code: str = ""
    title: str = ""
    detail: str = ""
    errors: tuple[ProblemField, ...] = ()
    trace_id: str = ""


_read_document = msgspec.json.Decoder(_ProblemDocument).decode


class SpawnClientError(Exception):
    """Any failure of the client."""


class MissingPackage(SpawnClientError):
    """An optional package is not installed; the text names it."""


class ConnectionFailed(SpawnClientError):
    """The service could not be reached, or the connection broke before the response ended."""


class ProblemError(SpawnClientError):
    """A problem document of the service (RFC 9457).

    `code` is stable; `errors` has an entry for each invalid field. `retry_after_s` is the
    Retry-After header in seconds, if there is one. `trace_id` names the log lines of the request.
    """

    def __init__(
        self, status: int, document: _ProblemDocument, retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.code = document.code
        self.title = document.title
        self.detail = document.detail
        self.errors = document.errors
        self.trace_id = document.trace_id
        self.retry_after_s = retry_after_s
        fields = "; ".join(f"{error.pointer}: {error.detail}" for error in document.errors)
        super().__init__(f"{status} {document.code}: {fields or document.detail}")


class InvalidInputProblem(ProblemError):
    """The request violates a rule (400, 422)."""


class NotFoundProblem(ProblemError):
    """There is no such resource (404)."""


class ConflictProblem(ProblemError):
    """The state of the resource forbids the request (409)."""


class StaleVersionProblem(ProblemError):
    """Another change came first (412)."""


class UnavailableProblem(ProblemError):
    """The service is temporarily unable to respond (429, 502, 503, 504)."""


_CLASSES: Final[dict[int, type[ProblemError]]] = {
    400: InvalidInputProblem,
    404: NotFoundProblem,
    409: ConflictProblem,
    412: StaleVersionProblem,
    422: InvalidInputProblem,
    **dict.fromkeys((429, 502, 503, 504), UnavailableProblem),
}


def build_problem(status: int, headers: httpx.Headers, body: bytes) -> ProblemError:
    """Return the exception of a response; a body that is no problem document is left out."""
    try:
        document = _read_document(body[:MAX_PROBLEM_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = _ProblemDocument(detail="The response is no problem document.")
    retry_after = headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.isdecimal() else None
    return _CLASSES.get(status, ProblemError)(status, document, seconds)
