"""Grafana dashboards of the service, written as JSON to `grafana/dashboards`.

`python -m monitoring.dashboards`, run in `infra`, writes the files again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from grafana_foundation_sdk.builders import common as commons
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode, VizOrientation
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER: Final = Path(__file__).parent / "grafana" / "dashboards"
PANEL_HEIGHT: Final = 8
PANELS_OF_A_ROW: Final = 3
GRID_COLUMNS: Final = 24
SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

ONE: Final = '{instance=~"$instance"}'
"""Selector of the instances that the reader has chosen."""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel: expressions by legend, the unit of Grafana, and the sentence of its tooltip.

    `limits` are the values from which a panel is yellow and red. `kind` is a time series, the
    newest value, or the labels of the newest samples.
    """

    title: str
    text: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    limits: tuple[float, float] | None = None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard: rows of panels by title."""

    name: str
    title: str
    text: str
    rows: Mapping[str, Sequence[Panel]]


def _rate(metric: str, labels: str = "", by: str = "") -> str:
    selector = f'{{{labels}{", " if labels else ""}instance=~"$instance"}}'
    total = f"sum by ({by})" if by else "sum"
    return f"{total} (rate({metric}{selector}[$__rate_interval]))"


def _quantile(share: float, metric: str, labels: str = "") -> str:
    return f"histogram_quantile({share:g}, {_rate(metric + '_bucket', labels, 'le')})"


_REQUESTS: Final = "http_server_request_duration_seconds"
_CLIENTS: Final = 'http_route!~"/monitoring/.*"'
_TIMED: Final = 'http_route!~"/monitoring/.*|/v1/events/stream|/v1/data/.*"'

SERVICE: Final = Board(
    name="service",
    title="Spawn: service",
    text="Objectives, requests, and what limits them.",
    rows={
        "Objectives": (
            Panel(
                title="Targets that are up",
                text="Instances whose metrics Prometheus gets.",
                queries={"up": 'sum(up{job="spawn"})'},
                kind="stat",
            ),
            Panel(
                title="Error budgets that burn",
                text="1 uses the budget up in 30 days; 14.4 pages.",
                queries={
                    "{{slo}}, 5 minutes": "spawn:slo_burn:rate5m",
                    "{{slo}}, 1 hour": "spawn:slo_burn:rate1h",
                },
                limits=(1, 14.4),
            ),
            Panel(
                title="Budget used in three days",
                text="Share of the failures that the objective allows in three days.",
                queries={"{{slo}}": "spawn:slo_burn:rate3d"},
                unit="percentunit",
                kind="stat",
                limits=(0.5, 1),
            ),
        ),
        "Requests": (
            Panel(
                title="Requests",
                text="Requests of clients by status.",
                queries={
                    "{{http_response_status_code}}": _rate(
                        f"{_REQUESTS}_count", _CLIENTS, "http_response_status_code"
                    )
                },
                unit="reqps",
            ),
            Panel(
                title="Failures by route",
                text="Responses with a status of 500 or more.",
                queries={
                    "{{http_route}}": _rate(
                        f"{_REQUESTS}_count",
                        f'{_CLIENTS}, http_response_status_code=~"5.."',
                        "http_route",
                    )
                },
                unit="reqps",
            ),
            Panel(
                title="Duration of reads",
                text="Without streams and downloads, which take as long as their content.",
                queries={
                    "p50": _quantile(0.5, _REQUESTS, f'http_request_method="GET", {_TIMED}'),
                    "p99": _quantile(0.99, _REQUESTS, f'http_request_method="GET", {_TIMED}'),
                },
                unit="s",
                limits=(0.1, 0.25),
            ),
            Panel(
                title="Duration of commands on projects",
                text="The durable commit is part of it.",
                queries={
                    "p50": _quantile(
                        0.5,
                        _REQUESTS,
                        'http_request_method!="GET", http_route=~"/v1/ops/projects.*"',
                    ),
                    "p99": _quantile(
                        0.99,
                        _REQUESTS,
                        'http_request_method!="GET", http_route=~"/v1/ops/projects.*"',
                    ),
                },
                unit="s",
                limits=(0.25, 0.5),
            ),
            Panel(
                title="Slowest routes",
                text="Mean duration by route, streams and downloads excepted.",
                queries={
                    "{{http_route}}": (
                        f"topk(5, {_rate(f'{_REQUESTS}_sum', _TIMED, 'http_route')}"
                        f" / {_rate(f'{_REQUESTS}_count', _TIMED, 'http_route')})"
                    )
                },
                unit="s",
            ),
            Panel(
                title="Responses from the cache",
                text="Responses to GET that were served before routing.",
                queries={"cached": _rate("spawn_http_cached_responses_total")},
                unit="reqps",
            ),
        ),
        "Limits": (
            Panel(
                title="Places taken",
                text="Share of the places of each kind.",
                queries={
                    "{{kind}}": f"spawn_http_places_in_use{ONE} / spawn_http_places_limit{ONE}"
                },
                unit="percentunit",
                limits=(0.6, 0.8),
            ),
            Panel(
                title="Rejected",
                text="Requests that found no place, exceeded a budget, or their deadline.",
                queries={
                    "no place: {{kind}}": _rate("spawn_http_places_rejected_total", by="kind"),
                    "budget": _rate("spawn_http_rate_limited_requests_total"),
                    "deadline": _rate("spawn_http_expired_requests_total"),
                },
                unit="reqps",
            ),
            Panel(
                title="Delay of the event loop",
                text="Above 250 ms fewer requests run at once.",
                queries={"{{instance}}": f"spawn_event_loop_lag_seconds{ONE}"},
                unit="s",
                limits=(0.1, 0.25),
            ),
            Panel(
                title="Requests and streams now",
                text="Requests that are served, and open event streams.",
                queries={
                    "requests": f"http_server_active_requests{ONE}",
                    "streams": f"spawn_event_streams{ONE}",
                },
            ),
        ),
        "Process": (
            Panel(
                title="CPU",
                text="Cores that the process uses.",
                queries={"cores": _rate("process_cpu_seconds_total", 'job="spawn"')},
            ),
            Panel(
                title="Memory",
                text="Resident memory, and the part of the storage engine.",
                queries={
                    "resident": f'process_resident_memory_bytes{{job="spawn", {ONE[1:]}',
                    "engine": f"spawn_storage_memory_bytes{ONE}",
                },
                unit="bytes",
            ),
            Panel(
                title="File descriptors",
                text="Share of those that the system grants.",
                queries={
                    "{{instance}}": (
                        f'process_open_fds{{job="spawn", {ONE[1:]}'
                        f' / process_max_fds{{job="spawn", {ONE[1:]}'
                    )
                },
                unit="percentunit",
                limits=(0.6, 0.8),
            ),
            Panel(
                title="Failures of background tasks",
                text="Each task that failed was started again.",
                queries={
                    "{{task}}": f"increase(spawn_background_task_failures_total{ONE}[1h]) > 0"
                },
            ),
            Panel(
                title="Lines of the access log that were dropped",
                text="The reader of the log stalled.",
                queries={"lines": _rate("spawn_access_lines_dropped_total")},
            ),
            Panel(
                title="Builds",
                text="Versions of the service, the interpreter and the engine.",
                queries={"build": f"spawn_build_info{ONE}"},
                kind="table",
            ),
        ),
    },
)

WRITE_PATH: Final = Board(
    name="write-path",
    title="Spawn: write path",
    text="From the queue of changes to disk, backups and consumers of events.",
    rows={
        "Store": (
            Panel(
                title="Writable",
                text="1 if the store accepts changes.",
                queries={"{{instance}}": f"spawn_storage_writable{ONE}"},
                kind="stat",
            ),
            Panel(
                title="Stall of the writer",
                text="Time without progress while changes wait; 15 s page.",
                queries={"{{instance}}": f"spawn_storage_stall_seconds{ONE}"},
                unit="s",
                limits=(5, 15),
            ),
            Panel(
                title="Changes in the queue",
                text="Beyond the limit commands get 503.",
                queries={
                    "queued": f"spawn_storage_queue_changes{ONE}",
                    "limit": f"spawn_storage_queue_limit_changes{ONE}",
                },
            ),
            Panel(
                title="Duration of commits",
                text="Of a group of changes, its sync included.",
                queries={
                    "p50": _quantile(0.5, "spawn_storage_commit_seconds"),
                    "p99": _quantile(0.99, "spawn_storage_commit_seconds"),
                },
                unit="s",
            ),
            Panel(
                title="Changes of a group",
                text="Mean number of changes that are committed as one.",
                queries={
                    "changes": (
                        f"{_rate('spawn_storage_group_changes_sum')}"
                        f" / {_rate('spawn_storage_group_changes_count')}"
                    )
                },
            ),
            Panel(
                title="Projection behind the journal",
                text="Age of the oldest row that is not projected, and rows to compare.",
                queries={
                    "age, s": f"spawn_projection_lag_seconds{ONE}",
                    "rows": f"spawn_projection_lag_rows{ONE}",
                    "rows to compare": f"spawn_projection_uncompared_rows{ONE}",
                },
            ),
            Panel(
                title="Queries",
                text="Queries that run and that wait.",
                queries={"{{state}}": f"spawn_storage_queries{ONE}"},
            ),
            Panel(
                title="Entries of caches",
                text="Entries by cache of the store.",
                queries={"{{cache}}": f"spawn_storage_cache_entries{ONE}"},
            ),
            Panel(
                title="Clock",
                text="300 s in either direction page.",
                queries={
                    "jump": f"spawn_clock_jump_seconds{ONE}",
                    "newest change ahead": f"spawn_clock_recorded_ahead_seconds{ONE}",
                },
                unit="s",
            ),
        ),
        "Disk and backups": (
            Panel(
                title="Free space",
                text="At the reserve commands are rejected.",
                queries={
                    "free": f"spawn_disk_free_bytes{ONE}",
                    "reserve": f"spawn_disk_reserve_bytes{ONE}",
                },
                unit="bytes",
            ),
            Panel(
                title="Files of the store",
                text="Size of the database and of its write-ahead log.",
                queries={
                    "database": f"spawn_storage_file_bytes{ONE}",
                    "log": f"spawn_storage_wal_bytes{ONE}",
                },
                unit="bytes",
            ),
            Panel(
                title="Age of the newest backup",
                text="Three intervals page.",
                queries={
                    "age": f"spawn_backup_age_seconds{ONE}",
                    "interval": f"spawn_backup_interval_seconds{ONE}",
                },
                unit="s",
            ),
            Panel(
                title="Failed backups",
                text="Backups that failed in an hour.",
                queries={"failed": f"increase(spawn_backup_failures_total{ONE}[1h])"},
            ),
        ),
        "Delivery of events": (
            Panel(
                title="Lag by publisher",
                text="Age of the oldest event that was not delivered.",
                queries={"{{publisher}}": f"spawn_events_lag_seconds{ONE}"},
                unit="s",
                limits=(30, 120),
            ),
            Panel(
                title="Backlog by publisher",
                text="Journal rows after the position of a publisher.",
                queries={
                    "{{publisher}}": f"spawn_events_backlog_rows{ONE}",
                    "{{publisher}}, aggregates that wait": f"spawn_events_waiting_aggregates{ONE}",
                },
            ),
            Panel(
                title="Attempts to deliver",
                text="By publisher and outcome.",
                queries={
                    "{{publisher}}: {{outcome}}": _rate(
                        "spawn_events_published_total", by="publisher, outcome"
                    )
                },
                unit="cps",
            ),
            Panel(
                title="Open dead letters",
                text="Events to replay or discard.",
                queries={"{{publisher}}": f"spawn_dead_letters{ONE}"},
                kind="stat",
                limits=(1, 10),
            ),
            Panel(
                title="Event streams",
                text="Messages sent, and streams that were disconnected.",
                queries={
                    "messages": _rate("spawn_event_stream_messages_total"),
                    "cut off": _rate("spawn_event_streams_cut_off_total"),
                },
                unit="cps",
            ),
            Panel(
                title="Jobs",
                text="Jobs that wait and run.",
                queries={
                    "waiting": f"spawn_jobs_waiting{ONE}",
                    "running": f"spawn_jobs_running{ONE}",
                },
            ),
        ),
    },
)

GOVERNANCE: Final = Board(
    name="governance",
    title="Spawn: governance and quality",
    text="Schema versions, the ontology server, and service levels of the data.",
    rows={
        "Schema": (
            Panel(
                title="Active schema",
                text="Version and provenance: live, revalidated, stale, disk or bundled.",
                queries={"schema": f"spawn_schema_active_info{ONE}"},
                kind="table",
            ),
            Panel(
                title="Age of the schema",
                text="Time since the ontology server confirmed it.",
                queries={"{{instance}}": f"spawn_schema_age_seconds{ONE}"},
                unit="s",
                limits=(600, 3600),
            ),
            Panel(
                title="Circuit breaker",
                text="1 for the current state.",
                queries={"{{state}}": f"spawn_registry_breaker_state{ONE}"},
            ),
            Panel(
                title="Versions that are not adopted",
                text="By state; a quarantined one waits for a decision.",
                queries={"{{state}}": f"spawn_schema_versions{ONE}"},
                kind="stat",
                limits=(1, 5),
            ),
            Panel(
                title="Migrations",
                text="Attempts in a day, by outcome.",
                queries={"{{outcome}}": f"increase(spawn_schema_migrations_total{ONE}[1d])"},
            ),
            Panel(
                title="Duration of migrations",
                text="The scan of the data is part of it.",
                queries={"p99": _quantile(0.99, "spawn_schema_migration_seconds")},
                unit="s",
            ),
        ),
        "Quality": (
            Panel(
                title="Service levels that are missed",
                text="Rules with a threshold that the data do not meet.",
                queries={
                    "missed": f"sum(1 - spawn_quality_rule_passed{ONE})",
                },
                kind="stat",
                limits=(1, 1),
            ),
            Panel(
                title="Measured values",
                text="Shares of rows that follow a rule; the lowest ten.",
                queries={
                    "{{rule}}": 'bottomk(10, spawn_quality_rule_value{dimension!="timeliness", '
                    + ONE[1:]
                    + ")"
                },
                unit="percentunit",
            ),
            Panel(
                title="Last measurement",
                text="While no data change, nothing is measured again.",
                queries={"{{instance}}": f"spawn_quality_measured_timestamp_seconds{ONE} * 1000"},
                unit="dateTimeFromNow",
                kind="stat",
            ),
        ),
        "Imports": (
            Panel(
                title="Rows of imports",
                text="Rows of ended imports, by outcome.",
                queries={"{{outcome}}": _rate("spawn_import_rows_total", by="outcome")},
                unit="rowsps",
            ),
            Panel(
                title="Share of quarantined rows",
                text="In an hour; more than 5 % are reported.",
                queries={
                    "quarantined": (
                        'sum(increase(spawn_import_rows_total{outcome="quarantined", '
                        f"{ONE[1:]}[1h])) / sum(increase(spawn_import_rows_total{ONE}[1h]))"
                    )
                },
                unit="percentunit",
                limits=(0.01, 0.05),
            ),
            Panel(
                title="Runs of jobs",
                text="By kind and outcome.",
                queries={"{{kind}}: {{outcome}}": f"increase(spawn_job_runs_total{ONE}[1h])"},
            ),
        ),
    },
)

PORTFOLIO: Final = Board(
    name="portfolio",
    title="Spawn: portfolio",
    text="Projects by status, and what changes them.",
    rows={
        "Projects": (
            Panel(
                title="Projects",
                text="All projects.",
                queries={"projects": f"sum(spawn_projects{ONE})"},
                kind="stat",
            ),
            Panel(
                title="Projects by status",
                text="Now.",
                queries={"{{status}}": f"sum by (status) (spawn_projects{ONE})"},
                kind="stat",
            ),
            Panel(
                title="Projects by status over time",
                text="Number of projects of each status.",
                queries={"{{status}}": f"sum by (status) (spawn_projects{ONE})"},
            ),
        ),
        "Changes": (
            Panel(
                title="Statuses reached in a day",
                text="Projects that reached a status.",
                queries={
                    "{{status}}": (
                        f"sum by (status) (increase(spawn_project_status_reached_total{ONE}[1d]))"
                    )
                },
            ),
            Panel(
                title="Domain events",
                text="By type.",
                queries={"{{type}}": _rate("spawn_domain_events_total", by="type")},
                unit="cps",
            ),
            Panel(
                title="Rows imported in a day",
                text="Rows of ended imports, by outcome.",
                queries={
                    "{{outcome}}": (
                        f"sum by (outcome) (increase(spawn_import_rows_total{ONE}[1d]))"
                    )
                },
            ),
        ),
    },
)

BOARDS: Final = (SERVICE, WRITE_PATH, GOVERNANCE, PORTFOLIO)

_Visualization: TypeAlias = timeseries.Panel | stat.Panel | table.Panel


def build_json(board: Board) -> str:
    """Return the JSON of a dashboard, as Grafana imports it."""
    builder = (
        dashboards.Dashboard(board.title)
        .uid(f"spawn-{board.name}")
        .description(board.text)
        .tags(["spawn"])
        .readonly()
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboards.DashboardLink("Other dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["spawn"])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
        )
        .with_variable(
            dashboards.DatasourceVariable("datasource").type("prometheus").label("Source")
        )
        .with_variable(
            dashboards.QueryVariable("instance")
            .label("Instance")
            .datasource(SOURCE)
            .query('label_values(up{job="spawn"}, instance)')
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
        )
    )
    ids = count(1)
    for title, panels in board.rows.items():
        builder.with_row(dashboards.Row(title).id(next(ids)))
        for panel in panels:
            builder.with_panel(_build_panel(panel).id(next(ids)))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _build_panel(panel: Panel) -> _Visualization:
    builder = _choose_visualization(panel)
    builder.title(panel.title).description(panel.text).datasource(SOURCE).unit(panel.unit)
    builder.height(PANEL_HEIGHT).span(GRID_COLUMNS // PANELS_OF_A_ROW)
    if panel.limits is not None:
        builder.thresholds(_build_thresholds(*panel.limits))
    for target in _build_targets(panel):
        builder.with_target(target)
    return builder


def _choose_visualization(panel: Panel) -> _Visualization:
    if panel.kind == "table":
        return table.Panel()
    if panel.kind == "stat":
        return stat.Panel().orientation(VizOrientation.AUTO)
    graph = timeseries.Panel().line_width(1).fill_opacity(10)
    if panel.limits is not None:
        style = commons.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE)
        graph.thresholds_style(style)
    return graph


def _build_thresholds(warning: float, critical: float) -> dashboards.ThresholdsConfig:
    steps = [(None, "green"), (warning, "yellow"), (critical, "red")]
    return (
        dashboards.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def _build_targets(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for number, (legend, expression) in enumerate(panel.queries.items()):
        target = prometheus.Dataquery().expr(expression).legend_format(legend)
        target.ref_id(chr(ord("A") + number)).datasource(SOURCE)
        if panel.kind == "table":
            target.format(PromQueryFormat.TABLE)
        yield target.range() if panel.kind == "timeseries" else target.instant()


def write_files(folder: Path = FOLDER) -> None:
    """Write every dashboard."""
    for board in BOARDS:
        (folder / f"{board.name}.json").write_text(build_json(board))


if __name__ == "__main__":
    write_files()
