"""Storage contract of the DuckDB store."""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from spawn.domain.aggregates import encode_state
from spawn.domain.change import EncodedState, Write
from spawn.domain.quality.measures import MeasureTally
from spawn.domain.quality.rules import derive_rules
from spawn.domain.query import Filter, Operator, Query
from spawn.testing.builders import some_sponsors
from spawn.testing.storage_contract.commands import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.feed import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.finding import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.governance import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.harness import *  # noqa: F403 -- the suite runs as its users run it
from spawn.testing.storage_contract.harness import (
    ManualClock,
    ReopenStore,
    StorageHarness,
    a_record,
)
from spawn.testing.storage_contract.kinds import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migration_properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migrations import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.quality import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.reads import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.two_kinds import *  # noqa: F403 -- as above

DURABLE = True


@pytest.fixture
def store_url(new_store: Path, tmp_path: Path) -> str:
    shutil.copytree(new_store, tmp_path, dirs_exist_ok=True)
    return f"duckdb:///{tmp_path}/store.duckdb"


async def test_invalid_data_in_the_file_are_counted_and_named(harness: StorageHarness) -> None:
    valid, invalid = harness.project(sponsors=some_sponsors("60", "40")), harness.project()
    document = encode_state("project", valid, a_record().schema)
    # No command accepts such a project: only a defect, or another program, could have written it.
    invalid_document = (
        document.replace(valid.project_id.encode(), invalid.project_id.encode())
        .replace(b'"share":"40"', b'"share":"30"')
        .replace(b'"EUR"', b'"EUX"')
    )
    writes = tuple(
        Write("project", name, 0, EncodedState(text))
        for name, text in ((valid.project_id, document), (invalid.project_id, invalid_document))
    )
    await harness.store.commit(harness.change(writes=writes, events=()))
    rules = derive_rules(a_record().schema)
    measurement = await harness.store.measure([declared.measure for declared in rules])
    violations = {
        declared.rule.rule_id: tally
        for declared, tally in zip(rules, measurement.tallies, strict=True)
        if declared.rule.threshold is not None and tally.met < tally.checked
    }
    tally_with_violation = MeasureTally(1, 2, (invalid.project_id,))
    assert violations == {
        "validity.currency_code": tally_with_violation,
        "consistency.sponsor_shares": tally_with_violation,
    }


@pytest.mark.parametrize("precision", [7, 38])
async def test_a_decimal_without_whole_digits_takes_the_smallest_values(
    reopen_store: ReopenStore, precision: int
) -> None:
    document = (
        b'{"id": "project_schema", "version": 1, "name": "Projects", "columns":'
        b' [{"name": "share", "type": "decimal(%d,%d)"}]}' % (precision, precision)
    )
    store = await reopen_store()
    await store.adopt(a_record(document))
    harness = StorageHarness(store, ManualClock())
    smallest = Decimal(1).scaleb(-precision)
    values = (smallest, -smallest, 15 * smallest, Decimal("0.5"), Decimal("0E-7"), Decimal(0))
    projects = [harness.project(attributes={"share": value}) for value in values]
    await store.commit(harness.change(*((project, 0) for project in projects)))
    encoded = harness.project(attributes={"share": 15 * smallest})
    state = EncodedState(encode_state("project", encoded, a_record(document).schema))
    write = Write("project", encoded.project_id, 0, state)
    await store.commit(harness.change(writes=(write,), events=()))
    for value in values:
        page = await store.page(Query(filters=(Filter("share", Operator.EQ, (value,)),)))
        assert {item.state.attributes["share"] for item in page.items} == {value}
    page = await store.page(Query(filters=(Filter("share", Operator.EQ, (values[2],)),)))
    assert len(page.items) == 2
