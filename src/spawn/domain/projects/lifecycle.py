"""The status machine of a project.

PROPOSED → MANDATED → FINANCIAL_CLOSE → CONSTRUCTION → OPERATION → COMPLETED is the regular path.
Before OPERATION a project may be CANCELLED; in construction and operation it may be SUSPENDED and
then resumed; from financial close on it may be DEFAULTED, and then be cured or worked out.
"""

from collections.abc import Mapping
from enum import StrEnum

from spawn.domain.errors import InvalidInput


class ProjectStatus(StrEnum):
    """The status of a project."""

    PROPOSED = "PROPOSED"
    MANDATED = "MANDATED"
    FINANCIAL_CLOSE = "FINANCIAL_CLOSE"
    CONSTRUCTION = "CONSTRUCTION"
    OPERATION = "OPERATION"
    SUSPENDED = "SUSPENDED"
    DEFAULTED = "DEFAULTED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


_TRANSITIONS: Mapping[ProjectStatus, frozenset[ProjectStatus]] = {
    ProjectStatus.PROPOSED: frozenset({ProjectStatus.MANDATED, ProjectStatus.CANCELLED}),
    ProjectStatus.MANDATED: frozenset({ProjectStatus.FINANCIAL_CLOSE, ProjectStatus.CANCELLED}),
    ProjectStatus.FINANCIAL_CLOSE: frozenset(
        {ProjectStatus.CONSTRUCTION, ProjectStatus.CANCELLED, ProjectStatus.DEFAULTED}
    ),
    ProjectStatus.CONSTRUCTION: frozenset(
        {
            ProjectStatus.OPERATION,
            ProjectStatus.SUSPENDED,
            ProjectStatus.DEFAULTED,
            ProjectStatus.CANCELLED,
        }
    ),
    ProjectStatus.OPERATION: frozenset(
        {ProjectStatus.COMPLETED, ProjectStatus.SUSPENDED, ProjectStatus.DEFAULTED}
    ),
    # A cure, or the end of a workout.
    ProjectStatus.DEFAULTED: frozenset(
        {
            ProjectStatus.CONSTRUCTION,
            ProjectStatus.OPERATION,
            ProjectStatus.COMPLETED,
            ProjectStatus.CANCELLED,
        }
    ),
    ProjectStatus.COMPLETED: frozenset(),
    ProjectStatus.CANCELLED: frozenset(),
}
_TRANSITIONS_FROM_SUSPENDED: Mapping[ProjectStatus | None, frozenset[ProjectStatus]] = {
    ProjectStatus.CONSTRUCTION: frozenset(
        {ProjectStatus.CONSTRUCTION, ProjectStatus.DEFAULTED, ProjectStatus.CANCELLED}
    ),
    ProjectStatus.OPERATION: frozenset({ProjectStatus.OPERATION, ProjectStatus.DEFAULTED}),
    # Created as suspended, so its earlier status is not recorded: it may resume either way, but
    # only a project known to be under construction may be cancelled.
    None: frozenset({ProjectStatus.CONSTRUCTION, ProjectStatus.OPERATION, ProjectStatus.DEFAULTED}),
}
SUSPENDABLE = frozenset({ProjectStatus.CONSTRUCTION, ProjectStatus.OPERATION})
"""The statuses that a project may be suspended in."""

STATUS_ALIASES = {"ACTIVE": ProjectStatus.OPERATION}
"""Statuses by the further names that input may use."""


def parse_status(text: str, *, pointer: str = "/status") -> ProjectStatus:
    """Parse a status; `ACTIVE` is an input alias of OPERATION.

    Raises:
        InvalidInput: `unknown_status` at `pointer`.
    """
    try:
        return STATUS_ALIASES.get(text) or ProjectStatus(text)
    except ValueError as error:
        choices = ", ".join(ProjectStatus)
        raise InvalidInput.at(pointer, "unknown_status", f"must be one of {choices}") from error


def get_next_statuses(
    status: ProjectStatus, suspended_from: ProjectStatus | None = None
) -> frozenset[ProjectStatus]:
    """Return the statuses that may follow; none after a terminal one.

    `suspended_from` is the status before SUSPENDED, None if it was not recorded.
    """
    if status is ProjectStatus.SUSPENDED:
        return _TRANSITIONS_FROM_SUSPENDED[suspended_from]
    return _TRANSITIONS[status]
