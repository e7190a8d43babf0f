"""Imports and their mappings on the wire."""

from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType, field
from msgspec.structs import fields as get_fields

from spawn.application.imports.dry_runs import DryRun
from spawn.domain.change import StoredAggregate
from spawn.domain.imports.import_state import (
    FileFormat,
    ImportKind,
    ImportState,
    RowReason,
    VanishedProject,
)
from spawn.domain.imports.mapping import (
    DATE_FORMAT_NAMES,
    DECIMAL_MARKS,
    DELIMITERS,
    ENCODINGS,
    ESCAPES,
    MAX_ADDENDS,
    MAX_CHECKS,
    MAX_CHOICES,
    MAX_COLUMNS,
    MAX_CONDITIONS,
    MAX_DATE_FORMATS,
    MAX_SEPARATOR_LENGTH,
    MAX_SHEET_NAME_LENGTH,
    MAX_SHEET_NUMBER,
    MAX_SKIPPED_LINES,
    MAX_SOURCES,
    MAX_UNITS,
    QUOTES,
    THOUSANDS_MARKS,
    Aggregation,
    CellPart,
    ColumnMapping,
    Combination,
    DayOfPeriod,
    DuplicatePolicy,
    ExtensionType,
    ImportMapping,
    MissingAmount,
    OnExisting,
    OnFailure,
    Otherwise,
    RaggedRows,
    VanishedPolicy,
    Whitespace,
)
from spawn.domain.money import Rounding
from spawn.entrypoints.http.jobs import IMPORTS, JOBS
from spawn.entrypoints.http.wire import Count, Instant, ResourceId, WireStruct
from spawn.entrypoints.request_context import public_path

_EXACT_TEXT: Final = {"type": "string", "maxLength": 64}
_DecimalMark = Annotated[str, Meta(extra_json_schema={"enum": sorted(DECIMAL_MARKS)})]
_ThousandsMark = Annotated[str, Meta(extra_json_schema={"enum": sorted(THOUSANDS_MARKS)})]
_Encoding = Annotated[str, Meta(extra_json_schema={"enum": sorted(ENCODINGS)})]


class SponsorColumnsView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sponsor: the column of its name, and the column of its share in percent."""

    name: str
    share: str | UnsetType = UNSET


class ColumnMappingView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One attribute, from a column, from several ones or from a constant."""

    attribute: str
    column: str | UnsetType = UNSET
    columns: (
        Annotated[
            tuple[str | SponsorColumnsView, ...],
            Meta(
                extra_json_schema={
                    "maxItems": MAX_SOURCES,
                    "description": "Names of columns; of sponsors: pairs of name and share.",
                }
            ),
        ]
        | UnsetType
    ) = UNSET
    combine: Combination | UnsetType = UNSET
    aggregate: Aggregation | UnsetType = UNSET
    separator: Annotated[str, Meta(max_length=MAX_SEPARATOR_LENGTH)] | UnsetType = UNSET
    constant: str | int | bool | UnsetType = UNSET
    null: tuple[str, ...] | UnsetType = UNSET
    enum: dict[str, str] | UnsetType = UNSET
    otherwise: Otherwise | UnsetType = UNSET
    date_format: Annotated[str, Meta(examples=["%d/%m/%Y", "year", "year_end"])] | UnsetType = UNSET
    date_formats: (
        Annotated[
            tuple[str, ...],
            Meta(
                extra_json_schema={
                    "maxItems": MAX_DATE_FORMATS,
                    "description": (
                        "Tried in order: directives of strptime with a year, with or without day "
                        f"and time, or one of {', '.join(sorted(DATE_FORMAT_NAMES))}."
                    ),
                    "examples": [["%d/%m/%Y %H:%M", "%m/%Y", "serial"]],
                }
            ),
        ]
        | UnsetType
    ) = UNSET
    period: DayOfPeriod | UnsetType = UNSET
    utc_offset: Annotated[str, Meta(examples=["+01:00", "Z"])] | UnsetType = UNSET
    decimal: _DecimalMark | UnsetType = UNSET
    thousands: _ThousandsMark | UnsetType = UNSET
    unit_factor: Annotated[
        Any, Meta(extra_json_schema={"anyOf": [{"type": "number"}, _EXACT_TEXT]})
    ] = UNSET
    units: Annotated[
        Any,
        Meta(
            extra_json_schema={
                "type": "object",
                "maxProperties": MAX_UNITS,
                "additionalProperties": {"anyOf": [{"type": "number"}, _EXACT_TEXT]},
                "description": "Worth of the texts before or after a number.",
                "examples": [{"€": 1, "million": 1_000_000}],
            }
        ),
    ] = UNSET
    part: CellPart | UnsetType = UNSET
    rounding: Rounding | UnsetType = UNSET
    whitespace: Whitespace | UnsetType = UNSET
    extension_type: ExtensionType | UnsetType = field(name="as", default=UNSET)


