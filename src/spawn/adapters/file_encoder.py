"""Encoder of rows to files that are not lines of text: Parquet, Arrow streams, Excel workbooks."""

import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

from spawn.adapters.duckdb.columns.columnar_files import ColumnarEncoder
from spawn.adapters.duckdb.columns.table_files import TableEncoder, can_write
from spawn.adapters.local.arrow_stream import has_arrow_stream
from spawn.adapters.workers.workbook_encoder import FOLDER_PREFIX, WorkbookEncoder, has_excel
from spawn.domain.schema_version import ColumnType
from spawn.ports.analytics import ArrowTable

_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 - of the system's memory, and made private
"""Folder of files in memory; each workbook has a folder in it that only its user can read."""


class FileEncoder:
    """Encoder of rows, as lines of JSON, by the suffix of the file; a few files at a time.

    Args:
        folder: the folder of temporary files; None for the system's.
        is_encrypted: keep temporary files in memory, since the disk may only have encrypted ones.
    """

    def __init__(self, folder: Path | None = None, *, is_encrypted: bool = False) -> None:
        self._columnar = ColumnarEncoder(folder, f"{FOLDER_PREFIX}{os.getpid()}-")
        self._workbooks = WorkbookEncoder(_MEMORY_FOLDER if is_encrypted else folder)
        self._tables = TableEncoder()

    def encode(
        self,
        lines: AsyncGenerator[bytes],
        columns: Sequence[tuple[str, ColumnType | None]],
        *,
        name: str,
        suffix: str,
    ) -> AsyncGenerator[bytes]:
        """Return the chunks of a file; a column without a type has texts.

        Args:
            lines: the rows.
            columns: names and types of the columns.
            name: the name of the table, such as that of a sheet.
            suffix: `parquet`, `arrow` or `xlsx`.

        Raises:
            Overloaded: as many files as possible are written already.
        """
        if suffix == "xlsx":
            return self._workbooks.encode(lines, columns, name)
        return self._columnar.encode(lines, columns, is_arrow=suffix == "arrow")

    def takes_tables(self, suffix: str) -> bool:
        """Return whether `encode_tables` writes files of a suffix."""
        return can_write(suffix)

    def encode_tables(
        self, tables: AsyncGenerator[ArrowTable], suffix: str
    ) -> AsyncGenerator[bytes]:
        """Return the chunks of a file of tables, which all have the same columns.

        Raises:
            Overloaded: as many files as possible are written already.
        """
        return self._tables.encode(tables, suffix)


def find_missing_extra(suffix: str) -> str | None:
    """Return the extra that files of a suffix need and that is not installed."""
    if suffix == "arrow" and not has_arrow_stream():
        return "arrow"
    return "excel" if suffix == "xlsx" and not has_excel() else None
