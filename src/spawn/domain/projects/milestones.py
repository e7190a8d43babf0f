"""Milestones and conditions precedent of a project."""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.errors import Conflict, Duplicate, FieldError, InvalidInput, NotFound
from spawn.domain.text import check_line, check_prose

MAX_MILESTONES = 200
"""Milestones of one project."""
MAX_ID_LENGTH, MAX_TITLE_LENGTH, MAX_EVIDENCE_LENGTH = 64, 200, 2_000
"""Characters of a milestone's texts."""

_DECIDED_DAYS: Final = ("met_on", "waived_on")
_DECISION_HINT: Final = "changes by a decision about the milestone: POST …/milestones/decisions"


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
    today: date,
) -> tuple[Milestone, ...]:
    """Return the milestones after a decision about one of them.

    A milestone is met on a day up to today, with evidence if there is any; it is waived on a day,
    or opened again, for a reason. One that is open again has neither day nor evidence; the history
    has both.

    Raises:
        NotFound: there is no milestone of this id.
        InvalidInput: the day or the reason is missing, the day is still to come, or a member does
            not go with the decision.
        Conflict: the milestone is in this state already.
    """
    before = next((one for one in milestones if one.milestone_id == milestone_id), None)
    if before is None:
        raise NotFound("The project has no milestone of this id.")
    _check_decision(decision, on=on, evidence=evidence, reason=reason, today=today)
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
    decision: MilestoneDecision,
    *,
    on: date | None,
    evidence: str | None,
    reason: str | None,
    today: date,
) -> None:
    errors: list[FieldError] = []
    is_reopened = decision is MilestoneDecision.REOPENED
    if on is None and not is_reopened:
        errors.append(FieldError("/on", "missing", f"is required for {decision}"))
    elif on is not None and not is_reopened:
        _check_decided_day(on, "/on", today, errors)
    if reason is None and decision is not MilestoneDecision.MET:
        errors.append(FieldError("/reason", "missing", f"is required for {decision}"))
    for name, value in (("on", on), ("evidence", evidence)):
        if value is not None and is_reopened:
            errors.append(FieldError(f"/{name}", "not_applicable", f"does not go with {decision}"))
    if errors:
        raise InvalidInput(errors)


def check_decided_days(
    milestones: Iterable[Milestone], today: date, errors: list[FieldError]
) -> None:
    """Append an error for each milestone that is met or waived on a day that is still to come."""
    for index, milestone in enumerate(milestones):
        _check_decided_days(milestone, index, today, errors)


def _check_decided_days(
    milestone: Milestone, index: int, today: date, errors: list[FieldError]
) -> None:
    for name in _DECIDED_DAYS:
        if (day := getattr(milestone, name)) is not None:
            _check_decided_day(day, f"/milestones/{index}/{name}", today, errors)


def _check_decided_day(day: date, pointer: str, today: date, errors: list[FieldError]) -> None:
    if day > today:
        detail = f"is after today, {today}: a milestone stays open until its day has come"
        errors.append(FieldError(pointer, "in_the_future", detail))


def check_amended_milestones(
    before: tuple[Milestone, ...], after: tuple[Milestone, ...], today: date
) -> None:
    """Check that an amendment of the list decides about no milestone that it changes.

    A new one may be met or waived already, up to today.

    A milestone is met, waived or opened again by a decision, which has its day and its reason, and
    which may need an approval. An open one that stops draws or the financial close stays, and
    stops as it did.

    Raises:
        InvalidInput: `use_decision` for each such change, `in_the_future` for a new milestone.
    """
    errors: list[FieldError] = []
    known = {one.milestone_id for one in before}
    for index, one in enumerate(after):
        if one.milestone_id not in known:
            _check_decided_days(one, index, today, errors)
    places = {one.milestone_id: (index, one) for index, one in enumerate(after)}
    for earlier in before:
        if earlier.milestone_id not in places:
            if is_open(earlier) and _list_stops(earlier):
                detail = f"{earlier.milestone_id} is open and may not be removed: waive it"
                errors.append(FieldError("/milestones", "use_decision", detail))
            continue
        index, later = places[earlier.milestone_id]
        errors.extend(
            FieldError(f"/milestones/{index}/{name}", "use_decision", _DECISION_HINT)
            for name in _list_decided_members(earlier, later)
        )
    if errors:
        raise InvalidInput(errors)


def _list_decided_members(earlier: Milestone, later: Milestone) -> list[str]:
    """Return the members of a changed milestone that only a decision may change."""
    names = [name for name in _DECIDED_DAYS if getattr(earlier, name) != getattr(later, name)]
    if is_open(earlier):
        names += [name for name in _list_stops(earlier) if name not in _list_stops(later)]
    return names


def _list_stops(milestone: Milestone) -> list[str]:
    """Return the members by which an open milestone stops draws or the financial close."""
    is_condition = milestone.kind is MilestoneKind.CONDITION_PRECEDENT
    return ["draw_stop"] * milestone.draw_stop + ["kind"] * is_condition


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
