"""A project is proposed, amended and taken through its life; nothing else changes it."""

from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spawn.domain.errors import Conflict, IllegalTransition, InvalidInput
from spawn.domain.projects.project import (
    ExternalRef,
    Project,
    Sponsor,
    Spv,
    Status,
    amend,
    changed_fields,
    propose,
    status_of,
    steps_from,
    transition,
)
from spawn.testing.builders import a_condition, a_project, a_schema, some_sponsors
from spawn.testing.strategies import projects

pytestmark = pytest.mark.core

RAW = msgspec.Raw


def proposed(attributes: Any = (), extensions: Any = (), **fields: Any) -> Project:
    return propose(
        project_id="p-1", fields=fields, attributes=dict(attributes), extensions=dict(extensions)
    )


def faults(error: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in error.value.errors]


MINIMUM: dict[str, Any] = {"project_name": "Tunnel", "total_amount": Decimal(5)}


def test_a_proposal_takes_the_defaults() -> None:
    project = proposed(**MINIMUM, description=None, currency_code=None)
    assert (project.status, project.status_reason) == (Status.PROPOSED, None)
    assert (project.currency_code, project.description) == ("USD", None)


def test_a_proposal_is_tidied() -> None:
    project = proposed(
        project_name="  Tunnel\u3000",
        total_amount=Decimal(5),
        country_code="NA",
        spv=Spv(name=" Tunnel SPV ", country_code="CI"),
        sponsors=(Sponsor(name=" Iberwind", share=Decimal(100)),),
        milestones=(a_condition(title="Permit "),),
    )
    assert project.project_name == "Tunnel"
    assert project.country_code == "NAM"
    assert project.spv == Spv(name="Tunnel SPV", country_code="CIV")
    assert (project.sponsors[0].name, project.milestones[0].title) == ("Iberwind", "Permit")


def test_a_proposal_names_what_is_missing_and_what_is_unknown() -> None:
    with pytest.raises(InvalidInput) as error:
        proposed(**{"budget": 1, "version": 2, "suspended_from": Status.OPERATION, "a/b": 1})
    assert faults(error) == [
        ("/budget", "unknown_field"),
        ("/version", "unknown_field"),
        ("/suspended_from", "unknown_field"),
        ("/a~1b", "unknown_field"),
        ("/project_name", "required"),
        ("/total_amount", "required"),
    ]


@pytest.mark.parametrize("status", [Status.OPERATION, "OPERATION", "ACTIVE"])
def test_another_first_status_is_recorded_with_a_reason(status: str) -> None:
    project = proposed(**MINIMUM, status=status)
    assert project.status is Status.OPERATION
    assert project.status_reason == "initial status on creation"
    told = proposed(**MINIMUM, status=status, status_reason="migrated")
    assert told.status_reason == "migrated"


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(InvalidInput) as error:
        status_of("RUNNING")
    assert faults(error) == [("/status", "unknown_status")]


def test_a_project_cannot_be_created_at_financial_close_with_an_open_condition() -> None:
    with pytest.raises(InvalidInput) as error:
        proposed(**MINIMUM, status=Status.FINANCIAL_CLOSE, milestones=(a_condition(),))
    assert faults(error) == [("/milestones", "open_condition")]


def test_absent_governed_values_and_extensions_are_no_keys() -> None:
    project = proposed({"technology": None, "units": 3}, {"x_a": None, "x_b": RAW(b"1")}, **MINIMUM)
    assert dict(project.attributes) == {"units": 3}
    assert list(project.extensions) == ["x_b"]


def test_a_patch_replaces_removes_and_keeps() -> None:
    before = a_project(
        description="old",
        sponsors=some_sponsors("60", "40"),
        attributes={"technology": "pv", "units": 3},
        extensions={"x_a": RAW(b"1")},
    )
    after = amend(
        before,
        {"description": None, "sponsors": None, "country_code": "PT", "project_name": " New "},
        {"technology": None, "units": 4},
        {"x_a": None, "x_b": RAW(b"[]")},
    )
    assert (after.description, after.sponsors) == (None, ())
    assert (after.country_code, after.project_name) == ("PRT", "New")
    assert after.total_amount == before.total_amount
    assert dict(after.attributes) == {"units": 4}
    assert list(after.extensions) == ["x_b"]
    assert before.attributes == {"technology": "pv", "units": 3}


