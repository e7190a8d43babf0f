"""The picture of lineage: what flows into the projects, through which jobs, and out of them.

Jobs stand for all of their runs and show the newest. Five columns are enough, because everything
goes into the projects or comes out of them: sources, imports, projects, exports, targets.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

import msgspec

from spawn.application.product.snapshot import DATASET
from spawn.domain.change import Stored
from spawn.domain.lineage.run import Activity, Run, RunState

MAX_ROWS: Final = 12
"""Jobs that one column shows; the page's table has the others."""

_WIDTH, _HEIGHT = 188, 58
_GAP_X, _GAP_Y = 44, 22
_LONGEST: Final = 24
_UPLOADS: Final = "uploads/"
_COLUMN: Final = {Activity.IMPORT: 1, Activity.MIGRATION: 2, Activity.EXPORT: 3}
STATE_CLASSES: Final = {
    RunState.COMPLETE: "ok",
    RunState.RUNNING: "running",
    RunState.FAILED: "bad",
    RunState.ABORTED: "warn",
}
"""How a state is coloured."""

_STYLE: Final = (
    "<style>.flow{overflow-x:auto}.flow svg{min-width:44rem;width:100%;height:auto}"
    ".flow rect{fill:var(--card);stroke:var(--line);stroke-width:1.5}"
    ".flow .data rect{fill:var(--soft);stroke:var(--accent)}"
    ".flow .ok rect{stroke:var(--ok)}.flow .bad rect{stroke:var(--bad)}"
    ".flow .warn rect{stroke:var(--warn)}.flow .running rect{stroke-dasharray:5 3}"
    ".flow text{fill:var(--ink);font:600 12.5px system-ui,sans-serif}"
    ".flow text.said{fill:var(--quiet);font-weight:400;font-size:12px}"
    ".flow path{fill:none;stroke:var(--quiet);stroke-width:1.5}"
    ".flow marker path{fill:var(--quiet);stroke:none}</style>"
)


class Job(msgspec.Struct, frozen=True):
    """A job with its newest run, how many runs there are, and what they read and wrote."""

    name: str
    newest: Stored[Any]
    runs: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: int

    @property
    def run(self) -> Run:
        """The newest run."""
        run: Run = self.newest.state
        return run


class _Box(msgspec.Struct, frozen=True):
    """A rectangle with a name and a line below it, at a place of the grid."""

    x: float
    y: float
    kind: str
    name: str
    said: str

    @property
    def left(self) -> tuple[float, float]:
        return self.x, self.y + _HEIGHT / 2

    @property
    def right(self) -> tuple[float, float]:
        return self.x + _WIDTH, self.y + _HEIGHT / 2


def jobs_of(runs: Iterable[Stored[Any]]) -> list[Job]:
    """The jobs of some runs, those with the newest runs first; the runs are newest first too."""
    found: dict[str, list[Stored[Any]]] = {}
    for stored in runs:
        found.setdefault(stored.state.job, []).append(stored)
    return [_job(name, of_job) for name, of_job in found.items()]


def _job(name: str, runs: Sequence[Stored[Any]]) -> Job:
    inputs = dict.fromkeys(d.name for stored in runs for d in stored.state.inputs)
    outputs = dict.fromkeys(_grouped(d.name) for stored in runs for d in stored.state.outputs)
    groups = tuple(dict.fromkeys(_grouped(name) for name in inputs))
    return Job(name, runs[0], len(runs), groups, tuple(outputs), len(inputs))


def _grouped(dataset: str) -> str:
    """Uploads through one mapping are one source, however many files they are."""
    return dataset.rpartition("/")[0] if dataset.startswith(_UPLOADS) else dataset


def picture(jobs: Sequence[Job]) -> str:
    """The jobs and what they move as one inline SVG, styled by the page's colours."""
    by_activity = {
        activity: [job for job in jobs if job.run.activity is activity][:MAX_ROWS]
        for activity in Activity
    }
    sides = (by_activity[Activity.IMPORT], by_activity[Activity.EXPORT])
    rows = max(*(len(side) for side in sides), 1 + len(by_activity[Activity.MIGRATION]))
    height = rows * (_HEIGHT + _GAP_Y) - _GAP_Y + 4
    width = 5 * _WIDTH + 4 * _GAP_X + 4
    shapes = "".join(_Layout(rows).draw(by_activity))
    return (
        f'{_STYLE}<div class="flow" tabindex="0" role="region" aria-label="Picture of lineage">'
        f'<svg viewBox="-2 -2 {width} {height}" role="img" aria-labelledby="flow-title">'
        f'<title id="flow-title">{escape(_told(jobs))}</title>'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{shapes}</svg></div>"
    )


