"""Drafts of projects from records: the document of each valid row, or why it is rejected."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from spawn.domain.imports.export_reader import RowResult
from spawn.domain.imports.fast_row_reader import FastRowReader
from spawn.domain.imports.import_state import FileFormat, RowReason
from spawn.domain.imports.record_parser import FileLayout, Record, RecordParser
from spawn.domain.imports.row_reader import RowReader
from spawn.domain.json_tokens import Token
from spawn.domain.projects.codec import encode_project
from spawn.domain.projects.project import build_reservation_id, list_changed_fields
from spawn.domain.schema_version import Schema, Value
from spawn.domain.schemas.validator import ProjectInput


class ProjectDraft(msgspec.Struct, frozen=True, gc=False):
    """A valid new project as its encoded document.

    `changed` and `reason` are for its event; `reference` is the id of its external reference.
    `has_currency` is false if its row has none.
    """

    project_id: str
    document: bytes
    changed: tuple[str, ...]
    reason: str | None
    reference: str | None
    has_currency: bool = True


class RowDraft(msgspec.Struct, frozen=True):
    """Draft of one record: a `RowResult` with its project encoded.

    `amendment` has the values for a project that exists already; None if they were not asked for.
    """

    key: str | None
    project_draft: ProjectDraft | None = None
    reasons: tuple[RowReason, ...] = ()
    warnings: tuple[RowReason, ...] = ()
    amendment: ProjectInput | None = None


PackedDraft = tuple[
    str | None,
    tuple[str, bytes, tuple[str, ...], str | None, str | None, bool] | None,
    tuple[RowReason, ...],
    tuple[RowReason, ...],
    tuple[dict[str, object], dict[str, Value | None], dict[str, msgspec.Raw | None]] | None,
]
"""A row draft as plain tuples, which another process transfers quickly."""


class RowDrafter:
    """Drafter of records under one schema and one layout."""

    def __init__(self, reader: RowReader, layout: FileLayout) -> None:
        self._reader = reader
        self._parser = RecordParser(layout)
        is_plain = layout.file_format is FileFormat.NDJSON and layout.mapping is None
        is_plain = is_plain and not layout.from_export
        self._fast_reader = FastRowReader(reader.validator) if is_plain else None

    def draft_rows(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool = False
    ) -> list[RowDraft]:
        """Return the draft of each record; its project gets the id at the same index.

        With amendments, each valid row also has the values for a project that exists already.
        """
        return unpack_drafts(self.draft_packed(records, ids, with_amendments=with_amendments))

    def draft_packed(
        self, records: Sequence[Record], ids: Sequence[str], *, with_amendments: bool = False
    ) -> list[PackedDraft]:
        """Return the drafts as plain tuples."""
        if self._fast_reader is None or with_amendments:
            return [
                self._draft_checked(record, project_id, with_amendment=with_amendments)
                for record, project_id in zip(records, ids, strict=True)
            ]
        read = self._fast_reader.read
        return [
            self._draft_checked(record, project_id)
            if record.parse_error or (draft := read(record.raw, project_id)) is None
            else (
                draft.key,
                (project_id, draft.document, *draft[1:3], draft.reference, draft.has_currency),
                (),
                (),
                None,
            )
            for record, project_id in zip(records, ids, strict=True)
        ]

    def _draft_checked(
        self, record: Record, project_id: str, *, with_amendment: bool = False
    ) -> PackedDraft:
        source = read_source(record, self._parser, self._reader)
        if isinstance(source, RowReason):
            return None, None, (source,), (), None
        result = self._reader.read(source, project_id, with_amendment=with_amendment)
        return _pack_result(result, self._reader.validator.schema)


class RowLocator(Protocol):
    """Reader that finds the values of a mapping in a row, and makes one row of a group."""

    def locate(self, source: Mapping[str, Token]) -> Mapping[str, Token] | RowReason:
        """Return the row by the names of the mapping, or the reason for which it is skipped."""
        ...

    def merge_rows(self, rows: Sequence[Mapping[str, Token]]) -> Mapping[str, Token]:
        """Return the rows of a group as one."""
        ...


def read_source(
    record: Record, parser: RecordParser, reader: RowLocator
) -> Mapping[str, Token] | RowReason:
    """Return a record's row by the names of the mapping, or why it has or is none."""
    if record.group:
        rows = [read_source(member, parser, reader) for member in record.group]
        return reader.merge_rows([row for row in rows if not isinstance(row, RowReason)])
    source = parser.parse(record)
    return source if isinstance(source, RowReason) else reader.locate(source)


def _pack_result(row_result: RowResult, schema: Schema) -> PackedDraft:
    """Return a row's result with its project encoded."""
    project, project_draft = row_result.project, None
    if project is not None:
        reference = project.external_ref
        project_draft = (
            project.project_id,
            encode_project(project, schema),
            list_changed_fields(None, project),
            project.status_reason,
            None if reference is None else build_reservation_id(reference),
            row_result.has_currency,
        )
    amendment = row_result.amendment
    return (
        row_result.key,
        project_draft,
        row_result.reasons,
        row_result.warnings,
        None if amendment is None else (amendment.core, amendment.governed, amendment.extensions),
    )


def unpack_drafts(packed_drafts: list[PackedDraft]) -> list[RowDraft]:
    """Return the drafts of plain tuples."""
    return [
        RowDraft(
            key,
            None if project_draft is None else ProjectDraft(*project_draft),
            reasons,
            warnings,
            None if amendment is None else ProjectInput(*amendment),
        )
        for key, project_draft, reasons, warnings, amendment in packed_drafts
    ]
