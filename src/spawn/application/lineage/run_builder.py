"""Build lineage runs of imports, exports and migrations from plain facts."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.imports.import_state import ImportKind, ImportState, RowCounts
from spawn.domain.imports.mapping import (
    ColumnMapping,
    ImportMapping,
    OnFailure,
    SumCheck,
    Whitespace,
)
from spawn.domain.lineage.run import (
    ROWS_ACCEPTED,
    Activity,
    Assertion,
    Dataset,
    DatasetField,
    DataVolume,
    NullCount,
    Origin,
    ParentRun,
    Run,
    RunState,
    end_run,
    omit_columns,
)
from spawn.domain.quality.report import QualityReport, RuleResult
from spawn.domain.quality.rules import Dimension, MeasureUnit, Severity
from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    MigrationPlan,
    RenameColumn,
)
from spawn.domain.schemas.validator import compile_schema

PROJECTS = "projects"
"""Name of the dataset of all projects."""

_REFERENCE = "external_ref"


def build_import_run(
    import_state: ImportState,
    mapping: ImportMapping | None,
    schema: Schema,
    parent: ParentRun | None = None,
) -> Run:
    """Return the run of a submitted import, from the uploaded file to the projects.

    All files of one mapping, or of one format, are versions of one dataset.
    """
    through = import_state.mapping or import_state.format.value
    if import_state.kind is not ImportKind.PROJECT and import_state.mapping is None:
        through = f"{name_dataset(import_state.kind)}.{through}"
    upload = f"uploads/{through}"
    if import_state.kind is not ImportKind.PROJECT:
        return _build_record_run(import_state, mapping, (through, upload), parent)
    fields = compile_schema(schema).fields
    columns = {name: column for name, column in fields.items() if name not in _SYSTEM_NAMES}
    origins = (
        _mapped_origins(mapping, upload, schema) if mapping else _identity_origins(columns, upload)
    )
    source_fields = sorted({origin.field for group in origins.values() for origin in group})
    return Run(
        run_id=import_state.import_id,
        activity=Activity.IMPORT,
        job=f"import.{through}",
        description=_describe_import(import_state),
        inputs=(
            Dataset(
                name=upload,
                description=(
                    f"An uploaded {import_state.format.upper()} file, "
                    f"SHA-256 {import_state.sha256}."
                ),
                fields=tuple(DatasetField(name) for name in source_fields),
                version=import_state.sha256,
            ),
        ),
        outputs=(build_dataset(schema, columns.values()),),
        origins=origins,
        parent=parent,
    )


def _build_record_run(
    import_state: ImportState,
    mapping: ImportMapping | None,
    names: tuple[str, str],
    parent: ParentRun | None,
) -> Run:
    """Return the run of an import of facilities or entries.

    Without a mapping the origins are those of the header, which is not read yet.
    """
    through, upload = names
    columns = () if mapping is None else mapping.columns
    origins = {
        column.attribute: tuple(
            Origin(dataset=upload, field=name, conversion=_conversion(column))
            for name in column.sources
        )
        for column in columns
        if column.sources
    }
    source_fields = sorted({origin.field for group in origins.values() for origin in group})
    source = Dataset(
        name=upload,
        description=(
            f"An uploaded {import_state.format.upper()} file, SHA-256 {import_state.sha256}."
        ),
        fields=tuple(DatasetField(name) for name in source_fields),
        version=import_state.sha256,
    )
    target = Dataset(
        name=name_dataset(import_state.kind),
        description=f"Every {import_state.kind}, in its newest state.",
        fields=tuple(DatasetField(column.attribute) for column in columns),
    )
    return Run(
        run_id=import_state.import_id,
        activity=Activity.IMPORT,
        job=f"import.{through}",
        description=_describe_import(import_state),
        inputs=(source,),
        outputs=(target,),
        origins=origins,
        parent=parent,
    )


def complete_import_run(
    run: Run,
    import_state: ImportState,
    mapping: ImportMapping | None,
    state: RunState,
    reason: str | None,
) -> Run:
    """Return an import's run at its end, with its volume and the results of its checks."""
    counts = import_state.counts
    if import_state.columns and import_state.format.has_cells:
        upload = msgspec.structs.replace(
            run.inputs[0], fields=tuple(DatasetField(name) for name in import_state.columns)
        )
        run = msgspec.structs.replace(run, inputs=(upload, *run.inputs[1:]))
    volume = DataVolume(rows_in=counts.rows, bytes_in=import_state.offset, rows_out=counts.accepted)
    assertions: tuple[Assertion, ...] = ()
    if counts.rows:
        assertions = (_acceptance_assertion(counts), *_sum_assertions(counts, mapping))
    return end_run(run, state, volume, reason=reason, assertions=assertions)


