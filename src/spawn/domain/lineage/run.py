"""Where data come from and go to: one run of an import, an export or a migration, as an aggregate.

A run is recorded before its work begins and again when it ends, so that its two versions are the
two events that OpenLineage wants of it. Times are the store's own. `openlineage` renders a run in
the terms of that standard.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import Conflict
from spawn.domain.events.event import DomainEvent

KIND: Final = "lineage_run"
MAX_REASON: Final = 1_000
"""Characters of the reason of a run that failed."""


class Activity(StrEnum):
    """What a run did."""

    IMPORT = "import"
    EXPORT = "export"
    MIGRATION = "migration"


class RunState(StrEnum):
    """Where a run stands; all but the first are final."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    ABORTED = "aborted"


STARTED: Final = "lineage.started"
ENDED: Final[Mapping[RunState, str]] = {
    RunState.COMPLETE: "lineage.completed",
    RunState.FAILED: "lineage.failed",
    RunState.ABORTED: "lineage.aborted",
}
"""The events of a run, by the state that it ended in."""

EVENT_TYPES: Final = frozenset({STARTED, *ENDED.values()})


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of a dataset; a file's columns have no type."""

    name: str
    type: str | None = None
    description: str = ""


class Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run read or wrote. `rows` and `size_bytes` are what it moved, once that is known."""

    name: str
    description: str
    fields: tuple[Field, ...] = ()
    version: str | None = None
    rows: int | None = None
    size_bytes: int | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a column's values come from: a field of an input, and what is done to it.

    `conversion` is empty where the value is taken as it is.
    """

    dataset: str
    field: str
    conversion: str = ""


class Assertion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was tested about an input, and whether it held; a warning failed and stopped nothing.

    `failed` of the `looked_at` rows did not hold, where rows are what is tested.
    """

    name: str
    assertion: str
    success: bool
    warning: bool
    expected: str
    actual: str
    column: str | None = None
    description: str = ""
    looked_at: int = 0
    failed: int = 0


class NullCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many values of a column are there, and how many are not."""

    there: int
    missing: int


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run. `job` names what is run again and again; `reason` is why it did not complete.

    `origins` maps a column of the output to where it comes from. `assertions` and `counts` are of
    the first input. `parent` is the run that this one was part of.
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

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state is not RunState.RUNNING

    @property
    def dataset_names(self) -> frozenset[str]:
        """Everything that it read or wrote."""
        return frozenset(dataset.name for dataset in (*self.inputs, *self.outputs))


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a run moved: rows and bytes read and written, None where unknown."""

    rows_in: int | None = None
    bytes_in: int | None = None
    rows_out: int | None = None
    bytes_out: int | None = None


def ended(
    run: Run,
    state: RunState,
    moved: Moved,
    *,
    reason: str | None = None,
    assertions: tuple[Assertion, ...] = (),
) -> Run:
    """The run at its end.

    Raises:
        Conflict: it has ended already.
    """
    if run.is_final:
        raise Conflict(f"the run has {run.state} already")
    return msgspec.structs.replace(
        run,
        state=state,
        inputs=_moving(run.inputs, moved.rows_in, moved.bytes_in),
        outputs=_moving(run.outputs, moved.rows_out, moved.bytes_out),
        reason=None if reason is None else reason[:MAX_REASON],
        assertions=assertions or run.assertions,
    )


def as_begun(run: Run) -> Run:
    """The run as it was known when it began."""
    return msgspec.structs.replace(
        run,
        state=RunState.RUNNING,
        inputs=_moving(run.inputs, None, None),
        outputs=_moving(run.outputs, None, None),
        assertions=(),
        counts={},
        reason=None,
    )


def told(run: Run) -> DomainEvent:
    """The event of the run's state."""
    changed = ("state",) if run.is_final else ("job", "inputs", "outputs")
    return DomainEvent(
        type=ENDED.get(run.state, STARTED),
        kind=KIND,
        id=run.run_id,
        changed=changed,
        reason=run.reason,
    )


def _moving(
    datasets: tuple[Dataset, ...], rows: int | None, size_bytes: int | None
) -> tuple[Dataset, ...]:
    return tuple(
        msgspec.structs.replace(dataset, rows=rows, size_bytes=size_bytes) for dataset in datasets
    )
