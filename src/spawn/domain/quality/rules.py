"""Measured data quality: what is promised of the data, how it is counted, and what was found.

Rules follow from the active schema (what is required is complete, what is bounded is within its
bounds) and from the product (shares add up, dates are in order, the data are fresh). A rule states
what people agree on; its measure says what a store counts for it. Nothing here is assumed to hold
because a write once checked it: every rule is counted over the data as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.iso.countries import ALPHA_3
from spawn.domain.lineage.run import Assertion
from spawn.domain.money import CURRENCIES
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.model import Column, Promise, TypeName

DATASET: Final = "projects"
"""What is measured."""
MAX_SAMPLES: Final = 10
"""Offending projects that a result names."""

BREACHED: Final = "quality.breached"
RECOVERED: Final = "quality.recovered"
"""Events, told once when a service level breaks and once when it is kept again."""

REFERENCE: Final = "external_ref"
_IN_ORDER: Final = ("financial_close_date", "cod_date", "end_date")
_WHOLE: Final = Decimal(1)
_CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "currency_code": tuple(
        sorted(c for c, unit in CURRENCIES.items() if unit.exponent is not None)
    ),
    "country_code": tuple(sorted(set(ALPHA_3.values()))),
}


class Dimension(StrEnum):
    """What kind of quality a rule is about."""

    COMPLETENESS = "completeness"
    VALIDITY = "validity"
    UNIQUENESS = "uniqueness"
    FRESHNESS = "freshness"
    CONSISTENCY = "consistency"


class Severity(StrEnum):
    """How much a broken rule matters; `INFO` promises nothing and cannot be broken."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Unit(StrEnum):
    """What a measured value is."""

    SHARE = "share"  # of what was looked at, 0 to 1
    SECONDS = "s"  # of age


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promise about the data.

    `rule_id` is stable: its dimension and what it is about. `threshold` is the service level: the
    least share, or the greatest age in seconds; None measures without promising anything.
    """

    rule_id: str
    dimension: Dimension
    columns: tuple[str, ...]
    description: str
    unit: Unit = Unit.SHARE
    threshold: Decimal | None = None
    severity: Severity = Severity.INFO


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """Of all projects, those in which the column has a value."""

    column: str


class Conforming(msgspec.Struct, frozen=True, tag="conforming"):
    """Of the values of a column, those within its enum, bounds, length and pattern."""

    column: Column


class Unique(msgspec.Struct, frozen=True, tag="unique"):
    """Of the values of `project_id` or `external_ref`, those that no other project has."""

    field: str


class InOrder(msgspec.Struct, frozen=True, tag="in_order"):
    """Of the projects with two or more of the columns, those in which none comes too early."""

    columns: tuple[str, ...]


class SharesWhole(msgspec.Struct, frozen=True, tag="shares_whole"):
    """Of the projects with sponsors, those whose shares add up to exactly 100."""


class SumEquals(msgspec.Struct, frozen=True, tag="sum_equals"):
    """Of the projects with an addend and a total, those in which the addends make the total.

    They differ only if the gap is `tolerance` times |total| or more.
    """

    addends: tuple[str, ...]
    total: str
    tolerance: Decimal = Decimal(0)


Measure = Complete | Conforming | Unique | InOrder | SharesWhole | SumEquals
"""What a store can count; free of any engine's language."""


class Declared(msgspec.Struct, frozen=True):
    """A rule with how it is counted."""

    rule: Rule
    measure: Measure


class Tally(msgspec.Struct, frozen=True):
    """What counting gave: `met` of `checked`, and the ids of at most `MAX_SAMPLES` that are not."""

    met: int
    checked: int
    samples: tuple[str, ...] = ()


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A store's count of several measures over one state of the data, in their order.

    The state shows every change acknowledged at `position`. `changed_at` is when a project was
    last written, None if there is none.
    """

    position: str
    projects: int
    changed_at: datetime | None
    tallies: tuple[Tally, ...]


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a rule measured.

    `value` is in the rule's unit, None where there was nothing to look at. `met` and `checked` are
    counts of a share. `passed` is None if nothing is promised; what was not there breaks nothing.
    """

    rule: Rule
    value: float | None
    passed: bool | None
    met: int | None = None
    checked: int | None = None
    samples: tuple[str, ...] = ()
    measured_at: datetime
    position: str


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every rule measured at once; each version of the aggregate is one run.

    `changed_at` is when a project was last written, `imported_at` when an import last ended well.
    """

    dataset: str
    schema_id: str
    schema_version: int
    position: str
    projects: int
    measured_at: datetime
    changed_at: datetime | None
    imported_at: datetime | None
    results: tuple[Result, ...]


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a rule's service level is kept, as of its last change; one aggregate a rule."""

    rule_id: str
    kept: bool
    result: Result


