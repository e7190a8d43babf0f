"""The DuckDB store keeps the storage contract."""

from pathlib import Path

import pytest

from spawn.domain import serialization
from spawn.domain.change import Encoded, Write
from spawn.domain.quality.rules import Tally, rules_of
from spawn.domain.schemas.validator import compile_schema
from spawn.testing.builders import some_sponsors
from spawn.testing.storage_contract.commands import *  # noqa: F403 -- the suite is run as its users run it
from spawn.testing.storage_contract.commands import Desk, a_record
from spawn.testing.storage_contract.feed import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.governance import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migration_properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.migrations import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.properties import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.quality import *  # noqa: F403 -- as above
from spawn.testing.storage_contract.reads import *  # noqa: F403 -- as above

DURABLE = True


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"duckdb:///{tmp_path}/store.duckdb"


async def test_what_is_wrong_in_the_file_is_counted_and_named(desk: Desk) -> None:
    good, bad = desk.project(sponsors=some_sponsors("60", "40")), desk.project()
    document = serialization.encode("project", good, a_record().schema)
    # Nothing lets such a project in: only a fault, or another hand, could have put it there.
    wrong = (
        document.replace(good.project_id.encode(), bad.project_id.encode())
        .replace(b'"share":"40"', b'"share":"30"')
        .replace(b'"EUR"', b'"EUX"')
    )
    writes = tuple(
        Write("project", name, 0, Encoded(text))
        for name, text in ((good.project_id, document), (bad.project_id, wrong))
    )
    await desk.store.commit(desk.change(writes=writes, events=()))
    rules = rules_of(compile_schema(a_record().schema).fields)
    found = await desk.store.measure([declared.measure for declared in rules])
    broken = {
        declared.rule.rule_id: tally
        for declared, tally in zip(rules, found.tallies, strict=True)
        if declared.rule.threshold is not None and tally.met < tally.checked
    }
    offending = Tally(1, 2, (bad.project_id,))
    assert broken == {
        "validity.currency_code": offending,
        "consistency.sponsor_shares": offending,
    }
