"""Transitions and histories of projects on the wire, and the parameters of their queries."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from spawn.domain.events.journal_entry import JournalEntry
from spawn.domain.projects.lifecycle import ProjectStatus
from spawn.entrypoints.http.protocol.operation import Parameter
from spawn.entrypoints.http.wire import Count, Instant, JsonObject, Reason, Version, WireStruct

_MOMENT: Final = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}
HISTORY_SORT: Final = Parameter(
    "sort",
    {"type": "string", "enum": ["version", "-version"], "default": "version"},
    "Oldest version first (`version`) or newest first (`-version`).",
)
MIN_VERSION: Final = Parameter(
    "version[gte]", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, "First version."
)
MAX_VERSION: Final = Parameter(
    "version[lte]", {"type": "integer", "minimum": 1, "maximum": 999_999_999}, "Last version."
)
RECORDED_FROM: Final = Parameter(
    "recorded_at[gte]", _MOMENT, "Versions recorded at or after an instant, or from a day on."
)
RECORDED_TO: Final = Parameter(
    "recorded_at[lte]", _MOMENT, "Versions recorded at or before an instant, or until a day's end."
)
FIELDS: Final = Parameter(
    "fields",
    {
        "type": "string",
        "pattern": r"^(project_name(,total_amount)?|total_amount|status|dscr|spv)$",
    },
    "Comma-separated fields to return beside id and version.",
    examples={"two": {"value": "project_name,total_amount"}},
    component="Fields",
)
SORT: Final = Parameter(
    "sort",
    {
        "type": "string",
        "pattern": r"^-?(total_amount(,project_name)?|project_name|status|created_at)$",
    },
    "Comma-separated fields; a leading minus sorts descending. Default: order of creation.",
    examples={"largest": {"value": "-total_amount,project_name"}},
)
FILTERS: Final = Parameter(
    "filters",
    None,
    "Filters by field: `field=value` or `field[operator]=value`.",
    component="ProjectFilters",
)


class HistoryOrder(StrEnum):
    """Order of a history."""

    OLDEST_FIRST = "version"
    NEWEST_FIRST = "-version"


class ProjectCountView(WireStruct, frozen=True):
    """The number of projects that match the filters."""

    count: Count


class TransitionView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """A move to another status, as a client sends it."""

    to: ProjectStatus
    reason: Reason
    effective_on: date | None = None


class HistoryEntryView(WireStruct, frozen=True, kw_only=True):
    """One version of a project, with its document as it was encoded at commit."""

    version: Version
    type: Annotated[str, Meta(examples=["project.created"])]
    actor: str
    recorded_at: Instant
    schema_version: Count
    changed: tuple[str, ...]
    document: JsonObject
    reason: str | UnsetType = UNSET

    @classmethod
    def of_entry(cls, entry: JournalEntry) -> Self:
        """Return the wire form of a journal entry."""
        reason = UNSET if entry.reason is None else entry.reason
        return cls.of(entry, document=msgspec.Raw(entry.document), reason=reason)
