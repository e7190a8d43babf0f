"""The page of lineage, for people: the picture, the newest runs, and one run in detail."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

from spawn.domain.change import Stored
from spawn.domain.lineage.run import Assertion, Dataset, Run
from spawn.entrypoints.http.html.components import code, link, section, table
from spawn.entrypoints.http.lineage.svg import MAX_ROWS, STATE_CLASSES, jobs_of, picture

PATH: Final = "/lineage"
TITLE: Final = "Lineage"
MAX_SHOWN: Final = 50
"""Runs that the page's table shows."""

_NOTHING: Final = "—"
_STYLE: Final = (
    "<style>.mark.ok{color:var(--ok)}.mark.bad{color:var(--bad)}.mark.warn{color:var(--warn)}"
    ".mark{border-color:currentColor}</style>"
)
_RUN_HEADS: Final = ("Started", "Job", "State", "Rows read", "Rows written", "Took", "Checks")


def overview(runs: Sequence[Stored[Any]]) -> str:
    """The body of the page of many runs, newest first."""
    if not runs:
        return _framed(
            "<p>Nothing has moved yet: an import, an export or a migration of the schema leaves a "
            "run here.</p>"
        )
    jobs = jobs_of(runs)
    more = len(jobs) - MAX_ROWS
    note = f"<p class=quiet>{more} older jobs are in the table alone.</p>" if more > 0 else ""
    shown = [_row(stored) for stored in runs[:MAX_SHOWN]]
    caption = f"The newest {len(shown)} runs; each leads to its columns and checks."
    return _framed(
        section("picture", "What flows where", picture(jobs), note),
        section("runs", "Runs", table(caption, _RUN_HEADS, shown)),
    )


def detail(stored: Stored[Any]) -> str:
    """The body of the page of one run."""
    run: Run = stored.state
    facts = [
        ("Run", code(run.run_id)),
        ("State", _state(run)),
        ("Started", _moment(stored.created_at)),
        ("Ended", _moment(stored.updated_at) if run.is_final else _NOTHING),
        ("What it did", escape(run.description)),
    ]
    if run.reason:
        facts.append(("Reason", escape(run.reason)))
    parts = [
        section("run", run.job, table("What is known of the run.", ("Fact", "Value"), facts)),
        section(
            "datasets",
            "Datasets",
            table(
                "What it read and wrote.",
                ("Dataset", "Role", "Version", "Columns", "Rows", "Bytes"),
                [*_datasets(run.inputs, "read"), *_datasets(run.outputs, "written")],
            ),
        ),
        section("columns", "Columns", _columns(run)),
    ]
    if run.assertions:
        heads = ("Check", "Outcome", "Expected", "Found", "What it says")
        rows = [_assertion(one) for one in run.assertions]
        parts.append(section("checks", "Checks", table("What was tested.", heads, rows)))
    return _framed(*parts)


def _framed(*parts: str) -> str:
    return (
        f'{_STYLE}<a class="skip" href="#main">Skip to the content</a><header class="top">'
        f"<h1>{TITLE}</h1><p>Where the projects come from, and where they went. As "
        f"{link(PATH + '?format=json', 'OpenLineage events')} and as a "
        f"{link(PATH + '/graph', 'graph')} for machines.</p><p>{link('/', 'The product')} · "
        f'{link(PATH, "All runs")}</p></header><main id="main">{"".join(parts)}</main>'
    )


def _row(stored: Stored[Any]) -> tuple[str, ...]:
    run: Run = stored.state
    took = (stored.updated_at - stored.created_at).total_seconds()
    failed = [one for one in run.assertions if not one.success]
    checks = "<br>".join(f"{escape(one.name)}: {escape(one.actual)}" for one in failed)
    return (
        link(f"{PATH}?run={run.run_id}", f"{stored.created_at:%Y-%m-%d %H:%M:%S}"),
        link(f"{PATH}?job={quote(run.job)}", run.job),
        _state(run),
        _count(run.inputs[0].rows),
        _count(run.outputs[0].rows),
        f"{took:.1f}&nbsp;s" if run.is_final else _NOTHING,
        checks or (f"{len(run.assertions)} kept" if run.assertions else _NOTHING),
    )


def _state(run: Run) -> str:
    return f'<span class="mark {STATE_CLASSES[run.state]}">{run.state}</span>'


def _count(number: int | None) -> str:
    return _NOTHING if number is None else f"{number:,}"


def _moment(instant: datetime) -> str:
    return f"<time>{instant.isoformat().replace('+00:00', 'Z')}</time>"


def _datasets(datasets: Sequence[Dataset], role: str) -> Iterator[tuple[str, ...]]:
    for dataset in datasets:
        yield (
            link(f"{PATH}?dataset={quote(dataset.name)}", dataset.name),
            role,
            escape(dataset.version or _NOTHING),
            str(len(dataset.fields)),
            _count(dataset.rows),
            _count(dataset.size_bytes),
        )


def _columns(run: Run) -> str:
    rows = [
        (code(name), code(origin.field), escape(origin.conversion or _NOTHING))
        for name, origins in run.origins.items()
        for origin in origins
    ]
    heads = ("Column", "Comes from", "What is done to it")
    return table("Where each column of the output comes from.", heads, rows)


def _assertion(one: Assertion) -> tuple[str, ...]:
    held = "kept" if one.success else ("warning" if one.warning else "broken")
    return (
        code(one.name),
        held,
        escape(one.expected),
        escape(one.actual),
        escape(one.description),
    )
