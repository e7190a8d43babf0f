"""Resources of the service as typed values."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

Json = Any
"""A JSON value whose numbers with a fraction are decimals, exactly."""

_DOCUMENT = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class ProjectRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A project as the service returned it.

    `document` has every field, those of the schema and your own (`x_…`) included; `record[name]`
    reads one. `etag` is known after a read or a change of the single project, not from a list.
    Fields that a request with `fields` left out are None.
    """

    project_id: str
    version: int
    project_name: str | None = None
    total_amount: Decimal | None = None
    currency_code: str | None = None
    status: str | None = None
    sector: str | None = None
    country_code: str | None = None
    description: str | None = None
    maturity_years: Decimal | None = None
    expected_irr: Decimal | None = None
    dscr: Decimal | None = None
    financial_close_date: date | None = None
    cod_date: date | None = None
    end_date: date | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    document: Mapping[str, Json] = msgspec.field(default_factory=dict)
    etag: str | None = None

    def __getitem__(self, name: str) -> Json:
        return self.document[name]


class HistoryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a project, with the document as it was stored."""

    version: int
    type: str
    actor: str
    recorded_at: datetime
    schema_version: int
    changed: tuple[str, ...]
    document: dict[str, Json]
    reason: str | None = None


class RowCountsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of rows of an import; `by_reason` counts the quarantined ones by code.

    `currency_assumed` rows have no currency, and their new projects that of the product.
    """

    rows: int
    accepted: int
    unchanged: int
    quarantined: int
    warnings: int
    by_reason: dict[str, int]
    currency_assumed: int = 0


class ImportRecord(RowCountsRecord, frozen=True, kw_only=True):
    """The counts of an import.

    `vanished` projects of an earlier file of the same source are not in this one. `is_correction`
    if the rows of a quarantine were posted back, of which none vanish. `skipped_by` and
    `failed_checks` count rows by reason.
    """

    import_id: str
    quarantine_url: str
    kind: str = "project"
    skipped: int = 0
    skipped_by: dict[str, int] = {}
    failed_checks: dict[str, int] = {}
    merged: int = 0
    vanished: int = 0
    is_correction: bool = False


class DryRunRecord(RowCountsRecord, frozen=True, kw_only=True):
    """Counts of an import that only tried a file; nothing was written.

    `reasons` has each reason of quarantined rows with its number of rows and samples. `complete` is
    false if the time ended before the file; the counts are those of the rows so far.
    """

    complete: bool
    reasons: tuple[dict[str, Json], ...]
    warning_reasons: tuple[dict[str, Json], ...]
    projects: tuple[dict[str, Json], ...]


class JobProgressRecord(msgspec.Struct, frozen=True):
    """Progress of a job, in the unit of its kind."""

    done: int
    total: int | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job of the service; `retry_after_s` is the wait before the next read that it advises."""

    job_id: str
    status: str
    progress: JobProgressRecord | None = None
    result_url: str | None = None
    error: str | None = None
    retry_after_s: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.status in {"succeeded", "failed", "cancelled"}


class EventPage(msgspec.Struct, frozen=True):
    """CloudEvents of the feed, and the cursor after them."""

    events: tuple[dict[str, Json], ...]
    next: str


class FollowedEvent(msgspec.Struct, frozen=True):
    """A CloudEvent of the stream, and its position: the cursor to continue after it."""

    position: str
    event: dict[str, Json]


class PageRecord(msgspec.Struct, frozen=True):
    """Items of a list, and the cursor of the next page."""

    items: tuple[dict[str, Json], ...]
    next: str | None = None


class CountRecord(msgspec.Struct, frozen=True):
    """Number of projects under filters."""

    count: int


def decode_json(body: bytes) -> dict[str, Json]:
    """Decode an object; numbers with a fraction keep their digits as decimals."""
    return _DOCUMENT.decode(body)


def read_project(document: Mapping[str, Json], etag: str | None = None) -> ProjectRecord:
    """Return a project of its document."""
    fields = {name: document[name] for name in _CORE_NAMES if document.get(name) is not None}
    record = msgspec.convert(fields, ProjectRecord, strict=False)
    return msgspec.structs.replace(record, document=document, etag=etag)


_CORE_NAMES = tuple(n for n in ProjectRecord.__struct_fields__ if n not in {"document", "etag"})
