"""Milestones and conditions precedent of a project."""

from datetime import date
from enum import StrEnum

import msgspec

from spawn.domain.errors import Conflict, Duplicate, FieldError, InvalidInput, NotFound
from spawn.domain.text import check_line, check_prose

MAX_MILESTONES = 200
"""Milestones of one project."""
MAX_ID_LENGTH, MAX_TITLE_LENGTH, MAX_EVIDENCE_LENGTH = 64, 200, 2_000
"""Characters of a milestone's texts."""


class MilestoneKind(StrEnum):
    """The kind of a milestone."""

    MILESTONE = "MILESTONE"
    CONDITION_PRECEDENT = "CONDITION_PRECEDENT"


class Milestone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A milestone or condition precedent; open while neither met nor waived.

    `draw_stop` blocks every drawdown while it is open.
    """

    milestone_id: str
    title: str
    kind: MilestoneKind = MilestoneKind.MILESTONE
    due_date: date | None = None
    met_on: date | None = None
    waived_on: date | None = None
    draw_stop: bool = False
    evidence: str | None = None


class MilestoneDecision(StrEnum):
    """A decision about a milestone: it is met, waived, or open again."""

    MET = "MET"
    WAIVED = "WAIVED"
    REOPENED = "REOPENED"


class MilestoneState(StrEnum):
    """The state of a milestone."""

    OPEN = "OPEN"
    MET = "MET"
    WAIVED = "WAIVED"


def get_state(milestone: Milestone) -> MilestoneState:
    """Return whether a milestone is open, met or waived."""
    if milestone.met_on is not None:
        return MilestoneState.MET
    return MilestoneState.OPEN if milestone.waived_on is None else MilestoneState.WAIVED


def add_milestone(milestones: tuple[Milestone, ...], milestone: Milestone) -> tuple[Milestone, ...]:
    """Return the milestones with one more.

    Raises:
        Duplicate: there is one of this id.
    """
    if any(one.milestone_id == milestone.milestone_id for one in milestones):
        raise Duplicate(f"The project has a milestone {milestone.milestone_id} already.")
    return (*milestones, milestone)


def decide_milestone(
    milestones: tuple[Milestone, ...],
    milestone_id: str,
    decision: MilestoneDecision,
    *,
    on: date | None,
    evidence: str | None,
    reason: str | None,
) -> tuple[Milestone, ...]:
    """Return the milestones after a decision about one of them.

    A milestone is met on a day, with evidence if there is any; it is waived on a day, or opened
    again, for a reason. One that is open again has neither day nor evidence; the history has both.

    Raises:
        NotFound: there is no milestone of this id.
        InvalidInput: the day or the reason is missing, or a member does not go with the decision.
        Conflict: the milestone is in this state already.
    """
    before = next((one for one in milestones if one.milestone_id == milestone_id), None)
    if before is None:
        raise NotFound("The project has no milestone of this id.")
    _check_decision(decision, on=on, evidence=evidence, reason=reason)
    state, is_reopened = get_state(before), decision is MilestoneDecision.REOPENED
    if is_reopened is (state is MilestoneState.OPEN):
        hint = "" if is_reopened else "; reopen it first"
        raise Conflict(f"The milestone {milestone_id} is {state} already{hint}.")
    after = msgspec.structs.replace(
        before,
        met_on=on if decision is MilestoneDecision.MET else None,
        waived_on=on if decision is MilestoneDecision.WAIVED else None,
        evidence=None if is_reopened else evidence or before.evidence,
    )
    return tuple(after if one is before else one for one in milestones)


def _check_decision(
    decision: MilestoneDecision, *, on: date | None, evidence: str | None, reason: str | None
) -> None:
    errors: list[FieldError] = []
    is_reopened = decision is MilestoneDecision.REOPENED
    if on is None and not is_reopened:
        errors.append(FieldError("/on", "missing", f"is required for {decision}"))
    if reason is None and decision is not MilestoneDecision.MET:
        errors.append(FieldError("/reason", "missing", f"is required for {decision}"))
    for name, value in (("on", on), ("evidence", evidence)):
        if value is not None and is_reopened:
            errors.append(FieldError(f"/{name}", "not_applicable", f"does not go with {decision}"))
    if errors:
        raise InvalidInput(errors)


def is_open(milestone: Milestone) -> bool:
    """Return whether a milestone is neither met nor waived."""
    return milestone.met_on is None and milestone.waived_on is None


def list_open_conditions(milestones: tuple[Milestone, ...]) -> tuple[Milestone, ...]:
    """Return the conditions precedent that are neither met nor waived."""
    condition = MilestoneKind.CONDITION_PRECEDENT
    return tuple(m for m in milestones if m.kind is condition and is_open(m))


def check_milestones(milestones: tuple[Milestone, ...], errors: list[FieldError]) -> None:
    """Append the errors of the milestones, including duplicate ids."""
    if len(milestones) > MAX_MILESTONES:
        errors.append(FieldError("/milestones", "too_many", f"at most {MAX_MILESTONES} milestones"))
        return
    ids: set[str] = set()
    for index, milestone in enumerate(milestones):
        pointer = f"/milestones/{index}"
        _check_milestone(milestone, pointer, errors)
        if milestone.milestone_id in ids:
            errors.append(FieldError(f"{pointer}/milestone_id", "duplicate", "is used twice"))
        ids.add(milestone.milestone_id)


def _check_milestone(milestone: Milestone, pointer: str, errors: list[FieldError]) -> None:
    check_line(milestone.milestone_id, f"{pointer}/milestone_id", MAX_ID_LENGTH, errors)
    check_line(milestone.title, f"{pointer}/title", MAX_TITLE_LENGTH, errors)
    if milestone.evidence is not None:
        check_prose(milestone.evidence, f"{pointer}/evidence", MAX_EVIDENCE_LENGTH, errors)
    if milestone.met_on is not None and milestone.waived_on is not None:
        errors.append(
            FieldError(
                f"{pointer}/waived_on", "met_and_waived", "must not be set together with met_on"
            )
        )