def name_dataset(kind: str) -> str:
    """Return the name of the dataset of all aggregates of a governed kind."""
    return AGGREGATE_TYPES[kind].table or kind


def build_dataset(schema: Schema, columns: Iterable[Column]) -> Dataset:
    """Return the dataset of a schema's kind under its version."""
    return Dataset(
        name=name_dataset(schema.kind),
        description=f"Every {schema.kind}, in its newest state.",
        fields=tuple(DatasetField(c.name, str(c.type), c.description) for c in columns),
        version=f"{schema.id}@{schema.version}",
    )


def build_export_run(
    run_id: str, file_format: StrEnum, schema: Schema, report: QualityReport | None
) -> Run:
    """Return the run of an export of all projects, with the latest quality results."""
    fields = compile_schema(schema).fields
    source = build_dataset(schema, fields.values())
    target = f"exports/{PROJECTS}.{file_format.value}"
    every_result = report.results if report is not None else ()
    results = [result for result in every_result if result.rule.kind == schema.kind]
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
        origins=_identity_origins(fields, PROJECTS),
        assertions=tuple(to_assertion(result) for result in results if result.passed is not None),
        counts=dict(_null_counts(results)),
    )


def build_migration_run(run_id: str, old: Schema, new: Schema, plan: MigrationPlan) -> Run:
    """Return the run of a migration of a kind from one schema version to another.

    One without steps changes texts and rules alone, so its run has the new columns as its output
    and no more: with those of the input, and the origins, each of thousands of versions added 20 kB
    to the journal.
    """
    fields = compile_schema(new).fields
    run = Run(
        run_id=run_id,
        activity=Activity.MIGRATION,
        job=f"migration.{new.id}",
        description=f"From version {old.version} of {new.id} to version {new.version}.",
        inputs=(build_dataset(old, compile_schema(old).fields.values()),),
        outputs=(build_dataset(new, fields.values()),),
        origins=_identity_origins(fields, name_dataset(new.kind)) | _migrated_origins(plan),
    )
    return run if plan.steps else msgspec.structs.replace(omit_columns(run), outputs=run.outputs)


def _migrated_origins(plan: MigrationPlan) -> dict[str, tuple[Origin, ...]]:
    """Return the origins of the columns that a migration plan changes."""
    source_names: dict[str, str] = {}
    conversions_by_name: dict[str, list[str]] = {}
    for step in plan.steps:
        match step:
            case RenameColumn(before=name, after=after):
                source_names[after] = name
                conversions_by_name.setdefault(after, []).append("renamed")
            case ChangeType(name=name, before=old, after=new):
                conversions_by_name.setdefault(name, []).append(f"widened from {old} to {new}")
            case AddColumn(column=column, source_name=str(aggregate)):
                source_names[column.name] = aggregate
                conversions_by_name[column.name] = ["promoted"]
            case FillNulls(name=name):
                conversions_by_name.setdefault(name, []).append(
                    "absent values filled with the default"
                )
    return {
        name: (
            Origin(
                dataset=name_dataset(plan.kind),
                field=source_names.get(name, name),
                conversion=", ".join(conversions),
            ),
        )
        for name, conversions in conversions_by_name.items()
    }


def to_assertion(result: RuleResult) -> Assertion:
    """Return a quality result as an assertion."""
    rule = result.rule
    unit = "" if rule.unit is MeasureUnit.SHARE else f" {rule.unit}"
    bound = "at least" if rule.unit is MeasureUnit.SHARE else "at most"
    value = "nothing to measure" if result.value is None else f"{result.value:.6g}{unit}"
    share = "" if result.checked is None else f" ({result.met} of {result.checked})"
    return Assertion(
        name=rule.rule_id,
        assertion=_ASSERTIONS[rule.dimension],
        success=result.passed is not False,
        warning=rule.severity is not Severity.ERROR,
        column=rule.columns[0] if len(rule.columns) == 1 else None,
        description=rule.description,
        expected=f"{bound} {rule.threshold}{unit}",
        actual=value + share,
    )


_SYSTEM_NAMES = frozenset(column.name for column in SYSTEM_COLUMNS)
_ASSERTIONS: Mapping[Dimension, str] = {
    Dimension.COMPLETENESS: "not_null",
    Dimension.VALIDITY: "accepted_values",
    Dimension.UNIQUENESS: "unique",
    Dimension.FRESHNESS: "freshness",
    Dimension.CONSISTENCY: "consistency",
}
"""OpenLineage assertion name by quality dimension."""


