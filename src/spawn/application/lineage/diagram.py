"""Layout of the lineage diagram: sources, import jobs, projects, export jobs and targets.

A job's box stands for all of its runs and shows the newest. Five columns are enough, because all
data go into the projects or come out of them: sources, imports, projects, exports, targets.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from spawn.application.lineage.run_builder import PROJECTS
from spawn.domain.change import StoredAggregate
from spawn.domain.lineage.run import Activity, Run, RunState, find_channel
from spawn.domain.text import shorten

MAX_ROWS: Final = 12
"""Maximum number of jobs in one column; the page's table has the others."""

_WIDTH, _HEIGHT = 188, 58
_GAP_X, _GAP_Y = 44, 22
_MAX_NAME_CHARACTERS: Final = 24
_MAX_DESCRIBED_CHARACTERS: Final = 100
_COLUMN: Final = {Activity.IMPORT: 1, Activity.MIGRATION: 2, Activity.EXPORT: 3}
STATE_CLASSES: Final = {
    RunState.COMPLETE: "ok",
    RunState.RUNNING: "running",
    RunState.FAILED: "bad",
    RunState.ABORTED: "warn",
}
"""Visual class of each state."""


class LineageJob(msgspec.Struct, frozen=True):
    """A job: its newest run, the number of runs, the datasets read and written."""

    name: str
    newest: StoredAggregate[Any]
    runs: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: int

    @property
    def run(self) -> Run:
        """The newest run."""
        run: Run = self.newest.state
        return run


class DiagramBox(msgspec.Struct, frozen=True):
    """A rectangle on the grid, with a name and a caption below it."""

    x: float
    y: float
    kind: str
    name: str
    caption: str
    width: int = _WIDTH
    height: int = _HEIGHT

    @property
    def label(self) -> str:
        """The name, shortened to the width of the box."""
        return shorten(self.name, _MAX_NAME_CHARACTERS)

    @property
    def left(self) -> tuple[float, float]:
        """The point at which an edge ends."""
        return self.x, self.y + _HEIGHT / 2

    @property
    def right(self) -> tuple[float, float]:
        """The point at which an edge begins."""
        return self.x + _WIDTH, self.y + _HEIGHT / 2


class Diagram(msgspec.Struct, frozen=True):
    """A diagram: its size, its description in words, its boxes, and its edges as SVG paths."""

    width: int
    height: int
    title: str
    boxes: tuple[DiagramBox, ...]
    edges: tuple[str, ...]


def group_runs_by_job(runs: Iterable[StoredAggregate[Any]]) -> list[LineageJob]:
    """Group runs by job; runs and jobs are newest first."""
    runs_by_job: dict[str, list[StoredAggregate[Any]]] = {}
    for aggregate in runs:
        runs_by_job.setdefault(aggregate.state.job, []).append(aggregate)
    return [_build_job(name, job_runs) for name, job_runs in runs_by_job.items()]


def _build_job(name: str, runs: Sequence[StoredAggregate[Any]]) -> LineageJob:
    versions = {(d.name, d.version) for aggregate in runs for d in aggregate.state.inputs}
    inputs = dict.fromkeys(find_channel(d.name) for a in runs for d in a.state.inputs)
    outputs = dict.fromkeys(find_channel(d.name) for a in runs for d in a.state.outputs)
    return LineageJob(name, runs[0], len(runs), tuple(inputs), tuple(outputs), len(versions))


def lay_out_diagram(jobs: Sequence[LineageJob]) -> Diagram:
    """Lay out the jobs and their datasets."""
    by_activity = {
        activity: [job for job in jobs if job.run.activity is activity][:MAX_ROWS]
        for activity in Activity
    }
    sides = (by_activity[Activity.IMPORT], by_activity[Activity.EXPORT])
    rows = max(*(len(side) for side in sides), 1 + len(by_activity[Activity.MIGRATION]))
    boxes, edges = _Layout(rows).place(by_activity)
    return Diagram(
        width=5 * _WIDTH + 4 * _GAP_X + 4,
        height=rows * (_HEIGHT + _GAP_Y) - _GAP_Y + 4,
        title=_describe_jobs(jobs),
        boxes=tuple(boxes),
        edges=tuple(edges),
    )


def _describe_jobs(jobs: Sequence[LineageJob]) -> str:
    """Describe the diagram in words, for screen readers."""
    lines = (f"{_join(job.inputs)} to {_join(job.outputs)} by {job.name}" for job in jobs)
    return "; ".join(lines) or "No runs yet"


def _join(names: Sequence[str]) -> str:
    return ", ".join(shorten(name, _MAX_DESCRIBED_CHARACTERS) for name in names)


class _Layout:
    """Layout of boxes on the grid, and their edges."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def place(self, jobs: dict[Activity, list[LineageJob]]) -> tuple[list[DiagramBox], list[str]]:
        """Return every box, and every edge as an SVG path."""
        migrations = jobs[Activity.MIGRATION]
        middle = self._stack_tops(1 + len(migrations))
        projects = self._box(2, middle[0], "data", PROJECTS, "all projects")
        edges: list[str] = []
        boxes = [projects]
        for job, y in zip(migrations, middle[1:], strict=True):
            boxes.append(self._job_box(job, y))
            edges += _trace_loop(projects, boxes[-1])
        for activity in (Activity.IMPORT, Activity.EXPORT):
            for job, y in zip(jobs[activity], self._stack_tops(len(jobs[activity])), strict=True):
                box, other = self._job_box(job, y), self._dataset_box(job, y)
                boxes += [box, other]
                chain = (other, box, projects)
                edges += _trace_chain(chain if activity is Activity.IMPORT else chain[::-1])
        return boxes, edges

    def _stack_tops(self, count: int) -> list[float]:
        """Return the top of each of `count` boxes, centred in their column."""
        pitch = _HEIGHT + _GAP_Y
        first = (self._rows - count) * pitch / 2
        return [first + n * pitch for n in range(count)]

    def _job_box(self, job: LineageJob, y: float) -> DiagramBox:
        run = job.run
        rows = run.outputs[0].rows
        moved = "" if rows is None else f" · {rows:,} row{'' if rows == 1 else 's'}"
        caption = f"{run.state}{moved}"
        return self._box(_COLUMN[run.activity], y, STATE_CLASSES[run.state], job.name, caption)

    def _dataset_box(self, job: LineageJob, y: float) -> DiagramBox:
        if job.run.activity is Activity.EXPORT:
            return self._box(4, y, "data", job.outputs[0], _pluralize(job.runs, "export"))
        return self._box(0, y, "data", job.inputs[0], _pluralize(job.files, "file"))

    def _box(self, column: int, y: float, kind: str, name: str, caption: str) -> DiagramBox:
        return DiagramBox(column * (_WIDTH + _GAP_X), y, kind, name, caption)


def _pluralize(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _trace_chain(boxes: Sequence[DiagramBox]) -> list[str]:
    return [_trace_curve(a.right, b.left) for a, b in pairwise(boxes)]


def _trace_curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    bend = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{bend:g} {y1:g} {bend:g} {y2:g} {x2 - 2:g} {y2:g}"


def _trace_loop(above: DiagramBox, below: DiagramBox) -> list[str]:
    """Return two edges side by side: out of the projects and back into them."""
    start, end = above.y + _HEIGHT, below.y
    down, up = above.x + _WIDTH * 0.4, above.x + _WIDTH * 0.6
    return [
        f"M{down:g} {start:g}V{end - 2:g}",
        f"M{up:g} {end:g}V{start + 2:g}",
    ]
