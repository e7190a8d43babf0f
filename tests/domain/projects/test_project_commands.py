"""The project commands: propose, amend and transition."""

from datetime import date
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.searches import scale

from spawn.domain.errors import Conflict, IllegalTransition, InvalidInput
from spawn.domain.projects.project import (
    ExternalRef,
    Project,
    ProjectStatus,
    Sponsor,
    Spv,
    apply_amendment,
    apply_transition,
    get_next_statuses,
    list_changed_fields,
    parse_status,
    propose_project,
)
from spawn.testing.builders import a_condition, a_project, a_schema, some_sponsors
from spawn.testing.expected_errors import expect_invalid
from spawn.testing.strategies import projects

pytestmark = pytest.mark.core

RAW = msgspec.Raw


def a_proposal(attributes: Any = (), extensions: Any = (), **fields: Any) -> Project:
    return propose_project(
        project_id="p-1", fields=fields, attributes=dict(attributes), extensions=dict(extensions)
    )


def errors_of(error: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[str, str]]:
    return [(field_error.pointer, field_error.code) for field_error in error.value.errors]


MINIMUM: dict[str, Any] = {"project_name": "Tunnel", "total_amount": Decimal(5)}


def test_a_proposal_has_the_defaults() -> None:
    project = a_proposal(**MINIMUM, description=None, currency_code=None)
    assert (project.status, project.status_reason) == (ProjectStatus.PROPOSED, None)
    assert (project.currency_code, project.description) == ("USD", None)