def _describe_import(import_state: ImportState) -> str:
    if import_state.mapping is None:
        return f"{import_state.format.upper()} with the fields of a {import_state.kind}."
    return (
        f"{import_state.format.upper()} through version {import_state.mapping_version} "
        f"of the mapping {import_state.mapping}."
    )


def _identity_origins(fields: Iterable[str], dataset: str) -> dict[str, tuple[Origin, ...]]:
    return {name: (Origin(dataset=dataset, field=name),) for name in fields}


def _mapped_origins(
    mapping: ImportMapping, dataset: str, schema: Schema
) -> dict[str, tuple[Origin, ...]]:
    """Return the origin of each mapped attribute; a constant has none."""
    canonical = compile_schema(schema).canonical_name
    origins: dict[str, tuple[Origin, ...]] = {
        canonical(column.attribute) or column.attribute: tuple(
            Origin(dataset=dataset, field=name, conversion=_conversion(column))
            for name in (*column.sources, *_list_sponsor_fields(column))
        )
        for column in mapping.columns
        if column.sources or column.sponsor_columns
    }
    if mapping.key is not None:
        source = mapping.key.source or f"in {mapping.key.source_column}"
        conversion = f"id of the source {source}"
        origins[_REFERENCE] = tuple(
            Origin(dataset=dataset, field=name, conversion=conversion)
            for name in mapping.key.id_columns
        )
    return origins


def _list_sponsor_fields(column: ColumnMapping) -> list[str]:
    pairs = column.sponsor_columns
    return [name for pair in pairs for name in (pair.name, pair.share) if name is not None]


def _conversion(column: ColumnMapping) -> str:
    """Describe the steps that a mapping applies to a cell, in order."""
    steps = [
        f"combined by {column.combine or 'first'}" if len(column.sources) > 1 else "",
        f"aggregated by {column.aggregate}" if column.aggregate else "",
        "white space collapsed" if column.whitespace is Whitespace.COLLAPSE else "",
        f"{len(column.enum)} texts translated" if column.enum else "",
        f"date read as {chr(32).join(column.all_date_formats)}" if column.all_date_formats else "",
        f"multiplied by {column.unit_factor}" if column.unit_factor is not None else "",
        f"rounded {column.rounding}" if column.rounding else "",
    ]
    return ", ".join(step for step in steps if step)


def _acceptance_assertion(counts: RowCounts) -> Assertion:
    reasons = ", ".join(f"{code} {number}" for code, number in counts.by_reason.items())
    return Assertion(
        name=ROWS_ACCEPTED,
        assertion="valid_rows",
        success=not counts.quarantined,
        warning=True,
        description=f"No row is quarantined. Reasons: {reasons or 'none'}.",
        expected="0 rows quarantined",
        actual=f"{counts.quarantined} of {counts.rows} rows quarantined",
        checked_rows=counts.rows,
        failed_rows=counts.quarantined,
    )


def _sum_assertions(counts: RowCounts, mapping: ImportMapping | None) -> list[Assertion]:
    """Return one assertion for each column that is compared with a sum."""
    by_total: dict[str, list[SumCheck]] = {}
    for check in mapping.checks if mapping else ():
        by_total.setdefault(check.equals, []).append(check)
    return [_sum_assertion(total, checks, counts) for total, checks in by_total.items()]


def _sum_assertion(total: str, checks: list[SumCheck], counts: RowCounts) -> Assertion:
    failed_rows = counts.failed_checks.get(total, 0)
    description = "; ".join(
        f"{' + '.join(check.sum_of)} = {total}, within {check.tolerance} of it" for check in checks
    )
    return Assertion(
        name=f"sum_equals.{total}",
        assertion="sum_equals",
        success=not failed_rows,
        warning=all(check.on_failure is OnFailure.WARN for check in checks),
        column=total,
        description=description,
        expected="0 rows differ",
        actual=f"{failed_rows} of {counts.rows} rows differ",
        checked_rows=counts.rows,
        failed_rows=failed_rows,
    )


def _null_counts(results: Iterable[RuleResult]) -> Iterable[tuple[str, NullCount]]:
    for result in results:
        if result.rule.dimension is Dimension.COMPLETENESS and result.checked is not None:
            non_null = result.met or 0
            yield result.rule.columns[0], NullCount(non_null, result.checked - non_null)
