"""Columns of a dataset, as a store has them: a file of columns needs no row."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import DatasetQuery, DecimalForm
from spawn.application.datasets.dataset_rows import require_dataset
from spawn.application.dependencies import Dependencies
from spawn.application.lineage.recorder import RunProgress
from spawn.domain.events.position import Position
from spawn.domain.imports.export_reader import EXTENSIONS_COLUMN
from spawn.domain.principal import Principal
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.ports.analytics import ArrowTable, ColumnChunk, ColumnSelection


async def read_tables(
    dependencies: Dependencies, principal: Principal, dataset: DatasetQuery, end: Position
) -> AsyncGenerator[ColumnChunk] | None:
    """Return the columns of projects in chunks, all as of a position of the feed.

    None if rows have to be formatted: for decimals as texts, which have the digits of the
    document; for an earlier schema version; for other datasets; and if the store has no columns.

    Raises:
        Forbidden: the principal may not read.
    """
    require_dataset(principal, dataset.name)
    view, columns = dataset.view, dependencies.columns
    if dataset.name is not DatasetName.PROJECTS:
        return None
    if columns is None or view is None or dataset.decimals is DecimalForm.STRING:
        return None
    extensions = frozenset(name for name in dataset.fields if name.startswith(EXTENSION_PREFIX))
    has_all = not dataset.fields or EXTENSIONS_COLUMN in dataset.fields
    selection = ColumnSelection(
        names=tuple(column.name for column in dataset.columns),
        schema_version=view.schema.version,
        extension_names=None if has_all else extensions,
    )
    return await columns.read_columns(dataset.query, selection, end)


async def count_tables(
    chunks: AsyncGenerator[ColumnChunk], progress: RunProgress
) -> AsyncGenerator[ArrowTable]:
    """Yield the tables, and count their rows in the progress of a run."""
    async with aclosing(chunks):
        async for chunk in chunks:
            progress.rows += chunk.rows
            yield chunk.table
