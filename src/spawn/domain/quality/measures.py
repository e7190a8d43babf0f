"""Data-quality measures: the counts that a store makes, free of any engine's language."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.events.position import Position
from spawn.domain.schema_version import Column

MAX_SAMPLES: Final = 10
"""Ids of failing projects in one tally."""

EXTERNAL_REF: Final = "external_ref"


class CompletenessMeasure(msgspec.Struct, frozen=True, tag="complete"):
    """Of all projects, those in which the column has a value."""

    column: str


class ConformityMeasure(msgspec.Struct, frozen=True, tag="conforming"):
    """Of the values of a column, those within its enum, bounds, length and pattern."""

    column: Column


class UniquenessMeasure(msgspec.Struct, frozen=True, tag="unique"):
    """Of the values of `project_id` or `external_ref`, those that no other project has."""

    field: str


class DateOrderMeasure(msgspec.Struct, frozen=True, tag="in_order"):
    """Of the projects with two or more of the columns, those in ascending order."""

    columns: tuple[str, ...]


class SponsorShareMeasure(msgspec.Struct, frozen=True, tag="shares_whole"):
    """Of the projects with sponsors, those whose shares add up to exactly 100."""


class SumMeasure(msgspec.Struct, frozen=True, tag="sum_equals"):
    """Of the projects with an addend and a total, those whose addends make the total.

    They differ only if the gap is `tolerance` times |total| or more.
    """

    addends: tuple[str, ...]
    total: str
    tolerance: Decimal = Decimal(0)


Measure = (
    CompletenessMeasure
    | ConformityMeasure
    | UniquenessMeasure
    | DateOrderMeasure
    | SponsorShareMeasure
    | SumMeasure
)
"""Any measure that a store can count."""


class MeasureTally(msgspec.Struct, frozen=True):
    """The count of one measure: `met` of `checked`, and at most `MAX_SAMPLES` failing ids."""

    met: int
    checked: int
    samples: tuple[str, ...] = ()


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A store's count of several measures over one state of the data, in their order.

    The state includes every change acknowledged at `position`. `changed_at` is the time of the
    last write to a project, None if there is no project.
    """

    position: Position
    projects: int
    changed_at: datetime | None
    tallies: tuple[MeasureTally, ...]
