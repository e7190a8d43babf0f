"""Milestones and conditions precedent of a project."""

from datetime import date
from enum import StrEnum

import msgspec

from spawn.domain.errors import FieldError
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
