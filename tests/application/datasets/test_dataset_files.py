"""Files of datasets: their fields, who may export them, their cells and typed columns."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from spawn.application.datasets.dataset_columns import DatasetName
from spawn.application.datasets.dataset_query import DatasetQuery, read_dataset_query
from spawn.application.datasets.dataset_rows import count_rows, read_projects
from spawn.application.datasets.file_formats import DataFormat, format_file
from spawn.application.dependencies import Dependencies
from spawn.application.lineage.recorder import RunProgress
from spawn.application.projects.commands import create_project
from spawn.application.traffic.work_turns import WorkTurns
from spawn.domain.errors import Forbidden, InvalidInput
from spawn.domain.principal import ALL_SCOPES, Principal, Scope
from spawn.domain.schema_version import ColumnType

ANNA = Principal(id="anna")
FIELDS = {"fields": "project_name,description,dscr,cod_date"}
BODY: dict[str, Any] = {
    "project_name": 'Rio "Verde", II',
    "total_amount": "104.12",
    "currency_code": "EUR",
    "cod_date": "2027-03-01",
}


@pytest.fixture
async def dataset(dependencies: Dependencies) -> DatasetQuery:
    validator = await dependencies.validator()
    await create_project(dependencies, ANNA, attributes=validator.read(BODY))
    return await read_dataset_query(dependencies, DatasetName.PROJECTS, FIELDS)


async def read_file(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def encode_nothing(
    lines: AsyncIterator[bytes],
    columns: Sequence[tuple[str, ColumnType | None]],
    *,
    name: str,
    suffix: str,
) -> AsyncGenerator[bytes]:
    """Yield what the encoder of a binary file is called with, and its lines."""
    yield f"{name} {suffix} {','.join(f'{n}:{type_}' for n, type_ in columns)}\n".encode()
    async for line in lines:
        yield line


async def test_a_cell_of_a_csv_file_is_empty_for_null_and_quoted_if_need_be(
    dependencies: Dependencies, dataset: DatasetQuery
) -> None:
    rows = read_projects(dependencies, ANNA, dataset)
    file = await read_file(format_file(rows, dataset, DataFormat.CSV, encode_nothing))
    header, line = file.decode().splitlines()
    assert header == "project_id,version,project_name,description,dscr,cod_date"
    assert line.split(",", 1)[1] == '1,"Rio ""Verde"", II",,,2027-03-01'


@pytest.mark.parametrize(
    ("decimals", "dscr"), [({}, "decimal(18,8)"), ({"decimals": "string"}, "None")]
)
async def test_a_binary_file_is_encoded_with_the_types_of_its_columns(
    dependencies: Dependencies, dataset: DatasetQuery, decimals: dict[str, str], dscr: str
) -> None:
    dataset = await read_dataset_query(dependencies, DatasetName.PROJECTS, FIELDS | decimals)
    rows = read_projects(dependencies, ANNA, dataset)
    file = await read_file(format_file(rows, dataset, DataFormat.PARQUET, encode_nothing))
    call, lines = file.decode().split("\n", 1)
    name, suffix, columns = call.split(" ", 2)
    assert (name, suffix) == ("projects", "parquet")
    assert f"dscr:{dscr}" in columns
    assert "cod_date:date" in columns
    assert "Rio" in lines


async def test_projects_are_exported_with_the_scope_of_exports_only(
    dependencies: Dependencies, dataset: DatasetQuery
) -> None:
    reader = Principal(id="bela", scopes=ALL_SCOPES - {Scope.DATA_EXPORT})
    with pytest.raises(Forbidden):
        await anext(read_projects(dependencies, reader, dataset))
    exporter = Principal(id="bela", scopes=frozenset({Scope.DATA_EXPORT}))
    row = await anext(read_projects(dependencies, exporter, dataset))
    assert row["project_name"] == BODY["project_name"]


async def test_fields_are_each_named_once_and_unknown_ones_by_pointer(
    dependencies: Dependencies,
) -> None:
    imports = await read_dataset_query(
        dependencies, DatasetName.QUALITY, {"fields": "rule_id,measured_at,rule_id"}
    )
    assert imports.fields == ("rule_id", "measured_at")
    assert {column.name for column in imports.columns} == {"rule_id", "measured_at"}
    with pytest.raises(InvalidInput) as error:
        await read_dataset_query(
            dependencies, DatasetName.QUALITY, {"fields": "rule_id,rule_ids,colour"}
        )
    assert [(e.pointer, e.code) for e in error.value.errors] == [("/fields", "unknown_field")] * 2
    assert [e.detail.split()[2][:-1] for e in error.value.errors] == ["'rule_ids'", "'colour'"]


async def test_other_tasks_run_between_the_rows_of_a_page() -> None:
    async def page() -> AsyncIterator[dict[str, Any]]:
        for number in range(1000):
            yield {"project_id": number}

    progress, seen = RunProgress(), [0]

    async def watch() -> None:
        while progress.rows < 1000:
            seen.append(progress.rows)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    rows = count_rows(page(), progress, WorkTurns())
    assert [row["project_id"] async for row in rows] == [*range(1000)]
    await watching
    assert max(later - earlier for earlier, later in pairwise(seen)) <= 32
