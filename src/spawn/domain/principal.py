"""Who acts: every use case takes a principal, and the history names it."""

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.text import check_line

MAX_ID = 200
"""Characters of a principal's id."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated actor.

    `id` is what the history records as actor. `scopes` are the groups of operations allowed.
    `row_scope` names the subset of rows the principal may see; None is all of them.

    Raises:
        InvalidInput: on construction, if the id is no line that a history can keep.
    """

    id: str
    scopes: frozenset[str] = frozenset({"read", "write", "admin"})
    row_scope: str | None = None

    def __post_init__(self) -> None:
        """Check the id, which the history will name."""
        faults: list[FieldError] = []
        check_line(self.id, "", MAX_ID, faults)
        if faults:
            raise InvalidInput(faults)
