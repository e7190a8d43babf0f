"""Data-quality rules: derived from the active schema, the product and the operator's levels.

The schema makes required columns complete and bounded values valid; the product adds that shares
add up, dates are in order and the data are fresh. A rule states an agreement about the data, and
its measure states the count behind it. Every rule is counted over the stored data, because a past
validation on write proves nothing about their present state.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.covenants.cfads_case import CASE_KIND
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.lineage.run import Assertion
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.parties import SHARE_TOLERANCE
from spawn.domain.projects.project import ORDERED_DATES, PROJECT_KIND
from spawn.domain.quality.measures import (
    EXTERNAL_REF,
    CompletenessMeasure,
    ConformityMeasure,
    DateOrderMeasure,
    Measure,
    ShareSumMeasure,
    SumMeasure,
    UniquenessMeasure,
)
from spawn.domain.schema_version import Column, Expectation, Schema, TypeName
from spawn.domain.schemas.core_columns import (
    CORE_ATTRIBUTES,
    CoreAttributes,
    get_core_columns,
)

_FULL_SHARE: Final = Decimal(1)


class Dimension(StrEnum):
    """The quality dimension of a rule."""

    COMPLETENESS = "completeness"
    VALIDITY = "validity"
    UNIQUENESS = "uniqueness"
    FRESHNESS = "freshness"
    CONSISTENCY = "consistency"


class Severity(StrEnum):
    """The severity of a failed rule; `INFO` has no threshold and cannot fail."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class MeasureUnit(StrEnum):
    """The unit of a measured value."""

    SHARE = "share"  # of the checked values, 0 to 1
    SECONDS = "s"  # of age


class QualityRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule about the data.

    `rule_id` is stable: the dimension and the subject, which begins with the kind of the states
    unless they are projects. `threshold` is the service level: the
    lowest share, or the highest age in seconds; None measures without a service level. `kind` is
    that of the states which the rule is about.
    """

    rule_id: str
    dimension: Dimension
    columns: tuple[str, ...]
    description: str
    unit: MeasureUnit = MeasureUnit.SHARE
    threshold: Decimal | None = None
    severity: Severity = Severity.INFO
    kind: str = PROJECT_KIND


class MeasurableRule(msgspec.Struct, frozen=True):
    """A rule with its measure."""

    rule: QualityRule
    measure: Measure


def derive_rules(schema: Schema) -> tuple[MeasurableRule, ...]:
    """Return the rules of a schema's columns, core ones included, its own, and the product's."""
    attributes, expectations = CORE_ATTRIBUTES[schema.kind], schema.expectations
    columns = (*get_core_columns(schema), *schema.governed)
    by_column = {item.subject: item for item in expectations if not item.sum_of}
    completeness = [
        _build_completeness_rule(column, by_column.get(column.name), attributes)
        for column in columns
    ]
    validity = [
        rule for column in columns if (rule := _build_validity_rule(column, attributes)) is not None
    ]
    sums = [_build_sum_rule(item, schema.kind) for item in expectations if item.sum_of]
    return (*completeness, *validity, *_PRODUCT_RULES.get(schema.kind, ()), *sums)


def build_rule_id(dimension: Dimension, subject: str, kind: str = PROJECT_KIND) -> str:
    """Return the id of a rule about a subject, such as a column, of the states of a kind."""
    return f"{dimension}.{subject}" if kind == PROJECT_KIND else f"{dimension}.{kind}.{subject}"


def _build_completeness_rule(
    column: Column, expectation: Expectation | None, attributes: CoreAttributes
) -> MeasurableRule:
    is_mandatory = attributes.is_always_present(column)
    threshold, severity = (_FULL_SHARE, Severity.ERROR) if is_mandatory else (None, Severity.INFO)
    if expectation is not None and not is_mandatory:
        threshold, severity = expectation.threshold, Severity(expectation.severity)
    rule = QualityRule(
        rule_id=build_rule_id(Dimension.COMPLETENESS, column.name, attributes.kind),
        dimension=Dimension.COMPLETENESS,
        columns=(column.name,),
        description=(expectation and expectation.description) or f"{column.name} is present.",
        threshold=threshold,
        severity=severity,
        kind=attributes.kind,
    )
    return MeasurableRule(rule, CompletenessMeasure(column.name))


def _build_sum_rule(expectation: Expectation, kind: str) -> MeasurableRule:
    total = expectation.equals or ""
    rule = QualityRule(
        rule_id=build_rule_id(Dimension.CONSISTENCY, expectation.subject, kind),
        dimension=Dimension.CONSISTENCY,
        columns=(*expectation.sum_of, total),
        description=expectation.description or f"{' + '.join(expectation.sum_of)} = {total}.",
        threshold=expectation.threshold,
        severity=Severity(expectation.severity),
        kind=kind,
    )
    return MeasurableRule(rule, SumMeasure(expectation.sum_of, total, expectation.tolerance))


def _build_validity_rule(column: Column, attributes: CoreAttributes) -> MeasurableRule | None:
    """Return the rule of a column's constraints; None if its type is the only one."""
    code = CODE_FIELDS.get(column.name) if column.name in attributes.by_name else None
    if code is not None and column.enum is None:
        column = msgspec.structs.replace(column, enum=code.codes)
    conditions = _describe_constraints(column, is_code=code is not None)
    if not conditions:
        return None
    rule = QualityRule(
        rule_id=build_rule_id(Dimension.VALIDITY, column.name, attributes.kind),
        dimension=Dimension.VALIDITY,
        columns=(column.name,),
        description=f"{column.name} {' and '.join(conditions)}.",
        threshold=_FULL_SHARE,
        severity=Severity.ERROR,
        kind=attributes.kind,
    )
    return MeasurableRule(rule, ConformityMeasure(column))


