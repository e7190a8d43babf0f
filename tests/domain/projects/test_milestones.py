"""Decisions about milestones, and what an amendment of their list may not decide."""

from datetime import date

import msgspec
import pytest

from spawn.domain.errors import Conflict, InvalidInput
from spawn.domain.projects.milestones import (
    Milestone,
    MilestoneDecision,
    check_amended_milestones,
    decide_milestone,
)
from spawn.testing.builders import a_condition
from spawn.testing.expected_errors import expect_invalid

pytestmark = pytest.mark.core

TODAY = date(2030, 6, 1)
OPEN, MET = a_condition("a"), a_condition("a", met_on=TODAY)
WAIVED = a_condition("a", waived_on=TODAY)
TERMS: dict[MilestoneDecision, dict[str, object]] = {
    MilestoneDecision.MET: {"on": TODAY},
    MilestoneDecision.WAIVED: {"on": TODAY, "reason": "consent"},
    MilestoneDecision.REOPENED: {"reason": "appeal"},
}


def decide(before: Milestone, decision: MilestoneDecision) -> Milestone:
    terms = {"on": None, "evidence": None, "reason": None, **TERMS[decision]}
    (after,) = decide_milestone((before,), "a", decision, today=TODAY, **terms)  # type: ignore[arg-type]
    return after


@pytest.mark.parametrize(
    ("before", "decision", "after"),
    [
        (OPEN, MilestoneDecision.MET, MET),
        (OPEN, MilestoneDecision.WAIVED, WAIVED),
        (MET, MilestoneDecision.REOPENED, OPEN),
        (WAIVED, MilestoneDecision.REOPENED, OPEN),
        (OPEN, MilestoneDecision.REOPENED, "is open already."),
        (MET, MilestoneDecision.MET, "is met already; reopen it first."),
        (MET, MilestoneDecision.WAIVED, "is met already; reopen it first."),
        (WAIVED, MilestoneDecision.MET, "is waived already; reopen it first."),
    ],
)
def test_a_milestone_is_decided_once_until_it_opens_again(
    before: Milestone, decision: MilestoneDecision, after: Milestone | str
) -> None:
    if isinstance(after, Milestone):
        assert decide(before, decision) == after
    else:
        with pytest.raises(Conflict) as error:
            decide(before, decision)
        assert error.value.detail.lower() == f"the milestone a {after}"


def test_an_amendment_names_each_milestone_that_it_decides() -> None:
    plain = Milestone(milestone_id="plain", title="Permit")
    before = (plain, a_condition("gone"), MET, a_condition("b"))
    after = (
        a_condition("b", waived_on=TODAY),
        msgspec.structs.replace(OPEN, title="Another title"),
        a_condition("new", met_on=date(2030, 6, 2)),
    )
    with pytest.raises(InvalidInput) as error:
        check_amended_milestones(before, after, TODAY)
    assert {(one.pointer, one.code) for one in error.value.errors} == {
        ("/milestones", "use_decision"),
        ("/milestones/1/met_on", "use_decision"),
        ("/milestones/0/waived_on", "use_decision"),
        ("/milestones/2/met_on", "in_the_future"),
    }


def test_an_amendment_may_remove_what_stops_nothing_and_change_the_rest() -> None:
    plain = Milestone(milestone_id="plain", title="Permit")
    check_amended_milestones((plain, MET), (a_condition("new", met_on=TODAY),), TODAY)
    with expect_invalid(("/milestones", "use_decision")):
        check_amended_milestones((plain, OPEN), (plain,), TODAY)
