"""What imports, exports and migrations say of where data come from: runs made of plain facts."""

from collections.abc import Iterable, Mapping

import msgspec

from spawn.domain.imports.import_state import Counts, FileFormat, Import
from spawn.domain.imports.mapping import Check, ColumnMapping, ImportMapping, OnFailure, Whitespace
from spawn.domain.lineage.run import (
    Activity,
    Assertion,
    Dataset,
    Field,
    Moved,
    NullCount,
    Origin,
    Run,
    RunState,
    ended,
)
from spawn.domain.quality.rules import Dimension, Report, Result, Severity, Unit
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    MigrationPlan,
    RenameColumn,
)
from spawn.domain.schemas.model import Column, Schema
from spawn.domain.schemas.validator import compile_schema

PROJECTS = "projects"
"""The dataset of all projects."""

_SHOWN_HASH = 16
_REFERENCE = "external_ref"


def import_run(order: Import, mapping: ImportMapping | None, schema: Schema) -> Run:
    """The run of an import that was ordered: from the uploaded file into the projects."""
    through = order.mapping or order.format.value
    upload = f"uploads/{through}/{order.sha256[:_SHOWN_HASH]}"
    fields = compile_schema(schema).fields
    columns = {name: column for name, column in fields.items() if name not in _SYSTEM}
    origins = _mapped(mapping, upload, schema) if mapping else _same(columns, upload)
    read = sorted({origin.field for found in origins.values() for origin in found})
    return Run(
        run_id=order.import_id,
        activity=Activity.IMPORT,
        job=f"import.{through}",
        description=_told_of_import(order),
        inputs=(
            Dataset(
                name=upload,
                description=f"An uploaded {order.format.upper()} file, SHA-256 {order.sha256}.",
                fields=tuple(Field(name) for name in read),
            ),
        ),
        outputs=(projects_dataset(schema, columns.values()),),
        origins=origins,
    )


def import_ended(
    run: Run, order: Import, mapping: ImportMapping | None, state: RunState, reason: str | None
) -> Run:
    """The run of an import at its end, with what it moved and what its checks found."""
    counts = order.counts
    if order.columns and order.format is FileFormat.CSV:
        upload = msgspec.structs.replace(
            run.inputs[0], fields=tuple(Field(name) for name in order.columns)
        )
        run = msgspec.structs.replace(run, inputs=(upload, *run.inputs[1:]))
    moved = Moved(rows_in=counts.rows, bytes_in=order.offset, rows_out=counts.accepted)
    assertions: tuple[Assertion, ...] = ()
    if counts.rows:
        assertions = (_all_accepted(counts), *_checked(counts, mapping))
    return ended(run, state, moved, reason=reason, assertions=assertions)


def projects_dataset(schema: Schema, columns: Iterable[Column]) -> Dataset:
    """The projects under a version of a schema."""
    return Dataset(
        name=PROJECTS,
        description="Every project, in its newest state.",
        fields=tuple(Field(c.name, str(c.type), c.description) for c in columns),
        version=f"{schema.id}@{schema.version}",
    )


def export_run(run_id: str, file_format: FileFormat, schema: Schema, report: Report | None) -> Run:
    """The run of an export of all projects, with what was measured of them last."""
    fields = compile_schema(schema).fields
    source = projects_dataset(schema, fields.values())
    target = f"exports/{PROJECTS}.{file_format.value}"
    results = report.results if report is not None else ()
    return Run(
        run_id=run_id,
        activity=Activity.EXPORT,
        job=f"export.{PROJECTS}.{file_format.value}",
        description=f"Every project as {file_format.upper()}.",
        inputs=(source,),
        outputs=(
            Dataset(
                name=target,
                description=f"An export of the projects as {file_format.upper()}.",
                fields=source.fields,
                version=source.version,
            ),
        ),
        origins=_same(fields, PROJECTS),
        assertions=tuple(measured(one) for one in results if one.passed is not None),
        counts=dict(_null_counts(results)),
    )


def migration_run(run_id: str, old: Schema, new: Schema, plan: MigrationPlan) -> Run:
    """The run of a migration: the projects under one version become those under another."""
    fields = compile_schema(new).fields
    return Run(
        run_id=run_id,
        activity=Activity.MIGRATION,
        job=f"migration.{new.id}",
        description=f"From version {old.version} of {new.id} to version {new.version}.",
        inputs=(projects_dataset(old, compile_schema(old).fields.values()),),
        outputs=(projects_dataset(new, fields.values()),),
        origins=_same(fields, PROJECTS) | _migrated(plan),
    )


def _migrated(plan: MigrationPlan) -> dict[str, tuple[Origin, ...]]:
    """Where the columns come from that a plan does not leave as they are."""
    before: dict[str, str] = {}
    done: dict[str, list[str]] = {}
    for step in plan.steps:
        match step:
            case RenameColumn(before=name, after=after):
                before[after] = name
                done.setdefault(after, []).append("renamed")
            case ChangeType(name=name, before=old, after=new):
                done.setdefault(name, []).append(f"widened from {old} to {new}")
            case AddColumn(column=column, promotes=str(stored)):
                before[column.name] = stored
                done[column.name] = ["promoted"]
            case FillNulls(name=name):
                done.setdefault(name, []).append("absent values filled with the default")
    return {
        name: (
            Origin(
                dataset=PROJECTS, field=before.get(name, name), conversion=", ".join(conversions)
            ),
        )
        for name, conversions in done.items()
    }