def test_a_patch_cannot_break_an_invariant() -> None:
    with pytest.raises(InvalidInput) as error:
        amend(a_project(total_amount=Decimal("10.50")), {"currency_code": "JPY"}, {}, {})
    assert faults(error) == [("/total_amount", "too_precise")]


def test_a_patch_cannot_remove_what_is_required_nor_touch_what_it_may_not() -> None:
    patch: dict[str, Any] = {
        "project_name": None,
        "total_amount": None,
        "currency_code": None,
        "status": Status.MANDATED,
        "status_reason": "because",
        "suspended_from": None,
        "project_id": "other",
        "budget": 1,
    }
    with pytest.raises(InvalidInput) as error:
        amend(a_project(), patch, {}, {})
    assert faults(error) == [
        ("/project_name", "required"),
        ("/total_amount", "required"),
        ("/currency_code", "required"),
        ("/status", "use_transition"),
        ("/status_reason", "use_transition"),
        ("/suspended_from", "use_transition"),
        ("/project_id", "unknown_field"),
        ("/budget", "unknown_field"),
    ]


def test_the_present_status_in_a_patch_changes_nothing() -> None:
    project = a_project()
    assert amend(project, {"status": Status.PROPOSED}, {}, {}) == project


def test_changes_are_named_in_document_order() -> None:
    before = a_project(attributes={"units": 3, "technology": "pv"}, extensions={"x_a": RAW(b"1")})
    after = amend(
        before,
        {"cod_date": date(2031, 1, 1), "description": "new", "sector": "Solar"},
        {"licensed_on": date(2030, 1, 1), "units": None},
        {"x_a": RAW(b"2")},
    )
    assert changed_fields(before, after) == (
        *("description", "cod_date", "licensed_on", "units", "x_a"),
    )
    assert changed_fields(before, before) == ()


def test_all_that_a_new_project_has_is_a_change() -> None:
    project = proposed({"units": 3}, {"x_a": RAW(b"1")}, **MINIMUM)
    assert changed_fields(None, project) == (
        *("project_name", "total_amount", "currency_code", "status", "units", "x_a"),
    )


@given(st.data())
# Projects are large to draw; on a busy machine that is no finding.
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_a_patch_with_all_that_differs_turns_one_project_into_the_other(
    data: st.DataObject,
) -> None:
    schema = a_schema()
    before, after = data.draw(projects(schema)), data.draw(projects(schema))
    frozen = ("project_id", "status", "status_reason", "status_effective_on", "suspended_from")
    after = msgspec.structs.replace(
        after, milestones=(), **{name: getattr(before, name) for name in frozen}
    )
    changed = changed_fields(before, after)
    names = set(Project.__struct_fields__) & set(changed)
    patch = {name: getattr(after, name) for name in names}
    governed = {column.name: after.attributes.get(column.name) for column in schema.governed}
    removed = dict.fromkeys(before.extensions)
    assert amend(before, patch, governed, {**removed, **after.extensions}) == after


# --- The status machine, as the desk has it: every step that exists, and no other. ----------

STEPS: dict[str, set[str]] = {
    "PROPOSED": {"MANDATED", "CANCELLED"},
    "MANDATED": {"FINANCIAL_CLOSE", "CANCELLED"},
    "FINANCIAL_CLOSE": {"CONSTRUCTION", "CANCELLED", "DEFAULTED"},
    "CONSTRUCTION": {"OPERATION", "SUSPENDED", "CANCELLED", "DEFAULTED"},
    "OPERATION": {"COMPLETED", "SUSPENDED", "DEFAULTED"},
    "DEFAULTED": {"CONSTRUCTION", "OPERATION", "COMPLETED", "CANCELLED"},
    "COMPLETED": set(),
    "CANCELLED": set(),
}
SUSPENDED_STEPS: dict[str | None, set[str]] = {
    "CONSTRUCTION": {"CONSTRUCTION", "DEFAULTED", "CANCELLED"},
    "OPERATION": {"OPERATION", "DEFAULTED"},
    None: {"CONSTRUCTION", "OPERATION", "DEFAULTED"},
}
SITUATIONS: list[tuple[str, str | None, set[str]]] = [
    *((status, None, steps) for status, steps in STEPS.items()),
    *(("SUSPENDED", origin, steps) for origin, steps in SUSPENDED_STEPS.items()),
]


