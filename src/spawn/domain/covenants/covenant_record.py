"""Recorded tests of covenants: what was tested on a date, on which figures, with which outcome."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.covenants.covenant_set import (
    CovenantBand,
    CovenantStanding,
    metric_sign,
)
from spawn.domain.covenants.exact_ratios import (
    CoverMetric,
    ExactRatio,
    Quotient,
    UntestedReason,
    floor_amount,
    format_fraction,
    format_ratio,
    parse_fraction,
)

COVENANT_TEST_KIND: Final = "covenant_test"
TEST_RECORDED_EVENT: Final = "covenant_test.recorded"
"""Kind of the aggregate, and its event."""

MAX_TEST_REASON: Final = 1_000
"""Characters of the reason of a re-test."""


class CovenantFigures(StrEnum):
    """The figures of a test: those of a case, or the actuals."""

    CASE = "CASE"
    ACTUALS = "ACTUALS"


class OutcomeOfTest(StrEnum):
    """The outcome of a test: the state after it, or NOT_TESTED, which changes no state."""

    OK = "OK"
    LOCKUP = "LOCKUP"
    DEFAULT = "DEFAULT"
    NOT_TESTED = "NOT_TESTED"


class InputReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of an aggregate that a test rests on, and its position in the journal."""

    kind: str
    id: str
    version: int
    position: str


class RatioInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input of a formula by name: its exact fraction, and its text as a decimal."""

    name: str
    fraction: str
    printed: str


class RecordedCovenantTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test of a covenant on a date, which nothing changes later.

    `ratio` is the unrounded fraction, `printed_ratio` its decimals, cut; both are None where the
    covenant was not tested, for `untested_reason`. Levels are those of the covenant then.
    `follows` is the test of the same date that this one repeats, for `reason`.
    """

    test_id: str
    project_id: str
    covenant_id: str
    covenant_version: int
    metric: CoverMetric
    definition_version: int
    tested_on: date
    figures: CovenantFigures
    currency_code: str
    case_id: str | None = None
    case_version: int | None = None
    actuals_version: int | None = None
    actuals_as_of: datetime | None = None
    window_starts_on: date | None = None
    window_ends_on: date | None = None
    formula: str
    inputs: tuple[RatioInput, ...] = ()
    ratio: str | None = None
    printed_ratio: str | None = None
    untested_reason: UntestedReason | None = None
    lockup_level: Decimal | None = None
    release_level: Decimal | None = None
    default_level: Decimal | None = None
    band: CovenantBand
    outcome: OutcomeOfTest
    is_waived: bool = False
    follows: str | None = None
    reason: str | None = None
    references: tuple[InputReference, ...] = ()


class CovenantHeadroom(msgspec.Struct, frozen=True, kw_only=True):
    """The distance of a ratio from a level: positive while the level is met.

    `ratio` is exact; `cfads_amount` is the amount by which the numerator may fall until the level
    is just met, cut to the minor unit, or None where the numerator is no cash.
    """

    level: Decimal
    ratio: Quotient
    printed_ratio: str
    cfads_amount: Decimal | None


def measure_headroom(
    metric: CoverMetric, exact: ExactRatio, level: Decimal | None, currency_code: str
) -> CovenantHeadroom | None:
    """Return the distance of a ratio from a level; None without a ratio or a level."""
    value = exact.value
    if level is None or value is None or exact.numerator is None or exact.denominator is None:
        return None
    exact_level = Quotient.of(level)
    distance = Quotient(metric_sign(metric)) * (value - exact_level)
    amount = None
    if metric is not CoverMetric.GEARING:
        amount = floor_amount(exact.numerator - exact_level * exact.denominator, currency_code)
    return CovenantHeadroom(
        level=level,
        ratio=distance,
        printed_ratio=format_ratio(distance),
        cfads_amount=amount,
    )


def restore_ratio(test: RecordedCovenantTest) -> ExactRatio | None:
    """Return the ratio of a recorded test with what it divides; None where it was not tested."""
    if test.ratio is None:
        return None
    inputs = {one.name: parse_fraction(one.fraction) for one in test.inputs}
    if test.metric is CoverMetric.LLCR:
        numerator, denominator = inputs["present_value"], inputs["balance"]
    elif test.metric is CoverMetric.GEARING:
        numerator, denominator = inputs["balance"], inputs["balance"] + inputs["equity"]
    else:
        numerator = inputs["cfads"] + inputs["equity_cure"]
        denominator = inputs["interest"] + inputs["principal"]
    return ExactRatio(
        formula=test.formula, numerator=numerator, denominator=denominator, inputs=inputs
    )


def list_amounts(inputs: Mapping[str, Quotient]) -> tuple[RatioInput, ...]:
    """Return the inputs of a formula as they are recorded."""
    return tuple(
        RatioInput(name=name, fraction=format_fraction(value), printed=format_ratio(value, 4))
        for name, value in inputs.items()
    )


def outcome_of(band: CovenantBand, standing: CovenantStanding) -> OutcomeOfTest:
    """Return the outcome of a test by its band and the state after it."""
    if band is CovenantBand.NOT_TESTED:
        return OutcomeOfTest.NOT_TESTED
    return OutcomeOfTest(standing.value)
