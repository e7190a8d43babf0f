"""HTML pages of lineage: the diagram with the newest runs, and one run in detail."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

from spawn.domain.change import StoredAggregate
from spawn.domain.lineage.run import Assertion, Dataset, Run
from spawn.entrypoints.http.html.elements import code, link, section, table
from spawn.entrypoints.http.lineage.svg import (
    MAX_ROWS,
    STATE_CLASSES,
    draw_lineage,
    group_runs_by_job,
)

PATH: Final = "/lineage"
TITLE: Final = "Lineage"
MAX_TABLE_ROWS: Final = 50
"""Maximum number of runs in the page's table."""

_ABSENT: Final = "—"
_STYLE: Final = (
    "<style>.mark.ok{color:var(--ok)}.mark.bad{color:var(--bad)}.mark.warn{color:var(--warn)}"
    ".mark{border-color:currentColor}</style>"
)
_RUN_HEADERS: Final = ("Started", "Job", "State", "Rows read", "Rows written", "Duration", "Checks")


def render_runs_page(runs: Sequence[StoredAggregate[Any]]) -> str:
    """Return the body of the page of many runs, newest first."""
    if not runs:
        return _frame(
            "<p>No runs yet. Each import, export and schema migration adds a run to this page.</p>"
        )
    jobs = group_runs_by_job(runs)
    hidden_jobs = len(jobs) - MAX_ROWS
    note = (
        f"<p class=quiet>{hidden_jobs} older jobs are not in the diagram.</p>"
        if hidden_jobs > 0
        else ""
    )
    rows = [_run_row(aggregate) for aggregate in runs[:MAX_TABLE_ROWS]]
    caption = f"The newest {len(rows)} runs. Follow a run's link for its columns and checks."
    return _frame(
        section("picture", "Data flow", draw_lineage(jobs), note),
        section("runs", "Runs", table(caption, _RUN_HEADERS, rows)),
    )


def render_run_page(aggregate: StoredAggregate[Any]) -> str:
    """Return the body of the page of one run."""
    run: Run = aggregate.state
    facts = [
        ("Run", code(run.run_id)),
        ("State", _state_mark(run)),
        ("Started", _format_moment(aggregate.created_at)),
        ("Ended", _format_moment(aggregate.updated_at) if run.is_final else _ABSENT),
        ("Description", escape(run.description)),
    ]
    if run.reason:
        facts.append(("Reason", escape(run.reason)))
    parts = [
        section("run", run.job, table("Details of the run.", ("Property", "Value"), facts)),
        section(
            "datasets",
            "Datasets",
            table(
                "Datasets that the run read and wrote.",
                ("Dataset", "Role", "Version", "Columns", "Rows", "Bytes"),
                [*_dataset_rows(run.inputs, "read"), *_dataset_rows(run.outputs, "written")],
            ),
        ),
        section("columns", "Columns", _columns_table(run)),
    ]
    if run.assertions:
        headers = ("Check", "Result", "Expected", "Actual", "Description")
        rows = [_assertion_row(assertion) for assertion in run.assertions]
        parts.append(section("checks", "Checks", table("Checks of the run.", headers, rows)))
    return _frame(*parts)


def _frame(*parts: str) -> str:
    return (
        f'{_STYLE}<a class="skip" href="#main">Skip to the content</a><header class="top">'
        f"<h1>{TITLE}</h1><p>Sources of the projects, and the exports and migrations they went "
        f"through. Machine-readable as {link(PATH + '?format=json', 'OpenLineage events')} and as "
        f"a {link(PATH + '/graph', 'graph')}.</p><p>{link('/', 'Product page')} · "
        f'{link(PATH, "All runs")}</p></header><main id="main">{"".join(parts)}</main>'
    )


def _run_row(aggregate: StoredAggregate[Any]) -> tuple[str, ...]:
    run: Run = aggregate.state
    duration_s = (aggregate.updated_at - aggregate.created_at).total_seconds()
    failures = [assertion for assertion in run.assertions if not assertion.success]
    checks = "<br>".join(f"{escape(one.name)}: {escape(one.actual)}" for one in failures)
    return (
        link(f"{PATH}?run={run.run_id}", f"{aggregate.created_at:%Y-%m-%d %H:%M:%S}"),
        link(f"{PATH}?job={quote(run.job)}", run.job),
        _state_mark(run),
        _format_count(run.inputs[0].rows),
        _format_count(run.outputs[0].rows),
        f"{duration_s:.1f}&nbsp;s" if run.is_final else _ABSENT,
        checks or (f"{len(run.assertions)} passed" if run.assertions else _ABSENT),
    )


def _state_mark(run: Run) -> str:
    return f'<span class="mark {STATE_CLASSES[run.state]}">{run.state}</span>'


def _format_count(number: int | None) -> str:
    return _ABSENT if number is None else f"{number:,}"


def _format_moment(instant: datetime) -> str:
    return f"<time>{instant.isoformat().replace('+00:00', 'Z')}</time>"


def _dataset_rows(datasets: Sequence[Dataset], role: str) -> Iterator[tuple[str, ...]]:
    for dataset in datasets:
        yield (
            link(f"{PATH}?dataset={quote(dataset.name)}", dataset.name),
            role,
            escape(dataset.version or _ABSENT),
            str(len(dataset.fields)),
            _format_count(dataset.rows),
            _format_count(dataset.size_bytes),
        )


def _columns_table(run: Run) -> str:
    rows = [
        (code(name), code(origin.field), escape(origin.conversion or _ABSENT))
        for name, origins in run.origins.items()
        for origin in origins
    ]
    headers = ("Column", "Source field", "Conversion")
    return table("Source of each output column.", headers, rows)


def _assertion_row(assertion: Assertion) -> tuple[str, ...]:
    result = "passed" if assertion.success else ("warning" if assertion.warning else "failed")
    return (
        code(assertion.name),
        result,
        escape(assertion.expected),
        escape(assertion.actual),
        escape(assertion.description),
    )