def rules_of(
    fields: Mapping[str, Column], promises: Iterable[Promise] = ()
) -> tuple[Declared, ...]:
    """The rules that follow from a schema's fields (core, governed and system) and the product.

    `promises` are the schema's own: of a column that need not be there otherwise, or of a sum.
    """
    system = {column.name for column in SYSTEM_COLUMNS}
    columns = [column for name, column in fields.items() if name not in system]
    by_column = {promise.about: promise for promise in promises if not promise.sum_of}
    complete = [_completeness(column, by_column.get(column.name)) for column in columns]
    valid = [rule for column in columns if (rule := _validity(column)) is not None]
    sums = [_sum(promise) for promise in promises if promise.sum_of]
    return (*complete, *valid, *_PRODUCT_RULES, *sums)


def _completeness(column: Column, promise: Promise | None) -> Declared:
    # What has a default is always there, whether a body says it or not.
    always = column.required or column.default is not None
    threshold, severity = (_WHOLE, Severity.ERROR) if always else (None, Severity.INFO)
    if promise is not None and not always:
        threshold, severity = promise.threshold, Severity(promise.severity)
    rule = Rule(
        rule_id=f"completeness.{column.name}",
        dimension=Dimension.COMPLETENESS,
        columns=(column.name,),
        description=(promise and promise.description) or f"{column.name} is there.",
        threshold=threshold,
        severity=severity,
    )
    return Declared(rule, Complete(column.name))


def _sum(promise: Promise) -> Declared:
    total = promise.equals or ""
    rule = Rule(
        rule_id=f"{Dimension.CONSISTENCY}.{promise.about}",
        dimension=Dimension.CONSISTENCY,
        columns=(*promise.sum_of, total),
        description=promise.description or f"{' + '.join(promise.sum_of)} = {total}.",
        threshold=promise.threshold,
        severity=Severity(promise.severity),
    )
    return Declared(rule, SumEquals(promise.sum_of, total, promise.tolerance))


def _validity(column: Column) -> Declared | None:
    """The rule of what the column allows; None if its type allows nothing else anyway."""
    codes = _CODES.get(column.name)
    if codes is not None and column.enum is None:
        column = msgspec.structs.replace(column, enum=codes)
    conditions = _conditions(column, coded=codes is not None)
    if not conditions:
        return None
    rule = Rule(
        rule_id=f"validity.{column.name}",
        dimension=Dimension.VALIDITY,
        columns=(column.name,),
        description=f"{column.name} {' and '.join(conditions)}.",
        threshold=_WHOLE,
        severity=Severity.ERROR,
    )
    return Declared(rule, Conforming(column))


def _conditions(column: Column, *, coded: bool) -> list[str]:
    found: list[str] = []
    if column.enum is not None:
        found.append("is a code in force" if coded else f"is one of {len(column.enum)} values")
    elif column.type.name is TypeName.STRING and column.type.max_length is not None:
        found.append(f"has at most {column.type.max_length} characters")
    if column.minimum is not None:
        found.append(f"is at least {column.minimum}")
    if column.maximum is not None:
        found.append(f"is at most {column.maximum}")
    if column.pattern is not None:
        found.append("matches its pattern")
    return found


def _product_rule(
    dimension: Dimension, about: str, columns: tuple[str, ...], description: str, measure: Measure
) -> Declared:
    rule = Rule(
        rule_id=f"{dimension}.{about}",
        dimension=dimension,
        columns=columns,
        description=description,
        threshold=_WHOLE,
        severity=Severity.ERROR,
    )
    return Declared(rule, measure)


_PRODUCT_RULES: Final = (
    _product_rule(
        Dimension.UNIQUENESS,
        "project_id",
        ("project_id",),
        "No two projects have one project_id.",
        Unique("project_id"),
    ),
    _product_rule(
        Dimension.UNIQUENESS,
        REFERENCE,
        (REFERENCE,),
        "No two projects have one external_ref.",
        Unique(REFERENCE),
    ),
    _product_rule(
        Dimension.CONSISTENCY,
        "sponsor_shares",
        ("sponsors",),
        "The shares of a project's sponsors add up to 100.",
        SharesWhole(),
    ),
    _product_rule(
        Dimension.CONSISTENCY,
        "dates",
        _IN_ORDER,
        "Financial close is not after COD, and neither is after the end.",
        InOrder(_IN_ORDER),
    ),
)