def measured(result: Result) -> Assertion:
    """A measured quality rule as an assertion."""
    rule = result.rule
    unit = "" if rule.unit is Unit.SHARE else f" {rule.unit}"
    bound = "at least" if rule.unit is Unit.SHARE else "at most"
    value = "nothing to measure" if result.value is None else f"{result.value:.6g}{unit}"
    counted = "" if result.checked is None else f" ({result.met} of {result.checked})"
    return Assertion(
        name=rule.rule_id,
        assertion=_ASSERTIONS[rule.dimension],
        success=result.passed is not False,
        warning=rule.severity is not Severity.ERROR,
        column=rule.columns[0] if len(rule.columns) == 1 else None,
        description=rule.description,
        expected=f"{bound} {rule.threshold}{unit}",
        actual=value + counted,
    )


_SYSTEM = frozenset(column.name for column in SYSTEM_COLUMNS)
_ASSERTIONS: Mapping[Dimension, str] = {
    Dimension.COMPLETENESS: "not_null",
    Dimension.VALIDITY: "accepted_values",
    Dimension.UNIQUENESS: "unique",
    Dimension.FRESHNESS: "freshness",
    Dimension.CONSISTENCY: "consistency",
}
"""What the standard calls tests of these kinds."""


def _told_of_import(order: Import) -> str:
    if order.mapping is None:
        return f"{order.format.upper()} of projects in their own shape."
    return (
        f"{order.format.upper()} through version {order.mapping_version} of the mapping "
        f"{order.mapping}."
    )


def _same(fields: Iterable[str], dataset: str) -> dict[str, tuple[Origin, ...]]:
    return {name: (Origin(dataset=dataset, field=name),) for name in fields}


def _mapped(mapping: ImportMapping, dataset: str, schema: Schema) -> dict[str, tuple[Origin, ...]]:
    """Where a mapping takes each attribute from; a constant comes from nowhere."""
    canonical = compile_schema(schema).alias
    found: dict[str, tuple[Origin, ...]] = {
        canonical(column.attribute) or column.attribute: (
            Origin(dataset=dataset, field=column.column, conversion=_conversion(column)),
        )
        for column in mapping.columns
        if column.column is not None
    }
    if mapping.key is not None:
        conversion = f"id of the source {mapping.key.source}"
        key = Origin(dataset=dataset, field=mapping.key.column, conversion=conversion)
        found[_REFERENCE] = (key,)
    return found


def _conversion(column: ColumnMapping) -> str:
    """What a mapping does to a cell, in the order in which it does it."""
    steps = [
        "white space collapsed" if column.whitespace is Whitespace.COLLAPSE else "",
        f"{len(column.enum)} texts translated" if column.enum else "",
        f"date read as {column.date_format}" if column.date_format else "",
        f"multiplied by {column.unit_factor}" if column.unit_factor is not None else "",
        f"rounded {column.rounding}" if column.rounding else "",
    ]
    return ", ".join(step for step in steps if step)


def _all_accepted(counts: Counts) -> Assertion:
    reasons = ", ".join(f"{code} {number}" for code, number in counts.by_reason.items())
    return Assertion(
        name="rows_accepted",
        assertion="valid_rows",
        success=not counts.quarantined,
        warning=True,
        description=f"No row is quarantined. Reasons: {reasons or 'none'}.",
        expected="0 rows quarantined",
        actual=f"{counts.quarantined} of {counts.rows} rows quarantined",
        looked_at=counts.rows,
        failed=counts.quarantined,
    )


def _checked(counts: Counts, mapping: ImportMapping | None) -> list[Assertion]:
    """One assertion for each column that a sum is compared with."""
    by_total: dict[str, list[Check]] = {}
    for check in mapping.checks if mapping else ():
        by_total.setdefault(check.equals, []).append(check)
    return [_sum_checked(total, checks, counts) for total, checks in by_total.items()]


def _sum_checked(total: str, checks: list[Check], counts: Counts) -> Assertion:
    failed = counts.failed_checks.get(total, 0)
    said = "; ".join(
        f"{' + '.join(check.sum_of)} = {total}, within {check.tolerance} of it" for check in checks
    )
    return Assertion(
        name=f"sum_equals.{total}",
        assertion="sum_equals",
        success=not failed,
        warning=all(check.on_failure is OnFailure.WARN for check in checks),
        column=total,
        description=said,
        expected="0 rows differ",
        actual=f"{failed} of {counts.rows} rows differ",
        looked_at=counts.rows,
        failed=failed,
    )


def _null_counts(results: Iterable[Result]) -> Iterable[tuple[str, NullCount]]:
    for result in results:
        if result.rule.dimension is Dimension.COMPLETENESS and result.checked is not None:
            there = result.met or 0
            yield result.rule.columns[0], NullCount(there, result.checked - there)
