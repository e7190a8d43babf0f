"""Each field of each aggregate survives encode, store, decode and wire, in both stores."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from spawn.adapters.factory import open_store
from spawn.application.projects.queries import project_fields
from spawn.domain.aggregates import AGGREGATE_TYPES, AggregateType
from spawn.domain.events.cloudevents import EventEnvelope
from spawn.domain.events.published_states import PUBLISHED_STATES
from spawn.domain.projects.project import CORE_FIELDS, PROJECT_KIND
from spawn.testing.sample_states import SAMPLE_COUNT, a_state
from spawn.testing.storage_contract.harness import (
    ManualClock,
    StorageHarness,
    adopt_every_schema,
    schema_of,
)
from spawn.testing.storage_contract.kinds import build_write

SCHEMA = schema_of(AGGREGATE_TYPES[PROJECT_KIND])


@pytest.mark.parametrize("aggregate_type", AGGREGATE_TYPES.values(), ids=lambda t: t.kind)
def test_the_samples_have_a_value_in_each_field(aggregate_type: AggregateType) -> None:
    states = [a_state(aggregate_type.kind, number) for number in range(SAMPLE_COUNT)]
    for name in aggregate_type.state_type.__struct_fields__:
        values = [getattr(state, name) for state in states]
        assert any(value is not None and value not in ((), {}) for value in values), name


@pytest.mark.parametrize("scheme", ["memory", "duckdb"])
async def test_each_field_goes_from_the_state_to_the_wire(
    tmp_path: Path, subtests: pytest.Subtests, scheme: str
) -> None:
    url = "memory://" if scheme == "memory" else f"duckdb:///{tmp_path}/store.duckdb"
    store = await open_store(url, clock=ManualClock())
    await adopt_every_schema(store)
    harness = StorageHarness(store, ManualClock())
    for aggregate_type in AGGREGATE_TYPES.values():
        with subtests.test(kind=aggregate_type.kind):
            for number in range(SAMPLE_COUNT):
                await _check_sample(harness, aggregate_type, number)
    await store.close()


async def _check_sample(
    harness: StorageHarness, aggregate_type: AggregateType, number: int
) -> None:
    """Check each field of a sample in the store, in its event and in the response."""
    write = build_write(aggregate_type, number)
    await harness.store.commit(harness.change(writes=(write,), events=()))
    (item,) = (await harness.store.get_many(aggregate_type.kind, [write.id])).values()
    (entry,) = await harness.store.history(aggregate_type.kind, write.id, after_version=0, limit=9)
    envelope = EventEnvelope("http://127.0.0.1", SCHEMA.id, "0" * 32)
    on_the_wire = msgspec.json.decode(envelope.encode_structured(entry))["data"]["after"]
    published = PUBLISHED_STATES.get(aggregate_type.kind)
    if published is not None:
        assert list(on_the_wire) == list(published.__struct_fields__)
        assert item.state == write.state
        return
    decoded = aggregate_type.codec.decode(msgspec.json.encode(on_the_wire), SCHEMA)
    for field in msgspec.structs.fields(aggregate_type.state_type):
        value = getattr(write.state, field.name)
        assert getattr(item.state, field.name) == value, field.name
        if not aggregate_type.is_governed:
            assert field.encode_name in on_the_wire
            assert getattr(decoded, field.name) == value, field.name
    if aggregate_type.kind == PROJECT_KIND:
        _check_project_on_the_wire(item, write.state, on_the_wire)
    elif aggregate_type.is_governed:
        assert item.state.attributes.items() <= on_the_wire.items()


def _check_project_on_the_wire(item: Any, project: Any, event: dict[str, Any]) -> None:
    """Check the fields of a response and of an event against the project."""
    response = msgspec.json.decode(msgspec.json.encode(project_fields(item, SCHEMA)))
    names = [*CORE_FIELDS, *(column.name for column in SCHEMA.governed), *project.extensions]
    for name in names:
        value = project.attributes.get(name, getattr(project, name, None))
        present = value is not None and value != ()
        assert (response[name] not in (None, [])) is (present or name in project.extensions), name
        assert event[name] == response[name], name
    assert event.keys() - response.keys() == set(project.hidden_attributes)
