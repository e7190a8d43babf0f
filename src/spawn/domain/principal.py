"""The caller of a use case: id, scopes and row scope."""

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.text import check_line

MAX_ID_LENGTH = 200
"""Characters of a principal's id."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated actor.

    `id` is recorded as actor in the history. `scopes` are the permitted groups of operations.
    `row_scope` names the subset of rows the principal may see; None is all of them.

    Raises:
        InvalidInput: on construction, if the id is not a valid line of text.
    """

    id: str
    scopes: frozenset[str] = frozenset({"read", "write", "admin"})
    row_scope: str | None = None

    def __post_init__(self) -> None:
        """Check the id, which the history will record."""
        errors: list[FieldError] = []
        check_line(self.id, "", MAX_ID_LENGTH, errors)
        if errors:
            raise InvalidInput(errors)
