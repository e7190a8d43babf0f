"""HTML pages of lineage: the diagram with the newest runs, and one run in detail."""

from collections.abc import Sequence
from typing import Any, Final

from spawn.application.lineage.diagram import (
    MAX_ROWS,
    STATE_CLASSES,
    group_runs_by_job,
    lay_out_diagram,
)
from spawn.domain.change import StoredAggregate

PATH: Final = "/lineage"
RUNS_TEMPLATE: Final = "lineage_runs.html"
RUN_TEMPLATE: Final = "lineage_run.html"
MAX_TABLE_ROWS: Final = 50
"""Maximum number of runs in the page's table."""


def build_runs_page(runs: Sequence[StoredAggregate[Any]]) -> dict[str, object]:
    """Return the context of the page of many runs, newest first."""
    jobs = group_runs_by_job(runs)
    return {
        "runs": runs[:MAX_TABLE_ROWS],
        "diagram": lay_out_diagram(jobs),
        "hidden_jobs": max(0, len(jobs) - MAX_ROWS),
        "state_classes": STATE_CLASSES,
    }


def build_run_page(aggregate: StoredAggregate[Any]) -> dict[str, object]:
    """Return the context of the page of one run."""
    return {
        "run": aggregate.state,
        "started_at": aggregate.created_at,
        "ended_at": aggregate.updated_at if aggregate.state.is_final else None,
        "state_classes": STATE_CLASSES,
    }
