"""A change and its actor are valid for every store and its history."""

from typing import Any

import pytest

from spawn.domain.change import Change, Write
from spawn.domain.errors import InvalidInput
from spawn.domain.events.event import DomainEvent
from spawn.domain.projects.project import ExternalRefReservation
from spawn.testing.builders import a_principal, a_project

pytestmark = pytest.mark.core

WRITE = Write("project", "p-1", 0, a_project())
EVENT = DomainEvent(type="project.created", kind="project", id="p-1", changed=("project_name",))


def a_change(**overrides: Any) -> Change:
    fields: dict[str, Any] = {"writes": (WRITE,), "actor": "analyst", "schema_version": 1}
    return Change(**fields | overrides)


def test_a_change_may_write_several_aggregates_and_emit_events_for_some() -> None:
    reservation = Write("external_ref", "p-1", 0, ExternalRefReservation(project_id="p-1"))
    assert len(a_change(writes=(WRITE, reservation), events=(EVENT,)).writes) == 2


def test_a_change_writes_an_aggregate_once() -> None:
    with pytest.raises(ValueError, match="at most once"):
        a_change(writes=(WRITE, Write("project", "p-1", 1, a_project())))


@pytest.mark.parametrize("events", [(EVENT, EVENT), (EVENT,)], ids=["twice", "of another"])
def test_an_aggregate_has_at_most_one_event_and_is_written(events: tuple[DomainEvent, ...]) -> None:
    writes = (WRITE,) if len(events) == 2 else ()
    with pytest.raises(ValueError, match="at most one event"):
        a_change(writes=writes, events=events)


@pytest.mark.parametrize("name", ["", " analyst", "ana\nlyst", "a" * 201])
def test_an_actor_is_a_valid_line_of_text(name: str) -> None:
    with pytest.raises(InvalidInput):
        a_principal(id=name)
    assert a_principal().id == "analyst"
