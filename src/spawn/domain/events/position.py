"""Position in the feed: an epoch of the store and a journal row in it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from spawn.domain.errors import CursorInvalid

PROJECT: Final = "project"
UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

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
    r"(0|[1-9]\d{0,17})\.([1-9]\d{0,8})\.(?:([a-z_]{1,32}):)?([\x21-\x7e]{1,256})", re.ASCII
)
_INSTANT_FORM: Final = re.compile(r"(0|[1-9]\d{0,17})\.at\.([1-9]\d{0,17})", re.ASCII)
_MICROSECOND: Final = timedelta(microseconds=1)


class VersionCursor(msgspec.Struct, frozen=True):
    """The place after the event of one version, for readers of some projects only.

    Its text is `{epoch}.{version}.{id}` of a project and `{epoch}.{version}.{kind}:{id}` of another
    aggregate, which tells nothing about other projects.
    """

    epoch: int
    version: int
    id: str
    kind: str = PROJECT

    def __str__(self) -> str:
        """Return the text of the cursor."""
        kind = "" if self.kind == PROJECT else f"{self.kind}:"
        return f"{self.epoch}.{self.version}.{kind}{self.id}"

    @classmethod
    def parse(cls, text: str) -> "VersionCursor":
        """Parse the text of a cursor.

        Raises:
            CursorInvalid: the text has another form.
        """
        match = _VERSION_FORM.fullmatch(text)
        if match is None:
            raise CursorInvalid("The cursor is not of the form epoch.version.id.")
        return cls(int(match[1]), int(match[2]), match[4], match[3] or PROJECT)


class InstantCursor(msgspec.Struct, frozen=True):
    """The place after everything that was recorded by an instant, for readers of some projects.

    Its text is `{epoch}.at.{microseconds since 1970}`; the time of a request is no secret.
    """

    epoch: int
    instant: datetime

    def __str__(self) -> str:
        """Return the text of the cursor."""
        return f"{self.epoch}.at.{(self.instant - UNIX_EPOCH) // _MICROSECOND}"

    @classmethod
    def parse(cls, text: str) -> "InstantCursor | None":
        """Parse the text of a cursor; None if it has another form, or an impossible instant."""
        match = _INSTANT_FORM.fullmatch(text)
        if match is None:
            return None
        try:
            return cls(int(match[1]), UNIX_EPOCH + int(match[2]) * _MICROSECOND)
        except OverflowError:
            return None
