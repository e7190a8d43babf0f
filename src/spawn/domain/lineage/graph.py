"""The lineage graph: datasets, runs, and the data that runs read and wrote."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from spawn.domain.change import StoredAggregate
from spawn.domain.lineage.run import Activity, Dataset, Run, RunState, find_channel

_Instant = Annotated[datetime, Meta(tz=True)]


class DatasetNode(msgspec.Struct, frozen=True, kw_only=True, tag="dataset", tag_field="type"):
    """A dataset that runs read or wrote."""

    id: str
    name: str
    description: str


class RunNode(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="type"):
    """A run; `ended_at` is None while it is running."""

    id: str
    run_id: str
    job: str
    activity: Activity
    state: RunState
    started_at: _Instant
    ended_at: _Instant | None
    reason: str | None


class LineageEdge(msgspec.Struct, frozen=True, kw_only=True):
    """Data that moved from one node to another; `rows` is None if unknown."""

    source: str
    target: str
    rows: Annotated[int, Meta(ge=0)] | None


class LineageGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes and edges; every edge is between a dataset and a run."""

    nodes: tuple[DatasetNode | RunNode, ...]
    edges: tuple[LineageEdge, ...]


def build_graph(runs: Iterable[StoredAggregate[Any]]) -> LineageGraph:
    """Return the graph of runs, in their order."""
    datasets: dict[str, DatasetNode] = {}
    nodes: list[RunNode] = []
    edges: list[LineageEdge] = []
    for stored in runs:
        run: Run = stored.state
        node = _run_node(run, stored.created_at, stored.updated_at)
        nodes.append(node)
        for dataset in (*run.inputs, *run.outputs):
            datasets.setdefault(_node_id(dataset), _dataset_node(dataset))
        edges += [LineageEdge(source=_node_id(d), target=node.id, rows=d.rows) for d in run.inputs]
        edges += [LineageEdge(source=node.id, target=_node_id(d), rows=d.rows) for d in run.outputs]
    return LineageGraph(nodes=(*datasets.values(), *nodes), edges=tuple(edges))


def _node_id(dataset: Dataset) -> str:
    return f"dataset:{find_channel(dataset.name)}"


def _dataset_node(dataset: Dataset) -> DatasetNode:
    name = find_channel(dataset.name)
    return DatasetNode(id=_node_id(dataset), name=name, description=dataset.description)


def _run_node(run: Run, started_at: datetime, updated_at: datetime) -> RunNode:
    return RunNode(
        id=f"run:{run.run_id}",
        run_id=run.run_id,
        job=run.job,
        activity=run.activity,
        state=run.state,
        started_at=started_at,
        ended_at=updated_at if run.is_final else None,
        reason=run.reason,
    )
