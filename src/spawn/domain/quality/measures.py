"""Data-quality measures: the counts that a store makes, free of any engine's language."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from spawn.domain.events.position import Position
from spawn.domain.schema_version import Column

MAX_SAMPLES: Final = 10
"""Ids of failing states in one tally."""

EXTERNAL_REF: Final = "external_ref"


class CompletenessMeasure(msgspec.Struct, frozen=True, tag="complete"):
    """Of all states of a kind, those in which the column has a value."""

    column: str


class ConformityMeasure(msgspec.Struct, frozen=True, tag="conforming"):
    """Of the values of a column, those within its enum, bounds, length and pattern."""

    column: Column


class UniquenessMeasure(msgspec.Struct, frozen=True, tag="unique"):
    """Of the values of a column or of `external_ref`, those that no other state has."""

    field: str


class DateOrderMeasure(msgspec.Struct, frozen=True, tag="in_order"):
    """Of the states with two or more of the columns, those in ascending order."""

    columns: tuple[str, ...]


class ShareSumMeasure(msgspec.Struct, frozen=True, tag="shares_whole"):
    """Of the states with shares in a field, such as `sponsors`, those whose sum is 100.

    It differs from 100 by `tolerance` at most. A state without parties, or with a share that is
    unknown, is not checked.
    """

    field: str
    tolerance: Decimal = Decimal(0)


class SumMeasure(msgspec.Struct, frozen=True, tag="sum_equals"):
    """Of the states with an addend and a total, those whose addends make the total.

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
    | ShareSumMeasure
    | SumMeasure
)
"""Any measure that a store can count."""


class MeasureTally(msgspec.Struct, frozen=True):
    """The count of one measure: `met` of `checked`, and at most `MAX_SAMPLES` failing ids."""

    met: int
    checked: int
    samples: tuple[str, ...] = ()


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """A store's count of several measures over the states of one kind, in their order.

    They include every change acknowledged at `position`. `states` is their number, `changed_at`
    the time of the last write to one, None if there is none.
    """

    position: Position
    states: int
    changed_at: datetime | None
    tallies: tuple[MeasureTally, ...]
