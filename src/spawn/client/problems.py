"""Exceptions of the client: problem documents, failed connections and jobs, absent packages."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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


class UnreadableResponse(SpawnClientError):
    """A response is not one of the service; perhaps a proxy sent it, or the address is another."""


class JobFailed(SpawnClientError):
    """A job failed or was cancelled; the text has its error."""

    def __init__(self, job_id: str, status: str, reason: str | None) -> None:
        self.job_id = job_id
        self.status = status
        self.reason = reason
        super().__init__(f"job {job_id} {status}: {reason}" if reason else f"job {job_id} {status}")


class ApprovalPending(SpawnClientError):
    """A command waits for the decision of another person; nothing has changed so far."""

    def __init__(self, approval_id: str) -> None:
        self.approval_id = approval_id
        super().__init__(f"the command waits for the decision about approval {approval_id}")


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


class UnauthenticatedProblem(ProblemError):
    """The request has no valid credentials (401)."""


class ForbiddenProblem(ProblemError):
    """The credentials do not allow the request (403)."""


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
    401: UnauthenticatedProblem,
    403: ForbiddenProblem,
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
    seconds = read_retry_after(headers)
    return _CLASSES.get(status, ProblemError)(status, document, seconds)


def read_retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds of a Retry-After header, which may be a date; None without one."""
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    now = datetime.now(UTC)
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