def _describe_constraints(column: Column, *, is_code: bool) -> list[str]:
    constraints: list[str] = []
    if column.enum is not None:
        constraints.append(
            "is a current code" if is_code else f"is one of {len(column.enum)} values"
        )
    elif column.type.name is TypeName.STRING and column.type.max_length is not None:
        constraints.append(f"has at most {column.type.max_length} characters")
    if column.minimum is not None:
        constraints.append(f"is at least {column.minimum}")
    if column.maximum is not None:
        constraints.append(f"is at most {column.maximum}")
    if column.pattern is not None:
        constraints.append("matches its pattern")
    return constraints


def _build_product_rule(
    dimension: Dimension,
    subject: str,
    columns: tuple[str, ...],
    description: str,
    measure: Measure,
    kind: str = PROJECT_KIND,
) -> MeasurableRule:
    rule = QualityRule(
        rule_id=build_rule_id(dimension, subject, kind),
        dimension=dimension,
        columns=columns,
        description=description,
        threshold=_FULL_SHARE,
        severity=Severity.ERROR,
        kind=kind,
    )
    return MeasurableRule(rule, measure)


_PROJECT_RULES: Final = (
    _build_product_rule(
        Dimension.UNIQUENESS,
        "project_id",
        ("project_id",),
        "No two projects share a project_id.",
        UniquenessMeasure("project_id"),
    ),
    _build_product_rule(
        Dimension.UNIQUENESS,
        EXTERNAL_REF,
        (EXTERNAL_REF,),
        "No two projects share an external_ref.",
        UniquenessMeasure(EXTERNAL_REF),
    ),
    _build_product_rule(
        Dimension.CONSISTENCY,
        "sponsor_shares",
        ("sponsors",),
        "The shares of a project's sponsors add up to 100.",
        ShareSumMeasure("sponsors", SHARE_TOLERANCE),
    ),
    _build_product_rule(
        Dimension.CONSISTENCY,
        "dates",
        ORDERED_DATES,
        "Financial close, COD and end date are in this order.",
        DateOrderMeasure(ORDERED_DATES),
    ),
)
_FACILITY_RULES: Final = (
    _build_product_rule(
        Dimension.UNIQUENESS,
        "facility_id",
        ("facility_id",),
        "No two facilities share a facility_id.",
        UniquenessMeasure("facility_id"),
        FACILITY_KIND,
    ),
    _build_product_rule(
        Dimension.CONSISTENCY,
        "lender_shares",
        ("lenders",),
        "The shares of a facility's lenders add up to 100.",
        ShareSumMeasure("lenders"),
        FACILITY_KIND,
    ),
    _build_product_rule(
        Dimension.CONSISTENCY,
        "availability",
        ("availability_start", "availability_end"),
        "The availability of a facility starts before it ends.",
        DateOrderMeasure(("availability_start", "availability_end")),
        FACILITY_KIND,
    ),
)
_PRODUCT_RULES: Final[Mapping[str, tuple[MeasurableRule, ...]]] = {
    PROJECT_KIND: _PROJECT_RULES,
    FACILITY_KIND: _FACILITY_RULES,
}
"""Rules of the product by governed kind, beside those of the schema."""


