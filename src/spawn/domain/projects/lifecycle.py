"""The life of a project as a status machine: which steps there are, and from where.

PROPOSED → MANDATED → FINANCIAL_CLOSE → CONSTRUCTION → OPERATION → COMPLETED is the good course.
Before OPERATION a project may be CANCELLED; in construction and operation it may be SUSPENDED and
then resumed; from financial close on it may be DEFAULTED, and then be cured or worked out.
"""

from collections.abc import Mapping
from enum import StrEnum

from spawn.domain.errors import InvalidInput


class Status(StrEnum):
    """Where a project stands in its life."""

    PROPOSED = "PROPOSED"
    MANDATED = "MANDATED"
    FINANCIAL_CLOSE = "FINANCIAL_CLOSE"
    CONSTRUCTION = "CONSTRUCTION"
    OPERATION = "OPERATION"
    SUSPENDED = "SUSPENDED"
    DEFAULTED = "DEFAULTED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


_STEPS: Mapping[Status, frozenset[Status]] = {
    Status.PROPOSED: frozenset({Status.MANDATED, Status.CANCELLED}),
    Status.MANDATED: frozenset({Status.FINANCIAL_CLOSE, Status.CANCELLED}),
    Status.FINANCIAL_CLOSE: frozenset({Status.CONSTRUCTION, Status.CANCELLED, Status.DEFAULTED}),
    Status.CONSTRUCTION: frozenset(
        {Status.OPERATION, Status.SUSPENDED, Status.DEFAULTED, Status.CANCELLED}
    ),
    Status.OPERATION: frozenset({Status.COMPLETED, Status.SUSPENDED, Status.DEFAULTED}),
    # A cure, or the end of a workout.
    Status.DEFAULTED: frozenset(
        {Status.CONSTRUCTION, Status.OPERATION, Status.COMPLETED, Status.CANCELLED}
    ),
    Status.COMPLETED: frozenset(),
    Status.CANCELLED: frozenset(),
}
_SUSPENDED_STEPS: Mapping[Status | None, frozenset[Status]] = {
    Status.CONSTRUCTION: frozenset({Status.CONSTRUCTION, Status.DEFAULTED, Status.CANCELLED}),
    Status.OPERATION: frozenset({Status.OPERATION, Status.DEFAULTED}),
    # Created as suspended, so nobody recorded from where: it may resume either way, but only what
    # is known to be under construction may be cancelled.
    None: frozenset({Status.CONSTRUCTION, Status.OPERATION, Status.DEFAULTED}),
}
SUSPENDABLE = frozenset({Status.CONSTRUCTION, Status.OPERATION})
"""The statuses that a project may be suspended in."""

_STATUS_ALIASES = {"ACTIVE": Status.OPERATION}


def status_of(text: str, *, pointer: str = "/status") -> Status:
    """The status that a text names; `ACTIVE` is an input alias of OPERATION.

    Raises:
        InvalidInput: `unknown_status` at `pointer`.
    """
    try:
        return _STATUS_ALIASES.get(text) or Status(text)
    except ValueError as error:
        known = ", ".join(Status)
        raise InvalidInput.at(pointer, "unknown_status", f"must be one of {known}") from error


def steps_from(status: Status, suspended_from: Status | None = None) -> frozenset[Status]:
    """The statuses that may follow; none after a terminal one.

    `suspended_from` is where a SUSPENDED project was suspended, None if nobody recorded it.
    """
    if status is Status.SUSPENDED:
        return _SUSPENDED_STEPS[suspended_from]
    return _STEPS[status]