def import_rule(job: str, check: Assertion) -> Rule:
    """The rule of a check of an import mapping, measured over the newest file; nothing promised.

    Its column is the file's own, and no attribute.
    """
    return Rule(
        rule_id=f"{Dimension.CONSISTENCY}.{job}.{check.column}",
        dimension=Dimension.CONSISTENCY,
        columns=(),
        description=f"{check.description}, in the newest file.",
    )


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator promises of freshness: greatest ages in seconds; None promises nothing."""

    changed_s: float | None = None
    imported_s: float | None = None


LAST_CHANGE: Final = f"{Dimension.FRESHNESS}.last_change"
LAST_IMPORT: Final = f"{Dimension.FRESHNESS}.last_import"


def freshness_rules(levels: Levels) -> tuple[Rule, ...]:
    """The rules on the age of the newest write and of the newest import."""
    return (
        _freshness(LAST_CHANGE, "A project was written lately.", levels.changed_s),
        _freshness(LAST_IMPORT, "An import ended well lately.", levels.imported_s),
    )


def _freshness(rule_id: str, description: str, level_s: float | None) -> Rule:
    return Rule(
        rule_id=rule_id,
        dimension=Dimension.FRESHNESS,
        columns=(),
        description=description,
        unit=Unit.SECONDS,
        threshold=None if level_s is None else Decimal(str(level_s)),
        severity=Severity.INFO if level_s is None else Severity.WARNING,
    )


def share_result(rule: Rule, tally: Tally, *, measured_at: datetime, position: str) -> Result:
    """What a tally says of a rule; compared exactly, shown as a float."""
    passed = None
    if rule.threshold is not None:
        passed = tally.met >= rule.threshold * tally.checked
    return Result(
        rule=rule,
        value=tally.met / tally.checked if tally.checked else None,
        passed=passed,
        met=tally.met,
        checked=tally.checked,
        samples=tally.samples[:MAX_SAMPLES],
        measured_at=measured_at,
        position=position,
    )


def age_result(
    rule: Rule, since: datetime | None, *, measured_at: datetime, position: str
) -> Result:
    """The age of something at an instant; what never happened has none, and breaks nothing."""
    age_s = None if since is None else max((measured_at - since).total_seconds(), 0.0)
    passed = None
    if rule.threshold is not None:
        passed = age_s is None or Decimal(str(age_s)) <= rule.threshold
    return Result(rule=rule, value=age_s, passed=passed, measured_at=measured_at, position=position)


def aged(report: Report, now: datetime) -> Report:
    """The same report at a later instant, if nothing but time has passed."""
    since = {LAST_CHANGE: report.changed_at, LAST_IMPORT: report.imported_at}
    results = tuple(
        age_result(
            result.rule, since[result.rule.rule_id], measured_at=now, position=result.position
        )
        if result.rule.rule_id in since
        else result
        for result in report.results
    )
    return msgspec.structs.replace(report, measured_at=now, results=results)


def transitions(before: Sequence[Result], after: Sequence[Result]) -> tuple[Standing, ...]:
    """The service levels that broke or were restored between two reports, in the later's order.

    A rule that is new and broken has broken; one that was broken and is declared no longer, or
    promises nothing any more, counts as restored.
    """
    broken = {result.rule.rule_id: result for result in before if result.passed is False}
    found = [
        Standing(rule_id=result.rule.rule_id, kept=result.passed is not False, result=result)
        for result in after
        if (result.passed is False) != (result.rule.rule_id in broken)
    ]
    measured = {result.rule.rule_id for result in after}
    found += [
        Standing(rule_id=rule_id, kept=True, result=result)
        for rule_id, result in broken.items()
        if rule_id not in measured
    ]
    return tuple(found)


def said_of(standing: Standing) -> str:
    """What became of a service level, as one sentence."""
    rule, value = standing.result.rule, standing.result.value
    bound = "at least" if rule.unit is Unit.SHARE else "at most"
    unit = "" if rule.unit is Unit.SHARE else f" {rule.unit}"
    found = "nothing was there to measure" if value is None else f"{value:.6g}{unit} was measured"
    return f"{rule.description} Promised is {bound} {rule.threshold}{unit}; {found}."


def broken(results: Iterable[Result]) -> tuple[Result, ...]:
    """The results whose service level is not kept."""
    return tuple(result for result in results if result.passed is False)