CASE_PERIODS_RULE: Final = QualityRule(
    rule_id=build_rule_id(Dimension.CONSISTENCY, "periods", CASE_KIND),
    dimension=Dimension.CONSISTENCY,
    columns=("periods",),
    description="The periods of a project's CFADS case follow one another without a gap.",
    threshold=_FULL_SHARE,
    severity=Severity.ERROR,
    kind=CASE_KIND,
)
BALANCE_RULE: Final = QualityRule(
    rule_id=build_rule_id(Dimension.VALIDITY, "balance", FACILITY_KIND),
    dimension=Dimension.VALIDITY,
    columns=("balance",),
    description="The balance of a facility is not negative after any day of its ledger.",
    threshold=_FULL_SHARE,
    severity=Severity.ERROR,
    kind=FACILITY_KIND,
)
_FINANCING_RULES: Final = {PROJECT_KIND: (CASE_PERIODS_RULE,), FACILITY_KIND: (BALANCE_RULE,)}
"""Rules of what belongs to a state of a governed kind and is in no column of it."""


def list_rules(schema: Schema) -> tuple[QualityRule, ...]:
    """Return the rules that the contract of a schema promises, ages left out."""
    rules = (declaration.rule for declaration in derive_rules(schema))
    return (*rules, *_FINANCING_RULES.get(schema.kind, ()))


def build_import_rule(job: str, check: Assertion) -> QualityRule:
    """Return the rule of an import mapping's check over the newest file, without a threshold.

    It names no columns: the column of the check belongs to the file and is not an attribute.
    """
    return QualityRule(
        rule_id=f"{Dimension.CONSISTENCY}.{job}.{check.column}",
        dimension=Dimension.CONSISTENCY,
        columns=(),
        description=f"{check.description}, in the newest file.",
    )


class ServiceLevels(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's freshness levels: highest ages in seconds; None sets no level."""

    changed_s: float | None = None
    imported_s: float | None = None


LAST_CHANGE: Final = build_rule_id(Dimension.FRESHNESS, "last_change")
LAST_IMPORT: Final = f"{Dimension.FRESHNESS}.last_import"


def build_freshness_rules(levels: ServiceLevels) -> tuple[QualityRule, ...]:
    """Return the rules on the age of the newest write and of the newest import."""
    return (
        _build_freshness_rule(LAST_CHANGE, "A project was written recently.", levels.changed_s),
        _build_freshness_rule(LAST_IMPORT, "An import succeeded recently.", levels.imported_s),
    )


def build_change_rule(kind: str) -> QualityRule:
    """Return the rule on the age of the newest write of a kind beside projects, without a level."""
    rule_id = build_rule_id(Dimension.FRESHNESS, "last_change", kind)
    return _build_freshness_rule(rule_id, f"A {kind} was written recently.", None, kind)


def _build_freshness_rule(
    rule_id: str, description: str, level_s: float | None, kind: str = PROJECT_KIND
) -> QualityRule:
    return QualityRule(
        rule_id=rule_id,
        dimension=Dimension.FRESHNESS,
        columns=(),
        description=description,
        unit=MeasureUnit.SECONDS,
        threshold=None if level_s is None else Decimal(str(level_s)),
        severity=Severity.INFO if level_s is None else Severity.WARNING,
        kind=kind,
    )