def _told(jobs: Sequence[Job]) -> str:
    """What the picture shows, for who cannot see it."""
    lines = (f"{', '.join(j.inputs)} to {', '.join(j.outputs)} by {j.name}" for j in jobs)
    return "; ".join(lines) or "Nothing has moved yet"


class _Layout:
    """Places boxes on the grid and joins them."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def draw(self, jobs: dict[Activity, list[Job]]) -> Iterator[str]:
        """Every shape, edges first so that boxes lie above them."""
        migrations = jobs[Activity.MIGRATION]
        middle = self._stacked(1 + len(migrations))
        projects = self._box(2, middle[0], "data", DATASET, "every project")
        edges: list[str] = []
        boxes = [projects]
        for job, y in zip(migrations, middle[1:], strict=True):
            boxes.append(self._job(job, y))
            edges += _loop(projects, boxes[-1])
        for activity in (Activity.IMPORT, Activity.EXPORT):
            for job, y in zip(jobs[activity], self._stacked(len(jobs[activity])), strict=True):
                box, other = self._job(job, y), self._dataset(job, y)
                boxes += [box, other]
                chain = (other, box, projects)
                edges += _chain(chain if activity is Activity.IMPORT else chain[::-1])
        yield from edges
        yield from map(_drawn, boxes)

    def _stacked(self, count: int) -> list[float]:
        """The tops of so many boxes, centred in their column."""
        pitch = _HEIGHT + _GAP_Y
        first = (self._rows - count) * pitch / 2
        return [first + n * pitch for n in range(count)]

    def _job(self, job: Job, y: float) -> _Box:
        run = job.run
        rows = run.outputs[0].rows
        moved = "" if rows is None else f" · {rows:,} row{'' if rows == 1 else 's'}"
        said = f"{run.state}{moved}"
        return self._box(_COLUMN[run.activity], y, STATE_CLASSES[run.state], job.name, said)

    def _dataset(self, job: Job, y: float) -> _Box:
        if job.run.activity is Activity.EXPORT:
            return self._box(4, y, "data", job.outputs[0], _times(job.runs, "export"))
        return self._box(0, y, "data", job.inputs[0], _times(job.files, "file"))

    def _box(self, column: int, y: float, kind: str, name: str, said: str) -> _Box:
        return _Box(column * (_WIDTH + _GAP_X), y, kind, name, said)


def _times(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _chain(boxes: Sequence[_Box]) -> list[str]:
    return [_curve(a.right, b.left) for a, b in pairwise(boxes)]


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    bend = (x1 + x2) / 2
    path = f"M{x1:g} {y1:g}C{bend:g} {y1:g} {bend:g} {y2:g} {x2 - 2:g} {y2:g}"
    return f'<path d="{path}" marker-end="url(#tip)"/>'


def _loop(above: _Box, below: _Box) -> list[str]:
    """Out of the projects and back into them, beside each other."""
    start, end = above.y + _HEIGHT, below.y
    down, up = above.x + _WIDTH * 0.4, above.x + _WIDTH * 0.6
    return [
        f'<path d="M{down:g} {start:g}V{end - 2:g}" marker-end="url(#tip)"/>',
        f'<path d="M{up:g} {end:g}V{start + 2:g}" marker-end="url(#tip)"/>',
    ]


def _drawn(box: _Box) -> str:
    centre = box.x + _WIDTH / 2
    name = box.name if len(box.name) <= _LONGEST else box.name[: _LONGEST - 1] + "…"
    return (
        f'<g class="{box.kind}"><title>{escape(box.name)}: {escape(box.said)}</title>'
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="7"/>'
        f'<text x="{centre:g}" y="{box.y + 25:g}" text-anchor="middle">{escape(name)}</text>'
        f'<text class="said" x="{centre:g}" y="{box.y + 43:g}" text-anchor="middle">'
        f"{escape(box.said)}</text></g>"
    )
