"""Datasets and runs as a graph: what was read by which run, and what that run wrote."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from spawn.domain.change import Stored
from spawn.domain.lineage.run import Activity, Dataset, Run, RunState


class DatasetNode(msgspec.Struct, frozen=True, kw_only=True, tag="dataset", tag_field="type"):
    """Something that runs read or wrote."""

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
    started_at: datetime
    ended_at: datetime | None
    reason: str | None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Data that moved from a node to a node; `rows` is None where it is not known."""

    source: str
    target: str
    rows: int | None


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes and edges; every edge is between a dataset and a run."""

    nodes: tuple[DatasetNode | RunNode, ...]
    edges: tuple[Edge, ...]


def graph_of(runs: Iterable[Stored[Any]]) -> Graph:
    """The graph of some runs, in their order."""
    datasets: dict[str, DatasetNode] = {}
    nodes: list[RunNode] = []
    edges: list[Edge] = []
    for stored in runs:
        run: Run = stored.state
        node = _node(run, stored.created_at, stored.updated_at)
        nodes.append(node)
        for dataset in (*run.inputs, *run.outputs):
            datasets.setdefault(dataset.name, _dataset_node(dataset))
        edges += [Edge(source=_id(d), target=node.id, rows=d.rows) for d in run.inputs]
        edges += [Edge(source=node.id, target=_id(d), rows=d.rows) for d in run.outputs]
    return Graph(nodes=(*datasets.values(), *nodes), edges=tuple(edges))


def _id(dataset: Dataset) -> str:
    return f"dataset:{dataset.name}"


def _dataset_node(dataset: Dataset) -> DatasetNode:
    return DatasetNode(id=_id(dataset), name=dataset.name, description=dataset.description)


def _node(run: Run, started_at: datetime, updated_at: datetime) -> RunNode:
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
