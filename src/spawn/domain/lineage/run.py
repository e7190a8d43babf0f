"""One run of an import, export or migration with its datasets, as an aggregate.

A run is recorded before its work begins and again when it ends, so that its two versions are the
two events that OpenLineage requires. Times are the store's own. `openlineage` renders a run as
events of that standard.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from spawn.domain.errors import Conflict, InvalidInput
from spawn.domain.events.event import DomainEvent

RUN_KIND: Final = "lineage_run"
MAX_REASON: Final = 1_000
"""Characters of the reason of a run that failed."""


class Activity(StrEnum):
    """The activity of a run."""

    IMPORT = "import"
    EXPORT = "export"
    MIGRATION = "migration"


class RunState(StrEnum):
    """The state of a run; all but the first are final."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    ABORTED = "aborted"


STARTED_EVENT: Final = "lineage.started"
ENDED_EVENTS: Final[Mapping[RunState, str]] = {
    RunState.COMPLETE: "lineage.completed",
    RunState.FAILED: "lineage.failed",
    RunState.ABORTED: "lineage.aborted",
}
"""Event types of a run's end, by its final state."""

ROWS_ACCEPTED: Final = "rows_accepted"
"""Name of the assertion that no row of an import is quarantined."""

PARENT_HEADER: Final = "OpenLineage-Parent-Id"
"""Header with the run of the pipeline that a run belongs to."""

MAX_PARENT_CHARACTERS: Final = 500
_PARENT: Final = re.compile(
    r"([^\s/][^\s]*)/([^\s/]+)/"
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    re.IGNORECASE | re.ASCII,
)
_MAIN_SCHEMA: Final = "main"
_FILE_HASH: Final = re.compile(r"(uploads/.+)/[0-9a-f]{16}")

EVENT_TYPES: Final = frozenset({STARTED_EVENT, *ENDED_EVENTS.values()})


class DatasetField(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of a dataset; a file's columns have no type."""

    name: str
    type: str | None = None
    description: str = ""


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input or output of a run; `rows` and `size_bytes` are None if unknown."""

    name: str
    description: str
    fields: tuple[DatasetField, ...] = ()
    version: str | None = None
    rows: int | None = None
    size_bytes: int | None = None


class ParentRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The run of another system, such as a task of a pipeline, that caused a run."""

    namespace: str
    job: str
    run_id: Annotated[str, msgspec.Meta(max_length=36)]


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The source of a column's values: a field of an input and its conversion.

    `conversion` is empty if the value is copied unchanged.
    """

    dataset: str
    field: str
    conversion: str = ""


class Assertion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test of an input and its result; a failed `warning` never stops a run.

    `failed_rows` of the `checked_rows` failed, if the test is about rows.
    """

    name: str
    assertion: str
    success: bool
    warning: bool
    expected: str
    actual: str
    column: str | None = None
    description: str = ""
    checked_rows: int = msgspec.field(name="looked_at", default=0)
    failed_rows: int = msgspec.field(name="failed", default=0)


class NullCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of present and missing values of a column."""

    present: int = msgspec.field(name="there")
    missing: int


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run; `job` names the repeated work, `reason` the cause of a failure.

    `origins` maps a column of the output to its sources. `assertions` and `counts` belong to the
    first input. `parent` is the run that caused it, if its caller named one.
    """

    run_id: str
    activity: Activity
    job: str
    description: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]
    state: RunState = RunState.RUNNING
    origins: dict[str, tuple[Origin, ...]] = msgspec.field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    counts: dict[str, NullCount] = msgspec.field(default_factory=dict)
    reason: str | None = None
    parent: ParentRun | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.state is not RunState.RUNNING

    @property
    def dataset_names(self) -> frozenset[str]:
        """The names of all inputs and outputs."""
        return frozenset(dataset.name for dataset in (*self.inputs, *self.outputs))


def parse_parent_run(text: str) -> ParentRun:
    """Parse `namespace/job/run id`, as OpenLineage passes the parent of a run on.

    Raises:
        InvalidInput: the text has another form.
    """
    match = _PARENT.fullmatch(text) if len(text) <= MAX_PARENT_CHARACTERS else None
    if match is None:
        raise InvalidInput.at(
            f"/{PARENT_HEADER}",
            "invalid_value",
            "A parent is namespace/job/run id, the last a UUID, such as"
            " airflow/nightly.load/019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b.",
        )
    return ParentRun(namespace=match[1], job=match[2], run_id=match[3].lower())


def find_channel(name: str) -> str:
    """Return the dataset of a name; earlier releases had one for each uploaded file."""
    match = _FILE_HASH.fullmatch(name)
    return match[1] if match else name


def format_table_name(name: str) -> str:
    """Return a dataset's name as `schema.table`; one that is qualified already loses the rest."""
    schema, slash, table = find_channel(name).partition("/")
    if not slash:
        words = name.split(".")
        schema, table = words[-2] if len(words) > 1 else _MAIN_SCHEMA, words[-1]
    return f"{schema}.{re.sub('[./]', '_', table)}"


class DataVolume(msgspec.Struct, frozen=True, kw_only=True):
    """The volume that a run moved: rows and bytes read and written, None if unknown."""

    rows_in: int | None = None
    bytes_in: int | None = None
    rows_out: int | None = None
    bytes_out: int | None = None


def end_run(
    run: Run,
    state: RunState,
    volume: DataVolume,
    *,
    reason: str | None = None,
    assertions: tuple[Assertion, ...] = (),
) -> Run:
    """Return the run at its end.

    Raises:
        Conflict: the run has ended already.
    """
    if run.is_final:
        raise Conflict(f"the run has {run.state} already")
    return msgspec.structs.replace(
        run,
        state=state,
        inputs=_set_volume(run.inputs, volume.rows_in, volume.bytes_in),
        outputs=_set_volume(run.outputs, volume.rows_out, volume.bytes_out),
        reason=None if reason is None else reason[:MAX_REASON],
        assertions=assertions or run.assertions,
    )


def omit_columns(run: Run) -> Run:
    """Return the run with the names and versions of its datasets, without their columns."""

    def omit_fields(datasets: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
        return tuple(msgspec.structs.replace(dataset, fields=()) for dataset in datasets)

    return msgspec.structs.replace(
        run, inputs=omit_fields(run.inputs), outputs=omit_fields(run.outputs), origins={}
    )


def rewind_to_start(run: Run) -> Run:
    """Return the run as it was at its start."""
    return msgspec.structs.replace(
        run,
        state=RunState.RUNNING,
        inputs=_set_volume(run.inputs, None, None),
        outputs=_set_volume(run.outputs, None, None),
        assertions=(),
        counts={},
        reason=None,
    )


def build_domain_event(run: Run) -> DomainEvent:
    """Return the domain event of the run's state."""
    changed = ("state",) if run.is_final else ("job", "inputs", "outputs")
    return DomainEvent(
        type=ENDED_EVENTS.get(run.state, STARTED_EVENT),
        kind=RUN_KIND,
        id=run.run_id,
        changed=changed,
        reason=run.reason,
    )


def _set_volume(
    datasets: tuple[Dataset, ...], rows: int | None, size_bytes: int | None
) -> tuple[Dataset, ...]:
    return tuple(
        msgspec.structs.replace(dataset, rows=rows, size_bytes=size_bytes) for dataset in datasets
    )