@pytest.mark.parametrize(
    ("situation", "to"),
    list(product(SITUATIONS, Status)),
    ids=lambda value: value[0] + str(value[1] or "") if isinstance(value, tuple) else str(value),
)
def test_a_step_is_possible_if_and_only_if_the_machine_has_it(
    situation: tuple[str, str | None, set[str]], to: Status
) -> None:
    status, origin, steps = situation
    project = a_project(
        status=Status(status), suspended_from=None if origin is None else Status(origin)
    )
    if to in steps:
        after = transition(project, to, reason="so decided", effective_on=date(2030, 1, 1))
        assert after.status is to
        assert (after.status_reason, after.status_effective_on) == ("so decided", date(2030, 1, 1))
        assert after.suspended_from is (project.status if to is Status.SUSPENDED else None)
        assert changed_fields(project, after)[0] == "status"
    else:
        with pytest.raises(IllegalTransition, match=f"{status} cannot become {to}"):
            transition(project, to, reason="so decided")


def test_a_suspended_project_comes_back_to_where_it_was() -> None:
    running = a_project(status=Status.OPERATION)
    halted = transition(running, Status.SUSPENDED, reason="flood")
    assert halted.suspended_from is Status.OPERATION
    back = transition(halted, Status.OPERATION, reason="dry again")
    assert back.suspended_from is None
    with pytest.raises(IllegalTransition):
        transition(halted, Status.CONSTRUCTION, reason="rebuild")


def test_terminal_statuses_lead_nowhere() -> None:
    assert steps_from(Status.COMPLETED) == steps_from(Status.CANCELLED) == frozenset()
    with pytest.raises(IllegalTransition, match="nowhere"):
        transition(a_project(status=Status.CANCELLED), Status.PROPOSED, reason="again")


def test_financial_close_waits_for_every_condition_precedent() -> None:
    mandated = a_project(
        status=Status.MANDATED, milestones=(a_condition("cp-1"), a_condition("cp-2"))
    )
    with pytest.raises(Conflict, match="2 conditions precedent are still open: cp-1, cp-2"):
        transition(mandated, Status.FINANCIAL_CLOSE, reason="signed")
    met = (
        a_condition("cp-1", met_on=date(2030, 1, 1)),
        a_condition("cp-2", waived_on=date(2030, 1, 1)),
    )
    ready = amend(mandated, {"milestones": met}, {}, {})
    closed = transition(ready, Status.FINANCIAL_CLOSE, reason="signed")
    assert closed.status is Status.FINANCIAL_CLOSE
    with pytest.raises(InvalidInput):
        amend(closed, {"milestones": (a_condition("cp-3"),)}, {}, {})


@pytest.mark.parametrize("status", [Status.OPERATION, Status.DEFAULTED])
def test_completion_needs_all_debt_repaid(status: Status) -> None:
    project = a_project(status=status)
    for debt in (Decimal("0.01"), Decimal("NaN")):
        with pytest.raises(Conflict, match="outstanding"):
            transition(project, Status.COMPLETED, reason="repaid", debt_outstanding=debt)
    done = transition(project, Status.COMPLETED, reason="repaid", debt_outstanding=Decimal("0.00"))
    assert done.status is Status.COMPLETED


@pytest.mark.parametrize(
    ("reason", "code"), [("", "empty"), (" \n", "empty"), ("r" * 1_001, "too_long")]
)
def test_a_transition_needs_a_reason_fit_to_keep(reason: str, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        transition(a_project(), Status.MANDATED, reason=reason)
    assert faults(error) == [("/reason", code)]


def test_an_external_reference_can_be_changed_and_released() -> None:
    project = a_project(external_ref=ExternalRef(source="loans", id="7"))
    assert amend(project, {"external_ref": None}, {}, {}).external_ref is None
