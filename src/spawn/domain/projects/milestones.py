"""Milestones and conditions precedent: what must have happened before the next step."""

from datetime import date
from enum import StrEnum

import msgspec

from spawn.domain.errors import FieldError
from spawn.domain.text import check_line, check_prose

MAX_MILESTONES = 200
"""Milestones of one project."""
MAX_ID, MAX_TITLE, MAX_EVIDENCE = 64, 200, 2_000
"""Characters of a milestone's texts."""


class MilestoneKind(StrEnum):
    """What a milestone stands for."""

    MILESTONE = "MILESTONE"
    CONDITION_PRECEDENT = "CONDITION_PRECEDENT"


class Milestone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A milestone or condition precedent; open while neither met nor waived.

    `draw_stop` says that no drawdown may happen while it is open.
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
    """Whether it is neither met nor waived."""
    return milestone.met_on is None and milestone.waived_on is None


def open_conditions(milestones: tuple[Milestone, ...]) -> tuple[Milestone, ...]:
    """The conditions precedent that are neither met nor waived."""
    condition = MilestoneKind.CONDITION_PRECEDENT
    return tuple(m for m in milestones if m.kind is condition and is_open(m))


def check_milestones(milestones: tuple[Milestone, ...], faults: list[FieldError]) -> None:
    """Append what is wrong with the milestones, each of them and their ids."""
    if len(milestones) > MAX_MILESTONES:
        faults.append(FieldError("/milestones", "too_many", f"at most {MAX_MILESTONES} milestones"))
        return
    seen: set[str] = set()
    for index, milestone in enumerate(milestones):
        at = f"/milestones/{index}"
        _check_milestone(milestone, at, faults)
        if milestone.milestone_id in seen:
            faults.append(FieldError(f"{at}/milestone_id", "duplicate", "is used twice"))
        seen.add(milestone.milestone_id)


def _check_milestone(milestone: Milestone, at: str, faults: list[FieldError]) -> None:
    check_line(milestone.milestone_id, f"{at}/milestone_id", MAX_ID, faults)
    check_line(milestone.title, f"{at}/title", MAX_TITLE, faults)
    if milestone.evidence is not None:
        check_prose(milestone.evidence, f"{at}/evidence", MAX_EVIDENCE, faults)
    if milestone.met_on is not None and milestone.waived_on is not None:
        faults.append(FieldError(f"{at}/waived_on", "met_and_waived", "is met, so not waived"))
