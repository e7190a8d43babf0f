"""Position in the feed: an epoch of the store and a journal row in it."""

import re
from typing import Final

import msgspec

from spawn.domain.errors import CursorInvalid

_FORM: Final = re.compile(r"(0|[1-9]\d{0,17})\.(0|[1-9]\d{0,17})", re.ASCII)


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """The place after journal row `number` of an epoch; 0 is before the first row.

    Its text is `{epoch}.{number}`: the cursor of the feed on the wire, the id of an event and a
    stored bookmark. Positions of one store are ordered and never reused.
    """

    epoch: int
    number: int

    def __str__(self) -> str:
        """Return the text of the position."""
        return f"{self.epoch}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Parse the text of a position.

        Raises:
            CursorInvalid: the text has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise CursorInvalid("The feed position is not of the form epoch.number.")
        return cls(int(match[1]), int(match[2]))


_VERSION_FORM: Final = re.compile(
    r"(0|[1-9]\d{0,17})\.([1-9]\d{0,8})\.([\x21-\x7e]{1,64})", re.ASCII
)


class VersionCursor(msgspec.Struct, frozen=True):
    """The place after the event of one version of a project, for readers of some projects only.

    Its text is `{epoch}.{version}.{id}`, which tells nothing about other projects.
    """

    epoch: int
    version: int
    project_id: str

    def __str__(self) -> str:
        """Return the text of the cursor."""
        return f"{self.epoch}.{self.version}.{self.project_id}"

    @classmethod
    def parse(cls, text: str) -> "VersionCursor":
        """Parse the text of a cursor.

        Raises:
            CursorInvalid: the text has another form.
        """
        match = _VERSION_FORM.fullmatch(text)
        if match is None:
            raise CursorInvalid("The cursor is not of the form epoch.version.id.")
        return cls(int(match[1]), int(match[2]), match[3])