def test_a_proposal_is_normalized() -> None:
    project = a_proposal(
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


def test_a_proposal_reports_missing_and_unknown_fields() -> None:
    with pytest.raises(InvalidInput) as error:
        a_proposal(
            **{"budget": 1, "version": 2, "suspended_from": ProjectStatus.OPERATION, "a/b": 1},
            project_id="p-2",
        )
    assert errors_of(error) == [
        ("/budget", "unknown_field"),
        ("/version", "unknown_field"),
        ("/suspended_from", "unknown_field"),
        ("/a~1b", "unknown_field"),
        ("/project_id", "unknown_field"),
        ("/project_name", "required"),
        ("/total_amount", "required"),
    ]


@pytest.mark.parametrize("status", [ProjectStatus.OPERATION, "OPERATION", "ACTIVE"])
def test_another_initial_status_is_recorded_with_a_reason(status: str) -> None:
    project = a_proposal(**MINIMUM, status=status)
    assert project.status is ProjectStatus.OPERATION
    assert project.status_reason == "initial status on creation"
    migrated = a_proposal(**MINIMUM, status=status, status_reason="migrated")
    assert migrated.status_reason == "migrated"


def test_an_unknown_status_is_rejected() -> None:
    with pytest.raises(InvalidInput) as error:
        parse_status("RUNNING")
    assert errors_of(error) == [("/status", "unknown_status")]


def test_a_project_cannot_be_created_at_financial_close_with_an_open_condition() -> None:
    with pytest.raises(InvalidInput) as error:
        a_proposal(**MINIMUM, status=ProjectStatus.FINANCIAL_CLOSE, milestones=(a_condition(),))
    assert errors_of(error) == [("/milestones", "open_condition")]


def test_absent_governed_values_and_extensions_are_not_keys() -> None:
    project = a_proposal(
        {"technology": None, "units": 3}, {"x_a": None, "x_b": RAW(b"1")}, **MINIMUM
    )
    assert dict(project.attributes) == {"units": 3}
    assert list(project.extensions) == ["x_b"]


def test_a_patch_replaces_removes_and_keeps() -> None:
    before = a_project(
        description="old",
        sponsors=some_sponsors("60", "40"),
        attributes={"technology": "pv", "units": 3},
        extensions={"x_a": RAW(b"1")},
    )
    after = apply_amendment(
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


def test_a_patch_cannot_violate_an_invariant() -> None:
    with pytest.raises(InvalidInput) as error:
        apply_amendment(a_project(total_amount=Decimal("10.50")), {"currency_code": "JPY"}, {}, {})
    assert errors_of(error) == [("/total_amount", "too_precise")]


def test_a_patch_cannot_remove_required_fields_or_set_protected_ones() -> None:
    patch: dict[str, Any] = {
        "project_name": None,
        "total_amount": None,
        "currency_code": None,
        "status": ProjectStatus.MANDATED,
        "status_reason": "because",
        "suspended_from": None,
        "project_id": "other",
        "budget": 1,
    }
    with pytest.raises(InvalidInput) as error:
        apply_amendment(a_project(), patch, {}, {})
    assert errors_of(error) == [
        ("/project_name", "required"),
        ("/total_amount", "required"),
        ("/currency_code", "required"),
        ("/status", "use_transition"),
        ("/status_reason", "use_transition"),
        ("/suspended_from", "use_transition"),
        ("/project_id", "unknown_field"),
        ("/budget", "unknown_field"),
    ]


def test_the_current_status_in_a_patch_changes_nothing() -> None:
    project = a_project()
    assert apply_amendment(project, {"status": ProjectStatus.PROPOSED}, {}, {}) == project


def test_changed_fields_are_in_document_order() -> None:
    before = a_project(attributes={"units": 3, "technology": "pv"}, extensions={"x_a": RAW(b"1")})
    after = apply_amendment(
        before,
        {"cod_date": date(2031, 1, 1), "description": "new", "sector": "Solar"},
        {"licensed_on": date(2030, 1, 1), "units": None},
        {"x_a": RAW(b"2")},
    )
    assert list_changed_fields(before, after) == (
        *("description", "cod_date", "licensed_on", "units", "x_a"),
    )
    assert list_changed_fields(before, before) == ()


def test_all_fields_of_a_new_project_are_changed_fields() -> None:
    project = a_proposal({"units": 3}, {"x_a": RAW(b"1")}, **MINIMUM)
    assert list_changed_fields(None, project) == (
        *("project_name", "total_amount", "currency_code", "status", "units", "x_a"),
    )


@given(st.data())
# Projects are large to draw; on a busy machine slow data generation is not a failure.
@settings(max_examples=scale(12), suppress_health_check=[HealthCheck.too_slow])
def test_a_patch_of_all_differences_turns_one_project_into_the_other(
    data: st.DataObject,
) -> None:
    schema = a_schema()
    before, after = data.draw(projects(schema)), data.draw(projects(schema))
    frozen = ["project_id", "status", "status_reason", "status_effective_on", "suspended_from"]
    if after.total_amount is None:  # a known amount is never removed
        frozen += ["total_amount", "currency_code"]
    after = msgspec.structs.replace(
        after, milestones=(), **{name: getattr(before, name) for name in frozen}
    )
    changed = list_changed_fields(before, after)
    names = set(Project.__struct_fields__) & set(changed)
    patch = {name: getattr(after, name) for name in names}
    governed = {column.name: after.attributes.get(column.name) for column in schema.governed}
    removed = dict.fromkeys(before.extensions)
    assert apply_amendment(before, patch, governed, {**removed, **after.extensions}) == after


# --- The status machine: every allowed transition, and no other. -----------------------------

TRANSITIONS: dict[str, set[str]] = {
    "PROPOSED": {"MANDATED", "CANCELLED"},
    "MANDATED": {"FINANCIAL_CLOSE", "CANCELLED"},
    "FINANCIAL_CLOSE": {"CONSTRUCTION", "CANCELLED", "DEFAULTED"},
    "CONSTRUCTION": {"OPERATION", "SUSPENDED", "CANCELLED", "DEFAULTED"},
    "OPERATION": {"COMPLETED", "SUSPENDED", "DEFAULTED"},
    "DEFAULTED": {"CONSTRUCTION", "OPERATION", "COMPLETED", "CANCELLED"},
    "COMPLETED": set(),
    "CANCELLED": set(),
}
TRANSITIONS_FROM_SUSPENDED: dict[str | None, set[str]] = {
    "CONSTRUCTION": {"CONSTRUCTION", "DEFAULTED", "CANCELLED"},
    "OPERATION": {"OPERATION", "DEFAULTED"},
    None: {"CONSTRUCTION", "OPERATION", "DEFAULTED"},
}
STARTS: list[tuple[str, str | None, set[str]]] = [
    *((status, None, allowed) for status, allowed in TRANSITIONS.items()),
    *(("SUSPENDED", origin, allowed) for origin, allowed in TRANSITIONS_FROM_SUSPENDED.items()),
]


@pytest.mark.parametrize(
    ("start", "to"),
    list(product(STARTS, ProjectStatus)),
    ids=lambda value: value[0] + str(value[1] or "") if isinstance(value, tuple) else str(value),
)
def test_exactly_the_allowed_transitions_are_possible(
    start: tuple[str, str | None, set[str]], to: ProjectStatus
) -> None:
    status, origin, allowed = start
    project = a_project(
        status=ProjectStatus(status),
        suspended_from=None if origin is None else ProjectStatus(origin),
    )
    if to in allowed:
        after = apply_transition(project, to, reason="so decided", effective_on=date(2030, 1, 1))
        assert after.status is to
        assert (after.status_reason, after.status_effective_on) == ("so decided", date(2030, 1, 1))
        assert after.suspended_from is (project.status if to is ProjectStatus.SUSPENDED else None)
        assert list_changed_fields(project, after)[0] == "status"
    else:
        with pytest.raises(IllegalTransition, match=f"{status} cannot become {to}"):
            apply_transition(project, to, reason="so decided")


def test_a_suspended_project_returns_to_its_earlier_status() -> None:
    running = a_project(status=ProjectStatus.OPERATION)
    suspended = apply_transition(running, ProjectStatus.SUSPENDED, reason="flood")
    assert suspended.suspended_from is ProjectStatus.OPERATION
    resumed = apply_transition(suspended, ProjectStatus.OPERATION, reason="dry again")
    assert resumed.suspended_from is None
    with pytest.raises(IllegalTransition):
        apply_transition(suspended, ProjectStatus.CONSTRUCTION, reason="rebuild")


def test_terminal_statuses_allow_no_transition() -> None:
    assert (
        get_next_statuses(ProjectStatus.COMPLETED)
        == get_next_statuses(ProjectStatus.CANCELLED)
        == frozenset()
    )
    with pytest.raises(IllegalTransition, match="none, it is final"):
        apply_transition(
            a_project(status=ProjectStatus.CANCELLED), ProjectStatus.PROPOSED, reason="again"
        )


def test_financial_close_needs_every_condition_precedent() -> None:
    mandated = a_project(
        status=ProjectStatus.MANDATED, milestones=(a_condition("cp-1"), a_condition("cp-2"))
    )
    with pytest.raises(Conflict, match="2 conditions precedent are open: cp-1, cp-2"):
        apply_transition(mandated, ProjectStatus.FINANCIAL_CLOSE, reason="signed")
    met = (
        a_condition("cp-1", met_on=date(2030, 1, 1)),
        a_condition("cp-2", waived_on=date(2030, 1, 1)),
    )
    ready = apply_amendment(mandated, {"milestones": met}, {}, {})
    closed = apply_transition(ready, ProjectStatus.FINANCIAL_CLOSE, reason="signed")
    assert closed.status is ProjectStatus.FINANCIAL_CLOSE
    with expect_invalid(("/milestones", "open_condition")):
        apply_amendment(closed, {"milestones": (a_condition("cp-3"),)}, {}, {})


@pytest.mark.parametrize("status", [ProjectStatus.OPERATION, ProjectStatus.DEFAULTED])
def test_completion_needs_all_debt_repaid(status: ProjectStatus) -> None:
    project = a_project(status=status)
    for debt in (Decimal("0.01"), Decimal("NaN")):
        owed = {"EUR": Decimal(0), "USD": debt}
        with pytest.raises(Conflict, match=f"{debt} USD is outstanding"):
            apply_transition(
                project, ProjectStatus.COMPLETED, reason="repaid", debt_outstanding=owed
            )
    nothing = {"EUR": Decimal("0.00")}
    completed = apply_transition(
        project, ProjectStatus.COMPLETED, reason="repaid", debt_outstanding=nothing
    )
    assert completed.status is ProjectStatus.COMPLETED


@pytest.mark.parametrize(
    ("reason", "code"), [("", "empty"), (" \n", "empty"), ("r" * 1_001, "too_long")]
)
def test_a_transition_needs_a_valid_reason(reason: str, code: str) -> None:
    with pytest.raises(InvalidInput) as error:
        apply_transition(a_project(), ProjectStatus.MANDATED, reason=reason)
    assert errors_of(error) == [("/reason", code)]


def test_an_external_reference_can_be_changed_and_released() -> None:
    project = a_project(external_ref=ExternalRef(source="loans", id="7"))
    assert apply_amendment(project, {"external_ref": None}, {}, {}).external_ref is None