class SumCheckView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that columns sum up to another one."""

    sum_of: Annotated[
        tuple[str, ...], Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_ADDENDS})
    ]
    equals: str
    tolerance: Annotated[
        Any, Meta(extra_json_schema={"anyOf": [{"type": "number", "minimum": 0}, _EXACT_TEXT]})
    ] = UNSET
    on_failure: OnFailure | UnsetType = UNSET


class RowKeyView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The external reference of a row: its source, and the columns of its id."""

    source: str | UnsetType = UNSET
    source_column: str | UnsetType = UNSET
    column: str | UnsetType = UNSET
    columns: (
        Annotated[tuple[str, ...], Meta(extra_json_schema={"maxItems": MAX_SOURCES})] | UnsetType
    ) = UNSET


class RowConditionView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition that a row must meet to be imported."""

    column: str
    texts: tuple[str, ...] | UnsetType = field(name="in", default=UNSET)
    not_in: tuple[str, ...] | UnsetType = UNSET
    is_null: bool | UnsetType = UNSET


class ChoiceView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A choice among repeated elements: those with the highest number."""

    element: str
    highest: str
    same: tuple[str, ...] | UnsetType = UNSET


class ImportMappingView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversion of the rows of a file to projects, facilities or entries."""

    name: str | UnsetType = UNSET
    kind: ImportKind | UnsetType = UNSET
    columns: (
        Annotated[
            tuple[ColumnMappingView, ...],
            Meta(
                extra_json_schema={
                    "minItems": 1,
                    "maxItems": MAX_COLUMNS,
                    "description": "Required but with `from_export`.",
                }
            ),
        ]
        | UnsetType
    ) = UNSET
    from_export: (
        Annotated[
            bool,
            Meta(
                description="The files are exports of the service: CSV, NDJSON or a workbook. "
                "Only their layout, `duplicates` and `on_existing` are left to say."
            ),
        ]
        | UnsetType
    ) = UNSET
    encoding: _Encoding | tuple[_Encoding, ...] | UnsetType = UNSET
    delimiter: Annotated[str, Meta(extra_json_schema={"enum": sorted(DELIMITERS)})] | UnsetType = (
        UNSET
    )
    quote: Annotated[str, Meta(extra_json_schema={"enum": sorted(QUOTES)})] | UnsetType = UNSET
    escape: Annotated[str, Meta(extra_json_schema={"enum": sorted(ESCAPES)})] | UnsetType = UNSET
    header_row: Annotated[int, Meta(ge=1, le=MAX_SKIPPED_LINES)] | UnsetType = UNSET
    skip_rows: Annotated[int, Meta(ge=0, le=MAX_SKIPPED_LINES)] | UnsetType = UNSET
    ragged_rows: RaggedRows | UnsetType = UNSET
    null: tuple[str, ...] | UnsetType = UNSET
    decimal: _DecimalMark | UnsetType = UNSET
    thousands: _ThousandsMark | UnsetType = UNSET
    record_element: str | UnsetType = UNSET
    sheet: Annotated[
        Any,
        Meta(
            examples=["Plants", 2],
            extra_json_schema={
                "description": "Sheet of a workbook: its name, or its number from 1. Default: the "
                "first visible one.",
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": MAX_SHEET_NAME_LENGTH},
                    {"type": "integer", "minimum": 1, "maximum": MAX_SHEET_NUMBER},
                ],
            },
        ),
    ] = UNSET
    fill_merged: (
        Annotated[
            tuple[str, ...],
            Meta(
                extra_json_schema={
                    "maxItems": MAX_SOURCES,
                    "description": "Columns in which a merged cell stands for each of its rows.",
                }
            ),
        ]
        | UnsetType
    ) = UNSET
    where: (
        RowConditionView
        | Annotated[
            tuple[RowConditionView, ...], Meta(extra_json_schema={"maxItems": MAX_CONDITIONS})
        ]
        | UnsetType
    ) = UNSET
    choose: (
        Annotated[tuple[ChoiceView, ...], Meta(extra_json_schema={"maxItems": MAX_CHOICES})]
        | UnsetType
    ) = UNSET
    group_by: (
        Annotated[
            str | tuple[str, ...],
            Meta(
                extra_json_schema={
                    "maxItems": MAX_SOURCES,
                    "description": "Columns whose equal values make several rows one record, or "
                    "`key` for those of the key.",
                }
            ),
        ]
        | UnsetType
    ) = UNSET
    checks: (
        Annotated[tuple[SumCheckView, ...], Meta(extra_json_schema={"maxItems": MAX_CHECKS})]
        | UnsetType
    ) = UNSET
    key: RowKeyView | UnsetType = UNSET
    duplicates: DuplicatePolicy | UnsetType = UNSET
    on_existing: OnExisting | UnsetType = UNSET
    vanished: VanishedPolicy | UnsetType = UNSET
    missing_amount: MissingAmount | UnsetType = UNSET

    @classmethod
    def of_mapping(cls, mapping: ImportMapping) -> Self:
        """Return a mapping as it may be put again, without its null members."""
        fields = _list_members(mapping, _ALWAYS_SHOWN)
        if mapping.columns:
            fields["columns"] = [_describe_column(column) for column in mapping.columns]
        for name in ("where", "choose"):
            if name in fields:
                fields[name] = [_list_members(item, {"column"}) for item in getattr(mapping, name)]
        if mapping.key is not None:
            fields["key"] = _list_members(mapping.key, frozenset())
        return msgspec.convert(fields, cls)


def _describe_column(column: ColumnMapping) -> dict[str, Any]:
    """Return the members of a column; a sponsor without the column of its share has none."""
    document = _list_members(column, {"whitespace"})
    if column.columns:
        document["columns"] = [
            source if isinstance(source, str) else _list_members(source, {"name"})
            for source in column.columns
        ]
    return document


_ALWAYS_SHOWN: Final = frozenset(
    {"name", "encoding", "delimiter", "null", "checks", "duplicates", "on_existing"}
)


def _list_members(struct: msgspec.Struct, always: AbstractSet[str]) -> dict[str, Any]:
    """Return the members of a struct that differ from their default, or are always shown."""
    document: dict[str, Any] = msgspec.to_builtins(struct)
    return {
        info.encode_name: document[info.encode_name]
        for info in get_fields(struct)
        if info.encode_name in always or getattr(struct, info.name) != info.default
    }


class ImportView(WireStruct, frozen=True, kw_only=True):
    """An import: its counts so far, and its request."""

    import_id: ResourceId
    rows: Count
    accepted: Count
    unchanged: Count
    quarantined: Count
    warnings: Count
    by_reason: dict[str, Count]
    failed_checks: dict[str, Count]
    skipped: Count
    skipped_by: dict[str, Count]
    merged: Count
    vanished: Count
    currency_assumed: Annotated[
        Count,
        Meta(description="Accepted rows without a currency; their new projects have USD."),
    ]
    kind: ImportKind
    mapping: str | None
    format: FileFormat
    size_bytes: Count
    sha256: str
    is_correction: Annotated[
        bool,
        Meta(description="Rows of a quarantine were posted back, of which none vanish."),
    ]
    requested_by: str
    created_at: Instant
    updated_at: Instant
    job_url: str
    quarantine_url: str
    vanished_url: str
    reasons_url: str

    @classmethod
    def of_import(cls, aggregate: StoredAggregate[ImportState]) -> Self:
        """Return the wire form of a stored import."""
        state = aggregate.state
        return cls.of(
            state.counts,
            state,
            aggregate,
            job_url=public_path(f"{JOBS}/{state.import_id}"),
            quarantine_url=public_path(f"{IMPORTS}/{state.import_id}/quarantine"),
            vanished_url=public_path(f"{IMPORTS}/{state.import_id}/vanished"),
            reasons_url=public_path(f"{IMPORTS}/{state.import_id}/reasons"),
        )


class ReasonSampleView(WireStruct, frozen=True):
    """A row with a reason."""

    line: Count
    detail: str
    raw_line: str | None


class ReasonCountView(WireStruct, frozen=True):
    """A reason: the number of its rows, and the first of them."""

    field: str
    code: str
    rows: Count
    samples: tuple[ReasonSampleView, ...]


class ImportReasonsView(WireStruct, frozen=True, kw_only=True):
    """The reasons of quarantined rows and of warnings, those of most rows first."""

    import_id: ResourceId
    reasons: tuple[ReasonCountView, ...]
    warnings: tuple[ReasonCountView, ...]


class DryRunView(WireStruct, frozen=True, kw_only=True):
    """Result of an import that was only tried; nothing was written."""

    rows: Count
    accepted: Count
    unchanged: Count
    quarantined: Count
    skipped: Count
    skipped_by: dict[str, Count]
    merged: Count
    currency_assumed: Annotated[
        Count,
        Meta(description="Accepted rows without a currency; their new projects have USD."),
    ]
    warnings: Count
    by_reason: dict[str, Count]
    failed_checks: dict[str, Count]
    complete: Annotated[
        bool, Meta(description="False if the time ended before the file; the rows so far.")
    ]
    reasons: tuple[ReasonCountView, ...]
    warning_reasons: tuple[ReasonCountView, ...]
    projects: Annotated[
        tuple[dict[str, Any], ...], Meta(description="The first projects that it would create.")
    ]

    @classmethod
    def of_run(cls, run: DryRun) -> Self:
        """Return the wire form of a dry run; the ids of its projects are provisional."""
        return cls.of(
            run.counts,
            complete=run.is_complete,
            reasons=run.reasons,
            warning_reasons=run.warnings,
            projects=tuple(_read_project(document) for document in run.projects),
        )


def _read_project(document: bytes) -> dict[str, Any]:
    """Return a project's document without its id, which the import assigns anew."""
    fields: dict[str, Any] = _decode_exactly(document)
    fields.pop("project_id", None)
    return fields


_decode_exactly = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw).decode


class VanishedProjectView(WireStruct, frozen=True):
    """A project of the mapping's source that the file does not have."""

    project_id: ResourceId
    external_ref: dict[str, str]
    project_name: str
    status: str

    @classmethod
    def of_project(cls, project: VanishedProject) -> Self:
        """Return the wire form of a vanished project."""
        reference = {"source": project.source, "id": project.id}
        return cls.of(project, external_ref=reference)


class RowWarningView(WireStruct, frozen=True):
    """A row that was imported with a warning."""

    line: Count
    project_id: ResourceId | None
    reasons: tuple[RowReason, ...]
