"""All errors of the core and its ports, as one tree with stable codes.

SpawnError
├── InvalidInput            invalid_input            the request breaks a rule; lists each field
│   └── Infeasible          invalid_input            within limits, but no result meets it
├── MalformedBody           malformed_body           the bytes are not one well-formed document
├── NotFound                not_found                no such aggregate, version or page
├── Conflict                conflict                 the state of the aggregate forbids the command
│   ├── Duplicate           duplicate                the id, name or external reference is taken
│   ├── StaleVersion        stale_version            another command changed it first
│   ├── SchemaVersionChanged conflict                another schema version became active meanwhile
│   └── IllegalTransition   illegal_transition       the status machine has no such step
├── IdempotencyMismatch     idempotency_key_reused   the key was used for another request
├── CursorInvalid           cursor_invalid           a cursor that this service did not issue
├── CursorExpired           cursor_expired           the cursor belongs to an earlier epoch
├── SchemaVersionExpired    schema_version_expired   that schema version is no longer served
├── Forbidden               forbidden                the principal lacks the scope
├── Unavailable             unavailable              temporary: retry after `retry_after_s`
│   ├── Overloaded          overloaded               a bounded queue is full
│   ├── DeadlineExceeded    deadline_exceeded        the work exceeded its deadline
│   └── StorageFull         storage_full             the disk or its reserve is exhausted
├── InternalError           internal                 the service is at fault: a retry fails alike
├── StorageDamaged          storage_damaged          file, journal or high-water mark disagree
│   └── StorageIncompatible storage_incompatible     an intact store that this release cannot read
│       └── KeyMismatch     encryption_key_mismatch  it is encrypted, and with another key or none
├── StorageBusy             storage_busy             another process holds the file
├── RegistryError           registry_error           the registry is absent, slow or invalid
└── DeliveryFailed          delivery_failed          a consumer did not accept an event

`SpawnError` derives from `Exception`, not `ValueError`: msgspec turns a `ValueError` raised while
decoding into an error of its own, which would lose the code.
"""

from typing import ClassVar, Self

import msgspec

MAX_ERRORS = 50
"""Field errors reported at once."""

_MAX_CAUSE_CHARACTERS = 500


def describe_cause(cause: BaseException) -> str:
    """Return the type and the first line of an exception's text, for operators, never clients."""
    lines = str(cause).splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"[:_MAX_CAUSE_CHARACTERS]


class FieldError(msgspec.Struct, frozen=True):
    """An error in one field.

    `pointer` is an RFC 6901 JSON Pointer into the request document ("" is the whole document),
    `code` a stable snake_case word, `detail` one English sentence.
    """

    pointer: str
    code: str
    detail: str


class SpawnError(Exception):
    """The root of the tree; `code` is stable and `title` the same for every occurrence.

    `error_id` names the log line with the cause of a failure; None if nothing failed inside.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    error_id: str | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(SpawnError):
    """The input breaks one or more rules; `errors` lists each invalid field."""

    code = "invalid_input"
    title = "The request violates a rule"

    def __init__(self, errors: tuple[FieldError, ...] | list[FieldError], detail: str = "") -> None:
        self.errors = tuple(errors)
        super().__init__(detail or "; ".join(_describe(error) for error in self.errors))

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> Self:
        """Return an instance with one error, at `pointer`."""
        return cls((FieldError(pointer, code, detail),))


class Infeasible(InvalidInput):
    """The input is within its limits, but no result meets it: of several cases it fails alone."""


def _describe(error: FieldError) -> str:
    """Return an error's detail, with its pointer unless that is the whole document."""
    return f"{error.pointer}: {error.detail}" if error.pointer else error.detail


class MalformedBody(SpawnError):
    """The bytes are not one well-formed document: encoding, syntax, nesting or duplicate keys."""

    code = "malformed_body"
    title = "The body cannot be read"


class NotFound(SpawnError):
    """No such aggregate, version or page exists."""

    code = "not_found"
    title = "Not found"


class Conflict(SpawnError):
    """The state of the aggregate forbids the command."""

    code = "conflict"
    title = "The command conflicts with the current state"


class Duplicate(Conflict):
    """An id, name or external reference is already taken."""

    code = "duplicate"
    title = "Already exists"


class StaleVersion(Conflict):
    """Another command changed the aggregate first; `current` is its version now, if known."""

    code = "stale_version"
    title = "The version is stale"

    def __init__(self, detail: str, *, current: int | None = None) -> None:
        super().__init__(detail)
        self.current = current


class SchemaVersionChanged(Conflict):
    """Another schema version became active meanwhile: read the request again under it."""


class IllegalTransition(Conflict):
    """The status machine has no such step from here."""

    code = "illegal_transition"
    title = "The status does not allow this transition"


class IdempotencyMismatch(SpawnError):
    """The idempotency key was used before, for another request."""

    code = "idempotency_key_reused"
    title = "The idempotency key belongs to another request"


class CursorInvalid(SpawnError):
    """A cursor that this service did not issue, or not for this query."""

    code = "cursor_invalid"
    title = "The cursor is invalid"


class CursorExpired(SpawnError):
    """A cursor of an earlier epoch or below the retention floor; `oldest` is still valid."""

    code = "cursor_expired"
    title = "The cursor has expired"

    def __init__(self, detail: str, *, oldest: str) -> None:
        super().__init__(detail)
        self.oldest = oldest


class SchemaVersionExpired(SpawnError):
    """Responses under this schema version ended with the Sunset of its columns."""

    code = "schema_version_expired"
    title = "The schema version is no longer served"


class Forbidden(SpawnError):
    """The principal lacks the scope that the use case needs; any of `scopes` would do."""

    code = "forbidden"
    title = "Not allowed"

    def __init__(self, detail: str, *, scopes: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.scopes = scopes


class Unavailable(SpawnError):
    """A temporary failure; retry after about `retry_after_s` seconds."""

    code = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """A bounded queue is full; nothing was queued and nothing was written."""

    code = "overloaded"
    title = "The service is overloaded"


class DeadlineExceeded(Unavailable):
    """The work exceeded its deadline and was stopped."""

    code = "deadline_exceeded"
    title = "The deadline was exceeded"


class StorageFull(Unavailable):
    """The disk or its reserve is exhausted; nothing was written."""

    code = "storage_full"
    title = "No space left to write"


class StorageDamaged(SpawnError):
    """The file, its journal or its high-water mark disagree; the detail names the remedy."""

    code = "storage_damaged"
    title = "The store is damaged"


class StorageIncompatible(StorageDamaged):
    """An intact store that this release cannot read or must not; the detail names the remedy."""

    code = "storage_incompatible"
    title = "The store does not fit this release"


class KeyMismatch(StorageIncompatible):
    """An encrypted file and no key or another one, or a key and a file that is not encrypted.

    The detail names the setting.
    """

    code = "encryption_key_mismatch"
    title = "The encryption key is missing, or of another store"


class InternalError(SpawnError):
    """A failure of the service itself, which the same request meets again; the log has its cause.

    It has code and title of the root.
    """


class StorageBusy(SpawnError):
    """Another process holds the file; the detail names the remedy."""

    code = "storage_busy"
    title = "The store is in use"


class RegistryError(SpawnError):
    """The schema registry is absent, slow, or returned an invalid response."""

    code = "registry_error"
    title = "The schema registry failed"


class DeliveryFailed(SpawnError):
    """A consumer did not accept an event; the detail gives the reason."""

    code = "delivery_failed"
    title = "The event was not delivered"
